"""The trainer of a method that trains nothing: it loads CLIP and tests."""

from typing import Any, Type, cast

import torch

from modprompt.clips.cast import cast_products
from modprompt.engine import precision
from modprompt.methods.base import Method
from modprompt.methods.model import PromptedModel
from modprompt.methods.parts.templates import TemplatePrompts
from modprompt.trainers.clip_trainer import CLIPTrainer


class FrozenTrainer(CLIPTrainer):
    """Tests a method as it is."""

    method_class: Type[Method]
    model: PromptedModel

    def build_model(self) -> None:
        """CLIP as PREC fp16 has it, half on CUDA and single on a CPU, and the prompts of all classes."""
        if self.cfg.MODEL.INIT_WEIGHTS:
            print(f"note: {self.cfg.TRAINER.NAME} tests CLIP as it is: MODEL.INIT_WEIGHTS is not read")
        self.clip_model = clip_model = self.load_clip().to(self.device)
        if precision.resolve("fp16", self.device).half_weights:
            cast_products(clip_model, torch.float16)
        else:
            clip_model.float()
        self.method = self.method_class()
        names, dataset = self.dm.dataset.classnames, self.cfg.DATASET.NAME
        self.model = self.method.on(clip_model, names, dataset=dataset, listed=True)
        self.model.to(self.device).eval()
        chosen = cast(TemplatePrompts, self.model.prompt_learner).templates
        print(f"Prompt templates ({len(chosen)}): {' | '.join(chosen)}")

    def train(self) -> None:
        """There is nothing to train: evaluate."""
        self.test()

    def load_model(self, *args: Any, **kwargs: Any) -> None:
        """There is nothing to load."""
