"""Methods of an experiment file: a trainer, a config, options and a grid, read and checked."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any, Iterator, NamedTuple, Sequence

from modprompt.checks import known_names
from modprompt.data.names import config_names
from modprompt.experiments.plan import rounds
from modprompt.experiments.plan.chosen import Chosen
from modprompt.experiments.plan.kinds import trains
from modprompt.experiments.plan.method import Method, short_names
from modprompt.experiments.plan.reading import Reader
from modprompt.experiments.plan.schedules import OF_SCHEDULE
from modprompt.methods.search.schedule_files import placed
from modprompt.methods.table import HEADS, PROMPTS, config_of, kind_of, row_of, sides_of
from modprompt.runs.settings import as_text

OF_PROTOCOL = (
    "SEED", "TRAINER.NAME", "DATASET.NAME", "DATASET.NUM_SHOTS", "DATASET.SUBSAMPLE_CLASSES", "OUTPUT_DIR", "RESUME",
)  # fmt: skip
_OF_METHOD = (
    "trainer", "config", "options", "seeds", "grid", "published", "search", "search_seed", "few_shot", "chosen",
    "behind",
)  # fmt: skip
_MOST_VARIANTS = 10_000
_OF_BOTH_STAGES = ("MODEL.BACKBONE.", "DATASET.")


class Shared(NamedTuple):
    """What all methods of a file have in common.

    seeds: of methods that say none.
    options: of every run.
    last: options over all others, of the command line.
    imports: modules that register trainers or readers.
    grid: axes of every method that trains.
    chosen: settings that were chosen for methods that train, if the file names some.
    """

    seeds: tuple[int, ...]
    options: dict[str, str]
    last: dict[str, str]
    imports: tuple[str, ...] = ()
    grid: dict[str, list[str]] = {}
    chosen: Chosen | None = None


class MethodReader(Reader):
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
            path = config_of(trainer, word)
        if not path.is_file():
            there = sorted(p.stem for p in path.parent.glob("*.yaml"))
            raise self.fault(place, f"there is no config {path}" + (known_names(path.stem, there) if there else ""))
        return path

    def method(self, label: str, value: Any, shared: Shared, before: Sequence[Method] = ()) -> Iterator[Method]:
        """The variants of a method: one, or as many as its grid has combinations; `before` stand above it."""
        place = f"methods: {label}"
        content = self.mapping(value, place)
        self.known(content, _OF_METHOD, place)
        trainer = str(self.needed(content, "trainer", place))
        config = self.config(str(self.needed(content, "config", place)), trainer, place)
        own = {**shared.options, **self.options(content.get("options"), place + ": options")}
        chosen = shared.chosen if trains(trainer) and self.takes_chosen(content, place) else None
        if chosen is not None:
            found = chosen.options_of(label, trainer, config, own)
            own.update(self.options(found, f"{place}: {chosen.path.name}"))
        own.update(shared.last)
        axes = {**(shared.grid if trains(trainer) else {}), **self.grid(content.get("grid"), place + ": grid")}
        for key in axes:
            if key in own:
                raise self.fault(place, f"{key} is an axis of the grid and set to {own[key]} as an option too")
        seeds = self.numbers(content["seeds"], place + ": seeds", 0) if "seeds" in content else shared.seeds
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
                imports=shared.imports,
                search_seed=search_seed[0] if search_seed else None,
            )
            made = self.staged(made, content, shared, before)
            if chosen is not None:
                chosen.require_first(label, made.first)
            yield made

    def staged(self, made: Method, content: dict[str, Any], shared: Shared, before: Sequence[Method]) -> Method:
        """A method with its first stage, and what runs beside its rounds."""
        if "search" in content:
            made = made._replace(search=self.search(content["search"], made, shared))
        if "behind" in content:
            made = made._replace(behind=self.behind(content["behind"], made, before))
        if "few_shot" in content:
            place = f"methods: {made.family}: few_shot"
            made = made._replace(few_shot=self.stage(content["few_shot"], place, made, shared))
        return made

    def takes_chosen(self, content: dict[str, Any], place: str) -> bool:
        """Whether a method takes what was chosen for it; one that says `chosen: false` is run as its config has it."""
        if content.get("chosen", False) is not False:
            raise self.fault(place, f"chosen: only false is expected here, got {content['chosen']!r}")
        return "chosen" not in content

    def search(self, value: Any, method: Method, shared: Shared) -> Method:
        """The first stage of a method: on the CLIP and images of its training, unless its own options say otherwise."""
        place = f"methods: {method.family}: search"
        if not sides_of(method.trainer):
            raise self.fault(place, f"{method.trainer} is no method of ours whose schedule can be given")
        for key, _ in method.options:
            if key.startswith(f"{row_of(method.trainer).node}.") and key.rpartition(".")[2].startswith(OF_SCHEDULE):
                raise self.fault(place, f"{key} is set, which a search is to find")
        return self.stage(value, place, method, shared)

    def behind(self, label: Any, method: Method, before: Sequence[Method]) -> Method:
        """The method of the file whose trained prompts a head stands behind."""
        place = f"methods: {method.family}: behind"
        if kind_of(method.trainer) != HEADS:
            raise self.fault(place, f"{method.trainer} is no head, which alone stands behind prompts")
        there = [one for one in before if one.family == label]
        if len(there) != 1:
            what = "has several variants" if there else "is no method above this one"
            raise self.fault(place, f"{label!r} {what}" + known_names(str(label), [one.family for one in before]))
        if kind_of(there[0].trainer) != PROMPTS or there[0].search is not None:
            raise self.fault(place, f"{label} trains no prompts in one stage")
        return there[0]

    def stage(self, value: Any, place: str, method: Method, shared: Shared) -> Method:
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
            options=tuple({**shared.options, **same, **own, **shared.last}.items()),
            point=(),
            search_seed=None,
        )

    def datasets(self, value: Any, place: str) -> tuple[str, ...]:
        names = self.names(value, place)
        there = config_names()
        for name in names:
            if name not in there:
                raise self.fault(place, f"there is no data set {name!r}" + known_names(name, there))
        return names
