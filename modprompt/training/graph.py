"""A training step as one CUDA graph: recorded once, then replayed by a single launch.

Batches are copied into tensors that stay where they are, rates are read from tensors, and what a step returns is copied
out. No step is run to warm up alone: the first ones of a run do that, and recording computes nothing. So parameters,
momentum and generators are at every step what they are without it.
"""

import contextlib
import random
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np
import torch
from torch import Tensor
from torch.optim import SGD, Optimizer

from modprompt.engine.model import Output
from modprompt.training.recorder import CudaRecorder, Recorder
from modprompt.training.step import Done, Step
from modprompt.training.watch import Watch

WARM_UP = 3  # steps in front of the recording: kernels are loaded and chosen, and momentum is there
CHANGES = 3  # in a row, with no epoch between that did the same: then recording is no use


class _Recorded(NamedTuple):
    """A recorded step: its tensors, and of the optimiser what must stay for a replay to do what the step would."""

    images: Tensor
    labels: Tensor
    done: Done
    replay: Callable[[], object]
    relied_on: List[Any]


class GraphStep:
    """A Step that is recorded at the fourth batch and replayed from then on.

    A batch of another shape than the first (an epoch's last) takes the step as it is. So do all where it cannot be
    recorded; the reason is told once. The optimiser's rates stay numbers, for schedules and checkpoints.

    A replay does not see that a number is another one, or a tensor in another place. So an epoch's first step is run as
    it is and watched, and recorded anew if it does something else; so it is if the optimiser is set otherwise. What
    changes within an epoch must be a tensor that is written in place.

    Args:
        step: the step.
        tell: takes the reason.
        recorder: what records.
        epoch: says which epoch it is.

    Attributes:
        why: the reason why nothing is recorded; "" if it is.
    """

    def __init__(
        self,
        step: Step,
        tell: Callable[[str], object],
        recorder: Optional[Recorder] = None,
        epoch: Callable[[], int] = lambda: 0,
    ):
        self.step = step
        self.why = f"the run was over within {WARM_UP} steps, before anything is recorded"
        self._tell = tell
        self._recorder: Recorder = CudaRecorder() if recorder is None else recorder
        self._epoch_of = epoch
        self._epoch: Optional[int] = None
        self._changes = 0
        self._refused = False
        self._rates: List[Tensor] = []
        self._kind: Any = None  # shapes and types of the batches that count
        self._steps = 0  # that have warmed up
        self._watched = Watch()  # the step that a recording must equal
        self._recorded: Optional[_Recorded] = None
        self._refuse_if(self._recorder.obstacle(self._device) or _of_optimiser(step.optimiser))

    @property
    def recorded(self) -> bool:
        """Whether steps are replayed."""
        return self._recorded is not None

    @property
    def _device(self) -> torch.device:
        device: torch.device = self.step.optimiser.param_groups[0]["params"][0].device
        return device

    def __call__(self, images: Tensor, labels: Tensor) -> Done:
        """One step on images (B, 3, H, W) and labels (B,), on the device."""
        if self._recorded is not None and self._recorded.relied_on != _relied_on(self.step.optimiser):
            self._steps = 0
            self._forget_recorded()
        kind = (images.shape, images.dtype, labels.shape, labels.dtype)
        self._kind = self._kind or kind
        if self._refused or kind != self._kind:
            return self.step(images, labels)
        self._fill_rates()
        epoch, self._epoch = self._epoch, self._epoch_of()
        if self._steps < WARM_UP:
            return self._warm_up(images, labels)
        if epoch != self._epoch:
            return self._look_again(images, labels)
        if self._recorded is None:
            self._record(images, labels)
        return self.step(images, labels) if self._recorded is None else self._replay(self._recorded, images, labels)

    def _forget_recorded(self) -> None:
        self._recorded, self.why = None, "the step changed, and the run was over before it was recorded anew"
        self._changes += 1
        self._refuse_if(f"what it does changed {CHANGES} times in a row" if self._changes == CHANGES else "")

    def _refuse_if(self, why: str) -> None:
        if why and not self._refused:
            self._refused, self.why, self._recorded = True, why, None
            self._watched = Watch()
            self._tell(why)

    def _fill_rates(self) -> None:
        rates = [group["lr"] for group in self.step.optimiser.param_groups]
        if len(self._rates) != len(rates):
            self._rates = [torch.zeros((), device=self._device) for _ in rates]
        for tensor, rate in zip(self._rates, rates):
            tensor.fill_(rate)

    def _once(self, images: Tensor, labels: Tensor) -> Done:
        """The step as it is recorded."""
        with rates_read_from(self._rates, self.step.optimiser):
            return self.step(images, labels)

    def _warm_up(self, images: Tensor, labels: Tensor) -> Done:
        self._steps += 1
        if self._steps < WARM_UP:
            return self._recorder.aside(lambda: self._once(images, labels))
        self._watched, done = self._watch(images, labels)
        self._refuse_if(self._watched.obstacle)
        return done

    def _watch(self, images: Tensor, labels: Tensor) -> Tuple[Watch, Done]:
        with Watch((images, labels)) as watch:
            done = self._recorder.aside(lambda: self._once(images, labels))
        return watch, done

    def _look_again(self, images: Tensor, labels: Tensor) -> Done:
        """An epoch's first step: what is recorded must still be what it does."""
        watch, done = self._watch(images, labels)
        if self._recorded is not None and watch.operations == self._watched.operations:
            self._changes = 0
            return done
        self._watched = watch
        if self._recorded is not None:
            self._forget_recorded()
        else:
            self.why = "no epoch had steps enough to record one"
        self._refuse_if(watch.obstacle)
        return done

    def _record(self, images: Tensor, labels: Tensor) -> None:
        """Record the step on copies of a batch, or refuse to and leave all as it was."""
        images, labels = (x.to(self._device, copy=True) for x in (images, labels))
        watch = Watch((images, labels))

        def step() -> Done:
            with watch:
                return self._once(images, labels)

        undo = _undo(self.step)
        try:
            with _generators_kept():
                done, replay = self._recorder.record(step)
        except RuntimeError as error:
            why = f"recording failed: {_first_line(error)}"
        else:
            why = watch.obstacle
            if not why and watch.operations != self._watched.operations:
                why = "it does not do the same at every step"
        if why:
            undo()
            self._refuse_if(why)
            return
        self.why, self._watched = "", watch  # which holds what is read
        self._recorded = _Recorded(images, labels, done, replay, _relied_on(self.step.optimiser))

    @staticmethod
    def _replay(recorded: _Recorded, images: Tensor, labels: Tensor) -> Done:
        recorded.images.copy_(images, non_blocking=True)
        recorded.labels.copy_(labels, non_blocking=True)
        recorded.replay()
        loss, output = recorded.done
        return Done(loss.clone(), Output(*(part.clone() for part in output)))


