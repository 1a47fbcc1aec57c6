"""An experiment file: protocol, data sets, methods, seeds, options and grids, read from YAML and checked.

title: Base to new, 16 shots
protocol: base2new              # base2new, cross_dataset, domain_generalisation, few_shot or a feature's (active)
datasets: [eurosat, dtd]        # names of configs/datasets; for the two cross protocols, those tested on
source: imagenet                # the two cross protocols: what is trained on
shots: 16                       # few_shot: a list
seeds: [1, 2, 3]
options: {KEY: VALUE}           # for every run
import: my_trainer              # your modules that register trainers or readers, as train.py's --import; or a list
image_cache: true               # keep decoded test images in the output folder, so that a test set is decoded once
methods:
  CLIP: {trainer: ZeroshotCLIP, config: vit_b16, seeds: [1]}
  MPL:
    trainer: MPL
    config: vit_b4_c1_add2_rm1  # of configs/trainers/<trainer>, another's (MPL/glyph), or a path from this folder
    options: {KEY: VALUE}     # @FILE of a schedule: from this file's folder too
    grid: {KEY: [VALUE, ...]}   # a variant of the method for every combination
    published: MPL              # its row in published.yaml, if not named like the method
  DPL:                          # in two stages: a search, whose schedule is trained
    trainer: DPL
    config: vit_b16_ep40_batch4
    search: {trainer: DPLSearch, config: vit_b16_c6_ep80_batch4, options: {KEY: VALUE}}
    search_seed: 1              # one search for all seeds; without it every seed has its own
  Tip-Adapter on MPL:           # a head on the trained prompts of a method above it
    {trainer: TipAdapter, config: vit_b16, prompts_from: MPL}
  PromptKD:                     # taught by the trained prompts of a method above it
    {trainer: PromptKD, config: vit_b16_c2_ep20_batch8_4+4ctx, teacher_from: PromptSRC}
  MPL of one token:             # with what was chosen for another method; `chosen: false` uses its config's settings
    {trainer: MPL, config: vit_b4_c1_add2_rm1, options: {KEY: VALUE}, chosen: MPL}
highlight: MPL                  # the method of the gain figure (default: the last one)
compare: MPL                    # the method whose differences from each other one are reported, paired by seed
together: true                  # base2new: all classes at test too
classes: base                   # validation: whose labels are seen, base (the default) or all
rule: highest                   # validation: how `experiment choose` chooses, highest (the default) or no_collapse
ties: smallest                  # validation: which of equal values, config (the default: the config's own) or smallest
notes: text under the report's tables
slurm: {timeout_min: 120}       # submitit's settings of a job
grid: {KEY: [VALUE, ...]}       # for every method that trains
chosen: settings.json           # of `experiment choose`, for every method that trains; a part may name its own file
parts:                          # in place of a protocol: several, run and reported together
  NAME: {title: ..., protocol: ..., datasets: [...], methods: [MPL]}  # some of the file's methods (default: all)
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modprompt import places
from modprompt.active import plan as rounds
from modprompt.checks import known_names
from modprompt.data.names import config_names
from modprompt.errors import UserError
from modprompt.experiments.plan import chosen
from modprompt.experiments.plan.chosen import Chosen
from modprompt.experiments.plan.experiment import (
    ACTIVE,
    ALL_CLASSES,
    BASE,
    BASE2NEW,
    CROSS,
    HIGHEST,
    NO_COLLAPSE,
    OF_CONFIG,
    PROTOCOLS,
    SMALLEST,
    VALIDATION,
    Added,
    Experiment,
    Plan,
    all_seeds,
)
from modprompt.experiments.plan.kinds import trains
from modprompt.experiments.plan.method import Method, short_names
from modprompt.experiments.plan.reading import Reader
from modprompt.experiments.plan.stages import STAGES, Stage, stage_of
from modprompt.io.files import of_user
from modprompt.io.settings import as_text, read_settings
from modprompt.methods.search.file import named_by
from modprompt.methods.table import PROMPTS, config_file, kind_of

FILES = places.configs() / "experiments"
_NAMES_NO_FOLDER = "MODEL.BACKBONE.PATH"  # it decides numbers and is not in a folder's name
_OF_PART = (
    *(field for field in Experiment._fields if field not in ("name", "added", "slurm")),
    *rounds.KEYS,
)  # fmt: skip
_OF_VALIDATION = {"classes": (BASE, ALL_CLASSES), "rule": (HIGHEST, NO_COLLAPSE), "ties": (OF_CONFIG, SMALLEST)}
_NAME_OF_PART = re.compile(r"[A-Za-z]\w*", re.ASCII)
KEYS = (*_OF_PART, "slurm", "options", "import", "image_cache", "grid", "parts")


def find(name: str) -> Path:
    """The experiment file of a path, or of a name in configs/experiments.

    Raises:
        UserError: if there is none; the message has the known names.
    """
    path = Path(name)
    if path.is_file():
        return path
    named = FILES / f"{path.stem}.yaml"
    if str(path) in (path.stem, path.name) and named.is_file():
        return named
    raise UserError(f"no experiment file {name}" + known_names(path.stem, [p.stem for p in FILES.glob("*.yaml")]))


def read(path: Path, options: Mapping[str, str] | None = None) -> Experiment:
    """The experiment of a file with one protocol; see read_plan.

    Raises:
        UserError: as read_plan, and if the file has parts.
    """
    plan = read_plan(path, options)
    if plan.has_parts:
        raise UserError(f"{path}: has parts, where a file with one protocol is needed")
    return plan.parts[0]


def read_plan(path: Path, options: Mapping[str, str] | None = None) -> Plan:
    """The experiments of a file.

    Args:
        path: the file.
        options: KEY VALUE settings of every run, which override those in the file.

    Raises:
        UserError: on a missing or unknown key, data set or config, and on wrong values; the message names the place.
    """
    reader = MethodReader(path)
    content = reader.content()
    reader.known(content, KEYS, "")
    shared = _shared(reader, content, options)
    title, notes = str(content.get("title") or path.stem), str(content.get("notes") or "").strip()
    if "parts" in content:
        parts = tuple(_parts(reader, content, shared))
        if "compare" in content and not any(part.compare for part in parts):
            raise reader.fault("compare", f"there is no method {content['compare']!r} in any part that can compare")
    else:
        parts = (_experiment(reader, content, shared, path.stem),)
    return Plan(path.stem, title, notes, reader.mapping(content.get("slurm") or {}, "slurm"), parts, "parts" in content)


def _chosen(reader: MethodReader, content: Mapping[str, Any]) -> chosen.Chosen | None:
    if "chosen" not in content:
        return None
    file = content["chosen"]
    if not isinstance(file, str) or not file:
        raise reader.fault("chosen", f"the name of a file is expected, got {file!r}")
    try:
        return chosen.read((reader.path.parent / file).resolve())
    except UserError as error:
        raise reader.fault("chosen", str(error)) from None


def _shared(reader: MethodReader, content: Mapping[str, Any], options: Mapping[str, str] | None) -> Shared:
    found, last = _chosen(reader, content), reader.options(dict(options or {}), "command line", Path.cwd())
    if found is not None and last:
        print(f"note: {found.path.name} was chosen without the options {', '.join(last)} of this command")
    return Shared(
        seeds=reader.numbers(content.get("seeds", [1, 2, 3]), "seeds", 0),
        options=reader.options(content.get("options"), "options"),
        last=last,
        imports=reader.names(content["import"], "import") if "import" in content else (),
        grid=reader.grid(content.get("grid"), "grid"),
        chosen=found,
    )


def _parts(reader: MethodReader, content: Mapping[str, Any], shared: Shared) -> Iterator[Experiment]:
    """The parts of a file: each has the file's settings, except where it has its own."""
    common = {key: value for key, value in content.items() if key not in ("parts", "slurm", "title", "notes")}
    methods = reader.mapping(reader.needed(content, "methods", ""), "methods")
    for name, value in reader.mapping(reader.needed(content, "parts", ""), "parts").items():
        place = f"parts: {name}"
        if not _NAME_OF_PART.fullmatch(name):
            raise reader.fault(place, "a part's name is a letter, then letters, digits and _: it names a folder")
        part = reader.mapping(value, place)
        reader.known(part, _OF_PART, place)
        kept = list(methods)
        if "methods" in part:
            kept = list(reader.names(part["methods"], f"{place}: methods"))
            for word in kept:
                if word not in methods:
                    raise reader.fault(f"{place}: methods", f"there is no {word!r}{known_names(word, list(methods))}")
        whole = {**common, **part, "methods": {label: methods[label] for label in methods if label in kept}}
        if "highlight" not in part and whole.get("highlight") not in kept:
            whole.pop("highlight", None)
        within = reader.within(place)
        own = shared._replace(chosen=_chosen(within, part)) if "chosen" in part else shared
        yield _experiment(within, whole, own, name, compares_if_it_can="compare" not in part)


