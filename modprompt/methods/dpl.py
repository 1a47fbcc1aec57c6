"""Differentiable Prompt Learning's training stage (DPL, arXiv 2501.00457): prompts of searched lengths for each layer.

Shapes: T text width, V vision width.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from modprompt.clip.draws import draw_constructor
from modprompt.clip.towers import CLIP, text_width
from modprompt.engine.model import Output
from modprompt.engine.prompts import Prompts
from modprompt.engine.schedule import BEFORE_START, BEHIND_LN_PRE, Schedule, Schedules, Shape, by_lengths
from modprompt.errors import SettingError, UserError
from modprompt.fields import changed, setting
from modprompt.methods.model import PromptedModel
from modprompt.methods.parts import templates
from modprompt.methods.parts.capabilities import SavedAs
from modprompt.methods.parts.groups import LearnedText, PromptsVision, Regularised, written_out
from modprompt.methods.parts.learners import Classes, IndependentPromptLearner, Learner
from modprompt.methods.parts.losses import Objective, cross_entropy

_LISTS = {"vision_prompts": "ctx_img_lst", "text_prompts": "ctx_txt_lst"}
WORDS = ("default", "custom", "ensemble")
OWN_PLACES = {"text": BEFORE_START, "vision": BEHIND_LN_PRE}


@dataclass(frozen=True, repr=False)
class DPL(LearnedText, PromptsVision, Regularised):
    """DPL: new prompts of the lengths that a search has found, on both sides, without coupling.

    Its distillation is logits_loss_weight, off by default; the teacher's class features are those of sixty templates.
    """

    node = "TRAINER.DPL"
    saved_as = SavedAs("MultiModalPromptLearner")
    not_searched = "the lengths of DPL are searched by DPLSearch. Use the trainer DPLSearch"

    ctx_init: str = setting(
        "default",
        "the templates of the class names: default for a single template, custom for the template of the "
        "data set, ensemble for sixty templates",
        choices=WORDS,
    )
    lengths_text: tuple[int, ...] = setting(
        (), "the list of the number of prompt tokens in each layer of the text encoder, as found by DPLSearch"
    )
    lengths_vision: tuple[int, ...] = setting(
        (), "the list of the number of prompt tokens in each layer of the image encoder, as found by DPLSearch"
    )
    txt_alpha_path: str = setting("", "the path of the text encoder's alphas, which set LENGTHS_TEXT", compared=False)
    img_alpha_path: str = setting(
        "", "the path of the image encoder's alphas, which set LENGTHS_VISION", compared=False
    )
    alphas_swapped: bool = setting(
        False,
        "swaps the two alpha files if True; needed for files of the original code, whose names are interchanged",
        compared=False,
    )

    def check(self) -> None:
        super().check()
        faults = []
        for side in ("text", "vision"):
            lengths, steps = getattr(self, f"lengths_{side}"), getattr(self, f"schedule_{side}")
            key = f"LENGTHS_{side.upper()}"
            if lengths and steps:
                faults.append((key, f" and SCHEDULE_{side.upper()} are both set. Remove either of them."))
            wrong = [n for n in lengths if isinstance(n, bool) or not isinstance(n, int) or n < 0]
            if wrong:
                faults.append(
                    (
                        key,
                        f" must be a list of whole numbers from 0 up, with a number for each layer, got {wrong[0]!r}.",
                    )
                )
        for side, key in (("text", "TXT_ALPHA_PATH"), ("vision", "IMG_ALPHA_PATH")):
            if getattr(self, key.lower()).lower() not in ("", "none"):
                faults.append(
                    (key, f" is supported only by train.py and experiments. Set LENGTHS_{side.upper()} instead.")
                )
        if faults:
            raise SettingError(faults)

    def schedules(self, shape: Shape) -> Schedules:
        found: dict[str, Schedule] = {}
        faults: list[tuple[str, str]] = []
        for side, layers in (("text", shape.text_layers), ("vision", shape.vision_layers)):
            try:
                found[side] = self._side(side, layers)
            except SettingError as error:
                faults += error.faults
        if faults:
            raise SettingError(faults)
        return Schedules(**found)

    def _side(self, side: str, layers: int) -> Schedule:
        lengths: Sequence[int] = getattr(self, f"lengths_{side}")
        key = f"LENGTHS_{side.upper()}"
        if not lengths:
            written = written_out(side, getattr(self, f"schedule_{side}"), layers, 0, "")
            if written is None:
                text = f" is missing. Find the lengths with DPLSearch, or set SCHEDULE_{side.upper()} @schedule.json."
                raise SettingError([(key, text)])
            return written.at(OWN_PLACES[side])
        if len(lengths) != layers:
            text = f" has {len(lengths)} numbers, but the model has {layers} {side} layers"
            if len(self.lengths_vision if side == "text" else self.lengths_text) == layers:
                text += (
                    ", which is the length of the list of the other encoder. If the two files are interchanged, set "
                    "ALPHAS_SWAPPED True"
                )
            raise SettingError([(key, text)])
        try:
            return by_lengths(lengths, side, OWN_PLACES[side])
        except UserError as error:
            raise SettingError([(key, f": {error}")]) from None

    def words(self, dataset: str) -> str:
        """The words in front of a class name; for the ensemble, of its last template, which ends the prompt."""
        template = {
            "custom": templates.DPL_CUSTOM.get(dataset, templates.DEFAULT),
            "ensemble": templates.DIVERSE[-1],
        }.get(self.ctx_init, templates.DEFAULT)
        return template.partition("{}")[0].strip()

    def learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> "LengthsPromptLearner":
        averaged = templates.DIVERSE if self.ctx_init == "ensemble" else ()
        return LengthsPromptLearner(classes.names, clip_model, schedules, self.words(classes.dataset), averaged)

    def for_classes(self, learner: Any, clip_model: CLIP, classes: Classes) -> Learner:
        other = copy.copy(learner)
        other.prefix = "X " * learner.schedules.text.among_words + self.words(classes.dataset)
        return super().for_classes(other, clip_model, classes)

    def objective(self, model: PromptedModel) -> Objective:
        return super().objective(model)._replace(log=self._log)

    def _log(self, output: Output, labels: Tensor, loss: Tensor) -> Mapping[str, Tensor]:
        """loss_train and loss_ce; also loss_div, the divergence, if nothing else is added to the loss."""
        added = any(self.weights()) or self.kg_weight
        entropy = cross_entropy(output, labels, labels) if added else loss
        of_logits = self.logits_loss_weight and not (self.text_loss_weight or self.image_loss_weight or self.kg_weight)
        divergence = {"loss_div": (loss - entropy) / self.logits_loss_weight} if of_logits else {}
        return {"loss_train": loss, "loss_ce": entropy, **divergence}


@dataclass(frozen=True, repr=False)
class TrainerSubnet(DPL):
    """DPL with the name, the node and the defaults of its repository."""

    node = "TRAINER.TRAINERSUBNET"
    learner_of = "DPL"

    ctx_init: str = changed(DPL, "ctx_init", "ensemble")


class LengthsPromptLearner(IndependentPromptLearner):
    """Own vectors for every layer that adds tokens; words are fixed.

    Random draws: vision prompts by layer, text prompts by layer, both from layer 0 on, normal with std 0.02; then what
    the constructor of a CLIP draws, since the reference builds its teacher here. Text prompts after the start token
    push the words on, as in MaPLe.

    Args:
        words: in front of a class name.
        averaged: templates whose embedded words are averaged; without them the words are those of `words`.

    Raises:
        UserError: as PromptText.
    """

    def __init__(
        self,
        classnames: Sequence[str],
        clip_model: CLIP,
        schedules: Schedules,
        words: str,
        averaged: Sequence[str] = (),
    ):
        places = "X " * schedules.text.among_words
        Learner.__init__(self, schedules, places + words)
        self.averaged = tuple(places + template for template in averaged)
        self.register_buffer("ctx", torch.empty(0, text_width(clip_model)), persistent=False)
        self._draw(clip_model, 0)
        draw_constructor(clip_model)
        self.put_in(classnames, clip_model)

    def _n_among_words(self) -> int:
        return self.schedules.text.among_words

    def forward(self) -> Prompts:
        first: Tensor = dict(self.text_prompts.items()).get("0", self.ctx)
        return self._prompts(first)

    @staticmethod
    def checkpoint_key(name: str) -> str:
        side, _, rest = name.partition(".")
        return f"{_LISTS[side]}.{rest}" if side in _LISTS else name