def _first_line(error: BaseException) -> str:
    """What went wrong first, in one line: the end of a failed recording raises too."""
    while error.__context__ is not None:
        error = error.__context__
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _of_optimiser(optimiser: Optimizer) -> str:
    """Why the steps of an optimiser are not recorded; "" if they are."""
    return "" if type(optimiser) is SGD else f"of optimisers SGD alone is recorded, not {type(optimiser).__name__}"


@contextlib.contextmanager
def rates_read_from(rates: List[Tensor], optimiser: Optimizer) -> Iterator[None]:
    """Within it SGD runs as one kernel, which reads its rate, and what a loss scaler knows, on the device."""
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


def _relied_on(optimiser: Optimizer) -> List[Any]:
    """Settings but for rates, what is learned, and where parameters and momentum lie."""
    settings = [{key: group[key] for key in group if key not in ("params", "lr")} for group in optimiser.param_groups]
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    momentum = [optimiser.state.get(parameter, {}).get("momentum_buffer") for parameter in parameters]
    places = [x.data_ptr() for x in (*parameters, *momentum) if x is not None]
    return [*settings, *(parameter.requires_grad for parameter in parameters), *places]


def _undo(step: Step) -> Callable[[], None]:
    """What takes a step back that was begun and not done: gradients, momentum and the scaler's notes."""
    state = step.optimiser.state
    before: Dict[Any, Dict[str, Any]] = {parameter: dict(kept) for parameter, kept in state.items()}

    def undo() -> None:
        step.optimiser.zero_grad(set_to_none=True)
        state.clear()
        state.update(before)
        getattr(step.scaler, "_per_optimizer_states", {}).clear()

    return undo


@contextlib.contextmanager
def _generators_kept() -> Iterator[None]:
    """Behind it the host's generators are as they were: what a recording draws is not drawn."""
    drawn: Tuple[Any, Any, Tensor] = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(drawn[0])
        np.random.set_state(drawn[1])
        torch.set_rng_state(drawn[2])
