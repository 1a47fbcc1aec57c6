"""The methods by name: where each is and of what kind. Only names, so that reports need no PyTorch."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from modprompt import places
from modprompt.checks import check_name, nearest
from modprompt.errors import UserError

if TYPE_CHECKING:
    from modprompt.methods.base import Method

# trains prompts; trains a head on features; trains nothing; is added to other methods and is not a trainer
PROMPTS, HEADS, ZERO_SHOT, BESIDE = "prompts", "heads", "zero-shot", "beside"
_BOTH = {"text": "N_CTX", "vision": "N_CTX"}
_APART = {"text": "N_CTX_TEXT", "vision": "N_CTX_VISION"}
_TEXT = {"text": "N_CTX"}
_FREE = {"text": "", "vision": ""}
_OF_TIP = {"OPTIM.LR": "TRAINER.TIPADAPTER.LR", "OPTIM.MAX_EPOCH": "TRAINER.TIPADAPTER.TRAIN_EPOCH"}
_OF_LPP = {"OPTIM.LR": "learning rates computed from features", "OPTIM.MAX_EPOCH": "TRAINER.LPPLUSPLUS.TRAIN_EPOCH"}
_CSC = {"CSC": True, "CTX_INIT": False}  # with words all classes share one context


class Row(NamedTuple):
    """A method.

    name: its own, also of its trainer and, in capitals, mostly of its node.
    module: where its class is.
    kind: PROMPTS, HEADS or ZERO_SHOT; BESIDE in PLUG_INS.
    configs: its folder in configs/trainers.
    room: the package of its module.
    of: the method that it is under another name, if any.
    reads: another method whose node it reads, if any.
    key: its node's name, if not its own in capitals.
    rounds: whether it is trained in rounds of active learning unless said otherwise.
    first: by side with a schedule setting, the setting of how many tokens layer 0 adds; "" if only the schedule
        schedule alone says it.
    bound: settings that are set (True) or empty (False) if what is learned belongs to its classes; {} if it never
        does.
    apart: whether it trains on all classes, and one run tests base classes among base ones and new among new.
    shared: the node in which its repository keeps its settings, by the same names, with others'.
    beside: the node under TRAINER of an addition that it always has; empty for none.
    joins: the methods to whose prompts it is added where its ON says so.
    alone: its settings that have no effect there.
    front: its module in trainers/, if that has another name than its own.
    steps: whether its training counts steps, not epochs.
    unread: settings of runs that it does not read, and what it has in their place.
    """

    name: str
    module: str
    kind: str
    configs: str
    room: str = "methods"
    of: str = ""
    reads: str = ""
    key: str = ""
    rounds: bool = False
    first: Mapping[str, str] = {}
    bound: Mapping[str, bool] = {}
    shared: str = ""
    beside: str = ""
    joins: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()
    front: str = ""
    apart: bool = False
    steps: bool = False
    unread: Mapping[str, str] = {}

    @property
    def node(self) -> str:
        """The node of its settings."""
        return f"TRAINER.{self.key or (self.reads or self.name).upper()}"

    @property
    def sides(self) -> tuple[str, ...]:
        """The sides with a schedule setting, SCHEDULE_TEXT or SCHEDULE_VISION."""
        return tuple(self.first)

    @property
    def method(self) -> "type[Method]":
        """Its class; imports PyTorch."""
        if self.name in _OWN:
            return _OWN[self.name]
        found: type[Method] = getattr(importlib.import_module(f"modprompt.{self.room}.{self.module}"), self.name)
        return found


_WITH_HEAD: tuple[tuple[str, Mapping[str, str], Mapping[str, bool], str], ...] = (
    ("CoOp", _TEXT, _CSC, ""),
    ("CoCoOp", _TEXT, {}, ""),
    ("KgCoOp", _TEXT, _CSC, "TRAINER.COOP"),
    ("MaPLe", _BOTH, {}, ""),
)
PLUG_INS: tuple[Row, ...] = (
    Row("KDPL", "kdpl", BESIDE, "", joins=("CoOp", "CoCoOp", "VPT", "MaPLe", "PromptSRC", "MPL")),
    Row("DePT", "dept", BESIDE, "", joins=("CoOp", "CoCoOp", "KgCoOp", "MaPLe", "MPL", "PromptSRC")),
)
METHODS: tuple[Row, ...] = (
    Row("MPL", "mpl", PROMPTS, "MPL", first=_BOTH),
    Row("MaPLe", "maple", PROMPTS, "MaPLe", first=_BOTH),
    Row("IVLP", "ivlp", PROMPTS, "IVLP", first=_APART),
    Row("PromptSRC", "promptsrc", PROMPTS, "PromptSRC", first=_APART),
    Row("VPT", "vpt", PROMPTS, "VPT", first={"vision": "N_CTX_VISION"}),
    Row("CoOp", "coop", PROMPTS, "CoOp", first=_TEXT, bound=_CSC),
    Row("CoCoOp", "cocoop", PROMPTS, "CoCoOp", first=_TEXT),
    Row("KgCoOp", "kgcoop", PROMPTS, "KgCoOp", first=_TEXT, bound=_CSC, shared="TRAINER.COOP"),
    Row("ProGrad", "prograd", PROMPTS, "ProGrad", first=_TEXT, bound=_CSC, shared="TRAINER.COOP"),
    Row("TCP", "tcp", PROMPTS, "TCP", first=_TEXT),
    Row(
        "MultiModalAdapter",
        "mma",
        PROMPTS,
        "MultiModalAdapter",
        key="MMADAPTER",
        joins=("CoOp", "MPL"),
        alone=("TEXT_CTX_INIT",),
        front="mmadapter",
    ),
    Row(
        "CLIPLoRA",
        "clip_lora",
        PROMPTS,
        "CLIPLoRA",
        steps=True,
        joins=("CoOp", "MPL"),
        alone=("N_ITERS", "LITERAL_SCALE"),
    ),
    Row("TwoSFS", "two_stage", PROMPTS, "TwoSFS", steps=True),
    Row("MMRL", "mmrl", PROMPTS, "MMRL"),
    Row("MMRLpp", "mmrl", PROMPTS, "MMRLpp", key="MMRLpp", front="mmrlpp"),
    Row("HiCroPL", "hicropl", PROMPTS, "HiCroPL"),
    Row("LightRA", "lightra", PROMPTS, "LightRA", key="LightRA"),
    *(
        Row(
            f"ExtrasLinearProbe{name}",
            "dept",
            PROMPTS,
            f"ExtrasLinearProbe{name}",
            of=name,
            reads=name,
            first=first,
            bound=bound,
            shared=shared,
            beside="DEPT",
        )
        for name, first, bound, shared in _WITH_HEAD
    ),
    Row("PromptKD", "promptkd", PROMPTS, "PromptKD", first={"vision": "N_CTX_VISION"}, apart=True),
    Row("ALVLM", "alvlm", PROMPTS, "ALVLM", "active", of="CoOp", reads="CoOp", rounds=True, first=_TEXT, bound=_CSC),
    Row("DPL", "dpl", PROMPTS, "DPL", first=_FREE),
    Row("DPLSearch", "search.dpl_search", PROMPTS, "DPLSearch", front="dpl"),
    Row("TrainerSubnet", "dpl", PROMPTS, "TrainerSubnet", of="DPL", first=_FREE, front="trainersubnet"),
    Row("TrainerSupernet", "search.dpl_search", PROMPTS, "TrainerSupernet", of="DPLSearch", front="trainersupernet"),
    Row("TipAdapter", "heads.tip_adapter", HEADS, "TipAdapter"),
    Row("TipAdapterF", "heads.tip_adapter", HEADS, "TipAdapter", reads="TipAdapter", unread=_OF_TIP),
    Row("CLIP_Adapter", "heads.clip_adapter", HEADS, "CLIP_Adapter"),
    Row("TaskRes", "heads.taskres", HEADS, "TaskRes", key="TaskRes"),
    Row("LPPlusPlus", "heads.lpplusplus", HEADS, "LPPlusPlus", unread=_OF_LPP),
    Row("ADAPTER", "heads.adapter", HEADS, "ADAPTER"),
    Row("TDA", "heads.tda", HEADS, "TDA"),
    Row("ZeroshotCLIP", "zeroshot", ZERO_SHOT, "CoOp", front="zsclip"),  # whose images and backbones it uses
    Row("ZeroshotCLIP2", "zeroshot", ZERO_SHOT, "CoOp", front="zsclip"),
)
BY_NAME: dict[str, Row] = {row.name: row for row in METHODS}
_OWN: "dict[str, type[Method]]" = {}  # methods of users
_OF_SCRIPTS = ("scripts", "few_shot", "cross")  # what scripts/methods.sh reads of configs/trainers.yaml
_MPL = "MPL"  # whose images, optimiser, batch and learning rate a method without configs has

_GONE = {  # what methods of users once had: what says it now
    **dict.fromkeys(("own_rates", "averaging", "needs"), "`training` (modprompt/methods/parts/capabilities.py)"),
    **dict.fromkeys(
        ("folder", "prefix"), "`saved_as = SavedAs(folder, prefix)` (modprompt/methods/parts/capabilities.py)"
    ),
    "searching": "`not_searched`",
    "key": "the learner's `checkpoint_key`",
    "log": "`objective(model)._replace(log=...)`",
}


def enter(method: "type[Method]") -> None:
    """Register a user's method, by its settings; a class that is defined again replaces the old one.

    Raises:
        UserError: if there is another method of its name, or it has something that is not read any more.
    """
    name = method.__name__
    there = _OWN.get(name)
    if name in BY_NAME and (there is None or there.__module__ != method.__module__):
        whose = "modprompt" if there is None else there.__module__
        raise UserError(
            f"The class {method.__module__}.{name} cannot be registered, because {whose} already has a method with "
            "this name. Use another name for your class."
        )
    fields = {one.field for one in method.settings()}
    for old, new in _GONE.items():
        if old in vars(method) and old not in fields:
            raise UserError(f"{method.__module__}.{name}: the attribute {old} is no longer used. Use {new} instead.")
    kind = HEADS if hasattr(method, "head") else PROMPTS
    keys = {one.key for one in method.settings()}
    first = {side: _first(side, keys) for side in ("text", "vision") if f"SCHEDULE_{side.upper()}" in keys}
    _OWN[name] = method
    BY_NAME[name] = Row(name, "", kind, name, key=method.node_name(), first=first)


def _first(side: str, keys: set[str]) -> str:
    return next((key for key in (f"N_CTX_{side.upper()}", "N_CTX") if key in keys), "")


def entered() -> "list[type[Method]]":
    """The methods of users."""
    return list(_OWN.values())


def row_of(name: str, asked: str = "method") -> Row:
    """The row of a method.

    Args:
        name: of the method.
        asked: the word for it in messages.

    Raises:
        SettingError: if there is none; the message names the nearest.
    """
    check_name(name, list(BY_NAME), asked)
    return BY_NAME[name]


def beside_of(name: str) -> Row:
    """The row of an addition to other methods, which may be a method of its own.

    Raises:
        SettingError: if there is none.
    """
    return next((row for row in PLUG_INS if row.name == name), None) or row_of(name)


def always_beside(name: str) -> str:
    """The node under TRAINER of the addition that a trainer always has; empty for none."""
    return BY_NAME[name].beside if name in BY_NAME else ""


def counts_steps(name: str) -> bool:
    """Whether a trainer's training counts steps, not epochs; not so for one that is not ours."""
    return name in BY_NAME and BY_NAME[name].steps


