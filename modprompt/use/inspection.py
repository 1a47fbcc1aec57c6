"""A trained model on one image and a list of class names: probabilities, and where its layers look."""

import threading
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import torch
from PIL import Image

from modprompt.errors import UserError
from modprompt.io.image_files import read_rgb
from modprompt.methods.model import PromptedModel
from modprompt.use.attention import Attention, as_seen, attention_of, layers_of, overlay
from modprompt.use.preprocessing import images_of
from modprompt.use.trained import Trained

_MOST_CLASSES = 5000


class Seen(NamedTuple):
    """The results for an image.

    shares: (class name, probability), most probable first.
    picture: the image as the model was given it.
    attention: where it looked; None if that cannot be shown (a ResNet).
    said: a message on the class names; empty for none.
    """

    shares: list[tuple[str, float]]
    picture: Image.Image
    attention: Attention | None
    said: str


class Look:
    """A trained model for several visitors of a page, one after the other.

    Args:
        trained: the model.
    """

    def __init__(self, trained: Trained):
        self.trained = trained
        self._lock = threading.Lock()
        self._model, self._said = trained.model, ""

    @property
    def names(self) -> tuple[str, ...]:
        """The class names that it was trained or opened with."""
        return self.trained.model.classes.names

    @property
    def bound(self) -> bool:
        """Whether its prompts belong to these names (CSC), so that no others can be given."""
        return self.trained.model.prompt_learner.bound

    @property
    def layers(self) -> int:
        """How many layers' attention can be shown; 0 for none."""
        return layers_of(self.trained.model)

    def look(self, file: str, text: str) -> Seen:
        """The results for an image file.

        Args:
            file: its path.
            text: class names, one on each line.

        Raises:
            UserError: if it is not an image, or the names do not fit.
        """
        names = names_in(text)
        image = read_rgb(file, self.trained.read_as)
        with self._lock:
            model = self._for(names)
            images = self.trained.preprocess(image)[None].to(model.logit_scale.device)
            with torch.no_grad():
                shares = model(images)[0].float().softmax(dim=0).cpu()
            attention = attention_of(model, images) if self.layers else None
            picture = as_seen(model, images[0], images_of(self.trained.preprocess))
            order = shares.argsort(descending=True).tolist()
            return Seen([(names[i], float(shares[i])) for i in order], picture, attention, self._said)

    def _for(self, names: Sequence[str]) -> PromptedModel:
        """The model for these names, kept until others are given."""
        if tuple(names) == self.names:
            self._model, self._said = self.trained.model, ""
        elif tuple(names) != self._model.classes.names:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                self._model = self.trained.model.with_classes(names)
            said = [self.trained.model.said_of(names), *(str(one.message) for one in told)]
            self._said = "; ".join(filter(None, said))
        return self._model


def names_in(text: str) -> list[str]:
    """The class names in a text, one on each line.

    Raises:
        UserError: if there is none, or too many for a page.
    """
    names = [line.strip() for line in text.splitlines() if line.strip()]
    if not names:
        raise UserError("no class names: write at least one, one on each line")
    if len(names) > _MOST_CLASSES:
        raise UserError(f"{len(names)} class names: the page accepts {_MOST_CLASSES}, modprompt predict any number")
    return names


def overlays(seen: Seen, layer: int) -> list[tuple[str, Image.Image]]:
    """Images with captions: where a layer's (from 0) class token, if there is one, and prompt tokens look."""
    if seen.attention is None:
        return []
    found = seen.attention
    maps = [] if found.class_token is None else [("class token", found.class_token[layer, 0])]
    maps += [(f"prompt {number}", one[0]) for number, one in enumerate(found.prompts[layer], start=1)]
    return [(f"{name}: {100 * float(one.sum()):.0f}% on patches", overlay(seen.picture, one)) for name, one in maps]
