"""Read and check an experiment file: protocol, data sets, methods, seeds, options and grids.

docs/experiments.md describes every key.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from modprompt import places
from modprompt.checks import known_names
from modprompt.data.names import config_names
from modprompt.errors import UserError
from modprompt.experiments.plan import methods as method_reader
from modprompt.experiments.plan import rounds, selected
from modprompt.experiments.plan.experiment import (
    ACTIVE,
    BASE2NEW,
    CLASSES,
    CROSS,
    FEW_SHOT,
    OF_TREES,
    PROJECTIONS,
    PROTOCOLS,
    RULES,
    TIES,
    VALIDATION,
    Experiment,
    FeatureMap,
    Method,
    Plan,
    all_seeds,
)
from modprompt.experiments.plan.methods import Common
from modprompt.experiments.plan.section import Faults, Section
from modprompt.io.result import BY_CLASS
from modprompt.io.settings import SHOTS_BY_CLASS

FOLDER = places.configs() / "experiments"
_PROTOCOLS_OF_KEY = {  # keys that only some protocols have
    "source": CROSS,
    "joint_test": (BASE2NEW,),
    "figures": OF_TREES,
    **dict.fromkeys(("classes", "rule", "ties"), (VALIDATION,)),
    **dict.fromkeys(rounds.KEYS, (ACTIVE,)),
}
_PART_KEYS = (
    *_PROTOCOLS_OF_KEY, "title", "protocol", "datasets", "shots", "seeds", "methods", "highlight", "notes",
    "hyperparameters", "compare",
)  # fmt: skip
KEYS = (*_PART_KEYS, "slurm", "options", "import", "image_cache", "grid", "parts")


def shipped() -> list[Path]:
    """Return the experiment files in configs/experiments, without the files of selected hyperparameters."""
    return sorted(path for path in FOLDER.glob("*.yaml") if not path.name.endswith(".selected.yaml"))


def find(name: str) -> Path:
    """Return the path of an experiment file, of which the path or the name in configs/experiments is given.

    Raises:
        UserError: if there is no such file.
    """
    path = Path(name)
    if path.is_file():
        return path
    in_configs = FOLDER / f"{path.stem}.yaml"
    if str(path) in (path.stem, path.name) and in_configs.is_file():
        return in_configs
    raise UserError(f"Unknown experiment {name}" + known_names(path.stem, [file.stem for file in shipped()]))


def read(path: Path, options: Mapping[str, str] | None = None) -> Experiment:
    """Return the experiment of a file with a single protocol; see read_plan.

    Raises:
        UserError: if the file is wrong or has several parts.
    """
    plan = read_plan(path, options)
    if plan.has_parts:
        raise UserError(
            f"{path} contains several parts with a protocol each, but a file with a single protocol is needed. "
            "Use another file."
        )
    return plan.parts[0]


def read_plan(path: Path, options: Mapping[str, str] | None = None) -> Plan:
    """Return the experiments of a file.

    Args:
        path: the file.
        options: KEY VALUE settings of every run, which override those in the file.

    Raises:
        UserError: on missing or unknown keys, data sets and configs, and on wrong values; the message names the place.
    """
    file, faults = Section.of_file(path), Faults()
    with faults.collected():
        file.require_known(KEYS)
    command_line = Section(path, dict(options or {}), "command line")
    common = Common(
        seeds=faults.value(lambda: file.numbers("seeds", (1, 2, 3), 0), (1,)),
        options=faults.value(lambda: method_reader.read_options(file.section("options")), {}),
        command_line=faults.value(lambda: method_reader.read_options(command_line, Path.cwd()), {}),
        grid=faults.value(lambda: method_reader.read_grid(file.section("grid")), {}),
        hyperparameters=faults.value(lambda: _selected_hyperparameters(file), None),
        imports=faults.value(lambda: _imports(file), ()),
        image_cache=faults.value(lambda: file.flag("image_cache", True), True),
    )
    has_parts, parts = "parts" in file, list[Experiment]()
    with faults.collected():
        parts = _parts(file, common) if has_parts else [_experiment(file, common, path.stem, "compare" in file)]
    faults.raise_all()
    if "compare" in file and not any(part.compare for part in parts):
        raise file.fault("compare", f"no part that supports compare contains a method {file.get('compare')!r}")
    slurm = file.section("slurm").content
    return Plan(path.stem, file.text("title", path.stem), file.text("notes"), slurm, tuple(parts), has_parts)


def _imports(file: Section) -> tuple[str, ...]:
    """Return the modules of the key `import` as `--import` accepts them: FOLDER/NAME, or NAME of an installed module.

    A module is searched next to the file, then in the current folder, then among the installed modules.

    Raises:
        UserError: if two different modules have the same name.
    """
    here, words = Path.cwd().resolve(), []
    installed = [folder for folder in sys.path if folder and Path(folder).resolve() != here]
    for name in file.names("import") if "import" in file else ():
        word, sources = name, dict[Path, bytes]()
        for folder in (file.path.parent.resolve(), here, None):
            search_path = installed if folder is None else [str(folder)]
            spec = PathFinder.find_spec(name.partition(".")[0], search_path)
            if spec and spec.origin and spec.has_location:
                word = str(folder / name) if folder and not sources else word
                source = Path(spec.origin).resolve()
                sources[source] = source.read_bytes()
        if len(set(sources.values())) > 1:
            paths = " and ".join(map(str, sources))
            raise file.fault(
                "import", f"different modules have the name {name!r}: {paths}. Rename all modules but one."
            )
        words.append(word)
    return tuple(words)


def _selected_hyperparameters(section: Section) -> selected.Selected | None:
    name = section.get("hyperparameters")
    if "hyperparameters" not in section:
        return None
    if not isinstance(name, str) or not name:
        raise section.fault("hyperparameters", f"the path of a file is expected, got {name!r}")
    try:
        return selected.read((section.path.parent / name).resolve())
    except UserError as error:
        raise section.fault("hyperparameters", str(error)) from None


def _parts(file: Section, common: Common) -> list[Experiment]:
    """Return the parts of a file; a part has the values of the file for keys that the part does not set."""
    shared = {key: value for key, value in file.content.items() if key in _PART_KEYS and key not in ("title", "notes")}
    shared["methods"] = Section(file.path, file.require("methods"), "methods").content
    file.require("parts")
    faults, parts = Faults(), []
    for name, part in file.section("parts").sections():
        with faults.collected():
            parts.append(_part(name, part, shared, common))
    faults.raise_all()
    return parts


def _part(name: str, part: Section, shared: Mapping[str, Any], common: Common) -> Experiment:
    """Return a part of a file; `shared` has the values of the file for keys that the part does not set."""
    if not (name.isascii() and name.isidentifier() and name[0] != "_"):
        raise part.fault(
            "", "the name of a part, which is also a folder name, must be a letter, followed by letters, digits and _."
        )
    part.require_known(_PART_KEYS)
    methods = shared["methods"]
    labels = part.names("methods", list(methods)) if "methods" in part else tuple(methods)
    of_part = {label: method for label, method in methods.items() if label in labels}
    section = Section(part.path, {**shared, **part.content, "methods": of_part}, part.place)
    if "highlight" not in part and section.get("highlight") not in labels:
        section.content.pop("highlight", None)
    if "seeds" in part:
        common = common._replace(seeds=part.numbers("seeds", common.seeds, 0))
    if "hyperparameters" in part:
        common = common._replace(hyperparameters=_selected_hyperparameters(part))
    return _experiment(section, common, name, "compare" in part)


def _experiment(section: Section, common: Common, name: str, must_compare: bool) -> Experiment:
    """Return an experiment; with `must_compare`, the key `compare` must fit the protocol and the methods.

    Raises:
        UserError: with all faults of the section.
    """
    faults = Faults()
    protocol = _protocol(section, faults)
    with faults.collected():
        section.require("methods")
        section.section("methods")
    methods = method_reader.read(section, common, protocol, faults)
    with faults.collected():
        method_reader.require_same_images(section, methods)
    of_rounds = rounds.read(section, methods) if protocol == ACTIVE and not faults.messages else None
    shots: tuple[int | str, ...] = ()
    with faults.collected():
        shots = tuple(range(1, of_rounds.number + 1)) if of_rounds else _shots(section, methods, protocol)
    with faults.collected():
        if len(shots) > 1 and not of_rounds and protocol not in ("", FEW_SHOT):
            raise section.fault("shots", f"protocol {protocol} accepts a single number, got {list(shots)}")
    datasets: tuple[str, ...] = ()
    with faults.collected():
        datasets = section.names("datasets", config_names())
    source = faults.value(lambda: _source(section, protocol, datasets), "")
    joint_test = faults.value(lambda: section.flag("joint_test", False), False)
    classes = faults.value(lambda: section.choice("classes", CLASSES), "")
    rule = faults.value(lambda: section.choice("rule", RULES), "")
    ties = faults.value(lambda: section.choice("ties", TIES), "")
    faults.raise_all()
    families = list(dict.fromkeys(method.family for method in methods))
    highlight = section.text("highlight", families[-1])
    if highlight not in families:
        raise section.fault("highlight", f"unknown method {highlight!r}" + known_names(highlight, families))
    feature_map = _feature_map(section, methods, datasets, source, highlight) if "figures" in section else None
    with_selection = [
        family
        for family in families
        if section.section("methods").get(family).get("hyperparameters") is not False
        and any(method.trains for method in methods if method.family == family)
    ]
    selection = common.hyperparameters
    return Experiment(
        name=name,
        title=section.text("title", name),
        protocol=protocol,
        datasets=datasets,
        source=source,
        shots=shots,
        seeds=all_seeds(methods),
        methods=tuple(methods),
        highlight=highlight,
        notes=section.text("notes"),
        rounds=of_rounds,
        joint_test=joint_test,
        classes=classes,
        rule=rule,
        ties=ties,
        hyperparameters=selection.describe(with_selection) if selection and with_selection else "",
        feature_map=feature_map,
        compare=_compared_method(section, protocol, methods, must_compare) if "compare" in section else "",
    )


def _protocol(section: Section, faults: Faults) -> str:
    """Return the protocol of a section, or "" if it is wrong. Keys of other protocols are added to the faults."""
    with faults.collected():
        section.require("protocol")
    protocol = faults.value(lambda: section.choice("protocol", PROTOCOLS), "")
    for key, protocols in _PROTOCOLS_OF_KEY.items() if protocol else ():
        with faults.collected():
            if key in section and protocol not in protocols:
                others = " or ".join(protocols)
                raise section.fault(
                    key, f"protocol {protocol} does not support this key, which belongs to protocol {others}."
                )
    return protocol


def _shots(section: Section, methods: Sequence[Method], protocol: str) -> tuple[int | str, ...]:
    """Return the numbers of shots; BY_CLASS if each method that trains has a file with the shots of each class."""
    trained = [method for method in methods if method.trains]
    if not trained or not all(method.shots_file for method in trained):
        return section.numbers("shots", (1, 2, 4, 8, 16) if protocol == FEW_SHOT else (16,), 1)
    if "shots" in section:
        raise section.fault(
            "shots", f"all methods set {SHOTS_BY_CLASS}, which replaces shots. Remove shots or {SHOTS_BY_CLASS}."
        )
    return (BY_CLASS,)


def _source(section: Section, protocol: str, datasets: Sequence[str]) -> str:
    """Return the training data set of a cross-data-set protocol, or "" for other protocols."""
    if protocol not in CROSS:
        return ""
    source = section.choice("source", list(dict.fromkeys(["imagenet", *config_names()])))
    if source in datasets:
        raise section.fault(
            "datasets", f"{source} is the source, which is always tested. Remove {source} from datasets."
        )
    return source


def _feature_map(
    section: Section, methods: Sequence[Method], datasets: Sequence[str], source: str, highlight: str
) -> FeatureMap:
    """Return the figure of `figures: {features: {...}}`, by default of the highlighted method on the first data set."""
    section.section("figures").require_known(("features",))
    figure = section.section("figures").section("features")
    figure.require_known(("method", "dataset", "projection"))
    default = next(method.label for method in methods if method.family == highlight)
    label = figure.choice("method", list(dict.fromkeys([default, *(method.label for method in methods)])))
    dataset = figure.choice("dataset", list(dict.fromkeys([*datasets, *filter(None, [source])])))
    seeds = next(method.seeds for method in methods if method.label == label)
    return FeatureMap(label, dataset, seeds[0], figure.choice("projection", PROJECTIONS))


def _compared_method(section: Section, protocol: str, methods: Sequence[Method], must_compare: bool) -> str:
    """Return the label of the method that is compared with all others, or "" if no comparison is possible.

    Raises:
        UserError: if no comparison is possible, and `must_compare` is true.
    """
    word, labels = str(section.get("compare")), [method.label for method in methods]
    if protocol != ACTIVE and word in labels:
        return word
    if not must_compare:
        return ""
    if protocol == ACTIVE:
        raise section.fault("compare", f"protocol {protocol} does not support this key. Remove the key.")
    variants = [method.label for method in methods if method.family == word]
    if variants:
        raise section.fault(
            "compare", f"{word} has several variants. Use the name of a variant: {', '.join(map(repr, variants))}"
        )
    raise section.fault("compare", f"unknown method {section.get('compare')!r}" + known_names(word, labels))
