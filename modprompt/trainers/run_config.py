"""The configuration of a run: completed once and frozen; nothing changes it afterwards.

`from_words` makes the configuration for modprompt's own programs (files, flags, options; also with --host): `complete`
decides what follows from settings alone, `complete_from_files` what follows from the tested model, the weights and the
images. `from_host` takes the configuration that the program of another codebase has made.
"""

import copy
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from dassl.data.datasets import DATASET_REGISTRY
from dassl.engine import TRAINER_REGISTRY
from yacs.config import CfgNode

from modprompt import places
from modprompt.clip import known
from modprompt.data import names, shots_by_class
from modprompt.data.reader import require_only_tests, trains_on_validation
from modprompt.data.selection import needs_validation
from modprompt.errors import SettingError, UserError
from modprompt.io import checkpoint
from modprompt.io import folder as run_folder
from modprompt.io.checkpoint import checkpoint_at
from modprompt.io.files import of_user
from modprompt.io.image_files import FAMILY
from modprompt.io.result import NEW
from modprompt.io.settings import READ_AS, READER, TRAIN_ON_VAL, Settings, level_of
from modprompt.methods import together
from modprompt.methods.parts import teachers
from modprompt.methods.parts.capabilities import RunFacts, SecondNode
from modprompt.methods.search import over as search
from modprompt.methods.table import BY_NAME, always_beside, config_of, counts_steps, is_own, unread_of
from modprompt.output import say
from modprompt.trainers import backbone, config, overrides
from modprompt.trainers.config_nodes import add_defaults


class Mode(NamedTuple):
    """What to do with a run's settings.

    Attributes:
        once: do nothing if the output folder holds this very run, finished.
        eval_only: test the model in model_dir, train nothing.
        model_dir: the output folder of the run to evaluate.
        load_epoch: the epoch to evaluate; None for the best or last.
        no_train: build everything, train and test nothing.
    """

    once: bool = False
    eval_only: bool = False
    model_dir: str = ""
    load_epoch: int | None = None
    no_train: bool = False


TRAINING = Mode()
_BY_EPOCH = ("OPTIM.MAX_EPOCH", "OPTIM.LR_SCHEDULER", "OPTIM.STEPSIZE", "OPTIM.WARMUP_EPOCH")  # settings by epochs


class RunConfig(CfgNode):
    """The Dassl node of a run, with all keys that we read; frozen."""

    @classmethod
    def of(cls, cfg: CfgNode) -> "RunConfig":
        """A configuration with our missing keys added, frozen."""
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
        """Return a frozen copy with other values, by dotted key; the configuration itself if there are none."""
        if not values:
            return self
        copied: RunConfig = self.clone()
        copied.defrost()
        copied.assign(values)
        copied.freeze()
        return copied

    def of_one_training(self, **values: Any) -> "RunConfig":
        """Return the configuration of one training or test of a run that may have rounds; values by dotted key."""
        return self.changed({"ACTIVE.ROUNDS": 0, **values})


def trainer_of(cfg: CfgNode) -> Any:
    """The registered class of a run's trainer."""
    return TRAINER_REGISTRY.get(cfg.TRAINER.NAME)


def _own_node(cfg: CfgNode) -> str:
    """The node of a run's trainer under TRAINER; empty for one without settings, and for one that is not ours."""
    return str(getattr(trainer_of(cfg), "node_name", ""))


def trains_nothing(cfg: CfgNode) -> bool:
    """Whether a configuration's trainer tests a CLIP itself."""
    trainer = trainer_of(cfg)
    return hasattr(trainer, "method_class") and not trainer.parts.trains


def trains(cfg: CfgNode, mode: Mode) -> bool:
    """Whether a run trains."""
    return not (mode.eval_only or trains_nothing(cfg))


def tested_by(cfg: CfgNode, mode: Mode) -> str:
    """The folder of the run whose model is tested; empty if the run tests its own model, or a CLIP itself."""
    return mode.model_dir if mode.eval_only and not trains_nothing(cfg) else ""


def from_words(settings: Settings, mode: Mode = TRAINING, check: Callable[[RunConfig], Any] | None = None) -> RunConfig:
    """Return the frozen configuration of a run of our own programs. Nothing is written.

    Args:
        settings: what files, flags and options give.
        mode: what the run does.
        check: the check of the calling program; it raises UserError if the configuration does not fit.

    Raises:
        UserError: if a setting, a file or the output folder does not fit.
    """
    settings, cfg = _completed(settings, mode)
    complete_from_files(cfg, settings, mode)
    cfg.freeze()
    if check is not None:
        check(cfg)
    return cfg.changed(_place(cfg, settings, mode))


