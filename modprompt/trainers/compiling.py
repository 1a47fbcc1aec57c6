"""How the steps of a run are computed, by MODEL.COMPILE, and the entry of result.json for it."""

from typing import Any

from modprompt.methods.parts.graph import GraphStep
from modprompt.methods.parts.step import Step


def step_as_asked(trainer: Any, step: Step) -> Step | GraphStep:
    """A trainer's step, or with MODEL.COMPILE graph a recorded one; if it cannot be recorded, a message says why.

    A trainer or method derived from one of ours may do more in its step, so each class states for itself that its
    step is the same at every epoch: `same_step = True` in its body, if its loss, terms and learner read no epoch or
    other number that changes, but GPU tensors written in place; draw nothing, read no value (`.item()`), copy nothing
    from the CPU; and leave the optimiser as it is, SGD. What has changed at an epoch's beginning is said, and the run
    goes on eagerly.
    """
    if trainer.cfg.MODEL.COMPILE != "graph":
        return step
    kind = type(trainer)
    stated = vars(kind).get("same_step", False)
    obstacle = "" if stated else f"{kind.__name__} does not state that its step is the same at every epoch (same_step)"
    return GraphStep(
        step,
        lambda why: print(f"MODEL.COMPILE graph: the steps are run eagerly: {why}"),
        epoch=lambda: int(trainer.epoch),
        model=trainer.model,
        obstacle=obstacle,
    )


def is_of(made: Step | GraphStep, optimiser: Any, scaler: Any) -> bool:
    """Whether a step uses this optimiser and scaler."""
    step = made.step if isinstance(made, GraphStep) else made
    return step.optimiser is optimiser and step.scaler is scaler


def compile_record(trainer: Any, asked: str) -> dict[str, str]:
    """What was asked for, what ran ("eager", "graph", or torch.compile's mode), and why the two differ.

    Args:
        trainer: a trainer whose run has ended.
        asked: MODEL.COMPILE.
    """
    step = getattr(getattr(trainer, "loop", None), "made_step", None)
    if isinstance(step, GraphStep):
        return {"asked": asked, "ran": "graph" if step.recorded else "eager", "why": step.why}
    ran = getattr(getattr(trainer, "model", None), "compiled", "") or "eager"
    why = "nothing was trained" if asked == "graph" else "this trainer compiles nothing"
    return {"asked": asked, "ran": ran, "why": "" if ran == (asked or "eager") else why}
