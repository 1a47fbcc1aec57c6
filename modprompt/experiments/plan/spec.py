"""An experiment file: protocol, data sets, methods, seeds, options and grids, read from YAML and checked.

title: Base to new, 16 shots
protocol: base2new              # base2new, cross_dataset, domain_generalisation, few_shot or active (rounds.py)
datasets: [eurosat, dtd]        # names of configs/datasets; for the two cross protocols, those tested on
source: imagenet                # the two cross protocols: what is trained on
shots: 16                       # few_shot: a list
seeds: [1, 2, 3]
options: {KEY: VALUE}           # for every run
import: my_trainer              # modules of yours that register trainers or readers, as train.py's --import; or a list
image_cache: true               # keep decoded test images in the output folder, so that a test set is decoded once
methods:
  CLIP: {trainer: ZeroshotCLIP, config: vit_b16, seeds: [1]}
  MPL:
    trainer: MPL
    config: vit_b4_c1_add2_rm1  # of configs/trainers/<trainer>/, or the path of a file, from this file's folder
    options: {KEY: VALUE}     # @FILE of a schedule: from this file's folder too
    grid: {KEY: [VALUE, ...]}   # a variant of the method for every combination
    published: MPL              # its row in published.yaml, if not named like the method
  DPL:                          # in two stages: a search, whose schedule is trained
    trainer: DPL
    config: vit_b16_ep40_batch4
    search: {trainer: DPLSearch, config: vit_b16_c6_ep80_batch4, options: {KEY: VALUE}}
    search_seed: 1              # one search for all seeds; without it every seed has a search of its own
highlight: MPL                  # the method of the gain figure; the last one without it
notes: text under the report's tables
slurm: {timeout_min: 120}       # submitit's settings of a job
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any, Iterator, Mapping

from modprompt import places
from modprompt.checks import known_names
from modprompt.errors import UserError
from modprompt.experiments.plan import rounds
from modprompt.experiments.plan.experiment import ACTIVE, CROSS, PROTOCOLS, Experiment, all_seeds
from modprompt.experiments.plan.method import Method, short_names
from modprompt.experiments.plan.reading import Reader
from modprompt.experiments.plan.schedules import OF_SCHEDULE
from modprompt.methods.schedule_files import placed
from modprompt.methods.table import configs_of, row_of, sides_of
from modprompt.runs.settings import as_text

FILES = places.configs() / "experiments"
OF_PROTOCOL = (
    "SEED", "TRAINER.NAME", "DATASET.NAME", "DATASET.NUM_SHOTS", "DATASET.SUBSAMPLE_CLASSES", "OUTPUT_DIR", "RESUME",
)  # fmt: skip
KEYS = (
    *(field for field in Experiment._fields if field not in ("name", "active")), "options", "import", "image_cache",
    *rounds.KEYS,
)  # fmt: skip
_OF_METHOD = ("trainer", "config", "options", "seeds", "grid", "published", "search", "search_seed", "few_shot")
_MOST_VARIANTS = 10_000
_OF_BOTH_STAGES = ("MODEL.BACKBONE.", "DATASET.")


class _Reader(Reader):
    """Reads parts of an experiment file."""

    def options(self, value: Any, place: str, folder: Path | None = None) -> dict[str, str]:
        """Settings as text; files of schedules are found from a folder, without one from this file's."""
        options = {}
        for key, item in self.mapping(value or {}, place).items():
            if key in rounds.SET_HERE:
                raise self.fault(place, f"{key} is not to be set here; protocol active has {', '.join(rounds.KEYS)}")
            if key in OF_PROTOCOL:
                raise self.fault(place, f"{key} is not to be set here; see datasets, shots, seeds and trainer")
            if isinstance(item, dict) or item is None:
                raise self.fault(place, f"{key}: a dotted key with one value is expected, got {item!r}")
            text = repr(item) if isinstance(item, list) else as_text(item)  # as train.py's words are read
            options[key] = placed(key, text, folder or self.path.parent)
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
            path = places.configs() / "trainers" / configs_of(trainer) / f"{word}.yaml"
        if not path.is_file():
            there = sorted(p.stem for p in path.parent.glob("*.yaml"))
            raise self.fault(place, f"there is no config {path}" + (known_names(path.stem, there) if there else ""))
        return path

    def method(
        self,
        label: str,
        value: Any,
        seeds: tuple[int, ...],
        shared: dict[str, str],
        last: dict[str, str],
        imports: tuple[str, ...],
    ) -> Iterator[Method]:
        place = f"methods: {label}"
        content = self.mapping(value, place)
        self.known(content, _OF_METHOD, place)
        trainer = str(self.needed(content, "trainer", place))
        config = self.config(str(self.needed(content, "config", place)), trainer, place)
        own = {**shared, **self.options(content.get("options"), place + ": options"), **last}
        axes = self.grid(content.get("grid"), place + ": grid")
        for key in axes:
            if key in own:
                raise self.fault(place, f"{key} is an axis of the grid and set to {own[key]} as an option too")
        seeds = self.numbers(content["seeds"], place + ": seeds", 0) if "seeds" in content else seeds
        names = short_names(list(axes))
        search_seed = (
            self.numbers(content["search_seed"], place + ": search_seed", 0) if "search_seed" in content else ()
        )
        if len(search_seed) > 1 or ("search_seed" in content and "search" not in content):
            raise self.fault(place, "search_seed is one seed, of the method's search")
        variants = math.prod(map(len, axes.values()))
        if variants > _MOST_VARIANTS:
            raise self.fault(place + ": grid", f"{variants:,} variants, at most {_MOST_VARIANTS:,} are run")
        for values in itertools.product(*axes.values()):
            point = tuple(zip(axes, values))
            where = ", ".join(f"{names[key]} {text}" for key, text in point)
            made = Method(
                label=f"{label} {where}".strip(),
                family=label,
                trainer=trainer,
                config=config,
                options=tuple({**own, **dict(point)}.items()),
                seeds=seeds,
                point=point,
                published=str(content.get("published", label if not axes else "")),
                imports=imports,
                search_seed=search_seed[0] if search_seed else None,
            )
            if "search" in content:
                made = made._replace(search=self.search(content["search"], made, shared, last))
            if "few_shot" in content:
                beside = self.stage(content["few_shot"], f"{place}: few_shot", made, shared, last)
                made = made._replace(few_shot=beside)
            yield made

    def search(self, value: Any, method: Method, shared: dict[str, str], last: dict[str, str]) -> Method:
        """The first stage of a method: on the CLIP and images of its training, unless its own options say otherwise."""
        place = f"methods: {method.family}: search"
        if not sides_of(method.trainer):
            raise self.fault(place, f"{method.trainer} is no method of ours whose schedule can be given")
        for key, _ in method.options:
            if key.startswith(f"{row_of(method.trainer).node}.") and key.rpartition(".")[2].startswith(OF_SCHEDULE):
                raise self.fault(place, f"{key} is set, which a search is to find")
        return self.stage(value, place, method, shared, last)

    def stage(self, value: Any, place: str, method: Method, shared: dict[str, str], last: dict[str, str]) -> Method:
        """Other runs of a method: under a trainer, config and options of their own, on its CLIP and images."""
        content = self.mapping(value, place)
        self.known(content, ("trainer", "config", "options"), place)
        trainer = str(self.needed(content, "trainer", place))
        own = self.options(content.get("options"), place + ": options")
        same = {key: text for key, text in method.options if key.startswith(_OF_BOTH_STAGES)}
        return method._replace(
            label=method.family,
            trainer=trainer,
            config=self.config(str(self.needed(content, "config", place)), trainer, place),
            options=tuple({**shared, **same, **own, **last}.items()),
            point=(),
            search_seed=None,
        )

    def datasets(self, value: Any, place: str) -> tuple[str, ...]:
        names = self.names(value, place)
        there = sorted(path.stem for path in (places.configs() / "datasets").glob("*.yaml"))
        for name in names:
            if name not in there:
                raise self.fault(place, f"there is no data set {name!r}" + known_names(name, there))
        return names


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
    reader.known(content, KEYS, "")
    protocol = str(reader.needed(content, "protocol", ""))
    if protocol not in PROTOCOLS:
        raise reader.fault("protocol", f"there is no {protocol!r}" + known_names(protocol, PROTOCOLS))
    seeds = reader.numbers(content.get("seeds", [1, 2, 3]), "seeds", 0)
    shared = reader.options(content.get("options"), "options")
    last = reader.options(dict(options or {}), "command line", Path.cwd())
    imports = reader.names(content["import"], "import") if "import" in content else ()
    image_cache = reader.flag(content.get("image_cache", True), "image_cache")
    methods = [
        method._replace(image_cache=image_cache)
        for label, value in reader.mapping(reader.needed(content, "methods", ""), "methods").items()
        for method in reader.method(label, value, seeds, shared, last, imports)
    ]
    active = rounds.read(reader, content, methods) if protocol == ACTIVE else None
    if active is None:
        rounds.refuse(reader, content, protocol, methods)
    if "source" in content and protocol not in CROSS:
        raise reader.fault("source", f"protocol {protocol} has none")
    experiment = Experiment(
        name=path.stem,
        title=str(content.get("title") or path.stem),
        protocol=protocol,
        datasets=reader.datasets(reader.needed(content, "datasets", ""), "datasets"),
        source=reader.datasets(content.get("source", "imagenet"), "source")[0] if protocol in CROSS else "",
        shots=tuple(range(1, active.number + 1)) if active else _shots(reader, content, protocol),
        seeds=all_seeds(methods),
        methods=tuple(methods),
        highlight=str(content.get("highlight", methods[-1].family)),
        notes=str(content.get("notes") or "").strip(),
        slurm=reader.mapping(content.get("slurm") or {}, "slurm"),
        active=active,
    )
    _check_whole(reader, experiment)
    return experiment


