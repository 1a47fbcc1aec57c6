"""The trainer of zero-shot CLIP, which trains nothing: it tests CLIP with the prompt templates of a data set."""

from typing import Any, ClassVar

import torch

from modprompt.clip.cast import cast_products
from modprompt.engine import precision
from modprompt.methods.base import Method
from modprompt.methods.parts.learners import TemplatePrompts
from modprompt.trainers import building
from modprompt.trainers.prompt_trainer import PromptTrainer


class ZeroShotTrainer(PromptTrainer):
    """Tests CLIP without trained prompts. There are no settings, no checkpoints and no training."""

    learns: ClassVar[bool] = False

    @classmethod
    def make_method(cls, cfg: Any) -> Method:
        """Return the method, which has no settings."""
        assert cls.method_class is not None
        return cls.method_class()

    def check_cfg(self, cfg: Any) -> None:
        """Accept any configuration, since zero-shot CLIP has no settings to check."""

    def build_model(self) -> None:
        """Build the CLIP model (half precision on CUDA, single precision on a CPU) and the prompts of all classes."""
        if self.cfg.MODEL.INIT_WEIGHTS:
            print(
                f"note: {self.cfg.TRAINER.NAME} tests CLIP without trained prompts, so MODEL.INIT_WEIGHTS "
                f"{self.cfg.MODEL.INIT_WEIGHTS} is ignored."
            )
        self.clip_model = clip_model = building.load_clip(self).to(self.device)
        if precision.resolve("fp16", self.device).half_weights:
            cast_products(clip_model, torch.float16)
        else:
            clip_model.float()
        names, dataset = self.dm.dataset.classnames, self.cfg.DATASET.NAME
        self.model = self.method.on(clip_model, names, dataset=dataset, listed=True)
        self.model.to(self.device).eval()
        learner: Any = self.model.prompt_learner
        assert isinstance(learner, TemplatePrompts)
        print(f"Prompt templates ({len(learner.templates)}): {' | '.join(learner.templates)}")

    def train(self, *args: Any, **kwargs: Any) -> None:
        """Test, since there is nothing to train."""
        self.test()

    def load_model(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: there are no checkpoints."""
