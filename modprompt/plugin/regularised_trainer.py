"""A prompt trainer with PromptSRC's self-regularisation (arXiv 2307.06948) where the method's node asks for it."""

import copy

from modprompt.errors import UserError
from modprompt.plugin.prompt_trainer import PromptTrainer
from modprompt.regularise import GaussianAverage, SelfRegularisation, Weights, mean_class_features
from modprompt.templates import DIVERSE
from modprompt.zeroshot import FrozenCLIP


def add_regularisation(node, text=0.0, image=0.0, logits=0.0, mean=15.0, std=0.0) -> None:
    """Add the settings of self-regularisation to a method's node, in place; all off without arguments."""
    node.TEXT_LOSS_WEIGHT = text  # of the distance to CLIP's class features
    node.IMAGE_LOSS_WEIGHT = image  # of the distance to CLIP's image features
    node.LOGITS_LOSS_WEIGHT = logits  # of the divergence from CLIP's logits
    node.GPA_MEAN = mean  # epoch that weighs most in the average of prompts over epochs
    node.GPA_STD = std  # its spread in epochs; 0 takes the last epoch's prompts


class RegularisedTrainer(PromptTrainer):
    """Adds the three losses to the cross entropy, and ends with the Gaussian average of the prompts."""

    def before_cast(self, clip_model):
        """The frozen features, of single precision, and the average, where they are asked for."""
        node = self.settings
        weights = Weights(*(node.get(f"{name}_LOSS_WEIGHT", 0.0) for name in ("TEXT", "IMAGE", "LOGITS")))
        self.regularisation, self.average = None, None
        with self.naming_the_node(node):
            if any(weights):
                exact = FrozenCLIP(copy.deepcopy(clip_model).float() if self.precision.half_weights else clip_model)
                features = mean_class_features(exact, self.dm.dataset.classnames, DIVERSE)
                frozen = FrozenCLIP(clip_model, self.precision.stream)
                self.regularisation = SelfRegularisation(frozen, features, weights)
            if node.get("GPA_STD", 0.0):
                self.average = GaussianAverage(self.cfg.OPTIM.MAX_EPOCH, node.GPA_MEAN, node.GPA_STD)

    def loss(self, output, image, label):
        """Cross entropy, and what keeps features near the frozen ones."""
        loss = super().loss(output, image, label)
        return loss if self.regularisation is None else loss + self.regularisation(output, image)

    def after_epoch(self):
        """Add this epoch's prompts to the average; after the last, the average takes their place.

        Raises:
            UserError: if earlier epochs are not in the average, because a run was resumed without its state.
        """
        if self.average is not None:
            self._add_to_average()
        super().after_epoch()

    def _add_to_average(self):
        learner = self.model.prompt_learner
        if self.average.epochs != self.epoch:
            raise UserError(
                f"the average over epochs (GPA) lacks epochs 1 to {self.epoch}: this run was resumed from a "
                "checkpoint, which does not hold it; start anew in another --output-dir, or set GPA_STD 0"
            )
        self.average.add(dict(learner.named_parameters()))
        if self.epoch + 1 == self.max_epoch:
            print("Using GPA model for final inference...")
            self.average.load_into(learner)

    def extra_state(self):
        """The loss scale and the average."""
        average = {} if self.average is None else {"average": self.average.state_dict()}
        return {**super().extra_state(), **average}

    def load_extra_state(self, extras):
        """Take back the loss scale and the average."""
        super().load_extra_state(extras)
        if self.average is not None and "average" in extras:
            self.average.load_state_dict(extras["average"])
