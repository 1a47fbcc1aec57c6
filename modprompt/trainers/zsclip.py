"""Zero-shot CLIP: the lines that every table starts from. Nothing is trained."""

import torch
import torch.nn.functional as F

from modprompt.methods import templates
from modprompt.trainers.clip_trainer import CLIPTrainer
from modprompt.trainers.nodes import register_defaults
from modprompt.trainers.registration import register_trainer
from modprompt.training.teacher import FrozenCLIP

register_defaults()  # they have no settings of their own


@register_trainer
class ZeroshotCLIP(CLIPTrainer):
    """CLIP with the data set's prompt template."""

    def templates(self):
        """The prompt templates of this run."""
        return [templates.OF_DATASETS.get(self.cfg.DATASET.NAME, templates.DEFAULT)]

    def build_model(self):
        """CLIP in single precision on a CPU, half on CUDA, and the features of all classes."""
        self.clip_model = clip_model = self.load_clip().to(self.device)
        if self.device.type == "cpu":
            clip_model.float()
        self.model = FrozenCLIP(clip_model)
        chosen = self.templates()
        print(f"Prompt templates ({len(chosen)}): {' | '.join(chosen)}")
        features = [
            F.normalize(self.model.class_features(self.dm.dataset.classnames, template), dim=-1) for template in chosen
        ]
        self.class_features = F.normalize(sum(features) / len(features), dim=-1)  # (C, E)

    def train(self):
        """There is nothing to train: evaluate."""
        self.test()

    def load_model(self, directory, epoch=None):
        """There is nothing to load."""

    def logits(self, image):
        """Logits (B, C) of images (B, 3, H, W)."""
        return self.logits_of(self.model.encode_image(image))

    @torch.no_grad()
    def logits_of(self, features):
        """Logits (B, C) = exp(logit_scale) * cosine of image features (B, E) and classes."""
        features = F.normalize(features.to(self.class_features.dtype), dim=-1)
        return self.clip_model.logit_scale.exp() * features @ self.class_features.t()


@register_trainer
class ZeroshotCLIP2(ZeroshotCLIP):
    """CLIP with an ensemble: seven selected templates, and the data set's own unless it is ImageNet."""

    def templates(self):
        """The prompt templates of this run."""
        own = [] if self.cfg.DATASET.NAME == "ImageNet" else super().templates()
        return [*templates.SELECTED, *own]
