"""What all trainers share, those that train nothing too: loading CLIP, checking images and logits."""

import contextlib
import os
import sys
import time
import warnings
from typing import Any, ContextManager, Iterator, Optional, Tuple

import torch
from dassl.engine import TrainerX
from torch import Tensor
from tqdm import tqdm

from modprompt.clips.as_bytes import sent
from modprompt.clips.build import require_input_size
from modprompt.clips.facts import facts_of
from modprompt.clips.known import whose
from modprompt.clips.structure import CLIP
from modprompt.clips.tokens import require_known_words
from modprompt.engine import tf32
from modprompt.engine.memory import keep_freed_memory, take_share
from modprompt.engine.model import Output, PromptedCLIP
from modprompt.engine.precision import require_finite
from modprompt.errors import UserError
from modprompt.methods.parts.deferred_metrics import waits
from modprompt.runs import folder as run_folder
from modprompt.runs import images
from modprompt.runs.holding import Begins
from modprompt.storage import image_files
from modprompt.storage.image_rules import FAMILY
from modprompt.trainers import backbone, card_errors, device, kept_features, mistakes, once, overrides
from modprompt.trainers.feature_cache import FeatureBatches, encode, feature_batches, take_number
from modprompt.trainers.image_cache import with_kept_images
from modprompt.trainers.predictions import Predictions


