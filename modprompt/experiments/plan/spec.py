"""An experiment file: protocol, data sets, methods, seeds, options and grids. docs/experiments.md has every key."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, NamedTuple

from modprompt import places
from modprompt.checks import known_names, some
from modprompt.data.names import config_names
from modprompt.errors import UserError
from modprompt.experiments.plan import rounds, selected
from modprompt.experiments.plan.experiment import (
    ACTIVE,
    BASE2NEW,
    CLASSES,
    CROSS,
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
    short_names,
)
from modprompt.experiments.plan.reading import Faults, Part
from modprompt.experiments.plan.stages import STAGES, trains
from modprompt.io.files import of_user
from modprompt.io.images import BY_CLASS, SHOTS_BY_CLASS, TRAIN_ON_VAL
from modprompt.io.settings import as_text, read_settings
from modprompt.methods.search.file import named_by
from modprompt.methods.table import PROMPTS, config_file, kind_of

FILES = places.configs() / "experiments"
OF_PROTOCOL = (
    "SEED", "TRAINER.NAME", "DATASET.NAME", "DATASET.NUM_SHOTS", "DATASET.SUBSAMPLE_CLASSES", "OUTPUT_DIR", "RESUME",
)  # fmt: skip
_ONLY_OF = {  # keys that mean nothing in other protocols
    "source": CROSS,
    "joint_test": (BASE2NEW,),
    "figures": OF_TREES,
    **dict.fromkeys(("classes", "rule", "ties"), (VALIDATION,)),
    **dict.fromkeys(rounds.KEYS, (ACTIVE,)),
}
_OF_PART = (
    *_ONLY_OF, "title", "protocol", "datasets", "shots", "seeds", "methods", "highlight", "notes", "hyperparameters",
    "compare",
)  # fmt: skip
KEYS = (*_OF_PART, "slurm", "options", "import", "image_cache", "grid", "parts")
_OF_RUNS = ("trainer", "config", "options")
_OF_METHOD = (
    *_OF_RUNS, "seeds", "grid", "published", *(one.key for one in STAGES), "search_seed", "few_shot", "hyperparameters",
)  # fmt: skip
_OF_BOTH_STAGES = ("MODEL.BACKBONE.", "DATASET.")
_Runs = tuple[str, Path, dict[str, str]]  # trainer, config, options


class Shared(NamedTuple):
    """What all methods have in common; `last` are the options of the command, over all others."""

    seeds: tuple[int, ...]
    options: dict[str, str]
    last: dict[str, str]
    grid: dict[str, list[str]]
    hyperparameters: selected.Selected | None
    imports: tuple[str, ...]
    image_cache: bool


def shipped() -> list[Path]:
    """Return the experiment files in configs/experiments, without the files of selected hyperparameters."""
    return sorted(path for path in FILES.glob("*.yaml") if not path.name.endswith(".selected.yaml"))


def find(name: str) -> Path:
    """The experiment file of a path, or of a name in configs/experiments; raises UserError if there is none."""
    path = Path(name)
    if path.is_file():
        return path
    named = FILES / f"{path.stem}.yaml"
    if str(path) in (path.stem, path.name) and named.is_file():
        return named
    names = [file.stem for file in shipped()]
    raise UserError(f"Unknown experiment {name}" + known_names(path.stem, names))


def read(path: Path, options: Mapping[str, str] | None = None) -> Experiment:
    """The experiment of a file with one protocol; raises UserError as read_plan, and if the file has parts."""
    plan = read_plan(path, options)
    if plan.has_parts:
        raise UserError(
            f"{path} contains several parts with a protocol each, but a file with a single protocol is needed. "
            "Use another file."
        )
    return plan.parts[0]


def read_plan(path: Path, options: Mapping[str, str] | None = None) -> Plan:
    """The experiments of a file.

    Args:
        path: the file.
        options: KEY VALUE settings of every run, which override those in the file.

    Raises:
        UserError: on a missing or unknown key, data set or config, and on wrong values; the message names the place.
    """
    file, faults = Part.of_file(path), Faults()
    with faults.collected():
        file.require_known(KEYS)
    last = Part(path, dict(options or {}), "command line")
    shared = Shared(
        seeds=faults.value(lambda: file.numbers("seeds", (1, 2, 3), 0), (1,)),
        options=faults.value(lambda: _options(file.below("options")), {}),
        last=faults.value(lambda: _options(last, Path.cwd()), {}),
        grid=faults.value(lambda: _grid(file.below("grid")), {}),
        hyperparameters=faults.value(lambda: _hyperparameters(file), None),
        imports=faults.value(lambda: _imports(file), ()),
        image_cache=faults.value(lambda: file.flag("image_cache", True), True),
    )
    has_parts, parts = "parts" in file, list[Experiment]()
    with faults.collected():
        parts = _parts(file, shared) if has_parts else [_experiment(file, shared, path.stem, file.get("compare"))]
    faults.complain()
    if "compare" in file and not any(part.compare for part in parts):
        raise file.fault("compare", f"no part that supports compare contains a method {file.get('compare')!r}")
    slurm = file.below("slurm").content
    return Plan(path.stem, file.text("title", path.stem), file.text("notes"), slurm, tuple(parts), has_parts)


def _imports(file: Part) -> tuple[str, ...]:
    """The modules of the key `import` as --import takes them: FOLDER/NAME, or the name of an installed module.

    A module is looked for next to the file, then in the current folder, then among the installed ones. Raises UserError
    if two different modules have its name.
    """
    here, words = Path.cwd().resolve(), []
    installed = [folder for folder in sys.path if folder and Path(folder).resolve() != here]
    for name in file.names("import") if "import" in file else ():
        word, sources = name, dict[Path, bytes]()
        for folder in (file.path.parent.resolve(), here, None):
            search = installed if folder is None else [str(folder)]
            found = PathFinder.find_spec(name.partition(".")[0], search)
            source = Path(found.origin).resolve() if found and found.origin and found.has_location else None
            if source is not None:
                word = str(folder / name) if folder and not sources else word
                sources[source] = source.read_bytes()
        if len(set(sources.values())) > 1:
            paths = " and ".join(map(str, sources))
            raise file.fault(
                "import", f"different modules have the name {name!r}: {paths}. Rename all modules but one."
            )
        words.append(word)
    return tuple(words)


def _hyperparameters(part: Part) -> selected.Selected | None:
    name = part.get("hyperparameters")
    if "hyperparameters" not in part:
        return None
    if not isinstance(name, str) or not name:
        raise part.fault("hyperparameters", f"the path of a file is expected, got {name!r}")
    try:
        return selected.read((part.path.parent / name).resolve())
    except UserError as error:
        raise part.fault("hyperparameters", str(error)) from None


def _parts(file: Part, shared: Shared) -> list[Experiment]:
    """The parts of a file: each has the file's settings, except where it has its own."""
    common = {key: value for key, value in file.content.items() if key in _OF_PART and key not in ("title", "notes")}
    methods = Part(file.path, file.require("methods"), "methods").content
    file.require("parts")
    faults, parts = Faults(), []
    for name, part in file.below("parts").parts():
        with faults.collected():
            parts.append(_part(name, part, Part(file.path, {**common, "methods": methods}), shared))
    faults.complain()
    return parts