def _experiment(
    reader: MethodReader, content: Mapping[str, Any], shared: Shared, name: str, compares_if_it_can: bool = False
) -> Experiment:
    protocol = str(reader.needed(content, "protocol", ""))
    if protocol not in PROTOCOLS:
        raise reader.fault("protocol", f"there is no {protocol!r}" + known_names(protocol, PROTOCOLS))
    if "seeds" in content:
        shared = shared._replace(seeds=reader.numbers(content["seeds"], "seeds", 0))
    image_cache = reader.flag(content.get("image_cache", True), "image_cache")
    methods: list[Method] = []
    for label, value in reader.mapping(reader.needed(content, "methods", ""), "methods").items():
        of_label = list(reader.method(label, value, shared, methods))
        methods += [method._replace(image_cache=image_cache) for method in of_label]
    added: Added | None = None
    if protocol == ACTIVE:
        added = rounds.read(reader, content, methods)
    else:
        rounds.refuse(reader, content, protocol, methods)
    _require_of_protocol(reader, content, protocol)
    experiment = Experiment(
        name=name,
        title=str(content.get("title") or name),
        protocol=protocol,
        datasets=reader.datasets(reader.needed(content, "datasets", ""), "datasets"),
        source=reader.datasets(content.get("source", "imagenet"), "source")[0] if protocol in CROSS else "",
        shots=added.shots if added else _shots(reader, content, protocol),
        seeds=all_seeds(methods),
        methods=tuple(methods),
        highlight=str(content.get("highlight", methods[-1].family)),
        notes=str(content.get("notes") or "").strip(),
        slurm=reader.mapping(content.get("slurm") or {}, "slurm"),
        added=added,
        together=reader.flag(content.get("together", False), "together"),
        classes=content.get("classes", BASE),
        rule=content.get("rule", HIGHEST),
        ties=content.get("ties", OF_CONFIG),
        chosen=_chosen_in_words(content, shared, methods),
        compare=_compare(reader, content, methods, added, compares_if_it_can) if "compare" in content else "",
    )
    _check_whole(reader, experiment)
    return experiment


