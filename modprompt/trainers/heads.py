"""The parts of a trainer that puts a head on frozen features: the bank, the head, its epochs, its search, a test.

Encoders are frozen: each list of images is encoded once, or once for each augmented view that the head needs. A
training encodes images (`encoded`), builds the head from them (`of_bank`), fits it, searches (`search`), and tests.
"""

import itertools
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, SequentialSampler

from modprompt.data.selection import selected_on
from modprompt.errors import UserError
from modprompt.io import checkpoint
from modprompt.io.checkpoint import BEST
from modprompt.io.folder import or_delete
from modprompt.io.result import mark
from modprompt.io.settings import SHOTS_BY_CLASS, TRAIN_ON_VAL, changes
from modprompt.io.tensors import read_tensors, write_tensors
from modprompt.methods.heads.base import TEST, TRAIN, VAL, FreshViews, Head
from modprompt.methods.heads.method import HeadMethod, answered_in, unread
from modprompt.methods.heads.model import HeadedModel, Saved
from modprompt.methods.records import require_made_with
from modprompt.trainers.building import Building
from modprompt.trainers.checkpoints import Checkpoints
from modprompt.trainers.evaluation import Evaluation, FeatureBatches, encode
from modprompt.trainers.part import Part
from modprompt.trainers.prompt_trainer import Parts
from modprompt.trainers.resume import Resume
from modprompt.trainers.training_state import TRAINING_IMAGES

BANK = "bank.pth.tar"
Views = Sequence[tuple[Tensor, Tensor]]  # passes over the training images: features (N, D) and labels (N,) of each


def read_bank(directory: str, settings: Mapping[str, str]) -> Views:
    """The views of the run in a folder, for a run with these settings.

    Raises:
        UserError: if they are missing, damaged, or were made with another CLIP, other images or other settings.
    """
    path = Path(directory, BANK)
    to_do = f"Start in a different --output-dir{or_delete(directory)}."
    if not path.is_file():
        raise UserError(f"{path} is missing, but the run in the output folder was made from this file. {to_do}")
    try:
        content = read_tensors(path)
    except UserError as error:
        raise UserError(f"{path} is damaged ({error}). {to_do}") from None
    theirs = content["settings"]
    other = changes(theirs, {key: text for key, text in settings.items() if key in theirs})
    if other:
        raise UserError(f"{path} was made by a run with other settings ({'; '.join(map(str, other[:4]))}). {to_do}")
    return list(zip(content["features"], content["labels"]))


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

    @property
    def reads_training_images(self) -> bool:
        """Return True if the head is fitted to training images or built from them."""
        return self.head.trains or TRAIN in self.head.encodes

    def check(self) -> None:
        """As in other trainers."""
        super().check()
        if self.cfg.TEST.OOD:
            self.method.require_each_alone(f"TEST.OOD {self.cfg.TEST.OOD}")

    def build(self) -> None:
        """Build CLIP, and the part of the head that does not depend on the bank."""
        trainer = self.trainer
        self.put_on_clip()
        if said := unread(self.model.prompt_learner):
            print(f"note: {said}")
        trainer.scaler = None
        trainer.max_epoch = self.method.epochs(trainer.max_epoch) if self.head.trains else 1  # else one without a step
        trainer.register_model(self.method.saved_as.folder, Saved(self.model))
        if self.cfg.MODEL.INIT_WEIGHTS and self.cfg.TEST.ONLY:
            trainer.checkpoints.load_initial(self.head)

    @torch.no_grad()
    def encoded(self) -> Views:
        """Features of the training images, once for each pass; those of other images, in the head's order, are kept."""
        trainer = self.trainer
        trainer.set_model_mode("eval")
        if self.head.seeds_anew and self.cfg.SEED >= 0:
            torch.manual_seed(self.cfg.SEED)
        views: Views = []
        for images in self.head.encodes:
            if images == TRAIN:
                loader = self._loader(in_order=self.head.in_order)
                views = [encode(loader, trainer.evaluation.encode_image) for _ in range(self.method.passes())]
            elif images == TEST or trainer.val_loader is not None:
                began_s, evaluation = time.perf_counter(), trainer.evaluation
                evaluation.batches(images)
                took_s = evaluation.encoded_s[evaluation.loader] = time.perf_counter() - began_s
                trainer.resume.began_s += took_s  # it does not count as training
        return views

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

    def of_bank(self, views: Views) -> None:
        """Build the head, what it is fitted on, and its optimiser, from features of the training images."""
        trainer, head = self.trainer, self.head
        bank = self.model.bank([features for features, _ in views], [labels for _, labels in views])
        head.build(bank, self.model.scale())
        batches = head.batches(bank, self.cfg.DATALOADER.TRAIN_X.BATCH_SIZE) if head.trains else ()
        if batches is None:
            loader = self._loader(in_order=False) if head.keeps_rest else trainer.train_loader_x
            batches = FreshViews(loader, trainer.evaluation.encode_image, self.method.kept_views())
        trainer.train_loader_x = batches
        self.is_built = True
        if self.cfg.MODEL.INIT_WEIGHTS:
            trainer.checkpoints.load_initial(head)
        self.make_rates()

    def keep(self, views: Views) -> None:
        """Keep the views of the bank, if there are any, for resuming, with what determines them."""
        if views:
            features, labels = [list(one) for one in zip(*views)]
            content = {"settings": self.trainer.resume.settings(), "features": features, "labels": labels}
            write_tensors(Path(self.cfg.OUTPUT_DIR, BANK), content)

    def make_rates(self) -> None:
        """Make the optimiser and its learning rates: the head's own, or those of OPTIM."""
        trainer, folder = self.trainer, self.method.saved_as.folder
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


