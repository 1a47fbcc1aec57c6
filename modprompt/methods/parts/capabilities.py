"""What a method can do besides settings, schedules, learner and objective: one small object for each ability.

A method states it by an attribute of its class, or by a property where its settings decide; `Method`
(methods/base.py) has the attributes of a method that can do none of it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from modprompt.errors import UserError
from modprompt.fields import Configured


class GaussianAverage:
    """Average of the learner over epochs 1..N, epoch e weighted by the normal density N(e; mean, std), sum 1.

    Args:
        epochs: their number N.
        mean: of the density, in epochs.
        std: of the density, in epochs; more than 0.
    """

    def __init__(self, epochs: int, mean: float, std: float):
        numbers = torch.arange(1, epochs + 1, dtype=torch.float64)
        self.weights = torch.softmax(-0.5 * ((numbers - mean) / std) ** 2, dim=0)
        self.epochs = 0  # in the sum so far
        self.total: dict[str, Tensor] = {}

    def add(self, parameters: Mapping[str, Tensor]) -> None:
        """Add the parameters of the next epoch to the sum.

        Raises:
            UserError: if all epochs are in it.
        """
        if self.epochs >= len(self.weights):
            raise UserError(
                "No epoch can be added to the average over epochs (GPA), because the average already contains "
                f"all {len(self.weights)} epochs."
            )
        weight = self.weights[self.epochs].item()
        for name, value in parameters.items():
            weighted = weight * value.detach().float()
            self.total[name] = self.total[name].to(weighted.device) + weighted if self.epochs else weighted
        self.epochs += 1

    def load_into(self, parameters: Mapping[str, Tensor]) -> None:
        """Replace the parameters that were added by their average."""
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(self.total[name])

    def state_dict(self) -> dict[str, object]:
        """What must be kept for resuming."""
        return {"epochs": self.epochs, "total": dict(self.total)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what state_dict returned."""
        self.epochs, self.total = state["epochs"], dict(state["total"])


class SavedAs(NamedTuple):
    """What the method's checkpoints are called.

    folder: of them in a run's folder.
    prefix: of the learner's names in them.
    """

    folder: str = "prompt_learner"
    prefix: str = "prompt_learner."


class RunFacts(NamedTuple):
    """Facts of a run on which a method's settings may depend.

    dataset: name of the data set.
    classes: which of its classes: all, base or new.
    tests: whether it only tests.
    openai: whether its CLIP is OpenAI's, judged by its name.
    """

    dataset: str
    classes: str
    tests: bool
    openai: bool = True


class Logging(NamedTuple):
    """What the trainer's log has in addition to the losses.

    accuracy: of each batch.
    examples: prompts of ten classes, drawn at random.
    """

    accuracy: bool = False
    examples: bool = False


class OwnRate(NamedTuple):
    """Parameters with a learning rate or weight decay of their own; the optimiser has a group of them.

    names: how their names in the learner begin.
    factor: of the learning rate.
    weight_decay: their own; None for that of the rest.
    in_warm_up: whether the factor counts in the warm-up too; the same for all that a method has.
    """

    names: tuple[str, ...]
    factor: float = 1.0
    weight_decay: float | None = None
    in_warm_up: bool = True


def grouped(learned: Mapping[str, Any], own: Sequence[OwnRate], rate: float) -> list[dict[str, Any]]:
    """Groups for an optimiser: the rest first, then those with learning rates of their own; no parameter in two.

    Args:
        learned: parameters by name.
        own: parameters with their own learning rate or weight decay; a name belongs to the first entry that has it.
        rate: the learning rate of the rest.

    Raises:
        UserError: if an entry has no parameters, or none are left for the rest.
    """
    rest, found = dict(learned), []
    for one in own:
        mine = {name: rest.pop(name) for name in [*rest] if name.startswith(one.names)}
        if not mine:
            raise UserError(
                f"A separate learning rate is set for parameters whose names begin with {' or '.join(one.names)}, but "
                "no trained parameter has such a name."
            )
        decay = {} if one.weight_decay is None else {"weight_decay": one.weight_decay}
        found.append({"params": [*mine.values()], "lr": one.factor * rate, **decay})
    if not rest:
        raise UserError(
            "The separate learning rate applies to all trained parameters, so OPTIM.LR is never used. Set OPTIM.LR "
            "to the separate learning rate, and remove the separate learning rate."
        )
    return [{"params": [*rest.values()]}, *found]


class Steps(NamedTuple):
    """The training is a number of steps, whatever the classes, not of epochs; the learning rate falls at each step.

    per_shot: steps for each training image of a class.
    least_rate: learning rate of the last step, to which a cosine falls from OPTIM.LR.
    first: share of them in a first stage; the second begins a new pass, at OPTIM.LR again (the learner's in_stage).
    """

    per_shot: int
    least_rate: float
    first: float = 1.0


class Training(NamedTuple):
    """What a training of the method has that others have not.

    rates: what has a learning rate of its own.
    optimiser: what the optimiser's groups have in addition to OPTIM, as keywords of PyTorch's optimisers.
    averaging: mean and spread, in epochs, of the Gaussian average over epochs that it ends with.
    steps: how many it has, if not epochs are counted.
    later_of_equals: whether the later of two epochs wins that are equal on validation.
    exact_weights: whether the objective needs features by CLIP's weights as they were before a cast.
    """

    rates: tuple[OwnRate, ...] = ()
    optimiser: Mapping[str, float] = {}
    averaging: tuple[float, float] | None = None
    steps: Steps | None = None
    later_of_equals: bool = False
    exact_weights: bool = False


class Results(NamedTuple):
    """What must be said of the method's results, or is done for them.

    notes: what makes their numbers not comparable.
    mark: keeps them from being compared; empty for nothing.
    seen: what the training sees of new classes; empty for nothing.
    halves_apart: whether one run, trained on all classes, tests base images among base classes and new ones among new.
    """

    notes: tuple[str, ...] = ()
    mark: str = ""
    seen: str = ""
    halves_apart: bool = False


class SecondNode(Configured):
    """Settings of a method in another node, as in its repository; each stands for settings of its own node."""

    def means(self, given: Mapping[str, str]) -> dict[str, Any]:
        """The settings that these stand for, by dotted key.

        Args:
            given: settings that are given under their own names, as text: these are kept.
        """
        raise NotImplementedError


class Only(NamedTuple):
    """The one value that a setting of a method's repository may have here."""

    value: str


class Repository(NamedTuple):
    """What the method's settings are called in its original repository.

    shared: settings of nodes that it shares with other methods: the name of its own setting, or the whole key of one
        of its additions; "" if nothing reads it there.
    second_node: its settings in another node.
    zero_shots_mean_all: True if its programs train on all images at DATASET.NUM_SHOTS 0.
    """

    shared: Mapping[str, str | Only] = {}
    second_node: type[SecondNode] | None = None
    zero_shots_mean_all: bool = False


def own_scale(settings: Mapping[str, Any], facts: RunFacts) -> dict[str, float]:
    """LITERAL_SCALE 0, that is exp(logit_scale) of the CLIP, for a run on another CLIP than OpenAI's; else nothing."""
    return {"LITERAL_SCALE": 0.0} if settings.get("LITERAL_SCALE") and not facts.openai else {}
