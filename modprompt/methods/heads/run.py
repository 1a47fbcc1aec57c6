"""The parts of a trainer that puts a head on frozen features: the bank, the head, its epochs, its search, a test.

Encoders are frozen: each list of images is encoded once, or once for each augmented view that the head needs.
"""

import time
import warnings
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, SequentialSampler

from modprompt.engine.model import Output
from modprompt.io import checkpoint
from modprompt.io.checkpoint_files import BEST
from modprompt.io.images import mark, selected_on
from modprompt.methods.heads import bank_file
from modprompt.methods.heads.base import TEST, TRAIN, VAL, Head
from modprompt.methods.heads.fitting import FreshViews
from modprompt.methods.heads.headed import HeadMethod
from modprompt.methods.heads.headed_model import HeadedModel
from modprompt.methods.parts.checkpoint_view import require_made_with
from modprompt.trainers.building import Building
from modprompt.trainers.checkpoints import Checkpoints
from modprompt.trainers.evaluation import Evaluation
from modprompt.trainers.image_features import FeatureBatches, encode
from modprompt.trainers.loop import Loop
from modprompt.trainers.part import Part
from modprompt.trainers.prompt_trainer import Parts
from modprompt.trainers.resume import Resume
from modprompt.trainers.training_state import TRAINING_IMAGES

VIEWS = "views"  # key in the state of a run: kept views


class _OfHead(Part):
    """What the parts below share."""

    method: HeadMethod
    model: HeadedModel

    @property
    def head(self) -> Head:
        """The model's head."""
        return self.model.head


class HeadBuilding(_OfHead, Building):
    """Builds the head from a bank of features of the training images.

    Attributes:
        is_built: whether it was built here.
    """

    is_built = False

    def check(self) -> None:
        """Complain about settings before any work is done."""
        super().check()

    def build(self) -> None:
        """Build CLIP, and the part of the head that does not depend on the bank."""
        trainer = self.trainer
        self.put_on_clip()
        if type(self.model.prompt_learner).reads:
            print("note: the head reads features of classes and class tokens, not what its prompts read out")
        trainer.scaler = None
        trainer.max_epoch = self.method.epochs(trainer.max_epoch) if self.head.trains else 1  # else one without a step
        trainer.register_model(self.method.folder, self.model.saved)
        if self.cfg.MODEL.INIT_WEIGHTS and self.cfg.TEST.ONLY:
            trainer.checkpoints.load_initial(self.head)

    def of_bank(self, views: bank_file.Views, keeps: bool = True) -> None:
        """Build the head, and its optimiser, from features of the training images."""
        trainer = self.trainer
        bank = self.model.bank(views.features, views.labels)
        self.head.build(bank, self.model.scale())
        size = self.cfg.DATALOADER.TRAIN_X.BATCH_SIZE
        batches = self.head.batches(bank, size) if self.head.trains else ()
        loader = self._loader(in_order=False) if self.head.keeps_rest else trainer.train_loader_x
        trainer.train_loader_x = (
            FreshViews(loader, self.encode, self.method.kept_views()) if batches is None else batches
        )
        self.is_built = True
        if self.cfg.MODEL.INIT_WEIGHTS:
            trainer.checkpoints.load_initial(self.head)
        self.make_rates()
        if keeps:
            self.keep(views)

    def keep(self, views: bank_file.Views) -> None:
        """Keep the views of the bank, for resuming."""
        if self.cfg.OUTPUT_DIR:
            bank_file.write(self.cfg.OUTPUT_DIR, self.trainer.resume.settings(), views)

    def make_rates(self) -> None:
        """Make the optimiser and its learning rates: the head's own, or those of OPTIM."""
        trainer, folder = self.trainer, self.method.folder
        if not self.head.trains:
            return
        rates = self.head.rates(trainer.max_epoch * len(trainer.train_loader_x))
        self.each_step = rates is not None
        if rates is None:
            trainer.optim = self.optimiser()
            trainer.sched = self.schedule(trainer.optim)
        else:
            trainer.optim, trainer.sched = rates
        trainer._optims[folder], trainer._scheds[folder] = trainer.optim, trainer.sched

    @torch.no_grad()
    def encode(self, image: Tensor) -> Tensor:
        """Features (B, D) of images (B, 3, H, W)."""
        features: Tensor = self.trainer.evaluation.encode_image(image)
        return features

    @torch.no_grad()
    def encoded(self) -> bank_file.Views:
        """Features of the training images, once for each pass; those of other images, in the head's order, are kept."""
        trainer = self.trainer
        trainer.set_model_mode("eval")
        if self.head.seeds_anew and self.cfg.SEED >= 0:
            torch.manual_seed(self.cfg.SEED)
        passes: list[tuple[Tensor, Tensor]] = []
        for images in self.head.encodes:
            if images == TRAIN:
                loader = self._loader(in_order=self.head.in_order)
                passes = [encode(loader, self.encode) for _ in range(self.method.passes())]
            elif images == TEST or trainer.val_loader is not None:
                began_s = time.perf_counter()
                trainer.evaluation.features_of(images)
                trainer.evaluation.encoded_s[images] = time.perf_counter() - began_s
                trainer.resume.began_s += trainer.evaluation.encoded_s[images]  # it does not count as training
        return bank_file.Views([features for features, _ in passes], [labels for _, labels in passes])

    def _loader(self, in_order: bool) -> Any:
        """The training images in batches, the last maybe smaller, in their order or shuffled."""
        own = self.trainer.train_loader_x
        return DataLoader(
            own.dataset,
            batch_size=own.batch_size,
            sampler=SequentialSampler(own.dataset) if in_order else own.sampler,
            num_workers=own.num_workers,
            pin_memory=own.pin_memory,
        )


