"""The configuration of a run: explicit settings over defaults, completed once, and frozen.

`of_run` is for the programs of this project: `merged` puts explicit settings over the defaults of Dassl 0.6.3 and of
all trainers, `complete` decides what follows from settings, and `complete_from_files` decides what follows from the
tested model, the weights and the images. hosts/settings.py takes the configuration that another program has made.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import dassl.data.transforms.transforms as known_transforms
from dassl.config import cfg_default, get_cfg_default
from dassl.data.datasets import DATASET_REGISTRY
from dassl.engine import TRAINER_REGISTRY
from yacs.config import CfgNode

from modprompt import places
from modprompt.checks import check_name, nearest
from modprompt.clip import known
from modprompt.compat import defaults
from modprompt.data.conflicts import require_no_conflicts, trains_on_validation
from modprompt.data.reader import require_only_tests
from modprompt.data.rounds import Active
from modprompt.data.selection import needs_validation
from modprompt.errors import SettingError, UserError
from modprompt.fields import Configured, as_config, fitting, is_numeric, kind_of
from modprompt.io.files import of_user
from modprompt.io.image_files import FAMILY
from modprompt.io.settings import READ_AS, READER, Given, Settings, as_text, flat, level_of
from modprompt.methods import given_settings
from modprompt.methods.base import Method
from modprompt.methods.parts import teachers
from modprompt.methods.parts.capabilities import RunFacts, SecondNode
from modprompt.methods.search import over as search
from modprompt.methods.search.over import Search
from modprompt.methods.table import counts_steps
from modprompt.output import say
from modprompt.trainers import backbone, mistakes, tested_model
from modprompt.trainers.mode import TRAINING, Mode, method_of_trainer, node_of_trainer, trains

UNREAD = {"TRAINER.COOP.TRAIN_TYPE"}  # some config files of the CoOp family set it, and no repository reads it
_BY_EPOCH = ("OPTIM.MAX_EPOCH", "OPTIM.LR_SCHEDULER", "OPTIM.STEPSIZE", "OPTIM.WARMUP_EPOCH")  # settings by epochs
C = TypeVar("C", bound=Configured)


class RunConfig(CfgNode):
    """The configuration of a run, with all settings of modprompt."""

    @classmethod
    def of(cls, cfg: CfgNode) -> "RunConfig":
        """Add all missing settings of modprompt to a copy of a configuration, and return the frozen copy."""
        one = cls._copied(cfg)
        add_defaults(one)
        one.freeze()
        return one

    @classmethod
    def _copied(cls, node: CfgNode) -> "RunConfig":
        one = cls()
        for key, value in node.items():
            one[key] = cls._copied(value) if isinstance(value, CfgNode) else copy.deepcopy(value)
        return one

    def assign(self, values: Mapping[str, Any]) -> None:
        """Set values by dotted key, in place; the configuration must not be frozen."""
        for key, value in values.items():
            node, name = level_of(self, key)
            node[name] = value

    def changed(self, values: Mapping[str, Any]) -> "RunConfig":
        """Return a frozen copy of the configuration with changed values."""
        if not values:
            return self
        copied: RunConfig = self.clone()
        copied.defrost()
        copied.assign(values)
        copied.freeze()
        return copied

    def of_one_training(self, **values: Any) -> "RunConfig":
        """Return the configuration of one training or test run within active learning."""
        return self.changed({"ACTIVE.ROUNDS": 0, **values})


def of_run(settings: Settings, mode: Mode = TRAINING, check: Callable[[RunConfig], Any] | None = None) -> RunConfig:
    """Return the frozen configuration of a run, without writing files.

    Args:
        settings: what files, flags and options set.
        mode: what the run does.
        check: the check of the calling program; it raises UserError if the configuration does not fit.

    Raises:
        UserError: if a setting, a file or the output folder does not fit.
    """
    settings = _by_own_names(settings)
    cfg = merged(settings)
    complete(cfg, settings, mode)
    complete_from_files(cfg, settings, mode)
    cfg.freeze()
    if check is not None:
        check(cfg)
    return cfg.changed(tested_model.place_of_result(cfg, settings, mode))


def of_settings(settings: Settings, tests: bool = False) -> RunConfig:
    """Return the frozen configuration for explicit settings, without reading weights or images.

    Args:
        settings: what files, flags and options set.
        tests: whether the run only tests; a trainer that trains nothing always does.

    Raises:
        UserError: with all unknown keys, wrong types, unknown names and impossible values.
    """
    settings = _by_own_names(settings)
    cfg = merged(settings)
    complete(cfg, settings, Mode(eval_only=tests))
    cfg.freeze()
    return cfg


def complete(cfg: RunConfig, settings: Settings, mode: Mode) -> None:
    """Set all settings that follow from explicit settings; raise UserError if settings contradict each other.

    Args:
        cfg: the configuration with explicit settings over defaults, not frozen.
        settings: what files, flags and options set.
        mode: what the run does.

    Raises:
        UserError: if a setting does not fit.
    """
    name, method, node = cfg.TRAINER.NAME, method_of_trainer(cfg.TRAINER.NAME), node_of_trainer(cfg)
    second = None if method is None else method.repository.second_node

    # DATASET.ROOT and TEST.ONLY come first because all later decisions depend on them. INPUT.DECODING is the choice of
    # the reader, DATASET.CHOOSE_BY that of the method.
    cfg.DATASET.ROOT = places.data_root(cfg.DATASET.ROOT)
    cfg.TEST.ONLY = mode.eval_only or not node
    if READ_AS not in settings:
        cfg.INPUT.DECODING = getattr(DATASET_REGISTRY.get(cfg.DATASET.NAME), "read_as", FAMILY)
    if method is not None and node and not mode.eval_only:
        cfg.DATASET.CHOOSE_BY = method.chooses_by(cfg.TRAINER[node])

    # Settings of the data and the test that exclude each other. A method that counts steps has no epochs.
    _require_shots(cfg, settings)
    require_no_conflicts(cfg)
    _require_no_epochs(cfg, settings)

    # SEARCH.RUNS, and the settings in the schedule file of a search: they override config files.
    cfg.assign(search.decided(cfg, settings, method, node))

    # Settings that the method derives from the data set and the CLIP. The command line overrides them.
    cfg.assign(decided_by_method(cfg, settings.on_command_line(), method))

    # Additions such as KDPL and DePT: the trainer must support them, and some trainers always include them.
    given_settings.require_additions(cfg.TRAINER, name, settings)
    second_name = second.node.rpartition(".")[2] if second else ""
    given_settings.warn_of_unread(cfg.TRAINER, name, node, second_name, settings)

    # Settings that a second node of the method stands for. Explicit settings override them.
    if second is not None:
        cfg.assign(given_settings.of_second_node(cfg.TRAINER, name, settings, second))

    # DATASET.TRAIN_ON_VAL is rejected if anything is selected on validation images.
    trains_on_validation(cfg)

    # How the file of MODEL.BACKBONE.PATH is run, if --backbone names its architecture. A name in a config file does not
    # describe the file.
    if cfg.MODEL.BACKBONE.PATH and method is not None:
        explicit = settings.get("MODEL.BACKBONE.NAME")
        changes = backbone.settings_of_architecture(cfg) if explicit is not None and explicit.is_flag else {}
        if not changes:
            backbone.warn_of_unused_name(cfg, settings.on_command_line())
        cfg.assign(changes)


def complete_from_files(cfg: RunConfig, settings: Settings, mode: Mode) -> None:
    """Set all settings that follow from the tested model, the CLIP weights and the image folder, in place.

    Args:
        cfg: the configuration after `complete`, not frozen.
        settings: what files, flags and options set.
        mode: what the run does.

    Raises:
        UserError: if a setting, a checkpoint, a CLIP or a folder of images does not fit.
    """
    method = method_of_trainer(cfg.TRAINER.NAME)

    # INPUT.DECODING of the training whose model is tested, so that the test reads images in the same way.
    cfg.assign(tested_model.decoding_of_training(cfg, settings, mode))
    tested_model.require_unseen_images(cfg, mode)
    tested_model.require_model(cfg, mode)

    # Settings of the method that are stored in the tested checkpoint.
    cfg.assign(tested_model.method_settings(cfg, settings, mode))

    # INPUT.SIZE, mean, standard deviation, interpolation and resize mode are those of the weights.
    if method is not None:
        cfg.assign(backbone.settings_of_images(cfg, settings.on_command_line()))

    # TEST.NO_TEST for a folder of training images without test images.
    require_only_tests(DATASET_REGISTRY.get(cfg.DATASET.NAME), trains(cfg, mode))
    if trains(cfg, mode) and "TEST.NO_TEST" not in settings:
        cfg.assign(_without_test(cfg, method))

    # The teacher of a distillation must be readable and fit the data set.
    teachers.check(cfg)


def _by_own_names(settings: Settings) -> Settings:
    """Return settings in which the keys of an original repository are replaced by the keys of modprompt."""
    name = str(settings["TRAINER.NAME"].value) if "TRAINER.NAME" in settings else ""
    method = method_of_trainer(name) if name in TRAINER_REGISTRY.registered_names() else None
    return settings if method is None else given_settings.by_own_names(settings, name, method)


def decided_by_method(cfg: RunConfig, given: Sequence[str], method: Any) -> dict[str, Any]:
    """Return and print the settings that a method derives from the data set and the CLIP model.

    Args:
        cfg: the configuration.
        given: keys of settings that keep their values.
        method: the class of the method, or None for a trainer of another codebase.
    """
    node = "" if method is None else method.node_name()
    if not node:
        return {}
    clip = cfg.MODEL.BACKBONE
    openai = not clip.PATH and known.plain(clip.NAME) in known.OPENAI
    facts = RunFacts(cfg.DATASET.NAME, cfg.DATASET.SUBSAMPLE_CLASSES, cfg.TEST.ONLY, openai)
    found = {f"TRAINER.{node}.{key}": value for key, value in method.decides(cfg.TRAINER[node], facts).items()}
    taken = {key: value for key, value in found.items() if key not in given}
    if taken:
        said = ", ".join(f"{key} {value}" for key, value in taken.items())
        say(f"Settings of {cfg.TRAINER.NAME} for the data set {facts.dataset}: {said}")
    return taken


def _require_shots(cfg: RunConfig, settings: Settings) -> None:
    """Raise UserError if DATASET.NUM_SHOTS is 0, unless the method or the data-set reader gives 0 a meaning."""
    method, key = method_of_trainer(cfg.TRAINER.NAME), "DATASET.NUM_SHOTS"
    if cfg.DATASET.NUM_SHOTS != 0 or key not in settings or READER in settings:
        return
    if method is None or not method.repository.zero_shots_mean_all:
        instead = f"Set {key} -1 to use all training images, or leave {key} out."
        raise UserError(f"{settings[key].where}: {key} is 0, but a class needs at least one training image. {instead}")


def _require_no_epochs(cfg: RunConfig, settings: Settings) -> None:
    given = [key for key in _BY_EPOCH if key in settings]
    if given and counts_steps(cfg.TRAINER.NAME):
        where = settings[given[0]].where
        raise UserError(
            f"{where}: {given[0]} is not supported by {cfg.TRAINER.NAME}, whose training is defined by a number of "
            f"steps instead of epochs. Remove {given[0]}."
        )


def _without_test(cfg: RunConfig, method: Any) -> dict[str, Any]:
    """Return {"TEST.NO_TEST": True} and print a message, if the image folder of a training run has no test images.

    If the run needs test or validation images, the reader reports that they are missing.
    """
    find = getattr(DATASET_REGISTRY.get(cfg.DATASET.NAME), "without_test", None)
    if find is None or needs_validation(cfg) or cfg.TEST.OOD or getattr(method, "in_turn", False):
        return {}
    why = find(of_user(cfg.DATASET.ROOT or ".").absolute())
    if not why:
        return {}
    say(f"note: {why}. TEST.NO_TEST is set to True, so this run trains without measuring accuracy.")
    return {"TEST.NO_TEST": True}


class Fault(NamedTuple):
    """An error in a setting: the dotted key and the message."""

    key: str
    text: str


def merged(settings: Settings) -> RunConfig:
    """Return a configuration with all defaults, overridden by settings; the configuration is not frozen.

    Args:
        settings: what files, flags and options set, with the names of this project.

    Raises:
        UserError: with all unknown keys, wrong types, unknown names and impossible values.
    """
    defaults.pin(cfg_default)  # the defaults of a codebase's Dassl may differ
    cfg = get_cfg_default()
    faults = _merge_faults(cfg, settings)
    found = [*_name_faults(cfg), *_value_faults(cfg)]
    if faults:  # a setting that was not merged still has its default; an error in it is not the user's
        wrong = {fault.key for fault in faults}
        found = [fault for fault in found if fault.key in settings and fault.key not in wrong]
    _complain([*faults, *(_placed(fault, settings) for fault in found)])
    made = RunConfig.of(cfg)
    made.defrost()
    return made


def merge(cfg: CfgNode, settings: Settings) -> None:
    """Merge settings into a configuration, in place.

    Raises:
        UserError: with all unknown keys and wrong types.
    """
    _complain(_merge_faults(cfg, settings))


def _merge_one(cfg: CfgNode, key: str, given: Given) -> None:
    """Set one setting of a configuration, in place; yacs raises an error if the type is wrong."""
    node, leaf = level_of(cfg, key)
    if given.is_flag:  # yacs must not read the text as Python: a folder may be called 1
        node[leaf] = tuple(given.value) if isinstance(given.value, list) else given.value
        return
    if is_switch(key) and as_text(given.value) in ("True", "False"):  # yacs rejects True for a text
        node[leaf] = as_text(given.value)
        return
    if node[leaf] is not None and as_text(given.value) == str(None):  # yacs accepts None for any type
        raise ValueError("Type mismatch")
    value = fitting(node[leaf], copy.deepcopy(given.value))
    of_method = key.startswith("TRAINER.") and key.count(".") > 1
    if of_method and isinstance(value, float) and is_numeric(node[leaf]):
        node[leaf] = float(node[leaf])  # PromptSRC's weights are whole in the family's files, but any number is valid
    cfg.merge_from_list([key, value])


def _merge_faults(cfg: CfgNode, settings: Settings) -> list[Fault]:
    """Merge settings into a configuration, in place; return the errors of invalid settings."""
    known_keys, faults = list(flat(cfg)), []
    for key, given in settings.given:
        if key in UNREAD:
            say(
                f"{key} {given.value} ({given.where}) is ignored. The upstream repository does not use this setting "
                "either."
            )
            continue
        if key not in known_keys:
            near = nearest(key, known_keys, cutoff=0.3)
            faults.append(Fault(key, f"{given.where}: unknown setting {key!r}{near}"))
            continue
        try:
            _merge_one(cfg, key, given)
        except (KeyError, ValueError, AssertionError) as error:
            said = mistakes.said_by(error)
            if said.startswith("Type mismatch"):  # the message of yacs names Python's types
                node, name = level_of(cfg, key)
                said = f"the value must be {kind_of(node[name])}, got {given.value!r}"
            faults.append(Fault(key, f"{given.where}, {key}: {said}"))
    return list(dict.fromkeys(faults))


def _value_faults(cfg: CfgNode) -> Iterator[Fault]:
    """Yield errors on invalid values that Dassl or PyTorch would report late or unclearly."""
    try:
        defaults.require_possible(cfg)
    except SettingError as error:
        yield from (Fault(key, f"{key}{text}") for key, text in error.faults)
    asked = cfg.INPUT.TRANSFORMS
    if not isinstance(asked, (list, tuple)):
        yield Fault("INPUT.TRANSFORMS", f"INPUT.TRANSFORMS must be a list of names, got {asked!r}.")
        return
    supported: list[str] = list(known_transforms.AVAI_CHOICES)
    for name in asked:
        if name not in supported:
            said = f"contains the unknown transform {name!r}. Supported transforms: {', '.join(supported)}"
            yield Fault("INPUT.TRANSFORMS", f"INPUT.TRANSFORMS {said}")


def _name_faults(cfg: CfgNode) -> Iterator[Fault]:
    """Yield errors if the trainer or the data set is not registered."""
    for key, name, registry, label in (
        ("TRAINER.NAME", cfg.TRAINER.NAME, TRAINER_REGISTRY, "--trainer"),
        ("DATASET.NAME", cfg.DATASET.NAME, DATASET_REGISTRY, "DATASET.NAME"),
    ):
        registered = registry.registered_names()
        try:
            check_name(name or "", registered, label)
        except UserError as error:
            kind = "trainer" if label == "--trainer" else "data set"
            is_custom = name and not nearest(name, registered)
            custom = f" To use a custom {kind}, give its module with --import." if is_custom else ""
            yield Fault(key, f"{_sentence(str(error))}{custom}")
            if not cfg.DATASET.NAME:  # a known trainer has a default config file, which names a data set
                return


def _placed(fault: Fault, settings: Settings) -> Fault:
    """Return an error message that begins with the name of the config file, if a config file sets the value."""
    given: Given | None = settings.get(fault.key)
    if given is None or not given.source.startswith("file "):
        return fault
    return fault._replace(text=f"{given.where}: {fault.text}")


def _complain(faults: Sequence[Fault]) -> None:
    if faults:
        raise UserError(" ".join(_sentence(fault.text) for fault in faults))


def _sentence(text: str) -> str:
    """Return a message with a full stop at its end."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