def merged(settings: Settings, tests: bool = False) -> RunConfig:
    """Return the frozen configuration that follows from settings alone, without reading weights or images.

    Args:
        settings: what files, flags and options give.
        tests: whether the run only tests; a trainer that trains nothing always does.

    Raises:
        UserError: with all unknown keys, wrong types, unknown names and impossible values.
    """
    _, cfg = _completed(settings, Mode(eval_only=tests))
    cfg.freeze()
    return cfg


def _completed(settings: Settings, mode: Mode) -> tuple[Settings, RunConfig]:
    """Return the settings under the names of the trainer's method, and the configuration that follows from them."""
    settings = _by_own_names(settings)
    cfg = RunConfig.of(config.merged(settings))
    cfg.defrost()
    complete(cfg, settings, mode)
    return settings, cfg


def complete(cfg: RunConfig, settings: Settings, mode: Mode) -> None:
    """Decide what follows from explicit settings alone, in place, and reject settings that do not fit together.

    Args:
        cfg: the configuration with explicit settings over defaults, not frozen.
        settings: what files, flags and options give.
        mode: what the run does.

    Raises:
        UserError: if a setting does not fit.
    """
    # The data folder, and whether anything is trained: all later decisions depend on them. INPUT.DECODING and
    # DATASET.CHOOSE_BY are the choice of the reader and of the method.
    cfg.assign(_facts(cfg, settings, mode))

    # Settings of the data and the test that exclude each other. A method that counts steps has no epochs.
    _require_shots(cfg, settings)
    _require_together(cfg)
    _require_no_epochs(cfg, settings)

    # SEARCH.RUNS, and the settings in the schedule file of a search: they override config files.
    cfg.assign(search.decided(cfg, settings, _method_of(cfg), _own_node(cfg)))

    # Settings that the method derives from the data set and the CLIP. The command line overrides them.
    cfg.assign(_decided(cfg, settings.on_command_line(), _method_of(cfg)))

    # Additions such as KDPL and DePT: the trainer must accept them, and some trainers always have them.
    _require_takes(cfg)
    _require_what_stands_beside(cfg, settings)
    _warn_of_unread(cfg, settings)

    # Settings that another configuration node of the method stands for. Explicit settings override them.
    cfg.assign(_of_second_node(cfg, settings))

    # DATASET.TRAIN_ON_VAL is rejected if anything is selected on validation images.
    trains_on_validation(cfg)

    # How the file of MODEL.BACKBONE.PATH is run, if the architecture is named with --backbone.
    cfg.assign(_architecture(cfg, settings))


def complete_from_files(cfg: RunConfig, settings: Settings, mode: Mode) -> None:
    """Decide what follows from the tested model, the weights and the image folder, in place.

    Args:
        cfg: the configuration after `complete`, not frozen.
        settings: what files, flags and options give.
        mode: what the run does.

    Raises:
        UserError: if a setting, a checkpoint, a CLIP or a folder of images does not fit.
    """
    # INPUT.DECODING of the training whose model is tested, so that the test reads images in the same way.
    cfg.assign(_image_rule(cfg, settings, mode))
    _require_unseen(cfg, mode)
    _require_model(cfg, mode)

    # Settings of the method that are stored in the tested checkpoint.
    cfg.assign(_kept(cfg, settings, mode))

    # INPUT.SIZE, mean, standard deviation, interpolation and resize mode are those of the weights.
    cfg.assign({} if _method_of(cfg) is None else backbone.settings_of_images(cfg, settings.on_command_line()))

    # TEST.NO_TEST for a folder of training images without test images.
    require_only_tests(DATASET_REGISTRY.get(cfg.DATASET.NAME), trains(cfg, mode))
    cfg.assign(_without_test(cfg, settings, mode))

    # The teacher of a distillation must be readable and fit the data set.
    teachers.check(cfg)