def _part(name: str, part: Part, common: Part, shared: Shared) -> Experiment:
    """A part of a file, with what it has in common with the others."""
    if not (name.isascii() and name.isidentifier() and name[0] != "_"):
        raise part.fault(
            "", "the name of a part, which is also a folder name, must be a letter, followed by letters, digits and _."
        )
    part.require_known(_OF_PART)
    methods = common.content["methods"]
    kept = part.names("methods", list(methods)) if "methods" in part else tuple(methods)
    of_kept = {label: value for label, value in methods.items() if label in kept}
    whole = Part(part.path, {**common.content, **part.content, "methods": of_kept}, part.place)
    if "highlight" not in part and whole.get("highlight") not in kept:
        whole.content.pop("highlight", None)
    seeds = part.numbers("seeds", shared.seeds, 0) if "seeds" in part else shared.seeds
    own = shared._replace(
        seeds=seeds, hyperparameters=_hyperparameters(part) if "hyperparameters" in part else shared.hyperparameters
    )
    return _experiment(whole, own, name, part.get("compare"))


def _methods(part: Part, shared: Shared, protocol: str, faults: Faults) -> list[Method]:
    """The methods of a part without those that have faults, which are kept."""
    methods: list[Method] = []
    for label, content in part.content.get("methods", {}).items() if isinstance(part.get("methods"), dict) else ():
        if (
            faults.texts
            and isinstance(content, dict)
            and {*content} & {"hyperparameters", *(stage.key for stage in STAGES)}
        ):
            continue  # the method above that it names may be missing for another fault
        with faults.collected():
            one = Part(part.path, content, ": ".join(filter(None, [part.place, "methods", str(label)])))
            methods += _variants(one, str(label), shared, methods)
            if "few_shot" in one and protocol not in ("", ACTIVE):
                raise one.fault("few_shot", f"protocol {protocol} does not support this key. Remove the key.")
    return methods


