"""CLAP, ZS-LP (arXiv 2312.12730) and the heads that their authors compare with: one trainer, chosen by INIT."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modprompt.errors import SettingError
from modprompt.fields import setting
from modprompt.methods.heads.base import Head
from modprompt.methods.heads.compared import ClipA, TipA
from modprompt.methods.heads.enhanced_base import EnhancedBase
from modprompt.methods.heads.head_groups import SearchedHead
from modprompt.methods.heads.prototypes import HOW, RANDOM, RESIDUAL, TEXT, PrototypesHead
from modprompt.methods.heads.search import Grid
from modprompt.methods.parts.capabilities import Logging

_SEARCH, _TRAINED = "grid_search", "-f-"  # further words in INIT
_TASK_RESIDUAL = 0.5


@dataclass(frozen=True, repr=False)
class ADAPTER(EnhancedBase, SearchedHead):
    """The head that INIT names, kept near the text by CONSTRAINT: ZS with none is ZS-LP, with l2 it is CLAP."""

    node = "TRAINER.ADAPTER"
    folder = "adapter"
    logging = Logging(accuracy=True)

    init: str = setting(
        "ZS",
        "RANDOM, ZS, TR, ClipA or TipA (with -f- in it, its keys are trained; with grid_search, alpha and beta are "
        "searched)",
    )
    constraint: str = setting(
        "l2",
        "none, or l2: the distance to the text is added to the loss; "
        "further words choose its weights: balanced, constant, corrected, adaptative",
        compared=False,
    )
    views: int = setting(20, "augmented passes over the training images, all of them kept", least=1)
    as_published: bool = setting(False, "TipA with affinities of raw features, as in the reference")

    def check(self) -> None:
        super().check()
        faults = []
        if not self.kind:
            faults.append(("INIT", f" must be one of {', '.join(_HEADS)}, got {self.init!r}"))
        elif _SEARCH in self.init and self.kind != "TipA":
            faults.append(("INIT", f" {self.init}: only TipA has a search; set the values of {self.kind} run by run"))
        if self.constraint != "none" and (
            "l2" not in self.constraint or re.sub("|".join(("l2", *HOW, "[-_+ ,]")), "", self.constraint)
        ):
            allowed = f"none, or l2 and any of {', '.join(HOW)}, as in l2-balanced"
            faults.append(("CONSTRAINT", f" must be {allowed}, got {self.constraint!r}"))
        elif self.constraint != "none" and self.kind in ("ClipA", "TipA"):
            faults.append(("CONSTRAINT", f" must be none with INIT {self.init}, which learns no class features"))
        if faults:
            raise SettingError(faults)

    @property
    def kind(self) -> str:
        """The head that INIT names; empty if there is none."""
        return next((one for one in _HEADS if (one == self.init if one == "RANDOM" else one in self.init)), "")

    def head(self, names: Sequence[str], width: int) -> Head:
        """The head that INIT names, newly drawn."""
        return _HEADS[self.kind](self, names, width)

    def held(self) -> str:
        """CONSTRAINT; empty for none."""
        return "" if self.constraint == "none" else self.constraint

    def passes(self) -> int:
        return self.views

    @classmethod
    def chooses_by(cls, settings: Mapping[str, Any]) -> str:
        return super().chooses_by(settings) if _SEARCH in settings["INIT"] else ""

    def grid(self) -> Grid | None:
        return super().grid() if _SEARCH in self.init else None


_HEADS: dict[str, Callable[[ADAPTER, Sequence[str], int], Head]] = {  # in the order in which INIT is searched
    "RANDOM": lambda one, names, width: PrototypesHead(names, width, RANDOM, one.held()),
    "ZS": lambda one, names, width: PrototypesHead(names, width, TEXT, one.held()),
    "TR": lambda one, names, width: PrototypesHead(names, width, RESIDUAL, one.held(), _TASK_RESIDUAL),
    "ClipA": lambda one, names, width: ClipA(names, width),
    "TipA": lambda one, names, width: TipA(names, width, _TRAINED in one.init, one.as_published),
}