def _shots(reader: _Reader, content: Mapping[str, Any], protocol: str) -> tuple[int, ...]:
    several = protocol == "few_shot"
    shots = reader.numbers(content.get("shots", [1, 2, 4, 8, 16] if several else 16), "shots", 1)
    if len(shots) > 1 and not several:
        raise reader.fault("shots", f"protocol {protocol} takes one number, got {list(shots)}")
    return shots


def _check_whole(reader: _Reader, experiment: Experiment) -> None:
    if experiment.source in experiment.datasets:
        raise reader.fault("datasets", f"{experiment.source} is the source; it is tested anyway")
    families = {method.family for method in experiment.methods}
    if experiment.highlight not in families:
        raise reader.fault(
            "highlight", f"there is no method {experiment.highlight!r}" + known_names("", sorted(families))
        )
    _check_searches(reader, experiment)
    seen: dict[tuple[str, str], str] = {}
    for method in experiment.methods:
        other = seen.setdefault((method.trainer, method.folder), method.label)
        if other != method.label:
            clips = {str(dict(one.options).get("MODEL.BACKBONE.PATH", "")) for one in experiment.methods}
            more = (
                "; MODEL.BACKBONE.PATH names no folder: give each CLIP an experiment of its own"
                if len(clips) > 1
                else ""
            )
            raise reader.fault("methods", f"{other} and {method.label} are the same runs ({method.folder}){more}")


def _check_searches(reader: _Reader, experiment: Experiment) -> None:
    """Searches of one name are one search: that of all methods that ask for it."""
    seen: dict[tuple[str, str], Method] = {}
    for method in experiment.methods:
        if method.search is None:
            continue
        other = seen.setdefault((method.search.trainer, method.search.folder), method.search)
        if (other.config, other.options) != (method.search.config, method.search.options):
            whose = f"the searches of {other.label} and {method.family} have one folder ({other.folder})"
            raise reader.fault("methods", f"{whose} and other settings: give one an experiment of its own")
