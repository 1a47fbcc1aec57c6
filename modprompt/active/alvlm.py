"""Active prompt learning as its repository has it (PCB, arXiv 2311.11178): CoOp in rounds of choosing labels."""

from dataclasses import dataclass
from typing import Any, Dict, Mapping

from modprompt.active.settings import NONE
from modprompt.errors import SettingError
from modprompt.fields import setting
from modprompt.methods.coop import CoOp
from modprompt.methods.parts.capabilities import Repository, Searching, SecondNode

ROUNDS = 8  # a literal of the repository


@dataclass(frozen=True, repr=False)
class CoOpAL(SecondNode):
    """The repository's node of its own: what chooses the labels, and phrases; they stand for ACTIVE.* and CoOp's."""

    node = "TRAINER.COOPAL"

    method: str = setting("", "what chooses candidates, for ACTIVE.METHOD; empty: none, PCB on the whole pool")
    aspath: str = setting("", "for TRAINER.COOP.ASPATH")
    aepath: str = setting("", "for TRAINER.COOP.AEPATH")
    gamma: float = setting(0.1, "for ACTIVE.GAMMA: candidates, as a share of all training images", least=0)

    def check(self) -> None:
        """Both ways at once mean nothing."""
        if self.aspath and self.aepath:
            raise SettingError([("ASPATH", " and AEPATH are both set: take one, the mean of logits or of embeddings")])

    def means(self, given: Mapping[str, str]) -> Dict[str, Any]:
        """Eight rounds with the repository's PCB, which it cannot switch off, unless there are to be none; phrases."""
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
    """CoOp under the name of PCB's repository, where it is trained in eight rounds, each on more labels."""

    node = "TRAINER.COOP"
    same_step = True
    searching = Searching(refused="search with CoOp")
    repository = Repository(second_node=CoOpAL)
