"""A prompt trainer with PromptSRC's self-regularisation (arXiv 2307.06948) where the method's node asks for it."""

import copy
import warnings

from modprompt.checks import finite_at_least
from modprompt.errors import UserError
from modprompt.methods.templates import DIVERSE
from modprompt.trainers.prompt_trainer import PromptTrainer
from modprompt.training.regularise import GaussianAverage, SelfRegularisation, Weights, mean_class_features
from modprompt.training.teacher import FrozenCLIP


def add_regularisation(node, text=0, image=0, logits=0, mean=15, std=0) -> None:
    """Add the settings of self-regularisation to a method's node, in place; all off without arguments."""
    node.TEXT_LOSS_WEIGHT = text  # of the distance to CLIP's class features
    node.IMAGE_LOSS_WEIGHT = image  # of the distance to CLIP's image features
    node.LOGITS_LOSS_WEIGHT = logits  # of the divergence from CLIP's logits
    node.GPA_MEAN = mean  # epoch that weighs most in the average of prompts over epochs
    node.GPA_STD = std  # its spread in epochs; 0 takes the last epoch's prompts


class RegularisedTrainer(PromptTrainer):
    """Adds the three losses to the cross entropy, and ends with the Gaussian average of the prompts."""

    regularisation = average = None

    def check_cfg(self, cfg):
        """Complain about weights and the average before any work is done."""
        super().check_cfg(cfg)
        node = cfg.TRAINER[self.node_name]
        with self.naming_the_node(node):
            for name in ("TEXT_LOSS_WEIGHT", "IMAGE_LOSS_WEIGHT", "LOGITS_LOSS_WEIGHT", "GPA_STD"):
                finite_at_least(name, node.get(name, 0), 0)
        if node.get("GPA_STD", 0) and cfg.TEST.FINAL_MODEL == "best_val":
            warnings.warn(
                "the average over epochs (GPA) is not what is tested: FINAL_MODEL best_val takes one epoch's prompts",
                stacklevel=2,
            )

    def before_cast(self, clip_model):
        """Keep exact weights for the frozen class features, where products will be less exact."""
        half = self.precision.half_weights or self.precision.products is not None
        weights = [self.setting(f"{name}_LOSS_WEIGHT") for name in ("TEXT", "IMAGE", "LOGITS")]
        self.loss_weights = Weights(*weights) if any(weights) else None
        self.exact = copy.deepcopy(clip_model).float() if half and self.loss_weights else clip_model
        if self.setting("GPA_STD"):
            self.average = GaussianAverage(self.cfg.OPTIM.MAX_EPOCH, self.setting("GPA_MEAN"), self.setting("GPA_STD"))

    def before_train(self):
        """Resume, and compute the frozen class features if there is anything to train.

        Raises:
            UserError: if earlier epochs are not in the average, because a run was resumed without its state.
        """
        super().before_train()
        if self.start_epoch >= self.max_epoch:
            return
        if self.average is not None and self.average.epochs != self.start_epoch:
            raise UserError(
                f"the average over epochs (GPA) lacks epochs 1 to {self.start_epoch}: this run would go on from a "
                "checkpoint, which does not hold it; start anew in another --output-dir, or set GPA_STD 0"
            )
        if self.loss_weights is not None:
            features = mean_class_features(FrozenCLIP(self.exact), self.dm.dataset.classnames, DIVERSE)
            frozen = FrozenCLIP(self.clip_model, self.precision.stream)
            self.regularisation = SelfRegularisation(frozen, features, self.loss_weights)
        self.exact = None

    def loss(self, output, image, label):
        """Cross entropy, and what keeps features near the frozen ones."""
        loss = super().loss(output, image, label)
        return loss if self.regularisation is None else loss + self.regularisation(output, image)

    def after_epoch(self):
        """Add this epoch's prompts to the average; after the last, the average takes their place."""
        if self.average is not None:
            learner = self.model.prompt_learner
            self.average.add(dict(learner.named_parameters()))
            if self.epoch + 1 == self.max_epoch:
                print("Using GPA model for final inference...")
                self.average.load_into(learner)
        super().after_epoch()

    def extra_state(self):
        """The loss scale and the average."""
        average = {} if self.average is None else {"average": self.average.state_dict()}
        return {**super().extra_state(), **average}

    def load_extra_state(self, extras):
        """Take back the loss scale and the average."""
        super().load_extra_state(extras)
        if self.average is not None and "average" in extras:
            self.average.load_state_dict(extras["average"])