def _chosen_in_words(content: Mapping[str, Any], shared: Shared, methods: Sequence[Method]) -> str:
    """Which methods' settings were chosen, and how; empty for none."""
    took = [
        label
        for label in dict.fromkeys(one.family for one in methods if one.trains)
        if content["methods"][label].get("chosen") is not False
    ]
    return shared.chosen.in_words(took) if shared.chosen and took else ""


def _require_of_protocol(reader: MethodReader, content: Mapping[str, Any], protocol: str) -> None:
    """Refuse keys that mean nothing in a protocol, and unknown values."""
    if "source" in content and protocol not in CROSS:
        raise reader.fault("source", f"protocol {protocol} has none")
    if "together" in content and protocol != BASE2NEW:
        raise reader.fault("together", f"protocol {protocol} has none; it belongs to protocol {BASE2NEW}")
    for key, known in _OF_VALIDATION.items():
        if key in content and protocol != VALIDATION:
            raise reader.fault(key, f"protocol {protocol} has none; it belongs to protocol {VALIDATION}")
        if content.get(key, known[0]) not in known:
            raise reader.fault(key, f"there is no {content[key]!r}" + known_names(str(content[key]), known))


def _compare(
    reader: MethodReader, content: Mapping[str, Any], methods: Sequence[Method], added: Added | None, if_it_can: bool
) -> str:
    """The label of the method that all others are compared with.

    Args:
        reader: of the part.
        content: of the part.
        methods: of the part.
        added: its part of a feature's protocol, whose tables are not compared.
        if_it_can: whether the file says it for all its parts: a part without that method compares nothing.
    """
    word, labels = content["compare"], [method.label for method in methods]
    if word in labels and added is None:
        return str(word)
    variants = [method.label for method in methods if method.family == word]
    if variants and added is None:
        raise reader.fault("compare", f"{word} has several variants: name one of {', '.join(map(repr, variants))}")
    if if_it_can:
        return ""
    if added is not None:
        raise reader.fault("compare", f"protocol {content['protocol']} has none")
    raise reader.fault("compare", f"there is no method {word!r}" + known_names(str(word), labels))


