"""An epoch of steps that wait for nothing: what they say is read when a line is printed. The same with every Dassl."""

import datetime
import functools
import time
from typing import TYPE_CHECKING, Optional

from dassl.utils import AverageMeter, MetricMeter

from modprompt.methods.parts.deferred_metrics import Unread, waits
from modprompt.runs import folder as run_folder
from modprompt.runs.steps import Row, Table

if TYPE_CHECKING:  # it stands in front of one
    from modprompt.trainers.clip_trainer import CLIPTrainer as _Trainer
else:
    _Trainer = object

_RATE, _TAKEN_WITH = "the learning rate", "that of the step"  # beside what a step says: behind it, in front of it


class Epochs(_Trainer):
    """The part of a trainer that runs an epoch; it stands in front of TrainerX."""

    steps_table: Optional[Table] = None  # where what steps say is kept; a run without an output folder has none

    @functools.cached_property
    def unread(self) -> Unread:
        """What the steps since the last read have said."""
        return Unread()

    def run_epoch(self) -> None:
        """One pass over the training loader.

        Averages are of all steps of the epoch so far, whenever their numbers are read: at once on a CPU; on a card with
        a line, and at the end.

        Raises:
            FloatingPointError: if a loss that is read is not finite.
            UserError: if the output folder is not the one that the run began in.
        """
        self.set_model_mode("train")
        self.num_batches = len(self.train_loader_x)
        meters = _Meters()
        for step, batch in enumerate(self.train_loader_x):
            self.batch_idx = step
            meters.batch_is_there()
            rate = self.get_current_lr()
            said = self.forward_backward(batch)
            self.unread.add(step, {**(said or {}), _RATE: self.get_current_lr(), _TAKEN_WITH: rate})
            line_is_due = self._line_is_due()
            if line_is_due or not waits(self.device):
                self._read(meters)
            if line_is_due:
                self._write_steps()
                print(self._line(meters))
            meters.step_is_done()
        self._read(meters)
        self._write_steps()

    def _line_is_due(self) -> bool:
        frequency: int = self.cfg.TRAIN.PRINT_FREQ
        return (self.batch_idx + 1) % frequency == 0 or self.num_batches < frequency

    def _write_steps(self) -> None:
        run_folder.require_still(self.cfg.OUTPUT_DIR)
        if self.steps_table is not None:
            self.steps_table.write()

    def _read(self, meters: "_Meters") -> None:
        steps = self.unread.read()
        meters.steps_are_read(len(steps))
        for step, numbers in steps:
            meters.rate, rate = numbers.pop(_RATE), numbers.pop(_TAKEN_WITH)
            meters.said.update(numbers)
            number = self.epoch * self.num_batches + step
            if self.steps_table is not None:
                self.steps_table.add(Row(self.epoch + 1, number + 1, numbers, rate))
            if hasattr(self, "write_scalar"):  # not every Dassl has TensorBoard
                for name, meter in meters.said.meters.items():
                    self.write_scalar(f"train/{name}", meter.avg, number)
                self.write_scalar("train/lr", meters.rate, number)

    def _line(self, meters: "_Meters") -> str:
        """As Dassl has it."""
        left = self.num_batches - self.batch_idx - 1 + (self.max_epoch - self.epoch - 1) * self.num_batches
        return (
            f"epoch [{self.epoch + 1}/{self.max_epoch}] batch [{self.batch_idx + 1}/{self.num_batches}] "
            f"{meters} eta {datetime.timedelta(seconds=int(meters.time.avg * left))}"
        )


class _Meters:
    """Last values and averages over an epoch's steps; times in seconds.

    The time of a step is that between two reads, shared by the steps between them: that to start it says nothing.
    """

    def __init__(self) -> None:
        self.said, self.time, self.data, self.rate = MetricMeter(), AverageMeter(), AverageMeter(), 0.0
        self._read_at = self._done_at = time.time()

    def batch_is_there(self) -> None:
        self.data.update(time.time() - self._done_at)

    def steps_are_read(self, number: int) -> None:
        if number:
            now = time.time()
            self.time.update((now - self._read_at) / number, number)
            self._read_at = now

    def step_is_done(self) -> None:
        self._done_at = time.time()

    def __str__(self) -> str:
        return (
            f"time {self.time.val:.3f} ({self.time.avg:.3f}) data {self.data.val:.3f} ({self.data.avg:.3f}) "
            f"{self.said} lr {self.rate:.4e}"
        )
