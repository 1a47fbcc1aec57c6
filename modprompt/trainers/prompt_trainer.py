"""The trainer of all methods: steps and epochs, the same with every Dassl. It names no method.

Steps never wait for a GPU: their numbers are read when a line is printed.
"""

import datetime
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from dassl.engine import TrainerX
from dassl.metrics import compute_accuracy
from dassl.utils import AverageMeter, MetricMeter
from torch import Tensor

from modprompt.clip.towers import CLIP
from modprompt.data.reader_facts import reader_facts
from modprompt.data.selection import selected_on
from modprompt.engine import precision
from modprompt.engine.memory import take_share
from modprompt.engine.model import Output
from modprompt.errors import UserError
from modprompt.io import folder as run_folder
from modprompt.io.result import TEST
from modprompt.io.run_files import StepTable
from modprompt.io.settings import changes, texts_of
from modprompt.methods.base import Method
from modprompt.methods.model import PromptedModel
from modprompt.trainers import backbone, card_errors, data_asked, device, mistakes
from modprompt.trainers.building import Building, ZeroShotBuilding
from modprompt.trainers.checkpoints import Checkpoints, NoCheckpoints
from modprompt.trainers.config import RunConfig
from modprompt.trainers.evaluation import Evaluation
from modprompt.trainers.image_cache import with_kept_images
from modprompt.trainers.part import Run
from modprompt.trainers.resume import Resume
from modprompt.trainers.unread import Number, Place, Unread, waits

if TYPE_CHECKING:
    from modprompt.trainers.search import SearchRun

_RATE, _TAKEN_WITH = "the learning rate", "that of the step"  # besides a step's numbers: after it, before it


class Parts(NamedTuple):
    """The classes of a trainer's parts; see each."""

    building: type[Building] = Building
    evaluation: type[Evaluation] = Evaluation
    checkpoints: type[Checkpoints] = Checkpoints
    resume: type[Resume] = Resume
    trains: bool = True


PROMPTS = Parts()
ZERO_SHOT = Parts(building=ZeroShotBuilding, checkpoints=NoCheckpoints, trains=False)


