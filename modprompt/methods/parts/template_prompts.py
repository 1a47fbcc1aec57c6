"""Class prompts of templates, with nothing to learn: zero-shot CLIP and its ensembles."""

from typing import List, Sequence

import torch
from torch import nn

from modprompt.clips.structure import CLIP
from modprompt.engine.prompts import Prompts, PromptText, template_texts
from modprompt.engine.schedule import Schedules
from modprompt.methods.parts.learner import Learner


class TemplatePrompts(Learner):
    """Class names in templates like "a photo of a {}."; a class's feature is the mean over them.

    Args:
        classnames: names of the C classes.
        clip_model: a stock CLIP.
        schedules: of both sides, without prompts.
        templates: one or more.
        as_written: whether names keep their "_", where others read it as a space.

    Raises:
        UserError: if a prompt is longer than the text context.
    """

    trains_text = False
    bound = False

    def __init__(
        self,
        classnames: Sequence[str],
        clip_model: CLIP,
        schedules: Schedules,
        templates: Sequence[str],
        as_written: bool = False,
    ):
        super().__init__(schedules, "")
        self.templates = tuple(templates)
        self.as_written = as_written
        width = clip_model.ln_final.weight.shape[0]
        self.register_buffer("ctx", torch.empty(0, width, dtype=clip_model.dtype), persistent=False)
        self.put_in(classnames, clip_model)

    def put_in(self, classnames: Sequence[str], clip_model: CLIP) -> None:
        """Take these class names into all templates."""
        texts = [
            PromptText(self._in(template, classnames), classnames, 0, clip_model, dtype=self.words_type)
            for template in self.templates
        ]
        self.texts = nn.ModuleList(texts)
        self.prompt_text = texts[0]

    def _in(self, template: str, classnames: Sequence[str]) -> List[str]:
        if self.as_written:
            return [template.replace("{}", name) for name in classnames]
        return template_texts(classnames, template)

    def forward(self) -> Prompts:
        """The prompts of all templates."""
        text, vision = self.schedules
        return Prompts([prompts(self.ctx) for prompts in self.texts], [None] * len(text), [None] * len(vision))