class CLIPTrainer(TrainerX):
    """A trainer around a CLIP: loads it by name or path, checks the image size; its output folder is its own."""

    clip_model: CLIP
    train_loader_x: Any
    val_loader: Any
    test_loader: Any
    tested_loader: Any = None  # of the images of the last test
    tested_features: Optional[Tensor] = None  # theirs (N, E), where all were made before the logits
    testing_s: Optional[float] = None  # what the last test took
    _test_looks = False  # whether `test` is on its way, which looks at a card's logits by itself

    def __init__(self, cfg: Any):
        with card_errors.told(self, cfg):
            overrides.settle(cfg)
            if os.environ.get(once.ONCE):
                once.require_folder_agrees(cfg)
            if cfg.OUTPUT_DIR:
                run_folder.keep(cfg.OUTPUT_DIR, Begins(cfg.TRAINER.NAME))  # in a host; here the program has it
            if cfg.get("ACTIVE", {}).get("ROUNDS", 0):
                raise UserError("ACTIVE.ROUNDS: rounds are run by `modprompt active`, and by train.py of its project")
            image_files.bound(cfg.INPUT.get("MAX_MEGAPIXELS", image_files.MOST_MEGAPIXELS))
            image_files.read_as(cfg.INPUT.get("READ_AS", FAMILY))
            backbone.follow_weights(cfg, sys.argv)  # in a host; here the program has done it
            device.set_up(cfg)  # the same
            if device.on_card(cfg):
                take_share()
            super().__init__(cfg)
            if getattr(self, "model", None) is None:  # some Dassl leaves that to before_train, which here resumes
                self.build_model()
        if images.selected_on(self.dm.dataset, cfg) == images.TEST:
            print(f"note: {cfg.DATASET.NAME} has no validation images of its own: what is chosen is selected on test")

    def train(self) -> None:
        """Train, resuming if there is something to resume, then test."""
        with card_errors.told(self, self.cfg), self._exactly():
            try:
                super().train()
            finally:
                if hasattr(self, "close_writer"):  # not every Dassl has TensorBoard
                    self.close_writer()

    def _exactly(self) -> ContextManager[None]:
        """Without TF32, with float32 weights: losses and heads have products beside the model's own."""
        model: Any = self.model
        return tf32.off(model) if isinstance(model, PromptedCLIP) else contextlib.nullcontext()

    def load_clip(self) -> CLIP:
        """The CLIP that the config names, checked against INPUT.SIZE and the class names."""
        cfg = self.cfg
        if "normalize" not in cfg.INPUT.TRANSFORMS:
            warnings.warn("INPUT.TRANSFORMS has no 'normalize': CLIP expects normalised images", stacklevel=2)
        if self.device.type == "cpu":
            keep_freed_memory()
        print(f"Loading CLIP (backbone: {cfg.MODEL.BACKBONE.PATH or cfg.MODEL.BACKBONE.NAME})")
        clip_model = backbone.load_clip(cfg)
        facts = facts_of(clip_model)
        text, image = facts.heads
        weights = f"{whose(facts.name, facts.dialect)} weights"
        print(f"CLIP: {weights}, {facts.activation}, {text} and {image} heads (text, image)")
        require_input_size(clip_model, *cfg.INPUT.SIZE)
        require_known_words(self.dm.dataset.classnames, clip_model)
        self.backbone_fingerprint = clip_model.fingerprint
        matrix = clip_model.text_projection.detach()  # stands for all that the file has
        self.keeps_in_half = torch.equal(matrix.half().to(matrix.dtype), matrix)
        self.feature_width = int(matrix.shape[1])
        return clip_model

    def build_data_loader(self) -> None:
        """Dassl's, with test images made as the weights ask for, and kept where TEST.IMAGE_CACHE names a folder.

        To a GPU images go as bytes where their transform allows it; batches of such a loader are there already.
        """
        with mistakes.of_reader(self.cfg):
            super().build_data_loader()
        if self.cfg.VERBOSE and not getattr(self.dm.dataset, "has_test", True):
            print("note: there are no test images; the one that is counted stands in, and nothing is tested")
        if backbone.requires_squash(self.cfg):
            backbone.squash(
                [one for one in (self.val_loader, self.test_loader) if one is not None], self.cfg.INPUT.SIZE
            )
        self.train_loader_x = sent(self.train_loader_x, self.device)
        kept = self.cfg.TEST.get("IMAGE_CACHE", ""), self.cfg.DATASET.NAME, self.device
        self.val_loader = with_kept_images(self.val_loader, *kept)
        self.test_loader = with_kept_images(self.test_loader, *kept)

    def encode_image(self, image: Tensor) -> Tensor:
        """Features (B, E) of images (B, 3, H, W) as they come out of an encoder without prompts."""
        features: Tensor = self.model.encode_image(image.to(self.device, non_blocking=True))
        return features

    @property
    def prompts_images(self) -> bool:
        """Whether the image side has prompts, so that its features change with them."""
        return False

    def before_test(self) -> None:
        """What a trainer does in front of every test."""

    @card_errors.in_a_test
    @torch.no_grad()
    def test(self, split: Optional[str] = None, **kwargs: Any) -> float:
        """Evaluate, on kept image features where TEST.FEATURE_CACHE names a folder for them.

        Args:
            split: "val" or "test"; without it TEST.SPLIT. Without validation images it is "test".
            kwargs: what some Dassl adds, not read.

        Returns:
            The first result of the evaluator: accuracy in percent.
        """
        began_s = time.perf_counter()
        self.before_test()
        self.set_model_mode("eval")
        self.evaluator.reset()
        split = "val" if (split or self.cfg.TEST.SPLIT) == "val" and self.val_loader is not None else "test"
        print(f"Evaluate on the *{split}* set")
        predictions, batches = Predictions(self.evaluator), self._test_batches(split)
        with self._exactly(), self.model.unchanging(), self._looked_at_later():
            for batch in tqdm(iter(batches), total=len(batches)):  # what a start has to say comes before the bar
                images, labels = self.parse_batch_test(batch)
                predictions.add(self.model_inference(images), labels)
        predictions.hand_over()
        results = self.evaluator.evaluate()
        self.testing_s = time.perf_counter() - began_s
        if hasattr(self, "write_scalar"):  # not every Dassl has TensorBoard
            for name, value in results.items():
                self.write_scalar(f"{split}/{name}", value, self.epoch)
        first: float = next(iter(results.values()))
        return first

    @contextlib.contextmanager
    def _looked_at_later(self) -> Iterator[None]:
        self._test_looks = True
        try:
            yield
        finally:
            self._test_looks = False

    def _test_batches(self, split: str) -> Any:  # batches, as many as its length says
        loader: Any = self.val_loader if split == "val" else self.test_loader
        batches = self._feature_batches(split, loader)
        self.tested_loader = loader
        self.tested_features = None if batches is None else batches.features
        return loader if batches is None else batches

    def _feature_batches(self, split: str, loader: Any) -> Optional[FeatureBatches]:
        """Image features in place of images, where a setting asks for them or has some; None where none does."""
        test, folder = self.cfg.TEST, self.cfg.TEST.get("FEATURE_CACHE", "")
        found = kept_features.find(self, loader, test.FEATURES_OF) if test.get("FEATURES_OF", "") else None
        if found is not None:
            take_number()
            return FeatureBatches(*found, loader)
        if folder and not self.prompts_images:
            return feature_batches(folder, f"{self.cfg.DATASET.NAME}_{split}", loader, self)
        return FeatureBatches(*encode(loader, self.encode_image), loader) if test.get("KEEP_FEATURES", False) else None

    def parse_batch_train(self, batch: Any) -> Tuple[Tensor, Tensor]:
        """(images, labels) on the device; copied without a wait from pinned memory."""
        image, label = (batch[key].to(self.device, non_blocking=True) for key in ("img", "label"))
        return image, label

    def parse_batch_test(self, batch: Any) -> Tuple[Tensor, Tensor]:
        """(images, labels) on the device, as in training."""
        return CLIPTrainer.parse_batch_train(self, batch)

    def model_inference(self, input: Tensor) -> Tensor:
        """Logits (B, C) of a test batch.

        Raises:
            FloatingPointError: if they are not finite; within `test`, which looks at those of a card, on a CPU alone.
        """
        logits = self.logits(input) if input.dim() == 4 else self.logits_of(input)
        if not (self._test_looks and waits(logits.device)):
            require_finite(logits)
        return logits

    def logits(self, image: Tensor) -> Tensor:
        """Logits (B, C) of images (B, 3, H, W)."""
        logits: Tensor = self.model(image)
        return logits

    def logits_of(self, features: Tensor) -> Tensor:
        """Logits (B, C) of what encode_image gave for B images."""
        output: Output = self.model.of_features(features)
        return output.logits
