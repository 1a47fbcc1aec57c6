"""An experiment file: protocol, data sets, methods, seeds, options and grids, read from YAML and checked.

title: Base to new, 16 shots
protocol: base2new              # base2new, cross_dataset, domain_generalisation or few_shot
datasets: [eurosat, dtd]        # names of configs/datasets; for the two cross protocols, those tested on
source: imagenet                # the two cross protocols: what is trained on
shots: 16                       # few_shot: a list
seeds: [1, 2, 3]
options: {KEY: VALUE}           # for every run
methods:
  CLIP: {trainer: ZeroshotCLIP, config: vit_b16, seeds: [1]}
  MPL:
    trainer: MPL
    config: vit_b4_c1_add2_rm1  # of configs/trainers/<trainer>/, or the path of a file, from this file's folder
    options: {KEY: VALUE}
    grid: {KEY: [VALUE, ...]}   # a variant of the method for every combination
    published: MPL              # its row in published.yaml, if not named like the method
highlight: MPL                  # the method of the gain figure; the last one without it
notes: text under the report's tables
slurm: {timeout_min: 120}       # submitit's settings of a job
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any, Mapping, NamedTuple, Sequence

from modprompt import places
from modprompt.checks import known_names
from modprompt.errors import UserError
from modprompt.experiments.plan import strict_yaml
from modprompt.runs.settings import FREE, as_text

FILES = places.configs() / "experiments"
PROTOCOLS = ("base2new", "cross_dataset", "domain_generalisation", "few_shot")
CROSS = ("cross_dataset", "domain_generalisation")
OF_PROTOCOL = (
    "SEED", "TRAINER.NAME", "DATASET.NAME", "DATASET.NUM_SHOTS", "DATASET.SUBSAMPLE_CLASSES", "OUTPUT_DIR", "RESUME",
)  # fmt: skip


def trains(trainer: str) -> bool:
    """Whether a trainer has something to train; zero-shot ones are known by their name, as in the scripts."""
    return not trainer.startswith("Zeroshot")


class Method(NamedTuple):
    """A trainer under a config and options.

    label: what tables call it.
    family: the method's name in the file; variants of a grid share it.
    options: (key, text) pairs over the config.
    point: its place in the grid, (key, text) pairs; empty without one.
    published: its row in published.yaml.
    """

    label: str
    family: str
    trainer: str
    config: Path
    options: tuple[tuple[str, str], ...]
    seeds: tuple[int, ...]
    point: tuple[tuple[str, str], ...]
    published: str

    @property
    def trains(self) -> bool:
        """Whether there is something to train."""
        return trains(self.trainer)

    @property
    def folder(self) -> str:
        """The config's name, and behind it the options that decide numbers: what the family calls CFG."""
        return self.config.stem + "".join(f"-{_short(name, value)}" for name, value in self._named())

    def _named(self):
        deciding = [(key, value) for key, value in self.options if key not in FREE]
        names = short_names([key for key, _ in deciding])
        return [(names[key], value) for key, value in deciding]