def _source(part: Part, protocol: str, datasets: Sequence[str]) -> str:
    """The data set that a protocol across data sets trains on; empty for other protocols."""
    if protocol not in CROSS:
        return ""
    source = part.one_of("source", list(dict.fromkeys(["imagenet", *config_names()])))
    if source in datasets:
        raise part.fault("datasets", f"{source} is the source, which is always tested. Remove {source} from datasets.")
    return source


def _protocol(part: Part, faults: Faults) -> str:
    """The protocol of a part; empty after a fault, which is kept, as are keys that the protocol does not have."""
    with faults.collected():
        part.require("protocol")
    protocol = faults.value(lambda: part.one_of("protocol", PROTOCOLS), "")
    for key, protocols in _ONLY_OF.items() if protocol else ():
        with faults.collected():
            if key in part and protocol not in protocols:
                of = " or ".join(protocols)
                raise part.fault(key, f"protocol {protocol} does not support this key, which belongs to protocol {of}.")
    return protocol


def _experiment(part: Part, shared: Shared, name: str, compare: Any) -> Experiment:
    """An experiment; if `compare` is not None, it must be able to compare. All faults are reported together."""
    faults = Faults()
    protocol = _protocol(part, faults)
    with faults.collected():
        part.require("methods")
        part.below("methods")
    methods = _methods(part, shared, protocol, faults)
    with faults.collected():
        _require_same_images(part, methods)
    added = rounds.read(part, methods) if protocol == ACTIVE and not faults.texts else None
    several = protocol in ("", "few_shot") or bool(added)
    default = (1, 2, 4, 8, 16) if protocol == "few_shot" else (16,)
    shots: tuple[int | str, ...] = ()
    with faults.collected():
        shots = added.shots if added else _shots(part, methods, default)
    with faults.collected():
        if len(shots) > 1 and not several:
            raise part.fault("shots", f"protocol {protocol} accepts a single number, got {list(shots)}")
    datasets: tuple[str, ...] = ()
    with faults.collected():
        datasets = part.names("datasets", config_names())
    source = faults.value(lambda: _source(part, protocol, datasets), "")
    together = faults.value(lambda: part.flag("joint_test", False), False)
    classes, rule, ties = (
        faults.value(lambda key=key, known=known: part.one_of(key, known), "")  # type: ignore[misc]
        for key, known in (("classes", CLASSES), ("rule", RULES), ("ties", TIES))
    )
    faults.complain()
    families = list(dict.fromkeys(method.family for method in methods))
    highlight = part.text("highlight", families[-1])
    if highlight not in families:
        raise part.fault("highlight", f"unknown method {highlight!r}" + known_names(highlight, families))
    feature_map = _feature_map(part, methods, datasets, source, highlight) if "figures" in part else None
    took = [one for one in families if part.below("methods").get(one).get("hyperparameters") is not False]
    took = [one for one in took if any(method.trains for method in methods if method.family == one)]
    return Experiment(
        name=name,
        title=part.text("title", name),
        protocol=protocol,
        datasets=datasets,
        source=source,
        shots=shots,
        seeds=all_seeds(methods),
        methods=tuple(methods),
        highlight=highlight,
        notes=part.text("notes"),
        added=added,
        together=together,
        classes=classes,
        rule=rule,
        ties=ties,
        hyperparameters=shared.hyperparameters.describe(took) if shared.hyperparameters and took else "",
        feature_map=feature_map,
        compare=_compare(part, protocol, methods, must=compare is not None) if "compare" in part else "",
    )


def _feature_map(
    part: Part, methods: Sequence[Method], datasets: Sequence[str], source: str, highlight: str
) -> FeatureMap:
    """The figure under `figures: {features: {...}}`: by default of the highlighted method and the first data set."""
    part.below("figures").require_known(("features",))
    wanted = part.below("figures").below("features")
    wanted.require_known(("method", "dataset", "projection"))
    default = next(method.label for method in methods if method.family == highlight)
    label = wanted.one_of("method", list(dict.fromkeys([default, *(method.label for method in methods)])))
    dataset = wanted.one_of("dataset", list(dict.fromkeys([*datasets, *filter(None, [source])])))
    (seed, *_) = next(method.seeds for method in methods if method.label == label)
    return FeatureMap(label, dataset, seed, wanted.one_of("projection", PROJECTIONS))


