"""Names that are formulas, Markdown, HTML, LaTeX or no text at all stand in a report as what they are: names."""

import csv
import html.parser
import json
import re

import pytest

from modprompt.experiments.reporting import report, tables
from modprompt.io.tables import as_csv, unshielded, write_table
from modprompt.io.text import markdown_text, one_line
from tests.modprompt.experiments.fakes import TWO, by_hand, edit, fill

FORMULAS = ("=1+2", "+1", "-1", "@SUM(A1)", "\t=1", "\n-1", "  +1", "\uff1d1", "'=1", "a;=1", "x\n@y")
HTML = '"><script>document.title="ran"</script><img src=x onerror=\'document.title="ran"\'>&lt;a href=javascript:0'
MARKS = "a|b`c*d*_e_<b>[f](http://g)!\\*~~h~~&amp;__i__ vit_b16_ep5"
NO_TEXT = "\udcff\x1b[31m\u202e"
NAMES = (*FORMULAS, HTML, MARKS, NO_TEXT, "# title", "1. one", "> quoted", "---", "[opt]", "$x^", r"a\b\[")


def sections(labels=NAMES, key="digits"):
    rows = [{"label": label, "source": label, "mean": [50.0 + at], "std": [1.0]} for at, label in enumerate(labels)]
    return [tables.make_table(key, key, ["accuracy"], rows, about=key)]


def test_names_are_no_formulas_in_the_csv_and_numbers_stay_numbers(tmp_path):
    write_table(
        tmp_path / "report.csv",
        ["table", "method", "mean", "std", "", "", ""],
        tables.numbers_frame(sections()).to_numpy().tolist(),
    )
    rows = list(csv.reader((tmp_path / "report.csv").read_text("utf-8-sig").splitlines()))[1:]
    for row, label in zip(rows, NAMES, strict=True):
        assert row[1][0] not in "=@\t\r"
        assert unshielded(row[1]) == one_line(label)
        assert float(row[2]) >= 50
        assert float(row[3]) == 1.0
    rows = [{"label": "a", "mean": [-5.0], "std": [float("nan")]}]
    frame = tables.numbers_frame([tables.make_table("=key", "=key", ["=column"], rows)])
    assert as_csv(frame.to_numpy().tolist()) == "'=key,a,-5.0000,,,,\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("vit_b16_ep5", "vit_b16_ep5"),
        ("__init__", r"\_\_init\_\_"),
        ("a|b", r"a\|b"),
        ("`x` *y* [z](u) <b>", r"\`x\` \*y\* \[z\](u) \<b>"),
        ("&amp; & b", r"\&amp; & b"),
        (r"C:\dir \* end" + "\\", r"C:\dir \\\* end" + r"\\"),
        ("# a\nb", r"\# a b"),
        ("12. a", r"12\. a"),
        ("\udcff", r"\udcff"),
    ],
)
def test_markdown_shows_a_name_as_it_is(text, shown):
    assert markdown_text(text) == shown


def test_latex_has_no_options_or_commands_out_of_names():
    text = tables.latex(sections(("[2cm]", "*", r"\input{x}", "a\n\nb", "%", "$x^")), r"\end{x}", "about")
    assert "\\textit{{[}2cm{]}} &" in text
    assert r"\textbackslash{}input\{x\}" in text


ATTRIBUTES = "lang charset http-equiv content name class href id scope alt width height src title"


class Reader(html.parser.HTMLParser):
    """Keeps what elements there are, their attributes, and the text."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.text = set(), set(), ""

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data):
        self.text += data


@pytest.mark.usefixtures("unpainted")
def test_page_has_no_element_or_attribute_out_of_names(experiment, tmp_path):
    methods = "".join(
        f"  {json.dumps(name)}: {{trainer: MPL, config: vit_b4_c1_add2_rm1, options: {{OPTIM.LR: {number + 1}.5}}}}\n"
        for number, name in enumerate((HTML, MARKS, NO_TEXT, *FORMULAS[:5], "$x^"))
    )
    heads = f"title: {json.dumps(HTML + NO_TEXT)}\nnotes: {json.dumps(HTML + MARKS)}\ncompare: {json.dumps(HTML)}\n"
    text = heads + TWO.split("methods:")[0] + "methods:\n  CLIP: {trainer: ZeroshotCLIP, config: vit_b16}\n" + methods
    found = experiment(text, "hostile")
    fill(found, tmp_path / "out", by_hand)
    more = {"selected_on": HTML, "split": {"name": "x", "status": HTML, "hash": "h"}}
    for path in (tmp_path / "out").rglob("result.json"):
        edit(path, clip={"name": HTML, "fingerprint": NO_TEXT}, **more)
    assert report.main([str(tmp_path / "hostile.yaml"), "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out/reports/hostile/index.html").read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(page)
    assert not reader.tags & {"b", "a href=javascript:0"}
    assert "<script" not in page
    assert not {name for name in reader.attributes if name.startswith("on")}
    assert reader.attributes <= {*ATTRIBUTES.split()}
    assert HTML in reader.text
    assert "default-src &#x27;none&#x27;" in page.split("<style>")[0]
    for name in ("report.csv", "differences.csv"):
        with (tmp_path / "out/reports/hostile" / name).open(encoding="utf-8-sig", newline="") as file:
            head, *rows = csv.reader(file)
        texts = [cell for row in rows for cell in row if not re.fullmatch(r"[+-]?[\d.e-]+", cell)]  # no number
        assert not [text for text in texts if text.startswith(tuple("=+-@"))]
        assert all(len(row) == len(head) for row in rows)