def _short(name: str, value: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", f"{name}{value}").strip("_")[:60]


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """The last part of each dotted key, or the whole key where two would share it."""
    last = [key.rpartition(".")[2] for key in keys]
    return {key: name if last.count(name) == 1 else key for key, name in zip(keys, last)}


class Experiment(NamedTuple):
    """A checked experiment file."""

    name: str
    title: str
    protocol: str
    datasets: tuple[str, ...]
    source: str
    shots: tuple[int, ...]
    seeds: tuple[int, ...]  # of all methods together
    methods: tuple[Method, ...]
    highlight: str
    notes: str
    slurm: dict[str, Any]

    @property
    def grids(self) -> dict[str, tuple[str, ...]]:
        """The dotted keys of the grid of every method that has one."""
        return {method.family: tuple(key for key, _ in method.point) for method in self.methods if method.point}


def dataset_config(name: str) -> Path:
    """The config file of a data set."""
    return places.configs() / "datasets" / f"{name}.yaml"


class _Reader:
    """Reads parts of an experiment file; every complaint begins with the file and the place in it."""

    def __init__(self, path: Path):
        self.path = path

    def fault(self, place: str, what: str) -> UserError:
        return UserError(f"{self.path}: {place}: {what}" if place else f"{self.path}: {what}")

    def content(self) -> dict:
        try:
            content = strict_yaml.load(self.path)
        except ValueError as error:
            raise self.fault("", f"is no YAML to go by ({' '.join(str(error).split())[:120]})") from None
        return self.mapping(content, "")

    def mapping(self, value: Any, place: str) -> dict:
        if not isinstance(value, dict):
            raise self.fault(place, f"KEY: VALUE pairs are expected, got {value!r}")
        return {str(key): item for key, item in value.items()}

    def known(self, content: Mapping, keys: Sequence[str], place: str) -> None:
        for key in content:
            if key not in keys:
                raise self.fault(place, f"there is no key {key!r}" + known_names(key, keys))

    def needed(self, content: Mapping, key: str, place: str) -> Any:
        if content.get(key) in (None, "", [], {}):
            raise self.fault(place, f"{key} is missing")
        return content[key]

    def names(self, value: Any, place: str) -> tuple[str, ...]:
        words = tuple(str(word) for word in (value if isinstance(value, list) else [value]))
        if len(set(words)) < len(words):
            raise self.fault(place, f"a name stands twice in {', '.join(words)}")
        return words

    def numbers(self, value: Any, place: str, least: int) -> tuple[int, ...]:
        numbers = value if isinstance(value, list) else [value]
        wrong = [n for n in numbers if isinstance(n, bool) or not isinstance(n, int) or n < least]
        if wrong or not numbers or len(set(numbers)) < len(numbers):
            raise self.fault(place, f"different whole numbers from {least} up are expected, got {value!r}")
        return tuple(numbers)

    def options(self, value: Any, place: str) -> dict[str, str]:
        options = {}
        for key, item in self.mapping(value or {}, place).items():
            if key in OF_PROTOCOL:
                raise self.fault(place, f"{key} is not to be set here; see datasets, shots, seeds and trainer")
            if isinstance(item, dict) or item is None:
                raise self.fault(place, f"{key}: a dotted key with one value is expected, got {item!r}")
            options[key] = repr(item) if isinstance(item, list) else as_text(item)  # as train.py's words are read
        return options

    def grid(self, value: Any, place: str) -> dict[str, list[str]]:
        axes = {}
        for key, values in self.mapping(value or {}, place).items():
            if not isinstance(values, list) or not values:
                raise self.fault(place, f"{key}: a list of values is expected, got {values!r}")
            axes[key] = list(self.options({key: item}, place)[key] for item in values)
            if len(set(axes[key])) < len(axes[key]):
                raise self.fault(place, f"{key}: a value stands twice in {', '.join(axes[key])}")
        return axes

    def config(self, word: str, trainer: str, place: str) -> Path:
        if "/" in word or word.endswith(".yaml"):
            path = (self.path.parent / word).resolve()
        else:
            folder = trainer if trains(trainer) else "CoOp"  # whose images and backbones they take
            path = places.configs() / "trainers" / folder / f"{word}.yaml"
        if not path.is_file():
            there = sorted(p.stem for p in path.parent.glob("*.yaml"))
            raise self.fault(place, f"there is no config {path}" + (known_names(path.stem, there) if there else ""))
        return path

    def method(self, label: str, value: Any, seeds: tuple[int, ...], shared: dict[str, str], last: dict[str, str]):
        place = f"methods: {label}"
        content = self.mapping(value, place)
        self.known(content, ("trainer", "config", "options", "seeds", "grid", "published"), place)
        trainer = str(self.needed(content, "trainer", place))
        config = self.config(str(self.needed(content, "config", place)), trainer, place)
        own = {**shared, **self.options(content.get("options"), place + ": options"), **last}
        axes = self.grid(content.get("grid"), place + ": grid")
        for key in axes:
            if key in own:
                raise self.fault(place, f"{key} is an axis of the grid and set to {own[key]} as an option too")
        seeds = self.numbers(content["seeds"], place + ": seeds", 0) if "seeds" in content else seeds
        names = short_names(list(axes))
        for values in itertools.product(*axes.values()):
            point = tuple(zip(axes, values))
            where = ", ".join(f"{names[key]} {text}" for key, text in point)
            yield Method(
                label=f"{label} {where}".strip(),
                family=label,
                trainer=trainer,
                config=config,
                options=tuple({**own, **dict(point)}.items()),
                seeds=seeds,
                point=point,
                published=str(content.get("published", label if not axes else "")),
            )

    def datasets(self, value: Any, place: str) -> tuple[str, ...]:
        names = self.names(value, place)
        there = sorted(path.stem for path in (places.configs() / "datasets").glob("*.yaml"))
        for name in names:
            if name not in there:
                raise self.fault(place, f"there is no data set {name!r}" + known_names(name, there))
        return names


def _all_seeds(methods: Sequence[Method]) -> tuple[int, ...]:
    return tuple(sorted({seed for method in methods for seed in method.seeds}))


def find(name: str) -> Path:
    """The experiment file of a path, or of a name in configs/experiments.

    Raises:
        UserError: if there is none; the known names are told.
    """
    path = Path(name)
    if path.is_file():
        return path
    named = FILES / f"{path.stem}.yaml"
    if str(path) in (path.stem, path.name) and named.is_file():
        return named
    raise UserError(f"no experiment file {name}" + known_names(path.stem, [p.stem for p in FILES.glob("*.yaml")]))


def read(path: Path, options: Mapping[str, str] | None = None) -> Experiment:
    """The experiment of a file.

    Args:
        path: the file.
        options: KEY VALUE settings of every run, over those in the file.

    Raises:
        UserError: on a missing or unknown key, data set or config, and on values that do not fit; the place is named.
    """
    reader = _Reader(path)
    content = reader.content()
    reader.known(content, tuple(k for k in Experiment._fields if k != "name") + ("options",), "")
    protocol = str(reader.needed(content, "protocol", ""))
    if protocol not in PROTOCOLS:
        raise reader.fault("protocol", f"there is no {protocol!r}" + known_names(protocol, PROTOCOLS))
    seeds = reader.numbers(content.get("seeds", [1, 2, 3]), "seeds", 0)
    shared = reader.options(content.get("options"), "options")
    last = reader.options(dict(options or {}), "command line")
    methods = [
        method
        for label, value in reader.mapping(reader.needed(content, "methods", ""), "methods").items()
        for method in reader.method(label, value, seeds, shared, last)
    ]
    if "source" in content and protocol not in CROSS:
        raise reader.fault("source", f"protocol {protocol} has none")
    experiment = Experiment(
        name=path.stem,
        title=str(content.get("title") or path.stem),
        protocol=protocol,
        datasets=reader.datasets(reader.needed(content, "datasets", ""), "datasets"),
        source=reader.datasets(content.get("source", "imagenet"), "source")[0] if protocol in CROSS else "",
        shots=reader.numbers(content.get("shots", [1, 2, 4, 8, 16] if protocol == "few_shot" else 16), "shots", 1),
        seeds=_all_seeds(methods),
        methods=tuple(methods),
        highlight=str(content.get("highlight", methods[-1].family)),
        notes=str(content.get("notes") or "").strip(),
        slurm=reader.mapping(content.get("slurm") or {}, "slurm"),
    )
    _check_whole(reader, experiment)
    return experiment


def _check_whole(reader: _Reader, experiment: Experiment) -> None:
    if len(experiment.shots) > 1 and experiment.protocol != "few_shot":
        raise reader.fault("shots", f"protocol {experiment.protocol} takes one number, got {list(experiment.shots)}")
    if experiment.source in experiment.datasets:
        raise reader.fault("datasets", f"{experiment.source} is the source; it is tested anyway")
    families = {method.family for method in experiment.methods}
    if experiment.highlight not in families:
        raise reader.fault(
            "highlight", f"there is no method {experiment.highlight!r}" + known_names("", sorted(families))
        )
    seen: dict[tuple[str, str], str] = {}
    for method in experiment.methods:
        other = seen.setdefault((method.trainer, method.folder), method.label)
        if other != method.label:
            raise reader.fault("methods", f"{other} and {method.label} are the same runs ({method.folder})")


def narrowed(experiment: Experiment, *, datasets=(), methods=(), seeds=()) -> Experiment:
    """The experiment with some of its data sets, methods and seeds only; all where nothing is given.

    Raises:
        UserError: if one of them is not in the experiment.
    """
    families = list(dict.fromkeys(method.family for method in experiment.methods))
    for what, given, known in (
        ("--datasets", datasets, experiment.datasets),
        ("--methods", methods, families),
        ("--seeds", seeds, experiment.seeds),
    ):
        for word in given:
            if word not in known:
                raise UserError(
                    f"{what}: {experiment.name} has no {word!r}" + known_names(str(word), [str(k) for k in known])
                )
    kept = [
        method._replace(seeds=tuple(seed for seed in method.seeds if seed in (seeds or method.seeds)))
        for method in experiment.methods
        if method.family in (methods or families)
    ]
    kept = [method for method in kept if method.seeds]
    if not kept:
        raise UserError(f"--seeds: no method of {experiment.name} that is left has one of them")
    return experiment._replace(
        datasets=tuple(name for name in experiment.datasets if name in (datasets or experiment.datasets)),
        seeds=_all_seeds(kept),
        methods=tuple(kept),
        highlight=experiment.highlight if experiment.highlight in {m.family for m in kept} else kept[-1].family,
    )