class HeadEvaluation(_OfHead, Evaluation):
    """Tests on features, which are encoded once.

    Attributes:
        encoded_s: by loader, seconds of encoding its images before the training.
    """

    def __init__(self, trainer: Any):
        super().__init__(trainer)
        self._kept: dict[Any, FeatureBatches] = {}  # by loader
        self.encoded_s: dict[Any, float] = {}

    def _feature_batches(self, loader: Any) -> FeatureBatches:
        if loader not in self._kept:
            found = super()._feature_batches(loader)
            self._kept[loader] = FeatureBatches(*encode(loader, self.encode_image), loader) if found is None else found
        return self._kept[loader]

    def answered(self, batches: FeatureBatches) -> Iterator[tuple[Tensor, Tensor]]:
        """As in other trainers; where the order matters, by the method's orders, the answers of the first one."""
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
        """Logits (N, C) in the list's order, on the CPU, of images that are answered in another order."""
        answer, device = self.model.begin(), self.trainer.device

        def logits(places: Tensor) -> Tensor:
            return answer(batches.features[places].to(device)).logits

        said = "the order of the list" if number is None else f"order {number}"
        return answered_in(number, len(batches.labels), batches.batch_size, logits, said)

    def test(self, split: str | None) -> float:
        """As in other trainers; the time of encoding its images before the training is counted here."""
        accuracy = super().test(split)
        self.testing_s = (self.testing_s or 0.0) + self.encoded_s.get(self.loader, 0.0)
        return accuracy


class HeadCheckpoints(_OfHead, Checkpoints):
    """Saves and loads the head with the prompts it is put on; says by which images anything was chosen.

    Attributes:
        found: the result of the search, for result.json; None before it.
    """

    found: dict[str, Any] | None = None

    def load_file(self, view: Any, path: str) -> int:
        """Load a checkpoint's head for this run's classes; returns the number of its epochs."""
        content = checkpoint.read(path)
        require_made_with(content, self.made_with(), path)
        load = self.model.go_on_with if self.trainer.building.is_built else self.model.take
        load(content, path)
        self.loaded = content
        return content.epoch

    def pass_epochs(self, name: str, epochs: int) -> None:
        """Continue the learning rates of a loaded run after so many epochs; a run that is only tested has none."""
        building = self.trainer.building
        if building.is_built:
            building.make_rates()
            super().pass_epochs(name, epochs)

    def chosen(self) -> dict[str, Any]:
        """What a result says of choices: what was chosen, by which images, and whether that is against the rule."""
        best_on, is_built = self.trainer.resume.best_on, self.trainer.building.is_built
        chosen = selected_on(self.trainer.dm.dataset, self.cfg) if best_on else ""
        found = self.found if is_built else self.chosen_by_loaded().get("searched")  # for a head that was loaded
        where = TEST if best_on == TEST else found["on"] if found else chosen
        front = self.method.loaded.front
        before = "" if front is None else front.selected_on
        marked = mark(where, before)
        return {
            "selected_on": where or before,
            **({"searched": found} if found else {}),
            **({"selected_on_test": marked} if marked else {}),
        }

    def of_run(self) -> dict[str, Any]:
        """What a checkpoint says of the run that made it."""
        return {**super().of_run(), **self.chosen()}


