"""A training step as one CUDA graph: recorded once, then replayed by a single launch.

Batches are copied into tensors at fixed addresses, learning rates are read from tensors, and what a step returns is
copied out. Recording computes nothing. SGD runs as one fused kernel, which rounds differently from the kernels of an
unrecorded step: parameters agree except for the last digit.
"""

import contextlib
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from modprompt.engine.model import PromptedCLIP
from modprompt.methods.parts.recorder import Recorder
from modprompt.methods.parts.step import Done, Step

WARM_UP = 3  # steps before the recording: they load and choose kernels, and create momentum


class GraphStep:
    """A Step that is recorded at the fourth batch and replayed from then on.

    It must do the same at every epoch, on one device, with batches of one shape, and draw nothing on the CPU. Where
    this fails, or recording does, steps run as usual, and the reason is told once.

    A replay notices neither a changed number nor a replaced tensor. So before each epoch the addresses of tensors and
    the settings of optimiser, scaler and model are compared, without running anything; a difference ends the replays
    for good. Only learning rates may change at any time: they stay numbers, for schedules and checkpoints.

    Args:
        step: the step.
        tell: called with the reason.
        recorder: does the recording.
        epoch: returns the current epoch, from 0.
        model: the model whose loss is minimised; without it only the optimiser's own is compared.
        obstacle: why nothing is to be recorded, if that is known.

    Attributes:
        recorded: whether steps are replayed.
        why: the reason why they are not replayed; "" if they are.
    """

    def __init__(
        self,
        step: Step,
        tell: Callable[[str], object],
        recorder: Recorder | None = None,
        epoch: Callable[[], int] = lambda: 0,
        model: PromptedCLIP | None = None,
        obstacle: str = "",
    ):
        self.step, self.recorded = step, False
        self.why = f"the run was over within {WARM_UP} steps, before anything is recorded"
        self._tell, self._recorder, self._epoch_of = tell, Recorder() if recorder is None else recorder, epoch
        self._model: nn.Module = nn.Module() if model is None else model
        learned, kind = step.optimiser.param_groups[0]["params"][0], type(step.optimiser)
        self._rates = [torch.zeros((), device=learned.device) for _ in step.optimiser.param_groups]
        self._ended, self._epoch, self._steps = False, 0, 0  # steps that have warmed up
        self._batch: tuple[Tensor, ...] = ()  # the batch that a replay reads, like that of the first step
        self._done: Done | None = None
        self._facts: dict[str, Any] = {}
        self._held: list[Any] = []  # what a replay reads, kept alive here
        of_optimiser = "" if kind is SGD else f"only SGD is recorded, not {kind.__name__}"
        if step.scaler is not None and any(group.get("dampening") for group in step.optimiser.param_groups):
            # a first step that overflows would leave momentum that was never written
            of_optimiser = of_optimiser or "OPTIM.SGD_DAMPNING with a loss scaler is not recorded"
        self._end_if(obstacle or self._recorder.obstacle(learned.device) or of_optimiser)

    def __call__(self, images: Tensor, labels: Tensor) -> Done:
        """One step on images (B, 3, H, W) and labels (B,), on the device."""
        if not self._ended:
            self._look(images, labels)
        if self._ended:
            return self.step(images, labels)
        for rate, group in zip(self._rates, self.step.optimiser.param_groups):
            rate.fill_(group["lr"])
        if self._steps < WARM_UP:
            return self._warm_up(images, labels)
        if not self.recorded:
            self._record()
        return self._replay(images, labels) if self.recorded else self.step(images, labels)

    def _end_if(self, why: str) -> None:
        if why:
            self._ended, self.recorded, self.why = True, False, why
            self._batch, self._done, self._held = (), None, []
            self._recorder.release()
            self._tell(why)

    def _look(self, *batch: Tensor) -> None:
        """End if a batch does not fit, or if a new epoch differs from what was recorded."""
        epoch, before, changed = self._epoch_of(), self._epoch, []
        self._epoch = epoch
        if not self._batch:
            self._batch = tuple(x.clone() for x in batch)
            tensors = (*batch, *self._rates, *self._model.parameters(), *self._model.buffers())
            changed += ["tensors of the step are on several devices"] if len({x.device for x in tensors}) > 1 else []
        elif [(x.shape, x.dtype) for x in batch] != [(x.shape, x.dtype) for x in self._batch]:
            changed.append("a batch has another shape")
        elif self.recorded and epoch != before:
            changed += [what for what, now in self._relied_on().items() if now != self._facts[what]]
        self._end_if(f"from epoch {epoch + 1} on: {changed[0]}" if changed else "")

    def _once(self, *batch: Tensor) -> Done:
        """The step in the form that is recorded."""
        with rates_read_from(self._rates, self.step.optimiser):
            return self.step(*batch)

    def _warm_up(self, *batch: Tensor) -> Done:
        self._steps += 1
        before = _generators()
        done = self._recorder.aside(lambda: self._once(*batch))
        if self._steps == WARM_UP:  # the first may create what later ones find
            self._end_if("" if _generators() == before else "the step draws random numbers on the CPU")
        return done

    def _record(self) -> None:
        """Record the step, or end and leave everything as it was."""
        undo, why = _undo(self.step), ""
        try:
            self._done = self._recorder.record(lambda: self._once(*self._batch))
        except RuntimeError as error:
            why = f"recording failed: {_first_line(error)}"
        if why:  # by now the error, and with it the tensors of the step, are gone
            undo()
            self._end_if(why)
            return
        self.recorded, self.why, self._facts = True, "", self._relied_on()
        self._held = self._model.made_once() if isinstance(self._model, PromptedCLIP) else []

    def _replay(self, *batch: Tensor) -> Done:
        assert self._done is not None
        for mine, given in zip(self._batch, batch):
            mine.copy_(given, non_blocking=True)
        self._recorder.replay()
        loss, output = self._done
        return Done(loss.clone(), output.map(Tensor.clone))

    def _relied_on(self) -> dict[str, Any]:
        """What a replay relies on, by the message for a difference."""
        optimiser, model, scaler = self.step.optimiser, self._model, self.step.scaler
        groups = optimiser.param_groups
        learned = [one for group in groups for one in group["params"]]
        scaling = [] if scaler is None else [x for x in vars(scaler).values() if isinstance(x, (Tensor, float, int))]
        return {
            "parameters lie elsewhere": _places([*learned, *model.parameters()]),
            "buffers lie elsewhere": _places(model.buffers()),
            "momentum lies elsewhere": _places(optimiser.state.get(x, {}).get("momentum_buffer") for x in learned),
            "gradients lie elsewhere": _places(x.grad for x in learned),
            "other parameters are learned": [x.requires_grad for x in learned],
            "the optimiser is set otherwise": [
                {key: group[key] for key in group if key not in ("params", "lr")} for group in groups
            ],
            "the model is in another mode": [one.training for one in model.modules()],
            "the loss scaler is set otherwise": _places(scaling),
        }