def unread_of(name: str) -> Mapping[str, str]:
    """Settings of runs that a trainer does not read, and what it has in their place."""
    return BY_NAME[name].unread if name in BY_NAME else {}


def is_own(name: str) -> bool:
    """Whether it is a user's method."""
    return name in _OWN


def configs_of(name: str) -> str:
    """The folder in configs/trainers with a trainer's files; for one that has none there, MPL's."""
    own = BY_NAME[name].configs if name in BY_NAME else name
    return own if own and (places.configs() / "trainers" / own).is_dir() else _MPL


def config_of(trainer: str, name: str) -> Path:
    """The config file of this name (without .yaml) among those of a trainer; it may be missing."""
    return places.configs() / "trainers" / configs_of(trainer) / f"{name}.yaml"


def configs_by_clip(trainer: str) -> dict[str, str]:
    """A trainer's default configs, {name of a CLIP: name of the config}; MPL's for a user's method, else none."""
    from modprompt.io.records import read_yaml  # late: the table is read where nothing is installed but this package

    row = read_yaml(places.configs() / "trainers.yaml").get(_MPL if is_own(trainer) else trainer, {})
    return {clip: config for clip, config in row.items() if clip not in _OF_SCRIPTS}


def find_config(word: str, trainer: str, folder: Path = Path()) -> Path | None:
    """The config file that a word means; None if there is none.

    Args:
        word: a path from the folder; configs/... of this project; a name among the trainer's; another one's, MPL/glyph.
        trainer: whose configs are found by name; empty for none.
        folder: from which paths are seen.
    """
    found, (whose, _, name) = places.named_file(word, folder), word.rpartition("/")
    if found is not None or not (whose or trainer) or name.endswith(".yaml"):
        return found
    path = _named(whose, name) if whose else config_of(trainer, name)
    return path if "/" not in whose and path.is_file() else None


