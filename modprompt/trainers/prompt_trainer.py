"""The trainer of all methods: the training loop and the test, the same with every Dassl. It names no method.

Steps never wait for a GPU: their numbers are read when a line is printed.
"""

import contextlib
import datetime
import functools
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from dassl.engine import TrainerX
from dassl.metrics import compute_accuracy
from dassl.utils import AverageMeter, MetricMeter
from torch import Tensor
from tqdm import tqdm

from modprompt.clip.towers import CLIP
from modprompt.data.reader_facts import images_hash_of, reader_facts
from modprompt.data.selection import selected_on
from modprompt.engine import precision
from modprompt.engine.memory import take_share
from modprompt.engine.model import Output
from modprompt.engine.precision import Precision
from modprompt.errors import UserError
from modprompt.io import base_new
from modprompt.io import folder as run_folder
from modprompt.io.checkpoint import Checkpoint
from modprompt.io.identity import changes
from modprompt.io.result import TEST
from modprompt.io.run_files import StepTable
from modprompt.io.settings import texts_of
from modprompt.methods.base import Method
from modprompt.methods.model import PromptedModel
from modprompt.trainers import (
    backbone,
    building,
    card_errors,
    checkpoints,
    data_asked,
    device,
    kept_features,
    mistakes,
    resume,
)
from modprompt.trainers.config import RunConfig
from modprompt.trainers.feature_batches import FeatureBatches, encode, take_number
from modprompt.trainers.image_cache import with_kept_images
from modprompt.trainers.training_images import TrainingImages
from modprompt.trainers.unread import Number, Place, Unread, waits

if TYPE_CHECKING:
    from modprompt.trainers.search import SearchRun

MOST_BYTES = 256 * 2**20  # of logits that wait on a GPU: all logits of ImageNet in half or single precision
_RATE, _TAKEN_WITH = "the learning rate", "that of the step"  # besides a step's numbers: after it, before it