def _places(values: Iterable[Any]) -> list[Any]:
    """The addresses of tensors; other values as they are."""
    return [x.data_ptr() if isinstance(x, Tensor) else x for x in values]


def _generators() -> tuple[Any, ...]:
    """The states of the CPU's generators; a GPU's advances by itself in a graph."""
    _, words, position, *_ = np.random.get_state()
    return random.getstate(), np.asarray(words).tobytes(), position, torch.get_rng_state().tolist()


def _first_line(error: BaseException) -> str:
    """The message of the first error: the end of a failed recording raises another one."""
    while error.__context__ is not None:
        error = error.__context__
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@contextlib.contextmanager
def rates_read_from(rates: list[Tensor], optimiser: Optimizer) -> Iterator[None]:
    """Within it SGD runs as one kernel, which reads its learning rate, and the loss scaler's facts, on the device."""
    sgd: Any = optimiser  # attributes that PyTorch does not declare
    before = [{key: group[key] for key in ("lr", "fused", "foreach")} for group in sgd.param_groups]
    scales = getattr(sgd, "_step_supports_amp_scaling", False)
    for group, rate in zip(sgd.param_groups, rates):
        group.update(lr=rate, fused=True, foreach=False)
    sgd._step_supports_amp_scaling = True
    try:
        yield
    finally:
        sgd._step_supports_amp_scaling = scales
        for group, kept in zip(sgd.param_groups, before):
            group.update(kept)


def _undo(step: Step) -> Callable[[], None]:
    """A function that undoes a step that failed midway: gradients, momentum, the scaler's notes and its scale."""
    optimiser = step.optimiser
    before = {parameter: dict(kept) for parameter, kept in optimiser.state.items()}

    def undo() -> None:
        optimiser.zero_grad(set_to_none=True)
        optimiser.state.clear()
        optimiser.state.update(before)
        getattr(step.scaler, "_per_optimizer_states", {}).clear()
        for left in ("grad_scale", "found_inf"):  # the next step would multiply by them
            vars(optimiser).pop(left, None)

    return undo
