"""Active prompt learning as in PCB's repository (arXiv 2311.11178): CoOp in rounds that choose images to label."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modprompt.data.rounds import NONE
from modprompt.errors import SettingError
from modprompt.fields import setting
from modprompt.methods.coop import CoOp
from modprompt.methods.parts.capabilities import Repository, SecondNode

ROUNDS = 8  # hard-coded in the repository


@dataclass(frozen=True, repr=False)
class CoOpAL(SecondNode):
    """The repository's own config node: how images are chosen, and phrases; translated to ACTIVE.* and CoOp's keys."""

    node = "TRAINER.COOPAL"

    method: str = setting("", "the acquisition function (see ACTIVE.METHOD); PCB on the whole pool if empty")
    aspath: str = setting("", "the file with class descriptions (see TRAINER.COOP.ASPATH)")
    aepath: str = setting("", "the file with class descriptions (see TRAINER.COOP.AEPATH)")
    gamma: float = setting(
        0.1, "the number of candidates as a fraction of all training images (see ACTIVE.GAMMA)", least=0
    )

    def check(self) -> None:
        """Both paths at once are refused."""
        if self.aspath and self.aepath:
            raise SettingError(
                [
                    (
                        "ASPATH",
                        " and AEPATH are both set. Set only ASPATH (mean of the logits) or only AEPATH (mean of the "
                        "embeddings).",
                    )
                ]
            )

    def means(self, given: Mapping[str, str]) -> dict[str, Any]:
        """Eight rounds with PCB, which the repository cannot switch off, unless no rounds are wanted; and phrases."""
        paths = {"ASPATH": self.aspath, "AEPATH": self.aepath}
        phrases = {f"{CoOp.node}.{key}": path for key, path in paths.items() if path}
        if given.get("ACTIVE.ROUNDS") == "0":
            return phrases
        return {
            "ACTIVE.ROUNDS": ROUNDS,
            "ACTIVE.METHOD": self.method or NONE,
            "ACTIVE.PCB": True,
            "ACTIVE.GIVE_UP": True,
            "ACTIVE.GAMMA": self.gamma,
            **phrases,
        }


@dataclass(frozen=True, repr=False)
class ALVLM(CoOp):
    """CoOp by its name in PCB's repository, which trains it in eight rounds, each with more labels."""

    node = "TRAINER.COOP"
    not_searched = "search with CoOp"
    repository = Repository(second_node=CoOpAL)
