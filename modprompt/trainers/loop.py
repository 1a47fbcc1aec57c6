"""Steps and epochs that never wait for a GPU: a step's numbers are read when a line is printed."""

import datetime
import functools
import time
from collections.abc import Mapping

import torch
from dassl.metrics import compute_accuracy
from dassl.utils import AverageMeter, MetricMeter
from torch import Tensor

from modprompt.engine.model import Output
from modprompt.io import folder as run_folder
from modprompt.io.run_files import StepTable
from modprompt.methods.parts.deferred_metrics import Number, Place, Unread, waits
from modprompt.methods.parts.step import Done, Step
from modprompt.trainers.part import Part

_RATE, _TAKEN_WITH = "the learning rate", "that of the step"  # besides a step's numbers: after it, before it


class Loop(Part):
    """Runs steps, epoch by epoch. The same with every Dassl.

    Attributes:
        table: keeps the steps' numbers; None for a run without an output folder.
        made_step: what each batch goes through, made for the first.
    """

    table: StepTable | None = None
    made_step: Step | None = None

    @functools.cached_property
    def unread(self) -> Unread:
        """The numbers of the steps since the last read."""
        return Unread()

    def run_epoch(self) -> None:
        """One pass over the training loader.

        Averages are over all steps of the epoch so far, whenever their numbers are read: at once on a CPU; on a GPU
        when a line is printed, and at the end.

        Raises:
            FloatingPointError: if a loss that is read is not finite.
            UserError: if the output folder is no longer the one that the run began in.
        """
        trainer = self.trainer
        trainer.set_model_mode("train")
        trainer.num_batches = self._batches_of(trainer.epoch)
        meters = _Meters()
        for step, batch in enumerate(trainer.train_loader_x):
            trainer.batch_idx = step
            meters.batch_is_there()
            rate = trainer.get_current_lr()
            said = trainer.forward_backward(batch)
            self.unread.add(self.place(), {**(said or {}), _RATE: trainer.get_current_lr(), _TAKEN_WITH: rate})
            line_is_due = self._line_is_due()
            if line_is_due or not waits(trainer.device):
                self._read(meters)
            if line_is_due:
                self._write_steps()
                print(self._line(meters))
            meters.step_is_done()
            if step + 1 == trainer.num_batches < len(trainer.train_loader_x):
                break  # the last pass of a training that counts steps
        self._read(meters)
        self._write_steps()

    def _batches_of(self, epoch: int) -> int:
        """How many steps an epoch has: those of a pass, or the rest of a training that counts steps."""
        whole, steps = len(self.trainer.train_loader_x), self.trainer.building.steps
        return min(whole, steps - epoch * whole) if steps else whole

    def after_step(self, done: Done, label: Tensor) -> Mapping[str, Number]:
        """Finish a step on labels (B,); its numbers for the log."""
        self.unread.add_loss(done.loss, self.place())
        self.end_step()
        return self._summary(done.output, label, done.loss)

    def end_step(self) -> None:
        """Advance the learning rates: after an epoch's last step, or after each step."""
        if self.trainer.building.each_step:
            if self.trainer.sched is not None:
                self.trainer.sched.step()
        elif self.trainer.batch_idx + 1 == self.trainer.num_batches:
            self.trainer.update_lr()

    def place(self) -> Place:
        """Where the training is."""
        return Place(self.trainer.epoch, self.trainer.batch_idx)

    @property
    def step(self) -> Step:
        """What a batch goes through; made anew when the optimiser or scaler was replaced."""
        trainer, made = self.trainer, self.made_step
        if made is None or made.optimiser is not trainer.optim or made.scaler is not trainer.scaler:
            alone = any(one.alternates for one in trainer.added)
            made = self.made_step = Step(self.output_and_loss, trainer.optim, trainer.scaler, alone=alone)
        return made

    def output(self, image: Tensor) -> Output:
        """The model's output for a training batch, images (B, 3, H, W)."""
        return self.model.output(image)

    def output_and_loss(self, image: Tensor, label: Tensor) -> tuple[Output, Tensor]:
        """Output and loss of images (B, 3, H, W) and labels (B,)."""
        output = self.output(image)
        return output, self.model.objective.loss(output, image, label)

    def end_epoch(self) -> None:
        """Do what the method does between epochs, unless the last step made the prompts not finite.

        Raises:
            FloatingPointError: if a parameter, or a loss not read before, is not finite; nothing is saved then.
        """
        self.unread.read()
        if self.model.end_epoch():
            print("Using GPA model for final inference...")
        finite = [torch.isfinite(parameter).all() for parameter in self.model.learned.parameters()]
        if not torch.stack(finite).all():
            raise FloatingPointError(
                f"the prompts are not finite after epoch {self.trainer.epoch + 1}: start anew in another --output-dir "
                "with a lower OPTIM.LR or PREC fp32; the last checkpoint is untouched"
            )

    def _summary(self, output: Output, label: Tensor, loss: Tensor) -> Mapping[str, Number]:
        """A step's numbers for the log, by name, as tensors that are read later; accuracy in percent."""
        accuracy = {"acc": compute_accuracy(output.logits, label)[0]} if self.method.logging.accuracy else {}
        return {**self.model.log(output, label, loss), **accuracy}

    def _line_is_due(self) -> bool:
        frequency: int = self.cfg.TRAIN.PRINT_FREQ
        return bool((self.trainer.batch_idx + 1) % frequency == 0 or self.trainer.num_batches < frequency)

    def _write_steps(self) -> None:
        run_folder.require_still(self.cfg.OUTPUT_DIR)
        if self.table is not None:
            self.table.write()

    def _read(self, meters: "_Meters") -> None:
        trainer, steps = self.trainer, self.unread.read()
        meters.steps_are_read(len(steps))
        for (_, step), numbers in steps:
            meters.rate, rate = numbers.pop(_RATE), numbers.pop(_TAKEN_WITH)
            meters.said.update(numbers)
            number = trainer.epoch * len(trainer.train_loader_x) + step
            if self.table is not None:
                self.table.add(trainer.epoch + 1, number + 1, numbers, rate)
            if hasattr(trainer, "write_scalar"):  # not every Dassl has TensorBoard
                for name, meter in meters.said.meters.items():
                    trainer.write_scalar(f"train/{name}", meter.avg, number)
                trainer.write_scalar("train/lr", meters.rate, number)

    def _line(self, meters: "_Meters") -> str:
        """In Dassl's form."""
        trainer = self.trainer
        epochs_left = trainer.max_epoch - trainer.epoch - 1
        left = trainer.num_batches - trainer.batch_idx - 1 + epochs_left * trainer.num_batches
        return (
            f"epoch [{trainer.epoch + 1}/{trainer.max_epoch}] batch [{trainer.batch_idx + 1}/{trainer.num_batches}] "
            f"{meters} eta {datetime.timedelta(seconds=int(meters.time.avg * left))}"
        )


class _Meters:
    """Last values and averages over an epoch's steps; times in seconds.

    A step's time is the time between two reads, divided by the steps between them: a GPU only starts it at its call.
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