class HeadLoop(_OfHead, Loop):
    """Steps on features."""

    def output(self, image: Tensor) -> Output:
        """The head's output for raw features (B, D)."""
        return self.model.of_features(image)


class HeadEvaluation(_OfHead, Evaluation):
    """Tests on features, which are encoded once.

    Attributes:
        encoded_s: seconds of encoding validation and test images before the training.
    """

    def __init__(self, trainer: Any):
        super().__init__(trainer)
        self._kept: dict[str, FeatureBatches] = {}
        self.encoded_s: dict[str, float] = {}

    def features_of(self, split: str) -> FeatureBatches:
        """Features of validation or test images, in order; encoded once."""
        if split not in self._kept:
            batches = super().batches(split)
            if not isinstance(batches, FeatureBatches):
                batches = FeatureBatches(*encode(batches, self.trainer.building.encode), batches)
            self._kept[split] = batches
        return self._kept[split]

    def test(self, split: str | None) -> float:
        """As in other trainers; the time of encoding its images before the training is counted here."""
        accuracy = super().test(split)
        images = TEST if self.loader is self.trainer.test_loader else VAL
        self.testing_s = (self.testing_s or 0.0) + self.encoded_s.get(images, 0.0)
        return accuracy

    def batches(self, split: str) -> FeatureBatches:
        """Batches of features."""
        batches = self.features_of(split)
        self.loader = self.trainer.val_loader if split == VAL else self.trainer.test_loader
        self.features = batches.features
        return batches


class HeadCheckpoints(_OfHead, Checkpoints):
    """Saves and loads the head with the prompts it is put on; says by which images anything was chosen.

    Attributes:
        found: the result of the search, for result.json; None before it.
    """

    found: dict[str, Any] | None = None

    def load_file(self, view: Any, path: str) -> int:
        """Load a checkpoint's head for this run's classes; returns the number of its epochs."""
        content = checkpoint.read(path)
        require_made_with(content.made_with, self.made_with(), path)
        if self.trainer.building.is_built:
            self.model.go_on_with(content, path)
        else:
            self.model.take(content, path)
            self.trainer._models[self.method.folder] = self.model.saved
        self.loaded = content
        return content.epoch

    def pass_epochs(self, name: str, epochs: int) -> None:
        """Continue the learning rates of a loaded run after so many epochs; a run that is only tested has none."""
        building = self.trainer.building
        if building.is_built:
            building.make_rates()
            super().pass_epochs(name, epochs)

    def search_behind(self, best: checkpoint.Checkpoint | None = None) -> None:
        """Search, if the head has something to search and there are images for it; print the result.

        Args:
            best: the best epoch's checkpoint, if that is tested; the last epoch's file is then left as it is.
        """
        grid, split, where = self.method.grid(), self.method.searched_on(), self._searched_on()
        if grid is None:
            return
        if not where:
            print("There are no validation images to search on: alpha and beta stay as given")
            return
        began_s, trainer = time.perf_counter(), self.trainer
        batches = trainer.evaluation.features_of(split)
        features, labels = batches.features.to(trainer.device), batches.labels.to(trainer.device)
        found = self.head.search(features, self.model.plain_logits(features), labels, grid)
        if found is None:
            return
        if trainer.resume.training_s is not None:
            trainer.resume.training_s += time.perf_counter() - began_s
        right = f"{found.correct} of {found.images} images right"
        print(f"Found beta {found.beta:g}, alpha {found.alpha:g}: {right} ({where})")
        self.found = {**found._asdict(), "grid": list(grid), "on": where}
        if best is None:
            self.save(trainer.max_epoch - 1, trainer.output_dir)
        else:
            self.save(best.epoch - 1, trainer.output_dir, val_result=trainer.best_result, model_name=BEST)

    def _searched_on(self) -> str:
        """Which images the search uses; empty if there are none."""
        if self.method.searched_on() == TEST:
            return TEST
        dataset = self.trainer.dm.dataset
        where = selected_on(dataset, self.cfg)
        is_none = not dataset.val or (where == TEST and not self.cfg.DATASET.VAL_FROM_TEST)
        return "" if is_none else where

    def chosen(self) -> dict[str, Any]:
        """What a result says of choices: what was chosen, by which images, and whether that is against the rule."""
        best_on, is_built = self.trainer.resume.best_on, self.trainer.building.is_built
        chosen = selected_on(self.trainer.dm.dataset, self.cfg) if best_on else ""
        found = self.found if is_built else self.chosen_by_loaded().get("searched")  # for a head that was loaded
        where = TEST if best_on == TEST else found["on"] if found else chosen
        before = "" if self.method.front is None else self.method.front.selected_on  # of the prompts
        searched = {"searched": found} if found else {}
        marked = mark(where, before)
        return {"selected_on": where or before, **searched, **({"selected_on_test": marked} if marked else {})}

    def of_run(self) -> dict[str, Any]:
        """What a checkpoint says of the run that made it."""
        return {**super().of_run(), **self.chosen()}


