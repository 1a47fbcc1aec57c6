"""A method of an experiment: a trainer with a config and options, and its names in runs and tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from modprompt.experiments.plan.kinds import trains
from modprompt.experiments.plan.stages import stage_of
from modprompt.io.settings import decisive
from modprompt.methods.search.file import named_by


class Method(NamedTuple):
    """A trainer with a config and options.

    label: what tables call it.
    family: the method's name in the file; variants of a grid share it.
    options: (key, text) pairs over the config.
    point: its place in the grid, (key, text) pairs; empty without one.
    published: its row in published.yaml.
    imports: the user's modules that register its trainer or the readers, imported first.
    image_cache: whether its runs keep decoded test images in the output folder, for all runs there.
    stage: the first stage of a two-stage method, with whose result it is trained; None for a plain one.
    stage_of: the feature of that stage.
    stage_seed: the one seed of that stage; None if every seed has its own.
    few_shot: the method of its few-shot runs to compare with, if not itself.
    under: the variant of a feature's protocol that it runs under.
    """

    label: str
    family: str
    trainer: str
    config: Path
    options: tuple[tuple[str, str], ...]
    seeds: tuple[int, ...]
    point: tuple[tuple[str, str], ...]
    published: str
    imports: tuple[str, ...] = ()
    image_cache: bool = True
    stage: Method | None = None
    stage_of: str = ""
    stage_seed: int | None = None
    few_shot: Method | None = None
    under: str = ""

    @property
    def trains(self) -> bool:
        """Whether there is something to train."""
        return trains(self.trainer)

    @property
    def folder(self) -> str:
        """The config's name, the options that decide numbers, and the first stage: what the family calls CFG."""
        options = [_short(name, value) for name, value in self._named()]
        return "-".join(filter(None, [self.config.stem, *options, self.first]))

    @property
    def front(self) -> Method | None:
        """Its first stage, if that is another method of the file."""
        return self.stage if stage_of(self.stage_of).names_method else None

    @property
    def first(self) -> str:
        """Its first stage, by trainer and folder; empty for none."""
        if self.stage is None:
            return ""
        seed = "" if self.stage_seed is None else f"_seed{self.stage_seed}"
        return f"{'behind_' if self.front else ''}{self.stage.trainer}_{self.stage.folder}{seed}"

    def _named(self) -> Iterator[tuple[str, str]]:
        kept = decisive(dict(self.options))
        deciding = [(key, value) for key, value in self.options if key in kept]
        names = short_names([key for key, _ in deciding])
        return ((names[key], _end_of_path(key, value)) for key, value in deciding)


def _end_of_path(key: str, value: str) -> str:
    """For a file its name and two folders, which tell the run that wrote it; another value as it is."""
    found = named_by(key, value)
    return "/".join(Path(found.path).parts[-3:]) if found and found.path else value


def _short(name: str, value: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", f"{name}{value}").strip("_")[:60]


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """The last part of each dotted key (DEPT.ON for additions beside prompts), or all of it if two would share it."""
    beside = [key.startswith("TRAINER.") and key.endswith(".ON") for key in keys]
    last = [".".join(key.split(".")[-2 if is_beside else -1 :]) for key, is_beside in zip(keys, beside)]
    return {key: name if last.count(name) == 1 else key for key, name in zip(keys, last)}
