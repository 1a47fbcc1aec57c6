"""What describes classes: phrases, each of which makes a prompt, and sentences.

A file has them as {class: [text, ...]}. Shapes: C classes, E joint width.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from modprompt.clip.tokens import readable
from modprompt.engine.pooling import EMBEDDINGS, LOGITS
from modprompt.engine.prompts import WHICH, template_texts
from modprompt.errors import UserError
from modprompt.io import descriptions
from modprompt.io.descriptions import TEMPLATE, Descriptions
from modprompt.methods.named_files import default_sentences
from modprompt.methods.parts import templates
from modprompt.methods.parts.losses import FrozenCLIP

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


_AT_ONCE = 256  # sentences


class Sentences(NamedTuple):
    """Sentences of classes, or only a template.

    content: sentences by class; None for the template.
    template: with {} for the name.
    """

    content: Descriptions | None
    template: str = ""

    @classmethod
    def of(cls, setting: str, dataset: str, trainer: str) -> "Sentences":
        """The sentences that a setting names.

        Args:
            setting: as in descriptions.read_sentences.
            dataset: its name.
            trainer: whose setting it is.

        Raises:
            UserError: if there is no such file, or it holds something else.
        """
        content = descriptions.read_sentences(setting, dataset, default_sentences(dataset, trainer))
        return cls(content, "" if content else templates.OF_DATASETS.get(dataset, templates.DEFAULT))

    @classmethod
    def of_record(cls, mark: str, content: Any, path: str) -> "Sentences":
        """The sentences in a checkpoint.

        Args:
            mark: the text of `mark` for them.
            content: the sentences, as plain values; None for a template.
            path: of the file, for messages.

        Raises:
            UserError: if they are missing.
        """
        word, _, template = mark.partition(" ")
        if word == TEMPLATE and "{}" in template:
            return cls(None, template)
        if not isinstance(content, dict):
            raise UserError(f"{path} is damaged: its class descriptions cannot be read. Use another copy of the file.")
        return cls(descriptions.of_record(content, path))

    def __str__(self) -> str:
        return f'the template "{self.template}"' if self.content is None else f"{self.content.source}"

    @property
    def mark(self) -> str:
        """A text that differs for each content."""
        return f"{TEMPLATE} {self.template}" if self.content is None else self.content.hash

    def texts(self, classnames: Sequence[str]) -> list[tuple[str, ...]]:
        """The sentences of each class.

        Raises:
            UserError: if classes have none.
        """
        if self.content is None:
            return [(text,) for text in template_texts(classnames, self.template)]
        return self.content.of(classnames)

    def mean_features(self, frozen: FrozenCLIP, classnames: Sequence[str]) -> Tensor:
        """Class features (C, E), float32, of length 1: the mean over a class's sentences, each of length 1.

        Raises:
            UserError: if a class has no sentence, or one is too long.
        """
        each = self.texts(classnames)
        classes = {text: name for name, own in zip(classnames, each) for text in own}  # equal texts are encoded once
        try:
            found = unit_features(frozen, list(classes), list(classes.values()))
        except UserError as error:
            said = str(error).partition(". Shorten")[0]  # words that are not these
            raise UserError(f"{self}: {said}. Shorten the class description.") from None
        places = {text: place for place, text in enumerate(classes)}
        means = [found[[places[text] for text in own]].mean(0) for own in each]
        return F.normalize(torch.stack(means), dim=-1)


def unit_features(frozen: FrozenCLIP, texts: Sequence[str], classnames: Sequence[str], cut: bool = False) -> Tensor:
    """Features (N, E), float32, of length 1, of N texts, each of the class of that name.

    Raises:
        UserError: if one is too long, and longer ones are not `cut`.
    """
    labels, starts = [readable(name) for name in classnames], range(0, len(texts), _AT_ONCE)
    bar = tqdm(starts, desc="Features of class descriptions", leave=False, disable=True if len(starts) == 1 else None)
    parts = [frozen.text_features(texts[at : at + _AT_ONCE], labels[at : at + _AT_ONCE], cut) for at in bar]
    return F.normalize(torch.cat(parts).float(), dim=-1)