def _require_same_images(part: Part, methods: Sequence[Method]) -> None:
    """Raise UserError if some of the methods, or of their stages, train on validation images and others do not."""
    stages = (stage for method in methods for stage in (method, method.stage, method.few_shot))
    trained = [stage for stage in stages if stage is not None and stage.trains]
    files = {method.config: read_settings(str(method.config)) for method in trained}
    values = [{**files[method.config], **dict(method.options)}.get(TRAIN_ON_VAL, False) for method in trained]
    labels = [method.label for method, value in zip(trained, values) if as_text(value) == "True"]
    if 0 < len(labels) < len(trained):
        raise part.fault(
            "methods",
            f"{some(labels)} would train on validation images, but other methods would not. Set {TRAIN_ON_VAL} in the "
            "options of the file, so that the setting applies to all methods.",
        )


def _shots(part: Part, methods: Sequence[Method], default: tuple[int, ...]) -> tuple[int | str, ...]:
    """The numbers of shots; BY_CLASS if every method that trains has a file of its own."""
    trained = [method for method in methods if method.trains]
    if not trained or not all(method.shots_file for method in trained):
        return part.numbers("shots", default, 1)
    if "shots" in part:
        raise part.fault(
            "shots", f"all methods set {SHOTS_BY_CLASS}, which replaces shots. Remove shots or {SHOTS_BY_CLASS}."
        )
    return (BY_CLASS,)


def _compare(part: Part, protocol: str, methods: Sequence[Method], must: bool) -> str:
    """The label of the method that all others are compared with; empty if there need not be one and is none."""
    word, labels = str(part.get("compare")), [method.label for method in methods]
    if protocol != ACTIVE and word in labels:
        return word
    if not must:
        return ""
    if protocol == ACTIVE:
        raise part.fault("compare", f"protocol {protocol} does not support this key. Remove the key.")
    variants = [method.label for method in methods if method.family == word]
    if variants:
        raise part.fault(
            "compare", f"{word} has several variants. Use the name of a variant: {', '.join(map(repr, variants))}"
        )
    raise part.fault("compare", f"unknown method {part.get('compare')!r}" + known_names(word, labels))


def _options(part: Part, folder: Path | None = None) -> dict[str, str]:
    """Settings as text; files of schedules are relative to a folder, by default this file's."""
    return {key: _option(part, key, value, folder) for key, value in part.content.items()}


def _option(part: Part, key: str, value: Any, folder: Path | None = None) -> str:
    if key in rounds.SET_HERE or key in OF_PROTOCOL:
        keys = f"{', '.join(rounds.KEYS)} of protocol {ACTIVE}" if key in rounds.SET_HERE else ""
        raise part.fault("", f"{key} cannot be set here. Use the keys {keys or 'datasets, shots, seeds and trainer'}")
    if isinstance(value, dict) or value is None:
        raise part.fault("", f"{key}: a dotted key with one value is expected, got {value!r}")
    text = repr(value) if isinstance(value, list) else as_text(value)  # as train.py's words are read
    file = named_by(key, text)
    if file and file.path:
        return f"{file.mark}{((folder or part.path.parent) / of_user(file.path)).resolve()}"
    return text


def _grid(part: Part) -> dict[str, list[str]]:
    axes = {}
    for key, values in part.content.items():
        if not isinstance(values, list) or not values:
            raise part.fault(key, f"a list of values is expected, got {values!r}")
        axes[key] = [_option(part, key, value) for value in values]
        if len(set(axes[key])) < len(axes[key]):
            raise part.fault(key, f"a value occurs twice in {', '.join(axes[key])}")
    return axes


def _runs(part: Part, options: Mapping[str, str]) -> _Runs:
    """Trainer, config, and options over those that are given."""
    trainer, word = str(part.require("trainer")), str(part.require("config"))
    try:
        config = config_file(word, trainer, part.path.parent).resolve()
    except (UserError, OSError) as error:  # OSError: a name that no disk accepts
        raise part.fault("", str(error)) from None
    return trainer, config, {**options, **_options(part.below("options"))}