def from_host(cfg: CfgNode, method: Any = None) -> RunConfig:
    """The configuration of a run in a codebase's program; one of ours is returned itself.

    Args:
        cfg: as the program has made it; it is not changed.
        method: the trainer's method.

    Raises:
        UserError: if something does not fit that our own programs would have refused by now.
    """
    if isinstance(cfg, RunConfig):
        return cfg
    mine = RunConfig.of(cfg)
    mine = mine.changed(overrides.kept(mine))
    second = _second_node(method)
    if second is not None:
        raise UserError(
            f"The settings {second.node} are not supported by this program. Use modprompt's own train.py or `modprompt "
            "active`."
        )
    words = overrides.user_words()
    mine = mine.changed(_decided(mine, words.options[::2], method))
    if "--eval-only" in words.flags and method is not None:
        model_dir, epoch = overrides.model_to_test()
        mine = mine.changed(_kept(mine, words.settings(), Mode(eval_only=True, model_dir=model_dir, load_epoch=epoch)))
    backbone.warn_of_unused_name(mine, sys.argv)
    return mine.changed(backbone.settings_of_images(mine, sys.argv))


def _by_own_names(settings: Settings) -> Settings:
    """Settings, with those of nodes that the method shares in its repository under the method's own names."""
    name = str(settings["TRAINER.NAME"].value) if "TRAINER.NAME" in settings else ""
    method = _method_named(name) if name in TRAINER_REGISTRY.registered_names() else None
    return settings if method is None else config.own_names(settings, name, method)


def _method_of(cfg: CfgNode) -> Any:
    """The class of the trainer's method; None for a trainer that is not ours."""
    return _method_named(cfg.TRAINER.NAME)


def _method_named(trainer: str) -> Any:
    return getattr(TRAINER_REGISTRY.get(trainer), "method_class", None)


def _second_node(method: Any) -> type[SecondNode] | None:
    return None if method is None else method.repository.second_node


def _require_what_stands_beside(cfg: RunConfig, settings: Settings) -> None:
    """Raise UserError if a trainer's additions that are always on are switched off."""
    name = cfg.TRAINER.NAME
    node = always_beside(name)
    key = f"TRAINER.{node}.ON"
    if node and key in settings and not cfg.TRAINER[node].ON:
        where, alone = settings[key].where, BY_NAME[name].of
        raise UserError(
            f"{where}: {key} cannot be False because {name} always includes {node}. To train the prompts alone, use "
            f"the trainer {alone}."
        )


def _warn_of_unread(cfg: RunConfig, settings: Settings) -> None:
    """Warn of settings that the trainer does not read."""
    name, second = cfg.TRAINER.NAME, _second_node(_method_of(cfg))
    for key, replacement in unread_of(name).items():
        if key in settings.on_command_line():
            warnings.warn(f"{key} has no effect because {name} uses {replacement} instead.", stacklevel=3)
    found = [key for key in together.unread(cfg.TRAINER, cfg.TRAINER.NAME) if key in settings]
    if found:
        warnings.warn(
            f"{', '.join(found)} {'has' if len(found) == 1 else 'have'} no effect on the prompts of "
            f"{cfg.TRAINER.NAME}.",
            stacklevel=3,
        )
    beside = tuple(f"TRAINER.{node}." for node in together.asked(cfg.TRAINER, name))
    of_mpl = f"file {config_of('MPL', '').parent}/"  # a user's method runs with its images and optimiser
    config.warn_of_other_nodes(
        [
            key
            for key, given in settings.items()
            if not key.startswith(beside) and not (is_own(name) and given.source.startswith(of_mpl))
        ],
        name,
        _own_node(cfg),
        second.node.rpartition(".")[2] if second else "",
    )


def _require_takes(cfg: RunConfig) -> None:
    """Raise SettingError if the trainer does not accept an addition that is asked for."""
    for node in together.asked(cfg.TRAINER, cfg.TRAINER.NAME):
        try:
            together.require_takes(cfg.TRAINER.NAME, node)
        except SettingError as error:
            raise error.under(f"TRAINER.{node}") from None


def _facts(cfg: RunConfig, settings: Settings, mode: Mode) -> dict[str, Any]:
    """What readers and trainers are told besides what was given."""
    method, own_node = _method_of(cfg), _own_node(cfg)
    found = {
        "DATASET.ROOT": places.data_root(cfg.DATASET.ROOT),
        "TEST.ONLY": mode.eval_only or not own_node,
    }
    if READ_AS not in settings:
        found[READ_AS] = getattr(DATASET_REGISTRY.get(cfg.DATASET.NAME), "read_as", FAMILY)
    if method is not None and own_node and not mode.eval_only:
        found["DATASET.CHOOSE_BY"] = method.chooses_by(cfg.TRAINER[own_node])
    return found