class PromptTrainer(TrainerX):
    """Trains what a method learns on a frozen CLIP, in an output folder of its own.

    A trainer is this class with a method_class and its parts (trainers/registration.py makes them).

    Attributes:
        run: settings, method and facts of the weights.
        model: what is trained.
        building: makes the model and its optimiser.
        evaluation: tests.
        checkpoints: files of what is learned.
        resume: begins, goes on with and ends a training.
        search: of a schedule, between the training's steps; None for most.
        table: keeps the steps' numbers; None for a run without an output folder.
        unread: the numbers of the steps since the last read.
    """

    method_class: type[Method] | None = None
    node_name = ""  # the method's node under cfg.TRAINER
    parts: ClassVar[Parts] = PROMPTS

    run: Run
    model: PromptedModel
    search: "SearchRun | None" = None
    table: StepTable | None = None
    unread: Unread
    clip_model: CLIP
    scaler: Any
    train_loader_x: Any
    val_loader: Any
    test_loader: Any

    def __init__(self, cfg: Any, *args: Any, **kwargs: Any):
        _drop("the trainer's constructor", args, kwargs)
        with card_errors.told():
            self._given = cfg, texts_of(cfg)  # as the program has it, and as it was
            if not isinstance(cfg, RunConfig):  # the configuration of another codebase's program
                from modprompt.hosts.settings import of_program

                cfg = of_program(cfg, self.method_class)
            _begin(cfg)
            super().__init__(cfg)
            if getattr(self, "model", None) is None:  # some Dassl leaves that to before_train, which here resumes
                self.build_model()
        if selected_on(self.dm.dataset, cfg) == TEST:
            print(
                f"note: {cfg.DATASET.NAME} has no validation images, so the best checkpoint or hyperparameters are "
                "selected on the test images."
            )

    def check_cfg(self, cfg: Any) -> None:
        """Refuse settings, and a schedule that does not fit a CLIP whose layers are known, before any work is done."""
        self.cfg = cfg  # Dassl sets it after this check
        kinds = self.parts
        self.building, self.evaluation = kinds.building(self), kinds.evaluation(self)
        self.checkpoints, self.resume = kinds.checkpoints(self), kinds.resume(self)
        self.unread = Unread()
        self.run = self.building.checked(cfg)
        if self.run.method.search is not None:
            from modprompt.trainers.search import SearchRun  # late: few methods search

            self.search = SearchRun(self)
            self.search.check()
        self.building.check()

    def build_data_loader(self) -> None:
        """Dassl's, with test images made as the weights need them, and kept if TEST.IMAGE_CACHE names a folder."""
        cfg = self.cfg
        with mistakes.of_reader(cfg.DATASET.NAME, cfg.DATASET.ROOT), data_asked.watched(cfg) as self.cfg:
            super().build_data_loader()
        self.cfg = cfg
        data_asked.require(self.dm.dataset, cfg)
        loaders = [one for one in (self.train_loader_x, self.val_loader, self.test_loader) if one is not None]
        data_asked.require_decoding(loaders, cfg.INPUT.DECODING)
        if cfg.VERBOSE and not reader_facts(self.dm.dataset).has_test:
            print(
                "note: the data set has no test images (the single image that Dassl counts is a placeholder), so "
                "nothing is tested."
            )
        if backbone.requires_squash(cfg):
            backbone.squash([one for one in (self.val_loader, self.test_loader) if one is not None], cfg.INPUT.SIZE)
        if self.run.method.training.steps:
            _keep_partial(self.train_loader_x)
        kept = cfg.TEST.IMAGE_CACHE, cfg.DATASET.NAME
        self.val_loader = with_kept_images(self.val_loader, *kept)
        self.test_loader = with_kept_images(self.test_loader, *kept)

    def build_model(self) -> None:
        """Make CLIP, what is learned, and its optimiser; only what is learned is trained, saved and registered."""
        self.building.build()

    def train(self, *args: Any, **kwargs: Any) -> None:
        """Train, resuming if possible, then test; a method that trains nothing is only tested."""
        _drop("train()", args, kwargs)
        if not self.parts.trains:
            self.test()
            return
        with card_errors.told():
            try:
                super().train()
            finally:
                if hasattr(self, "close_writer"):  # not every Dassl has TensorBoard
                    self.close_writer()

    def before_train(self) -> None:
        """Resume, and start the clock; a codebase's program may have changed settings since the trainer was built."""
        given, before = self._given
        for change in changes(before, texts_of(given)):
            print(f"note: the program changed a setting after the trainer was built, which has no effect: {change}")
        self.resume.begin()
        if self.search is not None:
            self.search.begin()

    def run_epoch(self) -> None:
        """One pass over the training loader.

        Averages are over all steps of the epoch so far, whenever their numbers are read: at once on a CPU; on a GPU
        when a line is printed, and at the end.

        Raises:
            FloatingPointError: if a loss that is read is not finite.
            UserError: if the output folder is no longer the one that the run began in.
        """
        self.set_model_mode("train")
        stage, begins, self.num_batches = self.building.part(self.epoch)
        with self.model.in_stage(stage, begins):
            self._run_batches()

    def _run_batches(self) -> None:
        meters = _Meters(self.building.steps_before(self.epoch))
        for at, batch in enumerate(self.train_loader_x):
            self.batch_idx = at
            meters.batch_is_there()
            rate = self.get_current_lr()
            said = self.forward_backward(batch)
            self.unread.add(self.place, {**(said or {}), _RATE: self.get_current_lr(), _TAKEN_WITH: rate})
            line_is_due = self._line_is_due()
            if line_is_due or not waits(self.device):
                self._read(meters)
            if line_is_due:
                self._write_steps()
                print(self._line(meters))
            meters.step_is_done()
            if self.batch_idx + 1 == self.num_batches < len(self.train_loader_x):
                break  # the last pass of a stage that counts steps
        self._read(meters)
        self._write_steps()

    def forward_backward(self, batch: Any) -> Mapping[str, Number]:
        """One step on a batch, after a search's; its numbers for the log, accuracy in percent, read later."""
        said = {} if self.search is None else self.search.step()
        image, label = self.parse_batch_train(batch)
        output = self.output(image)
        loss = self.model.objective.loss(output, image, label)
        precision.step(loss, self.optim, self.scaler, alone=self.search is not None)
        loss, output = loss.detach().float(), output.map(Tensor.detach)
        self.unread.add_loss(loss, self.place)
        self._change_rates()
        accuracy = {"acc": compute_accuracy(output.logits, label)[0]} if self.run.method.logging.accuracy else {}
        return {**said, **self.model.log(output, label, loss), **accuracy}

    def output(self, batch: Tensor) -> Output:
        """The model's output for images (B, 3, H, W), or for features (B, D) of images, on which a head trains."""
        return self.model.output(batch) if batch.dim() == 4 else self.model.of_features(batch)

    @property
    def place(self) -> Place:
        """Where the training is."""
        return Place(self.epoch, self.batch_idx)

    def _change_rates(self) -> None:
        """Advance the learning rates: after an epoch's last step, or after each step."""
        if self.building.each_step:
            if self.sched is not None:
                self.sched.step()
        elif self.batch_idx + 1 == self.num_batches:
            self.update_lr()

    def _line_is_due(self) -> bool:
        frequency: int = self.cfg.TRAIN.PRINT_FREQ
        return bool((self.batch_idx + 1) % frequency == 0 or self.num_batches < frequency)

    def _write_steps(self) -> None:
        run_folder.require_still(self.cfg.OUTPUT_DIR)
        if self.table is not None:
            self.table.write()

    def _read(self, meters: "_Meters") -> None:
        read = self.unread.read()
        meters.steps_are_read(len(read))
        for (_, at), numbers in read:
            meters.rate, rate = numbers.pop(_RATE), numbers.pop(_TAKEN_WITH)
            meters.said.update(numbers)
            number = meters.before + at
            if self.table is not None:
                self.table.add(self.epoch + 1, number + 1, numbers, rate)
            if hasattr(self, "write_scalar"):  # not every Dassl has TensorBoard
                for name, meter in meters.said.meters.items():
                    self.write_scalar(f"train/{name}", meter.avg, number)
                self.write_scalar("train/lr", meters.rate, number)

    def _line(self, meters: "_Meters") -> str:
        """In Dassl's form."""
        left = self.building.steps_before(self.max_epoch) - meters.before - self.batch_idx - 1
        return (
            f"epoch [{self.epoch + 1}/{self.max_epoch}] batch [{self.batch_idx + 1}/{self.num_batches}] "
            f"{meters} eta {datetime.timedelta(seconds=int(meters.time.avg * left))}"
        )

    def after_epoch(self) -> None:
        """Do what the method does between epochs, save and validate as asked.

        Raises:
            FloatingPointError: if a parameter, or a loss not read before, is not finite; nothing is saved then.
        """
        self.unread.read()
        if self.model.end_epoch():
            print("Using GPA model for final inference...")
        finite = [torch.isfinite(parameter).all() for parameter in self.model.learned.parameters()]
        if finite and not torch.stack(finite).all():
            raise FloatingPointError(
                f"The trained parameters are not finite after epoch {self.epoch + 1}. The last checkpoint is "
                "unchanged. Lower OPTIM.LR or set PREC to fp32, and start again with a different --output-dir."
            )
        if self.search is not None:
            self.search.end_epoch()
        self.resume.end_epoch()

    def after_train(self) -> None:
        """End a search; test the last model, or the best on the validation set."""
        if self.search is not None:
            self.search.end()
        self.resume.end()

    def set_model_mode(self, mode: str = "train", names: list[str] | None = None) -> None:
        """Set the mode of what is learned and of its model."""
        super().set_model_mode(mode, names)
        self.model.set_mode(mode == "train")

    @card_errors.told()
    def test(self, split: str | None = None, **kwargs: Any) -> float:
        """Evaluate, on kept image features if TEST.FEATURES_OF names tests that have them.

        Args:
            split: "val" or "test"; without it TEST.SPLIT. Without validation images it is "test".
            kwargs: what some versions of Dassl add; not read.

        Returns:
            The first result of the evaluator: accuracy in percent.
        """
        return self.evaluation.test(split)

    def parse_batch_train(self, batch: Any) -> tuple[Tensor, Tensor]:
        """(images, labels) on the device; the copy from pinned memory does not block."""
        image, label = (batch[key].to(self.device, non_blocking=True) for key in ("img", "label"))
        return image, label

    def parse_batch_test(self, batch: Any) -> tuple[Tensor, Tensor]:
        """(images, labels) on the device, as in training."""
        return PromptTrainer.parse_batch_train(self, batch)

    def model_inference(self, input: Tensor) -> Tensor:
        """Logits (B, C) of a test batch."""
        return self.evaluation.logits(input)

    def save_model(self, *args: Any, **kwargs: Any) -> None:
        """As Dassl's, but only what is learned; see Checkpoints.save."""
        self.checkpoints.save(*args, **kwargs)

    def load_model(self, *args: Any, **kwargs: Any) -> None:
        """As Dassl's, from a run's output folder; see Checkpoints.load."""
        self.checkpoints.load(*args, **kwargs)

    def resume_model_if_exist(self, directory: str) -> int:
        """As Dassl's; see Checkpoints.go_on."""
        return self.checkpoints.go_on(directory)