class PromptTrainer(TrainerX):
    """Trains the learner of a method on a frozen CLIP model.

    A trainer is a subclass with a method_class; trainers/registration.py makes these classes. Functions in building.py,
    checkpoints.py and resume.py do the work before and after the training loop; their state is on the trainer.

    Attributes:
        method: the method of the run, with its settings.
        model: CLIP with what is trained.
        search: the search for a schedule between the steps of the training, or None for most methods.
        precision: the precision of the computation. This attribute and the next four are set when CLIP is loaded.
        fingerprint: the hash of CLIP's weights.
        clip_identity: the facts of the CLIP model that decide results; see identity.of_clip.
        keeps_in_half: True if half precision represents the weights of a stock CLIP exactly.
        feature_width: E, the width of the features.
        notes: what a result says of the training, besides its settings.
        each_step: True if learning rates change after each step, False if after each epoch.
        stages: the number of steps of each stage of the training; empty if epochs decide the length.
        table: the numbers of the steps, or None for a run without an output folder.
        unread: the numbers of the steps since the last read.
        training_images: the files of the training images, from the beginning of the training.
        training_s: seconds of all epochs, including earlier starts, or None if they are not known.
        began_s: the time of the clock since which seconds are not yet counted.
        began_from: the checkpoint from which the training began with a new optimiser; see run_folder.resumed_from.
        resumed_folder: the folder of the run that is resumed.
        keeps_state: keep the state after the run, for callers that go on from its generators and remove the state.
        loaded: the checkpoint that was loaded last.
        loaded_path: the path of this checkpoint, or "" if load_model was called without a folder.
        initial_hash: the hash of the file MODEL.INIT_WEIGHTS.
        tested_loader: the loader of the images of the last test.
        tested_features: the features (N, E) of these images, if all were computed before the logits.
        testing_s: seconds of the last test.
        orders: accuracies of the last test in several orders of the images; empty where the order has no influence.
    """

    method_class: type[Method] | None = None
    node_name = ""  # the configuration node of the method, below cfg.TRAINER
    learns: ClassVar[bool] = True  # False for a trainer that only tests

    cfg: Any
    max_epoch: int

    method: Method
    model: PromptedModel
    search: "SearchRun | None" = None
    clip_model: CLIP
    precision = Precision(False, None, False, "")
    fingerprint = ""
    clip_identity: Mapping[str, str] = {}
    keeps_in_half = True
    feature_width = 0

    notes: list[str] = []
    each_step = False
    stages: tuple[int, ...] = ()
    scaler: Any
    train_loader_x: Any
    val_loader: Any
    test_loader: Any

    table: StepTable | None = None
    unread: Unread
    training_images: TrainingImages | None = None
    training_s: float | None = None
    began_s = 0.0
    began_from = ""
    resumed_folder = ""
    keeps_state = False

    loaded: Checkpoint | None = None
    loaded_path: str | None = None
    initial_hash = ""

    tested_loader: Any = None
    tested_features: Tensor | None = None
    testing_s: float | None = None
    orders: Mapping[str, Any] = {}
    _tests = False  # True during `test`, which checks logits itself

    def __init__(self, cfg: Any, *args: Any, **kwargs: Any):
        _print_ignored("the trainer's constructor", args, kwargs)
        with card_errors.told():
            self._given = cfg, texts_of(cfg)  # the configuration of the program, and its present values
            if not isinstance(cfg, RunConfig):  # the configuration of another codebase's program
                from modprompt.hosts.settings import of_program

                cfg = of_program(cfg, self.method_class)
            _begin(cfg)
            self.unread = Unread()
            self._make_method_and_search(cfg)
            super().__init__(cfg)
            if getattr(self, "model", None) is None:  # some Dassl leaves that to before_train, which here resumes
                self.build_model()
        if selected_on(self.dm.dataset, cfg) == TEST:
            print(
                f"note: {cfg.DATASET.NAME} has no validation images, so the best checkpoint or hyperparameters are "
                "selected on the test images."
            )

    # ---- building

    @classmethod
    def make_method(cls, cfg: Any) -> Method:
        """Return the method that a configuration describes; raise UserError if settings do not fit."""
        return building.make_method(cls, cfg)

    @classmethod
    def require_settings(cls, cfg: Any) -> None:
        """Check the settings without building a trainer; raise UserError if they are invalid."""
        trainer = cls.__new__(cls)
        trainer._make_method_and_search(cfg)
        trainer.check_cfg(cfg)

    def _make_method_and_search(self, cfg: Any) -> None:
        self.method = self.make_method(cfg)
        if self.method.search is not None:
            from modprompt.trainers.search import SearchRun  # late: few methods search

            self.search = SearchRun(self)

    @property
    def node(self) -> Any:
        """The configuration node of the method."""
        return self.cfg.TRAINER[self.node_name]

    def check_cfg(self, cfg: Any) -> None:
        """Check the settings and, if the number of layers of the CLIP model is known, the schedule."""
        if self.search is not None:
            self.search.check(cfg)
        building.require_fit(self.method, self.node_name, cfg)

    def build_data_loader(self) -> None:
        """Build the data loaders of Dassl, with the preprocessing and the image cache of this run."""
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
        if self.method.training.steps:
            _keep_partial(self.train_loader_x)
        kept = cfg.TEST.IMAGE_CACHE, cfg.DATASET.NAME
        self.val_loader = with_kept_images(self.val_loader, *kept)
        self.test_loader = with_kept_images(self.test_loader, *kept)

    def build_model(self) -> None:
        """Build the CLIP model, the learner and its optimiser; only the learner is trained and saved."""
        building.build(self)

    # ---- the training loop

    def train(self, *args: Any, **kwargs: Any) -> None:
        """Train and test; an interrupted run is resumed."""
        _print_ignored("train()", args, kwargs)
        with card_errors.told():
            try:
                super().train()
            finally:
                if hasattr(self, "close_writer"):  # not every Dassl has TensorBoard
                    self.close_writer()

    def before_train(self) -> None:
        """Resume an interrupted run if possible; report settings that were changed after the trainer was built."""
        given, before = self._given
        for change in changes(before, texts_of(given)):
            print(f"note: the program changed a setting after the trainer was built, which has no effect: {change}")
        resume.begin(self)
        if self.search is not None:
            self.search.begin()

    def run_epoch(self) -> None:
        """Train for one epoch.

        Averages are over all steps of the epoch so far, whenever their numbers are read: at once on a CPU; on a GPU
        when a line is printed, and at the end.

        Raises:
            FloatingPointError: if a loss that is read is not finite.
            UserError: if the output folder is no longer the folder in which the run began.
        """
        self.set_model_mode("train")
        stage, begins, self.num_batches = building.pass_of(self, self.epoch)
        with self.model.in_stage(stage, begins):
            self._run_batches()

    def _run_batches(self) -> None:
        """Train on all batches of an epoch, print the progress, and write the numbers of the steps to steps.csv."""
        meters = _Meters(building.steps_before(self, self.epoch))
        for at, batch in enumerate(self.train_loader_x):
            self.batch_idx = at
            meters.batch_is_there()

            # train on the batch; its numbers stay on the device
            rate = self.get_current_lr()
            numbers = self.forward_backward(batch)
            self.unread.add(self.place, {**(numbers or {}), _RATE: self.get_current_lr(), _TAKEN_WITH: rate})

            # read the numbers: at once on a CPU; on a GPU only for a line that is printed
            line_is_due = self._line_is_due()
            if line_is_due or not waits(self.device):
                self._read(meters)
            if line_is_due:
                self._write_steps()
                print(self._line(meters))

            # the last pass of a stage that counts steps ends before the loader does
            meters.step_is_done()
            if self.batch_idx + 1 == self.num_batches < len(self.train_loader_x):
                break
        self._read(meters)
        self._write_steps()

    def forward_backward(self, batch: Any) -> Mapping[str, Number]:
        """Train one step on a batch; return numbers for the log, which are tensors to be read later."""
        # a search first trains its own parameters, on validation images
        numbers = {} if self.search is None else self.search.step()

        # forward
        image, label = self.parse_batch_train(batch)
        output = self.output(image)
        loss = self.model.objective.loss(output, image, label)

        # backward, and a step of the optimiser
        precision.step(loss, self.optim, self.scaler, alone=self.search is not None)
        loss, output = loss.detach().float(), output.map(Tensor.detach)
        self.unread.add_loss(loss, self.place)

        # the learning rate of the next step
        self._change_rates()

        # numbers for the log
        accuracy = {"acc": compute_accuracy(output.logits, label)[0]} if self.method.logging.accuracy else {}
        return {**numbers, **self.model.log(output, label, loss), **accuracy}

    def output(self, batch: Tensor) -> Output:
        """Return the output of the model for images (B, 3, H, W), or for image features (B, E) in a head."""
        return self.model.output(batch) if batch.dim() == 4 else self.model.of_features(batch)

    @property
    def place(self) -> Place:
        """The epoch and the batch of the training."""
        return Place(self.epoch, self.batch_idx)

    def _change_rates(self) -> None:
        """Update the learning rates after each step, or after the last step of an epoch."""
        if self.each_step:
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
        """Write the numbers of all steps since the last call to the meters, steps.csv and TensorBoard."""
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
        """Return the line of the log for a step, in the format of Dassl."""
        left = building.steps_before(self, self.max_epoch) - meters.before - self.batch_idx - 1
        return (
            f"epoch [{self.epoch + 1}/{self.max_epoch}] batch [{self.batch_idx + 1}/{self.num_batches}] "
            f"{meters} eta {datetime.timedelta(seconds=int(meters.time.avg * left))}"
        )

    def after_epoch(self) -> None:
        """Call the method at the end of an epoch, then validate and save as configured.

        Raises:
            FloatingPointError: if a parameter, or a loss not read before, is not finite; nothing is saved then.
        """
        # read the losses, and let the method finish its epoch
        self.unread.read()
        if self.model.end_epoch():
            print("Using GPA model for final inference...")

        # stop before anything is saved if a parameter is not finite
        finite = [torch.isfinite(parameter).all() for parameter in self.model.learned.parameters()]
        if finite and not torch.stack(finite).all():
            raise FloatingPointError(
                f"The trained parameters are not finite after epoch {self.epoch + 1}. The last checkpoint is "
                "unchanged. Lower OPTIM.LR or set PREC to fp32, and start again with a different --output-dir."
            )

        # validate and save
        if self.search is not None:
            self.search.end_epoch()
        resume.end_epoch(self)

    def after_train(self) -> None:
        """Finish the search if there is one, and test the last model or the best model."""
        if self.search is not None:
            self.search.end()
        resume.end(self)

    def deploy(self) -> None:
        """Load the model that is tested: the last model, or the model with the best validation result."""
        if self.best_on:
            print(f"Deploy the model with the best {self.best_on} performance")
            self.load_model(self.output_dir)
        else:
            print("Deploy the last-epoch model")

    def set_model_mode(self, mode: str = "train", names: list[str] | None = None) -> None:
        """Set the model and the learner to training or evaluation mode."""
        super().set_model_mode(mode, names)
        self.model.set_mode(mode == "train")

    def parse_batch_train(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Return (images, labels) on the device; the copy from pinned memory does not block."""
        image, label = (batch[key].to(self.device, non_blocking=True) for key in ("img", "label"))
        return image, label

    # ---- the test

    @card_errors.told()
    @torch.no_grad()
    def test(self, split: str | None = None, **kwargs: Any) -> float:
        """Test the model on images, or on stored image features if TEST.FEATURES_OF is set.

        Args:
            split: "val" or "test"; None means TEST.SPLIT. Without validation images it is "test".
            kwargs: further arguments of some versions of Dassl; they are ignored.

        Returns:
            The first result of the evaluator: accuracy in percent.
        """
        # prepare the model and the evaluator
        began_s = time.perf_counter()
        if self.learns:
            checkpoints.load_for_test(self)
        self.set_model_mode("eval")
        self.evaluator.reset()
        split = "val" if (split or self.cfg.TEST.SPLIT) == "val" and self.val_loader is not None else "test"
        print(f"Evaluate on the *{split}* set")

        # compute the logits; those of a GPU are given to the evaluator in few copies
        waiting: list[tuple[Tensor, Tensor]] = []
        with self.model.unchanging(), self.model.prompt_learner.testing(), self._testing():
            batches = self.test_batches(split)
            answered = tqdm(
                self.answered(batches), total=len(batches), disable=None
            )  # the loader starts before the bar
            for logits, labels in answered:
                waiting.append(self.counted(split, logits, labels))
                logits = waiting[-1][0]
                if not waits(logits.device) or len(waiting) * logits.nbytes >= MOST_BYTES:
                    hand_over(waiting, self.evaluator)
        hand_over(waiting, self.evaluator)

        # evaluate
        results = self.evaluator.evaluate()
        self.testing_s = time.perf_counter() - began_s
        if hasattr(self, "write_scalar"):  # not every Dassl has TensorBoard
            for name, value in results.items():
                self.write_scalar(f"{split}/{name}", value, self.epoch)
        first: float = next(iter(results.values()))
        return first

    def test_batches(self, split: str) -> Any:
        """Return the batches of a test: images, or stored image features if TEST.FEATURES_OF is set."""
        loader: Any = self.val_loader if split == "val" else self.test_loader
        found = self.feature_batches(loader)
        self.tested_loader = loader
        self.tested_features = None if found is None else found.features
        return loader if found is None else found

    def feature_batches(self, loader: Any) -> FeatureBatches | None:
        """Return batches of stored image features if TEST.FEATURES_OF is set, else None."""
        test = self.cfg.TEST
        if self.model.prompt_learner.writes:  # each batch has other prompts: no features are valid for all batches
            return None
        found = kept_features.find(self, loader, test.FEATURES_OF) if test.FEATURES_OF else None
        if found is not None:
            take_number()
            return FeatureBatches(*found, loader)
        return FeatureBatches(*encode(loader, self.encode_image), loader) if test.KEEP_FEATURES else None

    def encode_image(self, image: Tensor) -> Tensor:
        """Return features (B, E) of images (B, 3, H, W) from the image encoder."""
        features: Tensor = self.model.encode_image(image.to(self.device, non_blocking=True))
        return features

    def answered(self, batches: Any) -> Iterator[tuple[Tensor, Tensor]]:
        """Return an iterator over logits (B, C) and labels (B,) of the batches of a test."""
        parsed = (self.parse_batch_test(batch) for batch in batches)
        return ((self.model_inference(images), labels) for images, labels in parsed)

    def counted(self, split: str, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits (B, C) and labels (B,) of those images of a batch that count towards the accuracy.

        A method that tests base and new classes separately classifies each image among the classes of its half; images
        of new classes do not select an epoch.
        """
        if not self.halves_apart:
            return logits, labels
        border = base_new.base_classes(logits.shape[1])
        of_base = labels < border
        own = (torch.arange(logits.shape[1], device=logits.device) < border)[None] == of_base[:, None]
        logits = logits.masked_fill(~own, torch.finfo(logits.dtype).min)
        selects = split == "val" and self.cfg.TEST.SPLIT != "val"
        return (logits[of_base], labels[of_base]) if selects else (logits, labels)

    @property
    def halves_apart(self) -> bool:
        """Whether images of base and of new classes are classified only among the classes of their own half."""
        if not self.method.results.halves_apart:
            return False
        return self.cfg.DATASET.SUBSAMPLE_CLASSES == "all" and not bool(self.cfg.TEST.BASE_NEW)

    @contextlib.contextmanager
    def _testing(self) -> Iterator[None]:
        self._tests = True
        try:
            yield
        finally:
            self._tests = False

    def parse_batch_test(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Return (images, labels) on the device, as in training."""
        return PromptTrainer.parse_batch_train(self, batch)

    def model_inference(self, input: Tensor) -> Tensor:
        """Return the logits (B, C) of a test batch: images (B, 3, H, W), or their features (B, E).

        Raises:
            FloatingPointError: if they are not finite; `test` checks the logits itself.
        """
        logits: Tensor = self.model(input) if input.dim() == 4 else self.model.of_features(input).logits
        if not self._tests:
            precision.require_finite(logits)
        return logits

    # ---- checkpoints and the state of the run

    @property
    def best_on(self) -> str:
        """The name of the images that select the tested epoch, or "" if the last epoch is tested."""
        return "val" if self.cfg.TEST.FINAL_MODEL == "best_val" else ""

    @property
    def reads_training_images(self) -> bool:
        """Whether the results of the run depend on the training images."""
        return True

    @property
    def images_changed(self) -> bool:
        """Whether training images changed while the run trained."""
        return self.training_images is not None and self.training_images.changed

    @functools.cached_property
    def images_hash(self) -> str:
        """A hash of the list of training images, which does not depend on their folder."""
        return images_hash_of(self.dm.dataset, self.cfg, "train_x")

    def selection(self) -> dict[str, Any]:
        """Return the entries of result.json on hyperparameters that the run selected."""
        return {}

    def save_model(self, *args: Any, **kwargs: Any) -> None:
        """Save a checkpoint of the learner in the format of Dassl; see checkpoints.save."""
        checkpoints.save(self, *args, **kwargs)

    def load_model(self, *args: Any, **kwargs: Any) -> None:
        """Load a checkpoint from a run's output folder, as Dassl does; see checkpoints.load."""
        checkpoints.load(self, *args, **kwargs)

    def load_file(self, view: Any, path: str) -> int:
        """Load a checkpoint into the learner; return the number of finished epochs."""
        return checkpoints.load_file(self, view, path)

    def resume_model_if_exist(self, directory: str) -> int:
        """Load the newest checkpoint of a run's folder, as Dassl does; return the number of finished epochs."""
        return checkpoints.load_newest(self, directory)

    def resume_checkpoint(self, directory: str) -> int:
        """Load the newest checkpoint in the folder of a run; return the number of finished epochs."""
        return resume.load_checkpoint(self, directory)

    def resume_state(self, directory: str) -> int:
        """Load the state of an unfinished run; return the number of finished epochs."""
        return resume.load_state(self, directory)

    def skip_epochs(self, name: str, epochs: int) -> None:
        """Advance the learning-rate scheduler of a model by a number of epochs."""
        resume.skip_epochs(self, name, epochs)

    def extra_state(self) -> dict[str, Any]:
        """Return further values of the training state: loss scale, average over epochs, and state of a search."""
        scaler = {} if self.scaler is None else {"scaler": self.scaler.state_dict()}
        average = {} if self.model.average is None else {"average": self.model.average.state_dict()}
        return {**scaler, **average, **({} if self.search is None else self.search.state())}

    def load_extra_state(self, extras: Mapping[str, Any]) -> None:
        """Restore the values that `extra_state` returned."""
        if self.scaler is not None and "scaler" in extras:
            self.scaler.load_state_dict(extras["scaler"])
        if self.model.average is not None and "average" in extras:
            self.model.average.load_state_dict(extras["average"])
        if self.search is not None:
            self.search.load_state(extras)


def hand_over(batches: list[tuple[Tensor, Tensor]], evaluator: Any) -> None:
    """Pass batches of logits (B, C) and labels (B,) to an evaluator, and empty the list of batches.

    Logits on a GPU are copied to the CPU; half precision becomes single precision with the same values.

    Raises:
        FloatingPointError: if a logit is not finite.
    """
    for logits, labels in batches:
        if waits(logits.device):
            logits, labels = (logits if logits.dtype == torch.float64 else logits.float()).cpu(), labels.cpu()
        precision.require_finite(logits)
        evaluator.process(logits, labels)
    batches.clear()


class _Meters:
    """Last values and averages of losses and times (in seconds) over the steps of an epoch.

    The time of a step is the time between two reads divided by the number of steps between them, because a GPU is still
    computing when the call of a step returns.

    Args:
        before: the number of steps in earlier epochs.
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
    """Make a training loader return its last batch even if this batch is not full."""
    sampler = loader.batch_sampler
    getattr(sampler, "batches", sampler).drop_last = False  # that of persistent workers wraps another


def _print_ignored(call: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Print the arguments of a method call that are ignored, because only trainers of another codebase have them."""
    names = [*(f"argument {number}" for number, _ in enumerate(args, start=1)), *kwargs]
    if names:
        print(f"note: this program passes {', '.join(names)} to {call}, which modprompt's trainers ignore.")


def _begin(cfg: Any) -> None:
    """Prepare the process for a run that the program of another codebase has started."""
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
