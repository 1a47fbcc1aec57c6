"""Classes with phrases that describe them: a prompt `NAME, which is/has PHRASE.` for each phrase."""

from collections.abc import Sequence
from typing import NamedTuple

from modprompt.clip.tokens import readable
from modprompt.engine.pooling import EMBEDDINGS, LOGITS
from modprompt.engine.prompts import WHICH
from modprompt.io.descriptions import Descriptions

MODES = {LOGITS: "AS", EMBEDDINGS: "AE"}  # PCB's names for the mean of logits (similarities), and of embeddings


class Described(NamedTuple):
    """Phrases that describe classes.

    content: phrases by class.
    pooled: LOGITS or EMBEDDINGS, whose mean a class's features are.
    """

    content: Descriptions
    pooled: str

    def __str__(self) -> str:
        return f"{MODES[self.pooled]} {self.content.hash}"

    def prompts(self, classnames: Sequence[str]) -> tuple[list[str], list[int]]:
        """The text for the class name in each prompt, class by class; and the number of prompts of each class.

        Raises:
            UserError: if classes have no phrases; the message names all of them.
        """
        phrases = self.content.of(classnames)
        names = [f"{readable(name).lower()}{WHICH}{one}" for name, own in zip(classnames, phrases) for one in own]
        return names, [len(own) for own in phrases]