def _decided(cfg: RunConfig, given: Sequence[str], method: Any) -> dict[str, Any]:
    """Settings of a method that follow from the data set, without those that are given; a message names them."""
    node = "" if method is None else method.node_name()
    if not node:
        return {}
    backbone_node = cfg.MODEL.BACKBONE
    openai = not backbone_node.PATH and known.plain(backbone_node.NAME) in known.OPENAI
    facts = RunFacts(cfg.DATASET.NAME, cfg.DATASET.SUBSAMPLE_CLASSES, cfg.TEST.ONLY, openai)
    found = {f"TRAINER.{node}.{key}": value for key, value in method.decides(cfg.TRAINER[node], facts).items()}
    taken = {key: value for key, value in found.items() if key not in given}
    if taken:
        said = ", ".join(f"{key} {value}" for key, value in taken.items())
        say(f"Settings of {cfg.TRAINER.NAME} for the data set {facts.dataset}: {said}")
    return taken


def _require_shots(cfg: RunConfig, settings: Settings) -> None:
    """Raise UserError at 0 shots, unless the method's repository or a codebase's reader gives them a meaning."""
    method, key = _method_of(cfg), "DATASET.NUM_SHOTS"
    if cfg.DATASET.NUM_SHOTS != 0 or key not in settings or READER in settings:
        return
    if method is None or not method.repository.zero_shots_mean_all:
        instead = f"Set {key} -1 to use all training images, or leave {key} out."
        raise UserError(f"{settings[key].where}: {key} is 0, but a class needs at least one training image. {instead}")


def _require_together(cfg: RunConfig) -> None:
    shots_by_class.read(cfg)  # its faults are said before anything is built
    if cfg.TEST.BASE_NEW and not (cfg.TEST.ONLY and cfg.DATASET.SUBSAMPLE_CLASSES == "all"):
        raise UserError(
            "TEST.BASE_NEW True is only supported in a test of all classes. Add --eval-only, and set "
            "DATASET.SUBSAMPLE_CLASSES to all."
        )
    asked = cfg.TEST.OOD
    if asked == NEW and cfg.DATASET.SUBSAMPLE_CLASSES != "base":
        raise UserError(
            f"TEST.OOD can only be {NEW} if the model is trained on the base classes. Set DATASET.SUBSAMPLE_CLASSES "
            "to base, or set TEST.OOD to another data set."
        )
    if asked and asked != NEW and names.find(asked)[1] == cfg.DATASET.NAME:
        raise UserError(
            f"TEST.OOD {asked} is the data set of the run itself, so its classes are not unknown. Set TEST.OOD to "
            "another data set."
        )
    if asked and cfg.ACTIVE.ROUNDS and not cfg.TEST.ONLY:
        raise UserError(
            f"TEST.OOD {asked} is not supported in active-learning rounds. Remove TEST.OOD, and test the trained model "
            "with --eval-only."
        )
    if asked and (cfg.TEST.SPLIT != "test" or cfg.TEST.NO_TEST):
        raise UserError(
            f"TEST.OOD {asked} can only be measured on the test images. Remove TEST.SPLIT and TEST.NO_TEST."
        )


def _require_no_epochs(cfg: RunConfig, settings: Settings) -> None:
    given = [key for key in _BY_EPOCH if key in settings]
    if given and counts_steps(cfg.TRAINER.NAME):
        where = settings[given[0]].where
        raise UserError(
            f"{where}: {given[0]} is not supported by {cfg.TRAINER.NAME}, whose training is defined by a number of "
            f"steps instead of epochs. Remove {given[0]}."
        )


def _image_rule(cfg: RunConfig, settings: Settings, mode: Mode) -> dict[str, Any]:
    """INPUT.DECODING of the training whose model is tested, unless it is given or was for another data set's images."""
    if READ_AS in settings:
        return {}
    rule = _of_tested_training(cfg, mode).get(READ_AS, cfg.INPUT.DECODING)
    if rule == cfg.INPUT.DECODING:
        return {}
    say(
        f"Images are decoded with {READ_AS} {rule}, as in the training run {tested_by(cfg, mode)}. The default for "
        "new runs is different."
    )
    return {READ_AS: rule}


def _require_unseen(cfg: RunConfig, mode: Mode) -> None:
    """Raise UserError if accuracy would be measured on validation images that the tested model was trained on."""
    if cfg.TEST.SPLIT == "val" and _of_tested_training(cfg, mode).get(TRAIN_ON_VAL) == "True":
        raise UserError(
            f"TEST.SPLIT val is not possible because the model in {tested_by(cfg, mode)} was trained on the validation "
            f"images ({TRAIN_ON_VAL} True). Set TEST.SPLIT to test."
        )