_NODES: dict[str, CfgNode] = {}  # the nodes of methods below TRAINER, as registered
# by node: settings that accept any number, though the default or the given value is whole
_FLOATS: dict[str, tuple[str, ...]] = {}
_SWITCHES: dict[str, tuple[str, ...]] = {}  # by node: settings that are a text, or True or False


def add_missing(node: CfgNode, values: CfgNode) -> None:
    """Add missing settings to a configuration node, in place; existing settings keep their values."""
    frozen = node.is_frozen()
    node.defrost()
    for key, value in values.items():
        if key not in node:
            node[key] = value.clone() if isinstance(value, CfgNode) else value
        elif isinstance(value, CfgNode):
            add_missing(node[key], value)
    if frozen:
        node.freeze()


def add_family_defaults(cfg: CfgNode) -> None:
    """Add missing settings of CoOp-style codebases, active learning and schedule searches to a configuration."""
    values = defaults.OURS.clone()
    values.ACTIVE = CfgNode({one.key: as_config(one.default) for one in Active.settings()})
    values.SEARCH = CfgNode({**{one.key: as_config(one.default) for one in Search.settings()}, search.RUNS: False})
    add_missing(cfg, values)


def add_defaults(cfg: CfgNode) -> None:
    """Add all missing settings of modprompt and its registered trainers to a configuration."""
    add_family_defaults(cfg)
    nodes = CfgNode()
    for name, node in _NODES.items():
        nodes[name] = node
    add_missing(cfg.TRAINER, nodes)