def _shots(reader: MethodReader, content: Mapping[str, Any], protocol: str) -> tuple[int, ...]:
    several = protocol == "few_shot"
    shots = reader.numbers(content.get("shots", [1, 2, 4, 8, 16] if several else 16), "shots", 1)
    if len(shots) > 1 and not several:
        raise reader.fault("shots", f"protocol {protocol} accepts one number, got {list(shots)}")
    return shots


def _check_whole(reader: MethodReader, experiment: Experiment) -> None:
    if experiment.source in experiment.datasets:
        raise reader.fault("datasets", f"{experiment.source} is the source; it is tested anyway")
    families = {method.family for method in experiment.methods}
    if experiment.highlight not in families:
        raise reader.fault(
            "highlight", f"there is no method {experiment.highlight!r}" + known_names("", sorted(families))
        )
    _check_stages(reader, experiment)
    seen: dict[tuple[str, str], str] = {}
    for method in experiment.methods:
        other = seen.setdefault((method.trainer, method.folder), method.label)
        if other != method.label:
            paths = {str(dict(one.options).get(_NAMES_NO_FOLDER, "")) for one in experiment.methods}
            what = f"; {_NAMES_NO_FOLDER} is in no folder's name: give each of its values its own experiment"
            more = what if len(paths) > 1 else ""
            raise reader.fault("methods", f"{other} and {method.label} are the same runs ({method.folder}){more}")


def _check_stages(reader: MethodReader, experiment: Experiment) -> None:
    """First stages of one name must be the same for all methods that ask for it."""
    seen: dict[tuple[str, str], Method] = {}
    for method in experiment.methods:
        if method.stage is None or method.front is not None:
            continue
        other = seen.setdefault((method.stage.trainer, method.stage.folder), method.stage)
        if (other.config, other.options) != (method.stage.config, method.stage.options):
            both = f"{stage_of(method.stage_of).plural} of {other.label} and {method.family}"
            whose = f"the {both} have the same folder ({other.folder})"
            raise reader.fault("methods", f"{whose} but other settings: give one its own experiment")


