"""The trainer of heads on frozen features: it encodes images, builds a head from their features, fits and tests it.

The encoders are frozen, so each list of images is encoded once, or once for each augmented view that the head needs.
"""

import itertools
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, SequentialSampler

from modprompt.data.selection import selected_on
from modprompt.io import checkpoint
from modprompt.io.checkpoint import BEST
from modprompt.io.identity import TRAINING_IMAGES
from modprompt.io.result import mark
from modprompt.io.settings import SHOTS_BY_CLASS, TRAIN_ON_VAL
from modprompt.methods.heads.base import TEST, TRAIN, VAL, FreshViews, Head
from modprompt.methods.heads.method import HeadMethod, answered_in, unread
from modprompt.methods.heads.model import HeadedModel, Saved
from modprompt.methods.records import require_made_with
from modprompt.trainers import building, checkpoints
from modprompt.trainers.feature_batches import FeatureBatches, encode
from modprompt.trainers.head_bank import BANK, Views, read_bank, write_bank
from modprompt.trainers.prompt_trainer import PromptTrainer
from modprompt.trainers.run_facts import facts_of_run, made_with

VIEWS = "views"  # key in the state of a run: the views that are kept


class HeadTrainer(PromptTrainer):
    """Trains a head on features of a frozen CLIP.

    During a training run, the trainer encodes images (`encode_images`), builds the head from their features
    (`build_head`), fits the head, and searches alpha and beta if the method has these.

    Attributes:
        head_is_built: True if the head was built from features of the training images, False if it was loaded.
        found: the result of the search for alpha and beta, for result.json; None before the search.
        encoded_s: the seconds of encoding the images of a loader before the training, by loader.
    """

    method: HeadMethod
    model: HeadedModel
    head_is_built = False
    found: dict[str, Any] | None = None

    def __init__(self, cfg: Any, *args: Any, **kwargs: Any):
        self._kept: dict[Any, FeatureBatches] = {}  # by loader
        self.encoded_s: dict[Any, float] = {}
        super().__init__(cfg, *args, **kwargs)

    @property
    def head(self) -> Head:
        """The head of the model."""
        return self.model.head

    @property
    def reads_training_images(self) -> bool:
        """Whether the head is fitted to the training images or built from them."""
        return self.head.trains or TRAIN in self.head.encodes

    @property
    def best_on(self) -> str:
        """The name of the images that select the tested epoch, or "" if the last epoch is tested."""
        return self.method.best_on() or super().best_on

    # ---- building

    def check_cfg(self, cfg: Any) -> None:
        """Check the settings; raise UserError if they are invalid, or TEST.OOD is set for an unsuitable head."""
        super().check_cfg(cfg)
        if cfg.TEST.OOD:
            self.method.require_each_alone(f"TEST.OOD {cfg.TEST.OOD}")

    def build_model(self) -> None:
        """Build the CLIP model and the head, without the parts that are computed from the training images."""
        building.build_model(self)
        if said := unread(self.model.prompt_learner):
            print(f"note: {said}")
        self.scaler = None
        self.max_epoch = self.method.epochs(self.max_epoch) if self.head.trains else 1  # 1 epoch without a step
        self.register_model(self.method.saved_as.folder, Saved(self.model))
        if self.cfg.MODEL.INIT_WEIGHTS and self.cfg.TEST.ONLY:
            checkpoints.load_initial(self, self.head)

    def _build_head_from_images(self) -> None:
        views = self.encode_images()
        self.build_head(views)
        write_bank(self.cfg.OUTPUT_DIR, views, facts_of_run(self))

    @torch.no_grad()
    def encode_images(self) -> Views:
        """Encode the images that the head needs, and return the features of the training images for each pass.

        Features of validation and test images are kept for the search and the test.
        """
        self.set_model_mode("eval")
        if self.head.seeds_anew and self.cfg.SEED >= 0:
            torch.manual_seed(self.cfg.SEED)
        views: Views = []
        for images in self.head.encodes:
            if images == TRAIN:
                loader = self._training_images_loader(in_order=self.head.in_order)
                views = [encode(loader, self.encode_image) for _ in range(self.method.passes())]
            elif images == TEST or self.val_loader is not None:
                began_s = time.perf_counter()
                self.test_batches(images)
                took_s = self.encoded_s[self.tested_loader] = time.perf_counter() - began_s
                self.began_s += took_s  # it does not count as training
        return views

    def _training_images_loader(self, in_order: bool) -> Any:
        """Return a loader of the training images that keeps a smaller last batch."""
        own = self.train_loader_x
        return DataLoader(
            own.dataset,
            batch_size=own.batch_size,
            sampler=SequentialSampler(own.dataset) if in_order else own.sampler,
            num_workers=own.num_workers,
            pin_memory=own.pin_memory,
        )

    def build_head(self, views: Views) -> None:
        """Build the head, the batches on which the head is fitted, and its optimiser.

        Args:
            views: features of the training images, as encode_images returns them.
        """
        head = self.head
        bank = self.model.bank([features for features, _ in views], [labels for _, labels in views])
        head.build(bank, self.model.scale())
        batches = head.batches(bank, self.cfg.DATALOADER.TRAIN_X.BATCH_SIZE) if head.trains else ()
        if batches is None:
            loader = self._training_images_loader(in_order=False) if head.keeps_rest else self.train_loader_x
            batches = FreshViews(loader, self.encode_image, self.method.kept_views())
        self.train_loader_x = batches
        self.head_is_built = True
        if self.cfg.MODEL.INIT_WEIGHTS:
            checkpoints.load_initial(self, head)
        self._make_optimiser()

    def _make_optimiser(self) -> None:
        """Create the optimiser and the learning-rate scheduler, which the head or the settings OPTIM define."""
        folder = self.method.saved_as.folder
        if not self.head.trains:
            return
        rates = self.head.rates(self.max_epoch * len(self.train_loader_x))
        self.each_step = rates is not None
        if rates is None:
            self.optim = building.make_optimiser(self)
            self.sched = building.make_schedule(self, self.optim)
        else:
            self.optim, self.sched = rates
        self._optims[folder], self._scheds[folder] = self.optim, self.sched

    # ---- the training

    def before_train(self) -> None:
        """Resume the training, or build the head."""
        self._warn_of_other_images()
        super().before_train()
        if not self.head_is_built and self.start_epoch < self.max_epoch:
            self._build_head_from_images()
        if isinstance(self.train_loader_x, FreshViews):
            self.train_loader_x.epoch = self.start_epoch

    def _warn_of_other_images(self) -> None:
        """Warn if the prompts and the head were trained on different images."""
        if not self.reads_training_images:
            return
        front = self.method.loaded.front
        theirs = {} if front is None or front.content is None else front.content.record["run"].get("settings", {})
        theirs, mine = {TRAIN_ON_VAL: "False", **theirs}, facts_of_run(self)  # older versions had no such setting
        if theirs.get(TRAINING_IMAGES, mine[TRAINING_IMAGES]) == mine[TRAINING_IMAGES]:
            return
        asked = ("DATASET.NAME", "DATASET.NUM_SHOTS", SHOTS_BY_CLASS, TRAIN_ON_VAL, "DATASET.SUBSAMPLE_CLASSES", "SEED")
        both = [(key, theirs.get(key, ""), mine.get(key, "")) for key in asked]
        other = [
            f"{key} was {one or 'not set'} and is {here or 'not set'} here" for key, one, here in both if one != here
        ]
        warnings.warn(
            f"The prompts in {self.method.prompts_from} and this head were trained on different images "
            f"({'; '.join(other) or 'another split'}), so some test images of this run may be among the training "
            "images of the prompts.",
            stacklevel=2,
        )

    def after_train(self) -> None:
        """Search for the hyperparameters alpha and beta, test the head, and remove temporary files."""
        if self.cfg.TEST.NO_TEST:
            self.search_alpha_and_beta()
        super().after_train()
        if not self.keeps_state:
            Path(self.output_dir, BANK).unlink(missing_ok=True)

    def deploy(self) -> None:
        """Load the model that is tested, and search for its hyperparameters alpha and beta."""
        super().deploy()
        self.search_alpha_and_beta(self.loaded if self.best_on else None)

    def search_alpha_and_beta(self, best: checkpoint.Checkpoint | None = None) -> None:
        """Search for the hyperparameters alpha and beta if the method has them; print and save their values.

        Args:
            best: the checkpoint of the best epoch, if that is tested; the file of the last epoch is then not changed.
        """
        grid, dataset = self.method.grid(), self.dm.dataset
        if grid is None:
            return
        split = grid.on
        where = TEST if split == TEST else selected_on(dataset, self.cfg)
        if split == VAL and (not dataset.val or (where == TEST and not self.cfg.DATASET.VAL_FROM_TEST)):
            print(
                "The data set has no validation images, so alpha and beta are not searched and keep their "
                "configured values."
            )
            return
        began_s, batches = time.perf_counter(), self.test_batches(split)
        features, labels = batches.features.to(self.device), batches.labels.to(self.device)
        head: Any = self.head  # of a method with a grid
        found = head.search(features, self.model.plain_logits(features), labels, grid)
        if self.training_s is not None:
            self.training_s += time.perf_counter() - began_s
        print(
            f"The search selected alpha {found.alpha:g} and beta {found.beta:g}. With these values, {found.correct} "
            f"of {found.images} images are classified correctly ({where})."
        )
        self.found = {**found._asdict(), "grid": list(grid[:4]), "on": where}
        if best is None:
            self.save_model(self.max_epoch - 1, self.output_dir)
        else:
            self.save_model(best.epoch - 1, self.output_dir, val_result=self.best_result, model_name=BEST)

    # ---- the test, on features that are computed once

    def test(self, split: str | None = None, **kwargs: Any) -> float:
        """Test the head; the reported time includes encoding the images, which happens before the training."""
        accuracy = super().test(split, **kwargs)
        self.testing_s = (self.testing_s or 0.0) + self.encoded_s.get(self.tested_loader, 0.0)
        return accuracy

    def feature_batches(self, loader: Any) -> FeatureBatches:
        """Return batches of image features for the images of a loader; the features are computed at the first call."""
        if loader not in self._kept:
            found = super().feature_batches(loader)
            self._kept[loader] = FeatureBatches(*encode(loader, self.encode_image), loader) if found is None else found
        return self._kept[loader]

    def answered(self, batches: FeatureBatches) -> Iterator[tuple[Tensor, Tensor]]:
        """Return the logits (B, C) and labels (B,) of each batch.

        A head that learns from the test images gives other logits for another order of the images. All orders of the
        method are then tested, and the logits of the first order are returned.
        """
        if not self.method.in_turn:
            return super().answered(batches)
        first, *others = orders = self.method.orders_of(self.cfg.SEED)
        logits = self._in_order(batches, first)
        every = itertools.chain([logits], (self._in_order(batches, order) for order in others))
        right = [100 * (one.argmax(1) == batches.labels).double().mean().item() for one in every]
        mean = sum(right) / len(right)
        what = f"{type(self.method).__name__} in {len(orders)} orders of the images"
        print(f"{what}: {mean:.2f}% on average, from {min(right):.2f}% to {max(right):.2f}%")
        self.orders = {"orders": list(orders), "accuracies_pct": right, "mean_pct": mean}
        return zip(logits.split(batches.batch_size), batches.labels.split(batches.batch_size))

    def _in_order(self, batches: FeatureBatches, number: int | None) -> Tensor:
        """Return logits (N, C) on the CPU, sorted as the list of images, if a head uses another order."""
        answer, device = self.model.begin(), self.device

        def logits(places: Tensor) -> Tensor:
            return answer(batches.features[places].to(device)).logits

        said = "the order of the list" if number is None else f"order {number}"
        return answered_in(number, len(batches.labels), batches.batch_size, logits, said)

    # ---- checkpoints and the state of the run

    def selection(self) -> dict[str, Any]:
        """Return the entries of result.json on selected hyperparameters and the images on which they were selected.

        They are also recorded in checkpoints.
        """
        chosen = selected_on(self.dm.dataset, self.cfg) if self.best_on else ""
        found = self.found if self.head_is_built else checkpoints.selection_of_loaded(self).get("searched")
        where = TEST if self.best_on == TEST else found["on"] if found else chosen
        front = self.method.loaded.front
        before = "" if front is None else front.selected_on
        marked = mark(where, before)
        return {
            "selected_on": where or before,
            **({"searched": found} if found else {}),
            **({"selected_on_test": marked} if marked else {}),
        }

    def load_file(self, view: Any, path: str) -> int:
        """Load the head of a checkpoint for the classes of this run; return the number of finished epochs."""
        content = checkpoint.read(path)
        require_made_with(content, made_with(self), path)
        load = self.model.go_on_with if self.head_is_built else self.model.take
        load(content, path)
        self.loaded = content
        return content.epoch

    def skip_epochs(self, name: str, epochs: int) -> None:
        """Advance the learning-rate scheduler by a number of epochs; a head that is only tested has none."""
        if self.head_is_built:
            self._make_optimiser()
            super().skip_epochs(name, epochs)

    def resume_checkpoint(self, directory: str) -> int:
        """Load the newest checkpoint in the folder of a run; return the number of finished epochs."""
        if directory != self.cfg.OUTPUT_DIR:
            self._build_head_from_images()
        return super().resume_checkpoint(directory)

    def resume_state(self, directory: str) -> int:
        """Load the state of an unfinished run; return the number of finished epochs."""
        views = read_bank(directory, facts_of_run(self)) if self.method.passes() else []
        self.build_head(views)
        epoch = super().resume_state(directory)
        write_bank(self.cfg.OUTPUT_DIR, views, facts_of_run(self))  # the state is now known to belong to this run
        return epoch

    def extra_state(self) -> dict[str, Any]:
        """Return the values that other trainers store, and the features of the training images."""
        views = self.train_loader_x.kept if isinstance(self.train_loader_x, FreshViews) else []
        return {**super().extra_state(), VIEWS: views}

    def load_extra_state(self, extras: Mapping[str, Any]) -> None:
        """Restore the values that `extra_state` returned."""
        super().load_extra_state(extras)
        if isinstance(self.train_loader_x, FreshViews):
            kept = [[(features.to(self.device), labels) for features, labels in view] for view in extras[VIEWS]]
            self.train_loader_x.kept = kept
