"""Self-regularisation for trainers of the version before (own_style.py); a method has methods/groups.Regularised."""

from yacs.config import CfgNode

from modprompt.trainers.prompt_trainer import PromptTrainer


class RegularisedTrainer(PromptTrainer):
    """A PromptTrainer whose node has the settings of self-regularisation."""

    regularises = True


def add_regularisation(
    node: CfgNode, text: float = 0, image: float = 0, logits: float = 0, mean: float = 15, std: float = 0
) -> None:
    """Add the settings of self-regularisation to a node, in place; all off without arguments."""
    node.TEXT_LOSS_WEIGHT, node.IMAGE_LOSS_WEIGHT, node.LOGITS_LOSS_WEIGHT = text, image, logits
    node.GPA_MEAN, node.GPA_STD = mean, std