def node_of(cls: type[Configured]) -> CfgNode:
    """Return the configuration node of a method with its default settings and PREC, the precision of a run.

    An addition to the prompts of other methods has no PREC, because it is computed in the precision of that method.
    """
    node = CfgNode({one.key: as_config(one.default) for one in cls.settings()})
    prec = getattr(cls, "prec", "fp16")
    if prec:
        node.PREC = prec  # fp16, fp32, amp or bf16
    return node


def method_of(cls: type[C], node: Mapping[str, Any]) -> C:
    """Return the method that a configuration node describes; settings that the node lacks have their defaults.

    Raises:
        SettingError: if a value does not fit.
    """
    return cls.of(cls.in_node(node))


def is_number(key: str) -> bool:
    """Return True if a setting accepts both integers and floating-point numbers."""
    node, _, name = key.rpartition(".")
    return name in _FLOATS.get(node, ())


def is_switch(key: str) -> bool:
    """Return True if a setting accepts both a string and True or False."""
    node, _, name = key.rpartition(".")
    return name in _SWITCHES.get(node, ())


def register_method(cls: type[Configured]) -> None:
    """Add the configuration nodes of a method to the defaults that get_cfg_default() of Dassl returns."""
    second: type[SecondNode] | None = cls.repository.second_node if issubclass(cls, Method) else None
    if second is not None:
        _register(second, CfgNode({one.key: as_config(one.default) for one in second.settings()}))
    if cls.node:
        _register(cls, node_of(cls))
    add_defaults(cfg_default)


def _register(cls: type[Configured], node: CfgNode) -> None:
    name = cls.node.rpartition(".")[2]
    _FLOATS[f"TRAINER.{name}"] = tuple(one.key for one in cls.settings() if isinstance(one.default, float))
    _SWITCHES[f"TRAINER.{name}"] = tuple(one.key for one in cls.settings() if one.switch)
    _NODES[name] = node