class _Meters:
    """Last values and averages over an epoch's steps; times in seconds.

    A step's time is the time between two reads, divided by the steps between them: a GPU only starts it at its call.

    before: how many steps earlier epochs had.
    """

    def __init__(self, before: int):
        self.before = before
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


def _keep_partial(loader: Any) -> None:
    """Let a training loader give its last batch even if it is not full."""
    sampler = loader.batch_sampler
    getattr(sampler, "batches", sampler).drop_last = False  # that of persistent workers wraps another


def _drop(call: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Say that arguments which a codebase's program gives its own trainers are not read."""
    names = [*(f"argument {number}" for number, _ in enumerate(args, start=1)), *kwargs]
    if names:
        print(f"note: this program passes {', '.join(names)} to {call}, which modprompt's trainers ignore.")


def _begin(cfg: Any) -> None:
    """What comes before all else in another codebase; a program of ours has done it already."""
    if cfg.OUTPUT_DIR:
        run_folder.keep(cfg.OUTPUT_DIR, cfg.TRAINER.NAME)
    if cfg.ACTIVE.ROUNDS:
        raise UserError(
            f"ACTIVE.ROUNDS {cfg.ACTIVE.ROUNDS} is not supported by this program. Use `modprompt active` or "
            "modprompt's own train.py."
        )
    device.set_up(cfg.MODEL.DETERMINISTIC, cfg.USE_CUDA)
    if device.on_card(cfg.USE_CUDA):
        take_share()
