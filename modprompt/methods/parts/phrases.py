"""Classes with phrases that describe them: a prompt `NAME, which is/has PHRASE.` for each phrase."""

from typing import List, NamedTuple, Sequence, Tuple

from modprompt.clip.tokens import readable
from modprompt.engine.pooling import EMBEDDINGS, LOGITS
from modprompt.engine.prompts import WHICH
from modprompt.io.descriptions import Descriptions

MODES = {LOGITS: "AS", EMBEDDINGS: "AE"}  # as PCB calls the mean of logits (similarities), and of embeddings


class Described(NamedTuple):
    """What describes classes.

    content: phrases by class.
    pooled: LOGITS or EMBEDDINGS, of which a class's features are the mean.
    """

    content: Descriptions
    pooled: str

    def __str__(self) -> str:
        return f"{MODES[self.pooled]} {self.content.hash}"

    def prompts(self, classnames: Sequence[str]) -> Tuple[List[str], List[int]]:
        """What stands in the class name's place in each prompt, class by class; and how many each class has.

        Raises:
            UserError: if a class has no phrases; all such are told.
        """
        phrases = self.content.of(classnames)
        names = [f"{readable(name).lower()}{WHICH}{one}" for name, own in zip(classnames, phrases) for one in own]
        return names, [len(own) for own in phrases]
