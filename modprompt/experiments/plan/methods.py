"""The methods of an experiment file: trainers with config files, options, grids, first stages and few-shot runs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.checks import known_names, some
from modprompt.errors import UserError
from modprompt.experiments.plan import rounds
from modprompt.experiments.plan.experiment import ACTIVE, Method, short_names
from modprompt.experiments.plan.first_stages import FIRST_STAGES, FirstStage, trains
from modprompt.experiments.plan.section import Faults, Section
from modprompt.experiments.plan.selected import Selected
from modprompt.io.files import of_user
from modprompt.io.settings import SHOTS_BY_CLASS, TRAIN_ON_VAL, as_text, read_settings
from modprompt.methods.search.file import named_by
from modprompt.methods.table import PROMPTS, config_file, kind_of

OF_PROTOCOL = (  # the settings that the protocol determines
    "SEED", "TRAINER.NAME", "DATASET.NAME", "DATASET.NUM_SHOTS", "DATASET.SUBSAMPLE_CLASSES", "OUTPUT_DIR", "RESUME",
)  # fmt: skip
_TRAINER_KEYS = ("trainer", "config", "options")
_KEYS = (
    *_TRAINER_KEYS, "seeds", "grid", "published", *FIRST_STAGES, "search_seed", "few_shot", "hyperparameters",
)  # fmt: skip
_SHARED_BY_STAGES = ("MODEL.BACKBONE.", "DATASET.")  # the starts of options that both stages of a method have
_Trainer = tuple[str, Path, dict[str, str]]  # the trainer, the config file and the options


class Common(NamedTuple):
    """The values that all methods of an experiment file share.

    command_line: options of the command line, which override all others.
    """

    seeds: tuple[int, ...]
    options: dict[str, str]
    command_line: dict[str, str]
    grid: dict[str, list[str]]
    hyperparameters: Selected | None
    imports: tuple[str, ...]
    image_cache: bool


def read(section: Section, common: Common, protocol: str, faults: Faults) -> list[Method]:
    """Return the methods in a section with the key `methods`, without methods that have faults.

    Args:
        section: the experiment file, or a part of it.
        common: what all methods have in common.
        protocol: the protocol; "" if the protocol is wrong.
        faults: receives the faults.
    """
    methods: list[Method] = []
    contents = section.get("methods") if isinstance(section.get("methods"), dict) else {}
    for label, content in contents.items():
        names_method = isinstance(content, dict) and {*content} & {"hyperparameters", *FIRST_STAGES}
        if faults.messages and names_method:
            continue  # the named method may be missing only because of another fault
        with faults.collected():
            place = ": ".join(filter(None, [section.place, "methods", str(label)]))
            of_method = Section(section.path, content, place)
            methods += _variants(of_method, str(label), common, methods)
            if "few_shot" in of_method and protocol not in ("", ACTIVE):
                raise of_method.fault("few_shot", f"protocol {protocol} does not support this key. Remove the key.")
    return methods


def _variants(section: Section, label: str, common: Common, earlier: Sequence[Method]) -> Iterator[Method]:
    """Yield a method, or one variant of the method for each combination of values of its grid.

    Args:
        section: the method in the file.
        label: the name of the method.
        common: what all methods have in common.
        earlier: the methods above in the file.
    """
    section.require_known(_KEYS)
    trainer, config, options = _read_trainer(section, common.options)
    grid = {**(common.grid if trains(trainer) else {}), **read_grid(section.section("grid"))}
    selection = common.hyperparameters if trains(trainer) and section.get("hyperparameters") is not False else None
    values, selected_for = dict[str, str](), None
    if selection is not None:
        trained = (trainer, config, options)
        values, selected_for = _selected_values(section, label, selection, trained, common.command_line, earlier)
    options = {**options, **values, **common.command_line}
    for key in grid:
        if key in options:
            text = f"{key} is an axis of the grid, but options set {key} to {options[key]}. Remove one of the two."
            raise section.fault("", text)
    search_seed = section.numbers("search_seed", (), 0) if "search_seed" in section else ()
    if len(search_seed) > 1 or (search_seed and "search" not in section):
        raise section.fault("", "search_seed must be a single seed, and is allowed only with the key search")
    seeds, names = section.numbers("seeds", common.seeds, 0), short_names(list(grid))
    for combination in itertools.product(*grid.values()):
        point = tuple(zip(grid, combination))
        method = Method(
            label=" ".join([label, ", ".join(f"{names[key]} {text}" for key, text in point)]).strip(),
            family=label,
            trainer=trainer,
            config=config,
            options=tuple({**options, **dict(point)}.items()),
            seeds=seeds,
            grid_point=point,
            published=str(section.get("published", "" if grid else label)),
            imports=common.imports,
            image_cache=common.image_cache,
            first_stage_seed=next(iter(search_seed), None),
        )
        for stage in FIRST_STAGES.values():
            if stage.key in section:
                method = _with_first_stage(section, method, stage, common, earlier)
        if "few_shot" in section:
            method = method._replace(few_shot=_other_trainer(section, "few_shot", method, common))
        if selection is not None:
            name = section.get("hyperparameters", label)
            selection.require_first_stage(name, (selected_for or method).first_stage_folder)
        yield method


def _read_trainer(section: Section, options: Mapping[str, str]) -> _Trainer:
    """Return the trainer, the config file, and the options of a section over the given options."""
    trainer, name = str(section.require("trainer")), str(section.require("config"))
    try:
        config = config_file(name, trainer, section.path.parent).resolve()
    except (UserError, OSError) as error:  # OSError: the file system does not accept the name
        raise section.fault("", str(error)) from None
    return trainer, config, {**options, **read_options(section.section("options"))}


def _selected_values(
    section: Section,
    label: str,
    selection: Selected,
    trained: _Trainer,
    command_line: Mapping[str, str],
    earlier: Sequence[Method],
) -> tuple[dict[str, str], Method | None]:
    """Return the selected hyperparameters of a method, and the earlier method for which they were selected, or None."""
    name = section.get("hyperparameters", label)
    if not isinstance(name, str):
        raise section.fault("hyperparameters", f"the name of a method or false is expected, got {name!r}")
    selected_for = next((method for method in earlier if method.family == name and name in selection.methods), None)
    if selected_for is not None:
        changed = {*selection.methods[name]["values"], *command_line}
        options = {key: text for key, text in selected_for.options if key not in changed}
        trained = selected_for.trainer, selected_for.config, options
    values = selection.values_of(name, *trained)
    return read_options(Section(section.path, values, f"{section.place}: {selection.path.name}")), selected_for


def _with_first_stage(
    section: Section, method: Method, stage: FirstStage, common: Common, earlier: Sequence[Method]
) -> Method:
    """Return a method with its first stage."""
    settings = {**read_settings(str(method.config)), **dict(method.options)}
    texts = {key: as_text(value) for key, value in settings.items()}
    if fault := stage.find_fault(method.trainer, [key for key, _ in method.options], texts):
        raise section.fault(stage.key, fault)
    if stage.is_method:
        first_stage = _find_method(section, stage.key, earlier)
    else:
        first_stage = _other_trainer(section, stage.key, method, common)
    if first_stage.shots_file != method.shots_file:
        raise section.fault(
            stage.key, f"{first_stage.label} has another {SHOTS_BY_CLASS}. Set the same file for both methods"
        )
    return method._replace(first_stage=first_stage, first_stage_key=stage.key)


def _find_method(section: Section, key: str, earlier: Sequence[Method]) -> Method:
    """Return the earlier method that a key names; the method must train prompts in a single stage."""
    label = section.get(key)
    variants = [method for method in earlier if method.family == label]
    if len(variants) != 1:
        why = "has several variants, which is not allowed here" if variants else "is not a method above this method"
        raise section.fault(key, f"{label!r} {why}" + known_names(str(label), [method.family for method in earlier]))
    if kind_of(variants[0].trainer) != PROMPTS or variants[0].first_stage is not None:
        raise section.fault(key, f"{label} is not a method that trains prompts in a single stage. Use another method.")
    return variants[0]


def _other_trainer(section: Section, key: str, method: Method, common: Common) -> Method:
    """Return a method with the trainer, config and options of a key, and with the CLIP model and images of `method`."""
    other = Section(section.path, section.get(key), f"{section.place}: {key}")
    other.require_known(_TRAINER_KEYS)
    shared = {name: text for name, text in method.options if name.startswith(_SHARED_BY_STAGES)}
    trainer, config, options = _read_trainer(other, {**common.options, **shared})
    options_of_all = tuple({**options, **common.command_line}.items())
    return method._replace(
        label=method.family,
        trainer=trainer,
        config=config,
        options=options_of_all,
        grid_point=(),
        first_stage_seed=None,
    )


def read_options(section: Section, folder: Path | None = None) -> dict[str, str]:
    """Return settings as texts. Paths of schedules are relative to `folder`, by default the folder of the file."""
    return {key: _read_option(section, key, value, folder) for key, value in section.content.items()}


def _read_option(section: Section, key: str, value: Any, folder: Path | None = None) -> str:
    if key in rounds.SETTINGS or key in OF_PROTOCOL:
        keys = f"{', '.join(rounds.KEYS)} of protocol {ACTIVE}" if key in rounds.SETTINGS else ""
        raise section.fault(
            "", f"{key} cannot be set here. Use the keys {keys or 'datasets, shots, seeds and trainer'}"
        )
    if isinstance(value, dict) or value is None:
        raise section.fault("", f"{key}: a dotted key with one value is expected, got {value!r}")
    text = repr(value) if isinstance(value, list) else as_text(value)  # the form that the command line has
    named_file = named_by(key, text)
    if named_file and named_file.path:
        return f"{named_file.mark}{((folder or section.path.parent) / of_user(named_file.path)).resolve()}"
    return text


def read_grid(section: Section) -> dict[str, list[str]]:
    """Return the values of each key of a grid as texts."""
    grid = {}
    for key, values in section.content.items():
        if not isinstance(values, list) or not values:
            raise section.fault(key, f"a list of values is expected, got {values!r}")
        grid[key] = [_read_option(section, key, value) for value in values]
        if len(set(grid[key])) < len(grid[key]):
            raise section.fault(key, f"a value occurs twice in {', '.join(grid[key])}")
    return grid


def require_same_images(section: Section, methods: Sequence[Method]) -> None:
    """Raise UserError if only some of the methods, including first stages, train on validation images."""
    stages = (stage for method in methods for stage in (method, method.first_stage, method.few_shot))
    trained = [stage for stage in stages if stage is not None and stage.trains]
    files = {method.config: read_settings(str(method.config)) for method in trained}
    values = [{**files[method.config], **dict(method.options)}.get(TRAIN_ON_VAL, False) for method in trained]
    labels = [method.label for method, value in zip(trained, values) if as_text(value) == "True"]
    if 0 < len(labels) < len(trained):
        raise section.fault(
            "methods",
            f"{some(labels)} would train on validation images, but other methods would not. Set {TRAIN_ON_VAL} in the "
            "options of the file, so that the setting applies to all methods.",
        )