def _variants(part: Part, label: str, shared: Shared, above: Sequence[Method]) -> Iterator[Method]:
    """The variants of a method: one, or as many as its grid has combinations; `above` are the methods above it."""
    part.require_known(_OF_METHOD)
    trainer, config, options = runs = _runs(part, shared.options)
    axes = {**(shared.grid if trains(trainer) else {}), **_grid(part.below("grid"))}
    choice = shared.hyperparameters if trains(trainer) and part.get("hyperparameters") is not False else None
    taken, whose = _take_hyperparameters(part, label, choice, runs, shared.last, above) if choice else ({}, None)
    options = {**options, **taken, **shared.last}
    for key in axes:
        if key in options:
            text = f"{key} is an axis of the grid, but options set {key} to {options[key]}. Remove one of the two."
            raise part.fault("", text)
    search_seed = part.numbers("search_seed", (), 0) if "search_seed" in part else ()
    if len(search_seed) > 1 or (search_seed and "search" not in part):
        raise part.fault("", "search_seed must be a single seed, and is allowed only with the key search")
    seeds, names = part.numbers("seeds", shared.seeds, 0), short_names(list(axes))
    for values in itertools.product(*axes.values()):
        point = tuple(zip(axes, values))
        method = Method(
            label=" ".join([label, ", ".join(f"{names[key]} {text}" for key, text in point)]).strip(),
            family=label,
            trainer=trainer,
            config=config,
            options=tuple({**options, **dict(point)}.items()),
            seeds=seeds,
            point=point,
            published=str(part.get("published", "" if axes else label)),
            imports=tuple(Path(word).name for word in shared.imports),
            import_words=shared.imports,
            image_cache=shared.image_cache,
            stage_seed=next(iter(search_seed), None),
        )
        method = _with_stages(part, method, shared, above)
        if choice:
            choice.require_first_stage(part.get("hyperparameters", label), (whose or method).first)
        yield method


def _take_hyperparameters(
    part: Part,
    label: str,
    choice: selected.Selected,
    runs: _Runs,
    last: Mapping[str, str],
    above: Sequence[Method],
) -> tuple[dict[str, str], Method | None]:
    """Return the selected options of a method, and the method above for which they were selected; None if its own."""
    name = part.get("hyperparameters", label)
    if not isinstance(name, str):
        raise part.fault("hyperparameters", f"the name of a method or false is expected, got {name!r}")
    whose = next((method for method in above if method.family == name and name in choice.methods), None)
    if whose is not None:
        changed = {*choice.methods[name]["values"], *last}
        runs = whose.trainer, whose.config, {key: text for key, text in whose.options if key not in changed}
    taken = Part(part.path, choice.values_of(name, *runs), f"{part.place}: {choice.path.name}")
    return _options(taken), whose


def _with_stages(part: Part, method: Method, shared: Shared, above: Sequence[Method]) -> Method:
    """A method with its first stage, and the method of its few-shot runs, if the file gives it one."""
    for stage in (stage for stage in STAGES if stage.key in part):
        settings = {**read_settings(str(method.config)), **dict(method.options)}
        texts = {key: as_text(value) for key, value in settings.items()}
        if fault := stage.fault(method.trainer, [key for key, _ in method.options], texts):
            raise part.fault(stage.key, fault)
        first = _front(part, stage.key, above) if stage.names_method else _other_runs(part, stage.key, method, shared)
        if first.shots_file != method.shots_file:
            raise part.fault(
                stage.key, f"{first.label} has another {SHOTS_BY_CLASS}. Set the same file for both methods"
            )
        method = method._replace(stage=first, stage_of=stage.name)
    return method._replace(few_shot=_other_runs(part, "few_shot", method, shared)) if "few_shot" in part else method


def _front(part: Part, key: str, above: Sequence[Method]) -> Method:
    """The method above, on whose trained prompts this one is built."""
    label = part.get(key)
    named = [method for method in above if method.family == label]
    if len(named) != 1:
        what = "has several variants, which is not allowed here" if named else "is not a method above this method"
        raise part.fault(key, f"{label!r} {what}" + known_names(str(label), [method.family for method in above]))
    if kind_of(named[0].trainer) != PROMPTS or named[0].stage is not None:
        raise part.fault(key, f"{label} is not a method that trains prompts in a single stage. Use another method.")
    return named[0]


def _other_runs(part: Part, key: str, method: Method, shared: Shared) -> Method:
    """Other runs of a method: with their own trainer, config and options, on its CLIP and images."""
    below = Part(part.path, part.get(key), f"{part.place}: {key}")
    below.require_known(_OF_RUNS)
    same = {name: text for name, text in method.options if name.startswith(_OF_BOTH_STAGES)}
    trainer, config, options = _runs(below, {**shared.options, **same})
    pairs = tuple({**options, **shared.last}.items())
    return method._replace(
        label=method.family, trainer=trainer, config=config, options=pairs, point=(), stage_seed=None
    )
