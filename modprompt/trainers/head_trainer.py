"""The trainer of all methods that put a head on frozen features: the bank, the head, its epochs, its search, a test.

Encoders are frozen: each list of images is encoded once, or as often as the head asks for augmented views of it.
"""

import time
from typing import Any, Dict, List, Mapping, Optional, Tuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, SequentialSampler

from modprompt.clips.as_bytes import sent
from modprompt.engine.model import Output
from modprompt.errors import UserError
from modprompt.methods.heads.base import TEST, TRAIN, VAL, Head
from modprompt.methods.heads.fitting import FreshViews
from modprompt.methods.heads.headed import HeadMethod
from modprompt.methods.heads.headed_model import HeadedModel
from modprompt.methods.parts.view import require_made_with
from modprompt.runs import checkpoint
from modprompt.storage.forms import Form, anything, table
from modprompt.trainers import bank_file
from modprompt.trainers.feature_cache import FeatureBatches, encode
from modprompt.trainers.head_choice import HeadChoice
from modprompt.trainers.prompt_trainer import PromptTrainer
from modprompt.trainers.state_form import like

VIEWS, KEPT = "views", "head"  # in the state of a run: those that are kept; buffers that the head keeps


class HeadTrainer(HeadChoice, PromptTrainer):
    """Builds a method's head from a bank of features, trains it, searches behind it, and tests on kept features."""

    method: HeadMethod
    model: HeadedModel
    train_loader_x: Any
    max_epoch: int
    each_step = False  # whether rates go on behind each step, and not each epoch

    def check_cfg(self, cfg: Any) -> None:
        """Complain about settings before any work is done."""
        super().check_cfg(cfg)
        if cfg.MODEL.get("COMPILE", "") == "graph":
            raise UserError("MODEL.COMPILE graph: the steps of a head are too short to be recorded; leave it out")

    # ------------------------------------------------------------------ the model

    def build_model(self) -> None:
        """CLIP, and the head as far as it does not hang on the bank."""
        self.put_on_clip()
        self.scaler = None
        self.max_epoch = self.method.epochs(self.max_epoch) if self.head.trains else 1  # else one without a step
        self.kept: Dict[str, FeatureBatches] = {}  # features of validation and test images
        self.found: Optional[Dict[str, Any]] = None
        self._began_s = time.perf_counter()
        self.encoded_s: Dict[str, float] = {}  # seconds of encoding validation and test images before the training
        self.is_built = False
        self.register_model(self.checkpoint_name, self.model.saved)
        if self.cfg.MODEL.INIT_WEIGHTS and self.cfg.TEST.ONLY:
            self.load_initial(self.head)

    @property
    def head(self) -> Head:
        """The model's."""
        return self.model.head

    def _load(self, view: Any, path: str) -> int:
        """Load a checkpoint's head for this run's classes; the number of its epochs."""
        content = checkpoint.read(path)
        require_made_with(content.made_with, self.made_with(), path)
        if self.is_built:
            self.model.go_on_with(content, path)
        else:
            self.model.take(content, path)
            self._models[self.checkpoint_name] = self.model.saved
        self.loaded = content
        return content.epoch

    # ------------------------------------------------------------------ what it is made of

    def before_train(self) -> None:
        """Resume, or build the head."""
        self.warn_of_other_images()
        super().before_train()
        if not self.is_built and self.start_epoch < self.max_epoch:
            self._build(self._encoded())
        if isinstance(self.train_loader_x, FreshViews):
            self.train_loader_x.epoch = self.start_epoch

    def _resume_state(self, directory: str) -> int:
        own = self.method.passes()
        views = bank_file.read(directory, self.resume_settings()) if own else bank_file.Views([], [])
        self._build(views, keeps=False)
        epoch = super()._resume_state(directory)
        self._keep(views)  # once the state was found to be of this run
        return epoch

    def _resume_model(self, directory: str) -> int:
        if directory != self.cfg.OUTPUT_DIR:
            self._build(self._encoded())
        return super()._resume_model(directory)

    def pass_epochs(self, name: str, epochs: int) -> None:
        """Have rates, of what was loaded, go on behind so many epochs; a run that is only tested again has none."""
        if not self.is_built:
            return
        self._make_rates()
        super().pass_epochs(name, epochs * (len(self.train_loader_x) if self.each_step else 1))

    def _keep(self, views: bank_file.Views) -> None:
        if self.cfg.OUTPUT_DIR:
            bank_file.write(self.cfg.OUTPUT_DIR, self.resume_settings(), views)

    def _build(self, views: bank_file.Views, keeps: bool = True) -> None:
        """Build the head from features of the training images, and what trains it."""
        bank = self.model.bank(views.features, views.labels)
        self.head.build(bank, self.model.scale())
        size = self.cfg.DATALOADER.TRAIN_X.BATCH_SIZE
        batches = self.head.batches(bank, size) if self.head.trains else ()
        loader = self._loader(in_order=False) if self.head.keeps_rest else self.train_loader_x
        self.train_loader_x = FreshViews(loader, self._encode, self.method.kept_views()) if batches is None else batches
        self.is_built = True
        if self.cfg.MODEL.INIT_WEIGHTS:
            self.load_initial(self.head)
        self._make_rates()
        if keeps:
            self._keep(views)

    def _make_rates(self) -> None:
        if not self.head.trains:
            return
        rates = self.head.rates(self.max_epoch * len(self.train_loader_x))
        self.each_step = rates is not None
        if rates is None:
            self.optim = self.configured_optimiser()
            self.sched = self.configured_schedule(self.optim)
        else:
            self.optim, self.sched = rates
        self._optims[self.checkpoint_name], self._scheds[self.checkpoint_name] = self.optim, self.sched

    @torch.no_grad()
    def _encode(self, image: Tensor) -> Tensor:
        return self.encode_image(image)

    @torch.no_grad()
    def _encoded(self) -> bank_file.Views:
        """Features of the training images, once for each pass; those of others, in the head's order, are kept."""
        self.set_model_mode("eval")
        if self.head.seeds_anew and self.cfg.SEED >= 0:
            torch.manual_seed(self.cfg.SEED)
        passes: List[Tuple[Tensor, Tensor]] = []
        for images in self.head.encodes:
            if images == TRAIN:
                loader = self._loader(in_order=self.head.in_order)
                passes = [encode(loader, self._encode) for _ in range(self.method.passes())]
            elif images == TEST or self.val_loader is not None:
                began_s = time.perf_counter()
                self.features_of(images)
                self.encoded_s[images] = time.perf_counter() - began_s
                self._began_s += self.encoded_s[images]  # it is no part of the training
        return bank_file.Views([features for features, _ in passes], [labels for _, labels in passes])

    def _loader(self, in_order: bool) -> Any:
        """The training images in batches of which the last may not be full, in their order or shuffled."""
        own = self.train_loader_x
        loader: Any = DataLoader(
            own.dataset,
            batch_size=own.batch_size,
            sampler=SequentialSampler(own.dataset) if in_order else own.sampler,
            num_workers=own.num_workers,
            pin_memory=own.pin_memory,
        )
        return sent(loader, self.device)

    def features_of(self, split: str) -> FeatureBatches:
        """Features of validation or test images, in order; encoded once."""
        if split not in self.kept:
            batches = super()._test_batches(split)
            if not isinstance(batches, FeatureBatches):
                batches = FeatureBatches(*encode(batches, self._encode), batches)
            self.kept[split] = batches
        return self.kept[split]

    def test(self, split: Optional[str] = None, **kwargs: Any) -> float:
        """As of others; what encoding its images before the training took is counted here."""
        accuracy: float = super().test(split, **kwargs)
        self.testing_s = (self.testing_s or 0.0) + self.encoded_s.get(
            TEST if self.tested_loader is self.test_loader else VAL, 0.0
        )
        return accuracy

    def _test_batches(self, split: str) -> FeatureBatches:
        batches = self.features_of(split)
        self.tested_loader = self.val_loader if split == VAL else self.test_loader  # encoded before, or just now
        self.tested_features = batches.features
        return batches

    # ------------------------------------------------------------------ steps, epochs

    def output(self, image: Tensor) -> Output:
        """What the head makes of raw features (B, D)."""
        return self.model.of_features(image)

    def end_step(self) -> None:
        """Go on with the rates: behind each step where they are the head's own."""
        if not self.each_step:
            super().end_step()
        elif self.sched is not None:
            self.sched.step()

    @property
    def best_on(self) -> str:
        """The images whose best epoch is tested, by the method's settings, or as other trainers have it."""
        return self.method.best_on() or super().best_on

    @property
    def last_of_equals(self) -> bool:
        """Whether of epochs that are equally good the last is the best, as the method's settings have it."""
        return self.method.last_of_equals()

    def after_train(self) -> None:
        """Search, test, and leave nothing that only an unfinished run needs."""
        if self.cfg.TEST.NO_TEST:
            self.search_behind()
        super().after_train()
        if not self.keeps_state:
            bank_file.remove(self.output_dir)

    def deploy(self) -> None:
        """The model that is tested, with what a search behind its training finds."""
        super().deploy()
        self.search_behind(self.loaded if self.best_on else None)

    # ------------------------------------------------------------------ killed and resumed

    def extra_state(self) -> Dict[str, Any]:
        """The views that are kept, and what else the head remembers."""
        views = self.train_loader_x.kept if isinstance(self.train_loader_x, FreshViews) else []
        kept = [{"features": [f for f, _ in view], "labels": [y for _, y in view]} for view in views]
        return {**super().extra_state(), VIEWS: kept, KEPT: self._kept_of_head()}

    def _kept_of_head(self) -> Dict[str, Tensor]:
        return {name: getattr(self.head, name) for name in self.head.kept}

    def state_as_now(self, states: Mapping[str, Any]) -> Mapping[str, Any]:
        """What version 0.2.0 kept beside the head's tensors, of all heads of a kind, is among them where it counts."""
        models, kept = states.get("models"), states["extras"].get(KEPT)
        if not isinstance(models, dict) or not isinstance(kept, dict):
            return states  # the forms of its parts say what is wrong
        own = self.head.state_dict()
        moved = {name: one for name, one in kept.items() if name in self.head.may_lack}
        tensors = models.get(self.checkpoint_name)
        if isinstance(tensors, dict):
            models = {**models, self.checkpoint_name: {**{n: moved[n] for n in moved if n in own}, **tensors}}
        rest = {name: one for name, one in kept.items() if name not in moved}
        return {
            **states,
            "models": models,
            "extras": {**states["extras"], KEPT: rest},
        }

    def extras_form(self, epoch: int) -> Form:
        """What extra_state gives."""
        return table({VIEWS: anything, KEPT: like(self._kept_of_head())})

    def load_extra_state(self, extras: Any) -> None:
        """Take back what extra_state gave."""
        super().load_extra_state(extras)
        for name, there in self._kept_of_head().items():
            there.copy_(extras[KEPT][name])
        if isinstance(self.train_loader_x, FreshViews):
            views = [list(zip(view["features"], view["labels"])) for view in extras[VIEWS]]
            self.train_loader_x.kept = [[(f.to(self.device), y) for f, y in view] for view in views]
