"""A report's tables as Markdown, CSV and LaTeX; names in them are text, whatever they look like."""

from __future__ import annotations

from collections.abc import Sequence

from modprompt.experiments.plan.experiment import Experiment
from modprompt.experiments.reporting.results import ALL_IMAGES
from modprompt.experiments.reporting.table import Cell, Section
from modprompt.io.text import markdown_cell, markdown_text, one_line

EMPTY = "-"
H_OF_THE_MEANS = (
    "H: of the means, the harmonic mean of the row's mean base and mean new accuracy (over seeds, and in an average "
    "over data sets); its deviation is that of the seeds' own H."
)
STD = "mean and standard deviation (n in the denominator)"
_STD = "population_std"  # in names of columns
_UNITS = {"labels": ""}  # of columns that are not percentages


def cell_text(cell: Cell | None, form: str = ".2f") -> str:
    """A cell's mean and deviation; a dash where there is no number."""
    if cell is None:
        return EMPTY
    return f"{cell.mean:{form}}" + ("" if cell.std is None else f" ± {cell.std:{form}}")


def cell_numbers(cell: Cell | None) -> list[str]:
    """The same as two cells of a CSV; empty where there is no number."""
    return ["" if number is None else f"{number:.4f}" for number in cell or (None, None)]


def caption(experiment: Experiment, sections: Sequence[Section]) -> str:
    """What the numbers are; for protocol active more is said elsewhere."""
    seeds = experiment.seeds
    over = f"{STD} over seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else f"seed {seeds[0]}"
    apart = any(row.said for section in _with_details(sections) for row in section.rows)
    why = " A row whose numbers cannot be compared with the others says why after its name, and is never bold."
    more = why if apart else ""
    columns = " Columns: training images per class." if experiment.protocol == "few_shot" else ""
    columns += " all: trained on all images." if any(ALL_IMAGES in section.columns for section in sections) else ""
    columns += f" {H_OF_THE_MEANS}" if any("H" in section.columns for section in sections) else ""
    return (
        f"Accuracy in percent, {over}; best of the measured in bold; "
        f"- : a run is missing, or the number is not known.{more}{columns}"
    )


def sources(sections: Sequence[Section]) -> list[str]:
    """The sources of published rows, each once."""
    found = [f"{row.label}: {row.source}" for section in _with_details(sections) for row in section.rows if row.source]
    return list(dict.fromkeys(found))


def markdown_table(section: Section) -> str:
    """One section."""
    best = section.best()
    names = map(markdown_text, ["method", *section.columns])
    lines = [f"| {' | '.join(names)} |", f"|{' --- |' * (len(section.columns) + 1)}"]
    headings = section.headings()
    for number, row in enumerate(section.rows):
        if number in headings:
            lines.append(f"| **{markdown_text(headings[number])}** |{'  |' * len(section.columns)}")
        texts = [cell_text(cell) for cell in row.cells]
        texts = [f"**{text}**" if (number, column) in best else text for column, text in enumerate(texts)]
        label = f"*{markdown_text(row.name)}*" if row.source else markdown_text(row.name)
        lines.append(f"| {' | '.join([label, *texts])} |")
    return "\n".join(lines)


def columns_of_csv(sections: Sequence[Section]) -> list[str]:
    """The head of a report's one table of numbers."""
    columns = sections[0].columns if sections else ()
    names = [f"{one_line(column)}_{what}{_UNITS.get(column, '_pct')}" for column in columns for what in ("mean", _STD)]
    return ["table", *(["group"] if _has_groups(sections) else []), "method", *names, "seeds", "said", "published_in"]


def _has_groups(sections: Sequence[Section]) -> bool:
    return any(section.headings() for section in sections)


def rows_of_csv(sections: Sequence[Section]) -> list[list[str]]:
    """All sections and their details of the same columns in one table, a row for each method; cells without a number
    are empty."""
    columns = sections[0].columns if sections else ()
    grouped = _has_groups(sections)
    return [
        [
            one_line(section.key),
            *([row.group] * grouped),
            one_line(row.label),
            *(number for cell in row.cells for number in cell_numbers(cell)),
            " ".join(map(str, row.seeds)),
            one_line(row.said),
            one_line(row.source),
        ]
        for section in _with_details(sections)
        if section.columns == columns
        for row in section.rows
    ]


_LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}"}  # which the oldest font encoding lacks
    | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
    | {c: f"{{{c}}}" for c in "[]*"}  # after the end of a row they would be its options
)


def latex_text(text: str) -> str:
    """Text with LaTeX's own characters escaped, in one line."""
    return one_line(text).translate(_LATEX)


def _latex_cell(cell: Cell | None, best: bool) -> str:
    if cell is None:
        return "--"
    mean = rf"\textbf{{{cell.mean:.2f}}}" if best else f"{cell.mean:.2f}"
    return mean if cell.std is None else rf"{mean} {{\scriptsize $\pm$ {cell.std:.2f}}}"


def latex(sections: Sequence[Section], title: str, about: str) -> str:
    r"""A table for each section, with booktabs: \usepackage{booktabs} and \input this file."""
    lines = ["% needs \\usepackage{booktabs}"]
    for section in _with_details(sections):
        best = section.best()
        images = f" ({section.about})" if section.about else ""
        lines += [
            "",
            r"\begin{table}[t]",
            r"\centering",
            rf"\caption{{{latex_text(f'{title}: {section.title}{images}. {about}')}}}",
        ]
        lines += [rf"\begin{{tabular}}{{l{'c' * len(section.columns)}}}", r"\toprule"]
        lines += [" & ".join(["Method", *map(latex_text, section.columns)]) + r" \\", r"\midrule"]
        headings = section.headings()
        for number, row in enumerate(section.rows):
            if number in headings:
                span = f"{{{len(section.columns) + 1}}}{{l}}"
                lines.append(rf"\multicolumn{span}{{\textbf{{{latex_text(headings[number])}}}}} \\")
            cells = [_latex_cell(cell, (number, column) in best) for column, cell in enumerate(row.cells)]
            label = latex_text(row.name)
            lines.append(" & ".join([rf"\textit{{{label}}}" if row.source else label, *cells]) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def latex_texts(title: str, about: str, rows: Sequence[Sequence[str]]) -> str:
    """A table of texts with booktabs, the names of columns first."""
    head, *body = (" & ".join(map(latex_text, row)) + r" \\" for row in rows)
    lines = [
        "",
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{latex_text(f'{title}. {about}')}}}",
        rf"\begin{{tabular}}{{l{'c' * (len(rows[0]) - 1)}}}",
        r"\toprule",
        head,
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _with_details(sections: Sequence[Section]) -> list[Section]:
    return [one for section in sections for one in (section, *section.details)]


def _list(title: str, lines: Sequence[str]) -> list[str]:
    return ["", f"{title}:", "", *(f"- {markdown_text(line)}" for line in lines)] if lines else []


def markdown_texts(title: str, about: str, rows: Sequence[Sequence[str]], own_form: bool = False) -> list[str]:
    """A table of texts with its heading, the names of columns first; nothing without rows.

    Args:
        title: of the table.
        about: the text above it.
        rows: a text for each column.
        own_form: whether all cells but names are in a form of ours, which Markdown leaves as it is.
    """

    def cell(text: str, is_name: bool) -> str:
        return markdown_cell(text) if is_name or not own_form else text

    lines = [
        f"| {' | '.join(cell(text, not row or not column) for column, text in enumerate(texts))} |"
        for row, texts in enumerate(rows)
    ]
    return ["", f"## {title}", "", about, "", lines[0], f"|{' --- |' * len(rows[0])}", *lines[1:]] if rows else []


def markdown(
    sections: Sequence[Section],
    title: str,
    about: str,
    notes: dict[str, Sequence[str]],
    more: Sequence[str] = (),
) -> str:
    """All sections, `more` lines, then lists by their titles: what is missing, warnings, sources."""
    lines = [f"# {markdown_text(title)}", "", about]
    for section in _with_details(sections):
        lines += [
            "",
            f"## {markdown_text(section.title)}",
            *(["", markdown_text(section.about)] if section.about else []),
            "",
            markdown_table(section),
        ]
    lines += more
    for heading, texts in notes.items():
        lines += _list(heading, texts)
    return "\n".join(lines) + "\n"
