"""How the steps of a run are computed, as MODEL.COMPILE asks, and what result.json says of it."""

from typing import Any, Callable, Dict, Union

from modprompt.training.graph import GraphStep
from modprompt.training.step import Step


def step_as_asked(asked: str, step: Step, epoch: Callable[[], int]) -> Union[Step, GraphStep]:
    """The step itself, or with "graph" one that is recorded; the reason is printed where it is not.

    Args:
        asked: MODEL.COMPILE.
        step: the step.
        epoch: says which epoch it is, at any step.
    """
    if asked != "graph":
        return step
    return GraphStep(step, lambda why: print(f"MODEL.COMPILE graph: the steps are run eagerly: {why}"), epoch=epoch)


def is_of(made: Union[Step, GraphStep], optimiser: Any, scaler: Any) -> bool:
    """Whether a step is taken by this optimiser and scaler."""
    step = made.step if isinstance(made, GraphStep) else made
    return step.optimiser is optimiser and step.scaler is scaler


def compile_record(trainer: Any, asked: str) -> Dict[str, str]:
    """What was asked for, what ran ("eager", "graph", or as torch.compile was asked), and why it is another.

    Args:
        trainer: a trainer whose run is over.
        asked: MODEL.COMPILE.
    """
    step = getattr(trainer, "made_step", None)
    if isinstance(step, GraphStep):
        return {"asked": asked, "ran": "graph" if step.recorded else "eager", "why": step.why}
    ran = getattr(getattr(trainer, "model", None), "compiled", "") or "eager"
    why = "nothing was trained" if asked == "graph" else "this trainer compiles nothing"
    return {"asked": asked, "ran": ran, "why": "" if ran == (asked or "eager") else why}
