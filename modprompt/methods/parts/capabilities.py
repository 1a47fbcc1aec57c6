"""What a method can do beside settings, schedules, learner and objective: one small object for each ability.

A method says it by an attribute of its class, or where its settings decide by a property; `Method` (methods/base.py)
has those of a method that can do none of it.
"""

from dataclasses import Field
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Type, Union

from modprompt.errors import UserError
from modprompt.fields import Configured
from modprompt.methods.parts.average import GaussianAverage

# what a method of before said in other ways: old: new
FORMER = {
    "made_of": "content_hashes",
    "stated": "metadata",
    "with_record": "restore",
    "having": "replace_private",
    "averages": "averaging",
    "average": "averaging",
    "keeps_exact": "needs",
    "goes_back_twice": "needs",
    "log_accuracy": "logging",
    "draws_examples": "logging",
    "always_searches": "searching",
    "not_searched": "searching",
    "second_node": "repository",
    "shared": "repository",
}


_CALLED = {  # those that were functions
    "made_of", "stated", "with_record", "having", "averages", "average", "keeps_exact", "goes_back_twice",
}  # fmt: skip


def former_hooks(cls: type) -> List[str]:
    """Those by which a class, or what it is derived from, says in a way of before what it can do."""
    found = {name: vars(one)[name] for one in cls.__mro__ for name in FORMER if name in vars(one)}
    return [name for name, value in found.items() if _is_hook(name, value)]


def _is_hook(name: str, value: Any) -> bool:
    if value is None or isinstance(value, Field):
        return False
    if name in _CALLED:
        return callable(value) or isinstance(value, (classmethod, property))
    return isinstance(value, Mapping) if name == "shared" else not callable(value) or isinstance(value, type)


class Averaging(NamedTuple):
    """It ends in an average over epochs, whose number must be known, weighed by a Gaussian.

    mean: the epoch that weighs most.
    std: the spread in epochs.
    """

    mean: float
    std: float

    def over(self, epochs: int) -> GaussianAverage:
        """A new average over so many epochs."""
        return GaussianAverage(epochs, self.mean, self.std)


class Needs(NamedTuple):
    """What its objective needs.

    exact_weights: features by CLIP's weights as they were before a cast.
    double_backward: gradients of several losses of one graph.
    """

    exact_weights: bool = False
    double_backward: bool = False


class RunFacts(NamedTuple):
    """What a run is of, as far as settings of a method follow from it.

    dataset: name of the data set.
    classes: which of its classes: all, base or new.
    tests: whether it only tests.
    openai: whether its CLIP is OpenAI's, by its name.
    """

    dataset: str
    classes: str
    tests: bool
    openai: bool = True


class Logging(NamedTuple):
    """What its trainer's log has beside the losses.

    accuracy: of each batch.
    examples: prompts of ten classes, drawn at random.
    """

    accuracy: bool = False
    examples: bool = False


class Searching(NamedTuple):
    """How it goes together with a search for its schedule.

    always: it is a search by itself.
    refused: why a search for its schedule means nothing.
    """

    always: bool = False
    refused: str = ""


class OwnRate(NamedTuple):
    """Parameters that learn otherwise than the rest; the optimiser has a group of them.

    names: how their names in the learner begin.
    factor: on the learning rate.
    weight_decay: their own; None for that of the rest.
    in_warm_up: whether the factor counts in the warm-up too; of all that a method has, or of none.
    """

    names: Tuple[str, ...]
    factor: float = 1.0
    weight_decay: Optional[float] = None
    in_warm_up: bool = True


def grouped(learned: Mapping[str, Any], own: Sequence[OwnRate], rate: float) -> List[Dict[str, Any]]:
    """Groups for an optimiser: the rest first, then those with rates of their own, each parameter in one.

    Args:
        learned: parameters by name.
        own: of which some learn otherwise; a name belongs to the first that has it.
        rate: the learning rate of the rest.

    Raises:
        UserError: if one has no parameter, or no parameter is left for the rest.
    """
    rest, found = dict(learned), []
    for one in own:
        mine = {name: rest.pop(name) for name in [*rest] if name.startswith(one.names)}
        if not mine:
            raise UserError(f"nothing that is learned is called {' or '.join(one.names)}..., for a rate of its own")
        decay = {} if one.weight_decay is None else {"weight_decay": one.weight_decay}
        found.append({"params": [*mine.values()], "lr": one.factor * rate, **decay})
    if not rest:
        raise UserError("all that is learned has a rate of its own: set OPTIM.LR to it")
    return [{"params": [*rest.values()]}, *found]


class Steps(NamedTuple):
    """Its training is a number of steps, whatever the classes, and no number of epochs; the rate falls at each.

    per_shot: for each training image of a class.
    least_rate: of the last step, to which a cosine leads from OPTIM.LR.
    """

    per_shot: int
    least_rate: float


class SecondNode(Configured):
    """Settings of a method in another node than its own, as its repository has them: they stand for others."""

    def means(self, given: Mapping[str, str]) -> Dict[str, Any]:
        """The settings that these stand for, by dotted key.

        Args:
            given: settings that are given under their own names, as text: these stay as they are.
        """
        raise NotImplementedError


class Only(NamedTuple):
    """The one value that a setting of a method's repository may have here."""

    value: str


class Repository(NamedTuple):
    """What its settings are called in the repository that it comes from.

    shared: settings of nodes that it has in common with others, each as one of its own, or by its whole key of what
        stands beside its prompts; "": nothing reads it there.
    second_node: settings of its in another node.
    """

    shared: Mapping[str, Union[str, Only]] = {}
    second_node: Optional[Type[SecondNode]] = None