class HeadResume(_OfHead, Resume):
    """Starts, saves, resumes and ends the training of a head, with its search."""

    @property
    def best_on(self) -> str:
        return self.method.best_on() or super().best_on

    def begin(self) -> None:
        """Resume, or build the head."""
        trainer = self.trainer
        self._warn_of_other_images()
        super().begin()
        if not trainer.building.is_built and trainer.start_epoch < trainer.max_epoch:
            self._build()
        if isinstance(trainer.train_loader_x, FreshViews):
            trainer.train_loader_x.epoch = trainer.start_epoch

    def _build(self) -> None:
        building = self.trainer.building
        views = building.encoded()
        building.of_bank(views)
        building.keep(views)

    def _warn_of_other_images(self) -> None:
        """Warn if the head's prompts were trained on other images than the head; not if the head reads none."""
        if not self.trainer.building.reads_training_images:
            return
        front = self.method.loaded.front
        theirs = {} if front is None or front.content is None else front.content.record["run"].get("settings", {})
        theirs, mine = {TRAIN_ON_VAL: "False", **theirs}, self.settings()  # older versions had no such setting
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

    def _resume_state(self, directory: str) -> int:
        building = self.trainer.building
        views = read_bank(directory, self.settings()) if self.method.passes() else []
        building.of_bank(views)
        epoch = super()._resume_state(directory)
        building.keep(views)  # once the state is known to belong to this run
        return epoch

    def _resume_model(self, directory: str) -> int:
        if directory != self.cfg.OUTPUT_DIR:
            self._build()
        return super()._resume_model(directory)

    def deploy(self) -> None:
        """Set up the model that is tested, with the result of a search after its training."""
        super().deploy()
        self.search(self.trainer.checkpoints.loaded if self.best_on else None)

    def end(self) -> None:
        """Search, test, and leave nothing that only an unfinished run needs."""
        if self.cfg.TEST.NO_TEST:
            self.search()
        super().end()
        if not self.keeps_state:
            Path(self.trainer.output_dir, BANK).unlink(missing_ok=True)

    def search(self, best: checkpoint.Checkpoint | None = None) -> None:
        """Search, if the head has something to search and there are images for it; print and save the result.

        Args:
            best: the best epoch's checkpoint, if that is tested; the last epoch's file is then left as it is.
        """
        trainer, grid, dataset = self.trainer, self.method.grid(), self.trainer.dm.dataset
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
        began_s, batches = time.perf_counter(), trainer.evaluation.batches(split)
        features, labels = batches.features.to(trainer.device), batches.labels.to(trainer.device)
        head: Any = self.head  # of a method with a grid
        found = head.search(features, self.model.plain_logits(features), labels, grid)
        if self.training_s is not None:
            self.training_s += time.perf_counter() - began_s
        print(
            f"The search selected alpha {found.alpha:g} and beta {found.beta:g}. With these values, {found.correct} "
            f"of {found.images} images are classified correctly ({where})."
        )
        trainer.checkpoints.found = {**found._asdict(), "grid": list(grid[:4]), "on": where}
        if best is None:
            trainer.save_model(trainer.max_epoch - 1, trainer.output_dir)
        else:
            trainer.save_model(best.epoch - 1, trainer.output_dir, val_result=trainer.best_result, model_name=BEST)

    def extra_state(self) -> dict[str, Any]:
        """The views that are kept."""
        views = self.trainer.train_loader_x.kept if isinstance(self.trainer.train_loader_x, FreshViews) else []
        return {**super().extra_state(), VIEWS: views}

    def load_extra_state(self, extras: Any) -> None:
        """Restore what extra_state returned."""
        super().load_extra_state(extras)
        if isinstance(self.trainer.train_loader_x, FreshViews):
            device = self.trainer.device
            kept = [[(features.to(device), labels) for features, labels in view] for view in extras[VIEWS]]
            self.trainer.train_loader_x.kept = kept


HEAD_PARTS = Parts(HeadBuilding, HeadEvaluation, HeadCheckpoints, HeadResume)