OF_PROTOCOL = (
    "SEED", "TRAINER.NAME", "DATASET.NAME", "DATASET.NUM_SHOTS", "DATASET.SUBSAMPLE_CLASSES", "OUTPUT_DIR", "RESUME",
)  # fmt: skip
_OF_METHOD = (
    "trainer", "config", "options", "seeds", "grid", "published",
    *(one.key for one in STAGES),
    *(f"{one.key}_seed" for one in STAGES if not one.names_method),
    "few_shot", "chosen",
)  # fmt: skip
_MOST_VARIANTS = 10_000
_OF_BOTH_STAGES = ("MODEL.BACKBONE.", "DATASET.")


class Shared(NamedTuple):
    """What all methods of a file have in common.

    seeds: of methods without their own.
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
        """Settings as text; files of schedules are relative to a folder, by default this file's."""
        options = {}
        for key, item in self.mapping(value or {}, place).items():
            if key in rounds.SET_HERE:
                instead = ", ".join(rounds.KEYS)
                raise self.fault(place, f"{key} cannot be set here; protocol {ACTIVE} has {instead}")
            if key in OF_PROTOCOL:
                raise self.fault(place, f"{key} cannot be set here; see datasets, shots, seeds and trainer")
            if isinstance(item, dict) or item is None:
                raise self.fault(place, f"{key}: a dotted key with one value is expected, got {item!r}")
            text = repr(item) if isinstance(item, list) else as_text(item)  # as train.py's words are read
            found = named_by(key, text)
            if found and found.path:
                text = f"{found.mark}{((folder or self.path.parent) / of_user(found.path)).resolve()}"
            options[key] = text
        return options

    def grid(self, value: Any, place: str) -> dict[str, list[str]]:
        axes = {}
        for key, values in self.mapping(value or {}, place).items():
            if not isinstance(values, list) or not values:
                raise self.fault(place, f"{key}: a list of values is expected, got {values!r}")
            axes[key] = list(self.options({key: item}, place)[key] for item in values)
            if len(set(axes[key])) < len(axes[key]):
                raise self.fault(place, f"{key}: a value occurs twice in {', '.join(axes[key])}")
        return axes

    def config(self, word: str, trainer: str, place: str) -> Path:
        try:
            return config_file(word, trainer, self.path.parent).resolve()
        except (UserError, OSError) as error:  # OSError: a name that no disk accepts
            raise self.fault(place, str(error)) from None

    def method(self, label: str, value: Any, shared: Shared, before: Sequence[Method] = ()) -> Iterator[Method]:
        """The variants of a method: one, or as many as its grid has combinations; `before` are above it."""
        place = f"methods: {label}"
        content = self.mapping(value, place)
        trainer, config, given = self.runs(content, _OF_METHOD, place)
        own = {**shared.options, **given}
        chosen = shared.chosen if trains(trainer) and content.get("chosen") is not False else None
        chosen_as = ""
        if chosen is not None:
            found, chosen_as = self.takes_chosen(chosen, content, label, (trainer, config, own), before, shared.last)
            own.update(self.options(found, f"{place}: {chosen.path.name}"))
        own.update(shared.last)
        axes = {**(shared.grid if trains(trainer) else {}), **self.grid(content.get("grid"), place + ": grid")}
        for key in axes:
            if key in own:
                raise self.fault(place, f"{key} is an axis of the grid and set to {own[key]} as an option too")
        seeds = self.numbers(content["seeds"], place + ": seeds", 0) if "seeds" in content else shared.seeds
        names = short_names(list(axes))
        stage_seed = self.stage_seed(content, place)
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
                stage_seed=stage_seed,
            )
            made = self.staged(made, content, shared, before)
            if chosen is not None and chosen_as:
                chosen.require_first(chosen_as, made.first)
            yield made

    def staged(self, made: Method, content: dict[str, Any], shared: Shared, before: Sequence[Method]) -> Method:
        """A method with its first stage and its few-shot runs."""
        for one in STAGES:
            if one.key in content:
                first = self.first(one, content[one.key], made, shared, before)
                made = made._replace(stage=first, stage_of=one.name)
        if "few_shot" in content:
            place = f"methods: {made.family}: few_shot"
            made = made._replace(few_shot=self.stage(content["few_shot"], place, made, shared))
        return made

    def takes_chosen(
        self,
        chosen: Chosen,
        content: Mapping[str, Any],
        label: str,
        runs: tuple[str, Path, dict[str, str]],
        before: Sequence[Method],
        last: Mapping[str, str],
    ) -> tuple[dict[str, str], str]:
        """What was chosen for the method above it that its `chosen` names, or for itself under that name.

        Returns:
            The options, and the name under which they were chosen for itself; empty if for another one.
        """
        other = content.get("chosen", label)
        if not isinstance(other, str):
            raise self.fault(f"methods: {label}: chosen", f"false or the name of a method is expected, got {other!r}")
        above = next((one for one in before if one.family == other), None)
        if other == label or above is None or other not in chosen.methods:
            return chosen.options_of(other, *runs), other
        left = {*chosen.methods[other]["options"], *last}
        own = {key: text for key, text in above.options if key not in left}
        chosen.require_first(other, above.first)
        return chosen.options_of(other, above.trainer, above.config, own), ""

    def stage_seed(self, content: Mapping[str, Any], place: str) -> int | None:
        """The one seed of a first stage; None if each seed has its own."""
        found: tuple[int, ...] = ()
        for one in STAGES:
            key = f"{one.key}_seed"
            given = self.numbers(content[key], f"{place}: {key}", 0) if key in content else ()
            if len(given) > 1 or (given and one.key not in content):
                raise self.fault(place, f"{key} is one seed, of the method's {one.key}")
            found += given
        return found[0] if found else None

    def first(self, one: Stage, value: Any, method: Method, shared: Shared, before: Sequence[Method]) -> Method:
        """The first stage of a method: on the CLIP and images of its training, unless its own options say otherwise."""
        place = f"methods: {method.family}: {one.key}"
        settings = {
            key: as_text(item) for key, item in {**read_settings(str(method.config)), **dict(method.options)}.items()
        }
        fault = one.fault(method.trainer, [key for key, _ in method.options], settings)
        if fault:
            raise self.fault(place, fault)
        return self.front(value, place, before) if one.names_method else self.stage(value, place, method, shared)

    def front(self, label: Any, place: str, before: Sequence[Method]) -> Method:
        """The method above, on whose trained prompts this one is built."""
        there = [one for one in before if one.family == label]
        if len(there) != 1:
            what = "has several variants" if there else "is no method above this one"
            raise self.fault(place, f"{label!r} {what}" + known_names(str(label), [one.family for one in before]))
        if kind_of(there[0].trainer) != PROMPTS or there[0].stage is not None:
            raise self.fault(place, f"{label} trains no prompts in one stage")
        return there[0]

    def stage(self, value: Any, place: str, method: Method, shared: Shared) -> Method:
        """Other runs of a method: with their own trainer, config and options, on its CLIP and images."""
        trainer, config, own = self.runs(self.mapping(value, place), ("trainer", "config", "options"), place)
        same = {key: text for key, text in method.options if key.startswith(_OF_BOTH_STAGES)}
        return method._replace(
            label=method.family,
            trainer=trainer,
            config=config,
            options=tuple({**shared.options, **same, **own, **shared.last}.items()),
            point=(),
            stage_seed=None,
        )

    def runs(self, content: dict[str, Any], keys: Sequence[str], place: str) -> tuple[str, Path, dict[str, str]]:
        """Trainer, config and options of a content that has at most these keys."""
        self.known(content, keys, place)
        trainer = str(self.needed(content, "trainer", place))
        config = self.config(str(self.needed(content, "config", place)), trainer, place)
        return trainer, config, self.options(content.get("options"), place + ": options")

    def datasets(self, value: Any, place: str) -> tuple[str, ...]:
        names = self.names(value, place)
        there = config_names()
        for name in names:
            if name not in there:
                raise self.fault(place, f"there is no data set {name!r}" + known_names(name, there))
        return names
