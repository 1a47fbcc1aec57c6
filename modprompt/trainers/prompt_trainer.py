"""The trainer of all methods: Dassl's interface, passed on to the parts that do the work. It names no method."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from dassl.engine import TrainerX
from torch import Tensor

from modprompt.clip.structure import CLIP
from modprompt.engine.memory import take_share
from modprompt.errors import UserError
from modprompt.io import folder as run_folder
from modprompt.io import image_files, images
from modprompt.methods.base import Method
from modprompt.methods.model import PromptedModel
from modprompt.methods.parts.deferred_metrics import Number
from modprompt.trainers import backbone, card_errors, device, mistakes, run_config
from modprompt.trainers.building import Building, ZeroShotBuilding
from modprompt.trainers.checkpoints import Checkpoints, NoCheckpoints
from modprompt.trainers.evaluation import Evaluation
from modprompt.trainers.image_cache import with_kept_images
from modprompt.trainers.loop import Loop
from modprompt.trainers.part import FeaturePart, Run
from modprompt.trainers.resume import Resume


class Parts(NamedTuple):
    """The classes of a trainer's parts; see each."""

    building: type[Building] = Building
    loop: type[Loop] = Loop
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
        loop: steps and epochs.
        evaluation: tests.
        checkpoints: files of what is learned.
        resume: begins, goes on with and ends a training.
        added: what features add to the training.
    """

    method_class: type[Method]
    node_name = ""  # the method's node under cfg.TRAINER
    parts: ClassVar[Parts] = PROMPTS

    run: Run
    model: PromptedModel
    added: list[FeaturePart]
    clip_model: CLIP
    scaler: Any
    train_loader_x: Any
    val_loader: Any
    test_loader: Any

    def __init__(self, cfg: Any):
        with card_errors.told():
            cfg = run_config.from_host(cfg, getattr(self, "method_class", None))
            _begin(cfg)
            super().__init__(cfg)
            if getattr(self, "model", None) is None:  # some Dassl leaves that to before_train, which here resumes
                self.build_model()
        if images.selected_on(self.dm.dataset, cfg) == images.TEST:
            print(f"note: {cfg.DATASET.NAME} has no validation images of its own: what is chosen is selected on test")

    def check_cfg(self, cfg: Any) -> None:
        """Refuse settings, and a schedule that does not fit a CLIP whose layers are known, before any work is done."""
        self.cfg = cfg  # Dassl sets it after this check
        self.make_parts()
        self.run = self.building.checked(cfg)
        self.added = [] if self.run.method.search is None else [_search_run(self)]
        for one in self.added:
            one.check()
        self.building.check()

    def make_parts(self) -> None:
        """Make all parts of a trainer, still empty."""
        kinds = self.parts
        self.building, self.loop, self.evaluation = kinds.building(self), kinds.loop(self), kinds.evaluation(self)
        self.checkpoints, self.resume = kinds.checkpoints(self), kinds.resume(self)
        self.added = []  # known with the run

    def build_data_loader(self) -> None:
        """Dassl's, with test images made as the weights need them, and kept if TEST.IMAGE_CACHE names a folder."""
        cfg = self.cfg
        with mistakes.of_reader(cfg):
            super().build_data_loader()
        if cfg.VERBOSE and not getattr(self.dm.dataset, "has_test", True):
            print("note: there are no test images (the one that is counted is a substitute): nothing is tested")
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

    def train(self) -> None:
        """Train, resuming if possible, then test; a method that trains nothing is only tested."""
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
        for change in run_config.changed_by_program(self.cfg):
            print(f"note: {change}: the program changed it after its trainer was built: not read")
        self.resume.begin()
        for one in self.added:
            one.begin()

    def run_epoch(self) -> None:
        """One pass over the training loader."""
        self.loop.run_epoch()

    def forward_backward(self, batch: Any) -> Mapping[str, Number]:
        """One step on a batch, after what features add; its numbers for the log. `Loop` checks the loss later."""
        said = {name: value for one in self.added for name, value in one.step().items()}
        image, label = self.parse_batch_train(batch)
        return {**said, **self.loop.after_step(self.loop.step(image, label), label)}

    def after_epoch(self) -> None:
        """Do what the method does, save and validate as asked, unless the last step made the prompts not finite."""
        self.loop.end_epoch()
        for one in self.added:
            one.end_epoch()
        self.resume.end_epoch()

    def after_train(self) -> None:
        """End what features do; test the last model, or the best on the validation set."""
        for one in self.added:
            one.end()
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


def _keep_partial(loader: Any) -> None:
    """Let a training loader give its last batch even if it is not full."""
    sampler = loader.batch_sampler
    getattr(sampler, "batches", sampler).drop_last = False  # that of persistent workers wraps another


def _search_run(trainer: PromptTrainer) -> FeaturePart:
    from modprompt.methods.search.run import SearchRun  # late: it stands on trainers

    return SearchRun(trainer)


def _begin(cfg: Any) -> None:
    """What comes before all else in another codebase; a program of ours has done it already."""
    if cfg.OUTPUT_DIR:
        run_folder.keep(cfg.OUTPUT_DIR, cfg.TRAINER.NAME)
    if cfg.ACTIVE.ROUNDS:
        raise UserError("ACTIVE.ROUNDS: only `modprompt active`, and the train.py of its project, run rounds")
    image_files.read_as(cfg.INPUT.READ_AS)
    device.set_up(cfg)
    if device.on_card(cfg):
        take_share()