def _named(whose: str, name: str) -> Path:
    """The config of WHOSE/NAME: of a trainer, or of a folder in configs/trainers; it may be missing."""
    return config_of(whose, name) if whose in BY_NAME else places.configs() / "trainers" / whose / f"{name}.yaml"


def config_file(word: str, trainer: str, folder: Path = Path()) -> Path:
    """The config file that a word means, as find_config.

    Raises:
        UserError: if there is none; those that are found by name are told.
    """
    found = find_config(word, trainer, folder)
    if found is not None:
        return found
    places.require_no_folder(word, folder)
    path = Path(word)
    whose = path.parent.name if path.parent.name and _named(path.parent.name, "").parent.is_dir() else trainer
    there = sorted(one.stem for one in _named(whose, "").parent.glob("*.yaml")) if whose else []
    if there:
        hint = nearest(path.name.removesuffix(".yaml"), there) or "."
        to_do = f"The config files of {whose} are {', '.join(there)}."
    else:
        hint, to_do = ".", "Use a path, or the name of a trainer and of one of its config files, such as MPL/glyph."
    raise UserError(f"Unknown config file {word[:100]}{hint} {to_do}")


def kind_of(name: str) -> str:
    """The kind of the method whose trainer has this name; empty for one that is not ours."""
    return BY_NAME[name].kind if name in BY_NAME else ""


def sides_of(name: str) -> tuple[str, ...]:
    """The sides with a schedule setting in a trainer's node; none for one that is not ours."""
    return BY_NAME[name].sides if name in BY_NAME else ()
