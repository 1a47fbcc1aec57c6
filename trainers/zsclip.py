"""Zero-shot CLIP: the line that every table starts from. Nothing is trained."""

import torch
import torch.nn.functional as F
from dassl.engine import TRAINER_REGISTRY

from modprompt.plugin.config import register_defaults
from modprompt.plugin.trainer import CLIPTrainer
from modprompt.prompts import tokenize

TEMPLATES = {
    "OxfordPets": "a photo of a {}, a type of pet.",
    "OxfordFlowers": "a photo of a {}, a type of flower.",
    "FGVCAircraft": "a photo of a {}, a type of aircraft.",
    "DescribableTextures": "{} texture.",
    "EuroSAT": "a centered satellite photo of {}.",
    "Food101": "a photo of {}, a type of food.",
    "UCF101": "a photo of a person doing {}.",
    "Digits": "a photo of the number {}.",
}
DEFAULT_TEMPLATE = "a photo of a {}."  # all other data sets


register_defaults()  # it has no settings of its own


@TRAINER_REGISTRY.register(force=True)
class ZeroshotCLIP(CLIPTrainer):
    """CLIP with the data set's prompt template."""

    def build_model(self):
        """CLIP in single precision on a CPU, half on CUDA, and the features of all classes."""
        self.clip_model = self.load_clip().to(self.device)
        if self.device.type == "cpu":
            self.clip_model.float()
        names = [name.replace("_", " ") for name in self.dm.dataset.classnames]
        template = TEMPLATES.get(self.cfg.DATASET.NAME, DEFAULT_TEMPLATE)
        tokens = tokenize([template.format(name) for name in names], names, self.clip_model.context_length)
        print(f'Prompt template: "{template}"')
        with torch.no_grad():
            self.text_features = F.normalize(self.clip_model.encode_text(tokens.to(self.device)), dim=-1)  # (C, E)

    def train(self):
        """There is nothing to train: evaluate."""
        self.test()

    def load_model(self, directory, epoch=None):
        """There is nothing to load."""

    def logits(self, image):
        """Logits (B, C)."""
        image = F.normalize(self.clip_model.encode_image(image), dim=-1)
        return self.clip_model.logit_scale.exp() * image @ self.text_features.t()