class HeadResume(_OfHead, Resume):
    """Starts, saves, resumes and ends the training of a head."""

    @property
    def best_on(self) -> str:
        return self.method.best_on() or super().best_on

    @property
    def last_of_equals(self) -> bool:
        return self.method.last_of_equals()

    def begin(self) -> None:
        """Resume, or build the head."""
        trainer = self.trainer
        self._warn_of_other_images()
        super().begin()
        if not trainer.building.is_built and trainer.start_epoch < trainer.max_epoch:
            trainer.building.of_bank(trainer.building.encoded())
        if isinstance(trainer.train_loader_x, FreshViews):
            trainer.train_loader_x.epoch = trainer.start_epoch

    def _warn_of_other_images(self) -> None:
        """Warn if the head's prompts were trained on other images than the head."""
        front = self.method.front
        theirs = {} if front is None or front.content is None else front.content.record["run"].get("settings", {})
        mine = self.settings()
        if theirs.get(TRAINING_IMAGES, mine[TRAINING_IMAGES]) == mine[TRAINING_IMAGES]:
            return
        asked = ("DATASET.NAME", "DATASET.NUM_SHOTS", "DATASET.SUBSAMPLE_CLASSES", "SEED")
        other = [f"{key} {theirs[key]}, here {mine[key]}" for key in asked if theirs.get(key, "") != mine.get(key, "")]
        warnings.warn(
            f"the prompts in {self.method.prompts_from} were trained on other images than this head "
            f"({'; '.join(other) or 'of another split'}): they may have seen images that are tested here",
            stacklevel=2,
        )

    def _resume_state(self, directory: str) -> int:
        building, views = self.trainer.building, bank_file.Views([], [])
        if self.method.passes():
            views = bank_file.read(directory, self.settings())
        building.of_bank(views, keeps=False)
        epoch = super()._resume_state(directory)
        building.keep(views)  # once the state is known to belong to this run
        return epoch

    def _resume_model(self, directory: str) -> int:
        if directory != self.cfg.OUTPUT_DIR:
            self.trainer.building.of_bank(self.trainer.building.encoded())
        return super()._resume_model(directory)

    def end(self) -> None:
        """Search, test, and leave nothing that only an unfinished run needs."""
        if self.cfg.TEST.NO_TEST:
            self.trainer.checkpoints.search_behind()
        super().end()
        if not self.keeps_state:
            bank_file.remove(self.trainer.output_dir)

    def deploy(self) -> None:
        """Set up the model that is tested, with the result of a search after its training."""
        super().deploy()
        checkpoints = self.trainer.checkpoints
        checkpoints.search_behind(checkpoints.loaded if self.best_on else None)

    def extra_state(self) -> dict[str, Any]:
        """The views that are kept."""
        views = self.trainer.train_loader_x.kept if isinstance(self.trainer.train_loader_x, FreshViews) else []
        kept = [{"features": [f for f, _ in view], "labels": [y for _, y in view]} for view in views]
        return {**super().extra_state(), VIEWS: kept}

    def load_extra_state(self, extras: Any) -> None:
        """Restore what extra_state returned."""
        super().load_extra_state(extras)
        if isinstance(self.trainer.train_loader_x, FreshViews):
            views = [list(zip(view["features"], view["labels"])) for view in extras[VIEWS]]
            self.trainer.train_loader_x.kept = [[(f.to(self.trainer.device), y) for f, y in view] for view in views]


HEAD_PARTS = Parts(HeadBuilding, HeadLoop, HeadEvaluation, HeadCheckpoints, HeadResume)