def _of_tested_training(cfg: RunConfig, mode: Mode) -> Mapping[str, str]:
    """Return the settings of the training whose model is tested; empty if it had another data set or is not known."""
    tested = tested_by(cfg, mode)
    try:
        made = checkpoint.read(checkpoint_at(tested, mode.load_epoch)).settings if tested else {}
    except (OSError, UserError):  # whatever loads the checkpoint reports it
        return {}
    return made if made.get("DATASET.NAME") == cfg.DATASET.NAME else {}


def _kept(cfg: RunConfig, settings: Settings, mode: Mode) -> dict[str, Any]:
    """Return the settings that a test takes from the checkpoint that is tested.

    Raises:
        UserError: if another value is set for a compared setting: nothing was learned for that value.
    """
    method, found = _method_of(cfg), {}
    kept = [] if method is None else [one for one in method.settings() if one.kept]
    if not kept or not tested_by(cfg, mode):
        return {}
    try:
        record = checkpoint.read(checkpoint_at(mode.model_dir, mode.load_epoch)).record
        values = method.kept_values(record["method"]["settings"], mode.model_dir)
        same_data = record["classes"].get("dataset") == cfg.DATASET.NAME
    except (OSError, UserError, LookupError):  # loading it says what is wrong; the family's files do not say it
        return {}
    for one in kept:
        key, value = f"{method.node}.{one.key}", values[one.field]
        mine = level_of(cfg, key)[0][one.key]
        if not one.compared and (not same_data or key in settings.on_command_line()):
            continue
        if one.compared and key in settings and mine != value:
            raise UserError(
                f"{settings[key].where}: {key} is {mine!r}, but the model in {mode.model_dir} was trained with "
                f"{value!r}. Remove {key}."
            )
        found.update({} if mine == value else {key: value})
    if found:
        say(f"Settings taken from the training run: {', '.join(f'{key} {value}' for key, value in found.items())}")
    return found


def _require_model(cfg: RunConfig, mode: Mode) -> None:
    if mode.eval_only and not mode.model_dir and not trains_nothing(cfg):
        raise UserError(
            f"--eval-only with the trainer {cfg.TRAINER.NAME} needs a trained model. Set --model-dir to the output "
            "folder of a training run, or MODEL.INIT_WEIGHTS to a checkpoint file."
        )


def _place(cfg: RunConfig, settings: Settings, mode: Mode) -> dict[str, Any]:
    """OUTPUT_DIR of a test of the training in the output folder: a folder below it."""
    data = {key: cfg.DATASET[key] for key in ("NAME", "SUBSAMPLE_CLASSES", "ROOT")}
    place = run_folder.place_of_test(cfg.OUTPUT_DIR, tested_by(cfg, mode), mode.load_epoch, data, settings.texts())
    if place == cfg.OUTPUT_DIR:
        return {}
    say(f"note: {cfg.OUTPUT_DIR} contains the model to be tested, so the result of the test is written to {place}.")
    return {"OUTPUT_DIR": place}


def _of_second_node(cfg: RunConfig, settings: Settings) -> dict[str, Any]:
    second = _second_node(_method_of(cfg))
    return {} if second is None else config.stands_for(cfg, settings, second)


def _architecture(cfg: RunConfig, settings: Settings) -> dict[str, Any]:
    """How a file with the architecture of --backbone is run; a name in a config file says nothing of a file."""
    if not cfg.MODEL.BACKBONE.PATH or _method_of(cfg) is None:
        return {}
    name = settings.get("MODEL.BACKBONE.NAME")
    is_flag = name is not None and name.is_flag
    changes = backbone.settings_of_architecture(cfg) if is_flag else {}
    if not changes:
        backbone.warn_of_unused_name(cfg, settings.on_command_line())
    return changes


def _without_test(cfg: RunConfig, settings: Settings, mode: Mode) -> dict[str, Any]:
    """Return TEST.NO_TEST True for a training on a folder without test images; a message says so."""
    find = getattr(DATASET_REGISTRY.get(cfg.DATASET.NAME), "without_test", None)
    needs_test = needs_validation(cfg) or cfg.TEST.OOD or getattr(_method_of(cfg), "in_turn", False)
    if find is None or needs_test or "TEST.NO_TEST" in settings or not trains(cfg, mode):
        return {}  # where images are needed and missing, the reader raises the error
    why = find(of_user(cfg.DATASET.ROOT or ".").absolute())
    if not why:
        return {}
    say(f"note: {why}. TEST.NO_TEST is set to True, so this run trains without measuring accuracy.")
    return {"TEST.NO_TEST": True}
