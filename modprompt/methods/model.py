"""The model that a method's `.on()` returns: a plain module from images to logits, with loss and files.

Shapes: B images, C classes.
"""

import contextlib
import copy
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, nn

from modprompt.clip.facts import called, facts_of
from modprompt.clip.tokens import require_distinct_names, require_known_words
from modprompt.clip.towers import has_stock_image, joint_width, tokenizer_of
from modprompt.engine import precision
from modprompt.engine.classifier import CosineClassifier, JointClassifier, OwnClassifier
from modprompt.engine.model import Output, PromptedCLIP, beside
from modprompt.errors import UserError
from modprompt.io import checkpoint
from modprompt.io.checkpoint import Checkpoint
from modprompt.io.files import of_user
from modprompt.methods.parts.capabilities import GaussianAverage, grouped
from modprompt.methods.parts.learners import Classes, Learner, classes_of, trained_classes
from modprompt.methods.parts.losses import Objective
from modprompt.methods.preprocess import transform_of_run
from modprompt.methods.records import describe, load_content, method_record, require_own_classes, view_of, write
from modprompt.methods.search.learners import Found, SearchLearner
from modprompt.methods.shared_clip import OnSharedClip

if TYPE_CHECKING:
    from modprompt.methods.base import Method

P = TypeVar("P", bound="PromptedModel")


class PromptedModel(OnSharedClip):
    """A method's prompts on a frozen CLIP, which is shared, with the user and with models of other classes.

    `half()`, `bfloat16()` (or `.to(torch.bfloat16)`) and `float()` mean what PREC fp16, bf16 and fp32 mean; other types
    are refused. In eval mode, without gradients, class features are computed once, and again when a parameter has
    changed. If CLIP's text weights change after `.on()`, calls and `save` raise UserError. Changes through `.data` are
    not noticed: call `.on()` again after them.

    Args:
        method: the method.
        learner: its prompts.
        clip_model: a stock CLIP.
        classes: which classes are told apart.
        epochs: number of epochs of the training; 0 if unknown.
    """

    def __init__(self, method: "Method", learner: Learner, clip_model: nn.Module, classes: Classes, epochs: int = 0):
        super().__init__(learner, clip_model, method.training.exact_weights)
        self.method = method
        self.classes = classes
        self.epochs = epochs
        self.run_settings: Mapping[str, str] = {}  # of the run that made it, as {dotted key: text}; empty if unknown
        self.source = ""  # the file that it was loaded from
        self.average = self._new_average()

    # ------------------------------------------------------------------ images in, logits or loss out

    def output(self, image: Tensor) -> Output:
        """Logits and features of images (B, 3, H, W).

        Raises:
            UserError: if the CLIP was cast by somebody else, its text weights have changed, or the images have another
                shape or type.
        """
        self.require_images(image)
        return super().output(image)

    def encode_image(self, image: Tensor) -> Tensor:
        """Features (B, E) of images (B, 3, H, W), not normalised; with the vision prompts, if the learner has any.

        Raises:
            UserError: as `output`.
        """
        self.require_images(image)
        self.require_text_weights()
        return super().encode_image(image)

    @property
    def feature_width(self) -> int:
        """How many numbers encode_image returns for an image: E, or 2 E with a second feature."""
        return joint_width(self.clip_model) * (2 if self.reads else 1)

    def require_images(self, image: Tensor) -> None:
        """Raise UserError unless images (B, 3, H, W) can be run, as in `output`."""
        self._require_own_type()
        visual = self.clip_model.visual
        size, sides = visual.input_resolution, tuple(image.shape[-2:])
        if image.dim() != 4 or image.shape[1] != 3:
            raise UserError(f"images must be a batch of shape (B, 3, H, W), got {tuple(image.shape)}.")
        if sides != (size, size):
            raise UserError(
                f"The images have {' x '.join(map(str, sides))} pixels, but this CLIP model needs {size} x {size}."
            )
        if not image.is_floating_point():
            raise UserError(
                f"images must be normalized floats, got {image.dtype}. Apply the `preprocess` transform of the CLIP "
                "model to each image."
            )
        if visual.training and not has_stock_image(self.clip_model):
            raise UserError(
                f"{called(self.clip_model)} is a ResNet in training mode, in which features depend on the batch. Call "
                "clip_model.eval()."
            )

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits (B, C) of images (B, 3, H, W); with labels (B,) the loss, as DistributedDataParallel needs it."""
        output = self.output(images)
        return output.logits if labels is None else self.objective.loss(output, images, labels)

    def begin(self) -> Callable[[Tensor], Output]:
        """What answers the images of one test, batch after batch in their order: images (B, 3, H, W), or raw features.

        Only for a method whose `in_turn` is set is that another answer than `output`'s, for which a batch is a test.
        """
        return lambda images: self.output(images) if images.dim() == 4 else self.of_features(images)

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """The method's loss of a batch: images (B, 3, H, W), labels (B,)."""
        loss: Tensor = self(images, labels)
        return loss

    def log(self, output: Output, labels: Tensor, loss: Tensor) -> Mapping[str, Tensor]:
        """What a log says of a step, by name."""
        return {**self.objective.log(output, labels, loss), **self.objective.noted()}

    @property
    def objective(self) -> Objective:
        """What the method minimises, for these classes; made at the first use."""
        if self._objective is None:
            with precision.no_autocast(self.logit_scale.device), torch.inference_mode(False):
                made, added = self.method.objective(self), self.method.joined_by
                self._objective = made if added is None else cast(Objective, added.objective_beside(made, self))
            self._exact = None
        return self._objective

    @contextlib.contextmanager
    def in_stage(self, stage: int, begins: bool = True) -> Iterator[None]:
        """Within it a loss trains what a stage, from 0 on, learns; `begins` is whether it begins or goes on."""
        try:
            with self.prompt_learner.in_stage(stage, self._features_now if begins else None):
                yield
        finally:
            self._forget_what_changes()

    def _features_now(self) -> Tensor:
        with self.as_tested(), torch.no_grad():
            return self.class_features().float()

    def _new_average(self) -> GaussianAverage | None:
        how = self.method.training.averaging
        return GaussianAverage(self.epochs, *how) if how and self.epochs else None

    def end_epoch(self) -> bool:
        """Do what the method does between epochs; call it after the last step of each.

        Returns:
            Whether the prompts have been replaced: after the last epoch of a method that averages over epochs.

        Raises:
            UserError: if the method averages and does not know the number of epochs, or has had all of them.
        """
        if self.average is None:
            if self.method.training.averaging:
                raise UserError(
                    "GPA_STD averages the prompts over epochs, so the number of epochs must be known. Pass the "
                    "number of epochs: .on(clip_model, names, epochs=N)."
                )
            return False
        self.average.add(self.prompt_learner.trained())
        if self.average.epochs < self.epochs:
            return False
        self.average.load_into(self.prompt_learner.trained())
        return True

    # ------------------------------------------------------------------ a search

    def _searching(self) -> SearchLearner:
        if isinstance(self.prompt_learner, SearchLearner):
            return self.prompt_learner
        raise UserError(
            f"{type(self.method).__name__} does not search for a schedule. Use DPLSearch or Search(...).over(method)."
        )

    def prompt_parameters(self) -> list[nn.Parameter]:
        """The parameters for an optimiser of `loss`: all that is learned, except a search's alphas."""
        return list(self.prompt_learner.trained().values())

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """The same in groups, where some have their own learning rate (a multiple of `rate`) or weight decay.

        Raises:
            UserError: if the method names parameters that it does not have.
        """
        return grouped(self.prompt_learner.trained(), self.method.training.rates, rate)

    def alpha_parameters(self) -> list[nn.Parameter]:
        """The parameters for an optimiser of `alpha_loss`; UserError if the method does not search."""
        return list(self._searching().alphas.values())

    def alpha_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """The loss for a search's alphas: that of a validation batch, plus the weighted number of prompt tokens."""
        return self.with_tokens(self.loss(images, labels))

    def with_tokens(self, loss: Tensor) -> Tensor:
        """A validation batch's loss plus what a search adds for the expected number of prompt tokens."""
        learner, search = self._searching(), self.method.search
        if search is None or not search.tokens_weight:
            return loss
        return loss + search.tokens_weight * learner.expected_tokens().to(loss.device)

    def found(self) -> Mapping[str, Found]:
        """The schedule of each searched side, by the current alphas.

        Raises:
            UserError: if the method does not search, or no schedule has as few tokens as MOST_TOKENS demands.
        """
        search = self.method.search
        return self._searching().found(0 if search is None else search.most_tokens)

    # ------------------------------------------------------------------ other classes, files, figures

    def with_classes(
        self: P, names: Iterable[str], dataset: str = "", *, listed: bool = False, which: Sequence[int] = ()
    ) -> P:
        """The same prompts on the same CLIP, neither copied, for other classes.

        Args:
            names: of the classes, in label order.
            dataset: name of their data set; this model's if empty.
            listed: as for a method's `on`.
            which: likewise.

        Raises:
            UserError: if the prompts belong to their classes (CSC), or a name does not fit.
        """
        classes = classes_of(names, dataset or self.classes.dataset, which)
        require_distinct_names(classes.names, listed, self.classes.names, tokenizer_of(self.clip_model))
        require_known_words(classes.names, self.clip_model)
        learner = self.method.for_classes(self.prompt_learner, self.clip_model, classes)
        return self._in_front(learner, classes).train(self.training)

    def _in_front(self: P, learner: Learner, classes: Classes) -> P:
        """This model, of the same class, with other prompts for other classes; all that is frozen is shared."""
        other = beside(self)
        other._text_weights = self._text_weights
        for name in ("image_encoder", "text_encoder", "frozen_encoder"):
            if name in other._modules:
                other._modules[name] = beside(getattr(self, name))  # each has a stream of its own
        other._modules["prompt_learner"] = learner
        other.classes, other._objective = classes, None
        other.average = self._new_average()
        return other

    @property
    def learned(self) -> nn.Module:
        """The module with all that is learned, for the classes of the training whatever classes are told apart now."""
        return self.prompt_learner

    def classifier(self) -> nn.Module:
        """What follows the image side for these classes: raw image features (B, E) to logits (B, C); float32.

        It shares nothing with the model, and nothing in it is trained.

        Raises:
            UserError: if class features depend on the image.
        """
        scale = self.cosine_scale().detach().float()
        if self._joins_logits:
            self.require_one_text()
            with torch.no_grad():
                raw = self._current()[2]
            assert raw is not None  # there is a joint head
            return JointClassifier(CosineClassifier(self.class_matrix(), scale), self.joint_head, raw)
        if self.has_own_logits:
            return OwnClassifier(self, self.class_matrix())
        cosines = CosineClassifier(self.class_matrix(), scale)
        projection = self.projection()
        return cosines if projection is None else nn.Sequential(projection, cosines)

    @property
    def class_bound(self) -> bool:
        """Whether what is learned holds only for its classes: then only features are tested."""
        return False

    @property
    def said_of_logits(self) -> str:
        """Which logits count for these classes, in words, where there are several; else empty."""
        several: Any = self.joint_head or (self.prompt_learner.logits if self.reads else None)
        return "" if several is None else str(several.said)

    @property
    def _joins_logits(self) -> bool:
        return self.joint_head is not None and bool(self.joint_head.knows)

    def projection(self) -> nn.Module | None:
        """A copy, float32 and in eval mode, of what comes between raw image features and cosines; None if nothing."""
        own = self.prompt_learner.projection
        return None if own is None else copy.deepcopy(own).cpu().float().eval().requires_grad_(False)

    @property
    def has_own_logits(self) -> bool:
        """Whether logits are not scaled cosines but the learner's own, or a subclass's."""
        own = type(self).logits is not PromptedCLIP.logits or self.prompt_learner.logits is not None
        return own or self._joins_logits

    def class_matrix(self) -> Tensor:
        """The class features (C, E), of length 1, on the CPU; UserError if they depend on the image."""
        self.require_one_text()
        return self._features_now().cpu().clone()

    @contextlib.contextmanager
    def as_tested(self) -> Iterator[None]:
        """Within it the model is in eval mode: no random numbers are drawn."""
        if not self.training:
            yield
            return
        self.set_mode(False)
        try:
            yield
        finally:
            self.set_mode(True)

    def require_one_text(self) -> None:
        """Raise UserError where class features depend on the image."""
        if self.prompt_learner.needs_image:
            raise UserError(
                f"{type(self.method).__name__} makes new class prompts for each image, so a single class matrix "
                "cannot be exported. Use the model through modprompt.load."
            )

    def finished(self) -> dict[str, Tensor]:
        """What other programs need if logits are scaled cosines: class_matrix, and logit_scale as a factor.

        Raises UserError if class features depend on the image.
        """
        if self.has_own_logits:
            return {}
        return {"class_matrix": self.class_matrix(), "logit_scale": self.cosine_scale().detach()}

    def said_of(self, names: Sequence[str]) -> str:
        """What users must know of answers for these classes, in a sentence; empty if nothing."""
        return self.prompt_learner.said_of(names)

    def mark(self) -> str:
        """The mark of its results that keeps them from being compared; empty for none."""
        return self.method.results.mark or self.prompt_learner.mark()

    def saved_state(self) -> dict[str, Tensor]:
        """What was learned, by the names of checkpoints."""
        state: dict[str, Tensor] = view_of(self.method, self.prompt_learner).state_dict()
        return state

    @property
    def saved_classes(self) -> Classes:
        """The classes that a saved file is for."""
        return self.classes

    def classes_for(self, path: str | Path) -> Classes:
        """saved_classes, for a file; warns if this model has others."""
        if self.saved_classes.names != self.classes.names:
            text = (
                f"{path} can be loaded only for the classes of the training. For other classes, call "
                ".with_classes(names) on the loaded model."
            )
            warnings.warn(text, stacklevel=3)
        return self.saved_classes

    @property
    def preprocess(self) -> Callable[..., Tensor]:
        """Return the transform from a PIL image to (3, H, W) that this model needs.

        For a model that was loaded from a run it is the transform of the run's test images, else that of its CLIP.

        Raises:
            UserError: if the run made its images in a way that is only available in `modprompt train`, or the CLIP is a
                module from elsewhere, whose transform is unknown.
        """
        return transform_of_run(self.run_settings, self.clip_model, self.source)

    def save(self, path: str | Path) -> None:
        """Save the prompts, without CLIP, and all facts about them; modprompt.load reads the file.

        The file is written with torch.save, or with safetensors if its name ends in .safetensors. What is bound to the
        classes of its training is saved for them, with a warning if this model has others.

        Raises:
            UserError: if the text weights of its CLIP have changed since the model was made.
        """
        self._save(path, self.classes_for(path))

    def _save(self, path: str | Path, classes: Classes) -> Mapping[str, Any]:
        """Save what was learned for these classes, and return the record that the file contains."""
        self.require_text_weights()
        clip = facts_of(self.clip_model, anew=True)
        of_images = {key: text for key, text in self.run_settings.items() if key.startswith(("INPUT.", "DATASET.NAME"))}
        run = {"settings": of_images} if of_images else None
        record = describe(method_record(self.method), classes, clip, self.prompt_learner, run)
        write(path, self.saved_state(), record, 0 if self.average is None else self.average.epochs)
        return record

    def save_pretrained(self, folder: str | Path) -> None:
        """Save what was learned, without CLIP, as a folder that `modprompt.from_pretrained` reads.

            model.save_pretrained("digits")
            model = modprompt.from_pretrained("digits")

        The folder contains model.safetensors, in a folder of the learner's name as in the output folder of a run, and
        config.json with method, settings, classes and CLIP. `modprompt push`, `modprompt predict` and
        `modprompt train --eval-only --model-dir` accept it. A folder that this method has written is replaced.

        Raises:
            UserError: if the folder contains a run, another checkpoint or the config.json of another program, or if
                the text weights of the CLIP have changed since the model was made.
        """
        place = of_user(folder)
        file = place / self.method.saved_as.folder / checkpoint.SAVED
        checkpoint.require_free(place, file)
        record = self._save(file, self.classes_for(folder))
        checkpoint.write_description(place, file, record)

    def load(self, content: Checkpoint, path: str, made_with: Mapping[str, str]) -> None:
        """Replace what is learned by a checkpoint's, which was made for this model's classes.

        `made_with` is what the file (`path`) must have been made with, where it says so. Raises UserError if it does
        not fit, or its prompts belong to other classes (CSC).
        """
        learner = self.prompt_learner
        learner.take_beside(content.state_dict, path)
        load_content(view_of(self.method, learner), content, path, made_with)
        if content.record:  # else the caller has named them
            learner.learned_on(trained_classes(content))
        if learner.bound:
            require_own_classes(content, self.classes.names, path)

    def count_parameters(self) -> dict[str, int]:
        """The numbers of parameters, `trainable` and `all`."""
        trainable = sum(one.numel() for one in self.learned.parameters() if one.requires_grad)
        frozen = sum(one.numel() for one in self.clip_model.parameters())
        return {"trainable": trainable, "all": trainable + frozen}

    def print_trainable_parameters(self) -> None:
        """Print how many parameters are trained, of how many."""
        trainable, total = self.count_parameters().values()
        print(f"Trainable parameters: {trainable:,} of {total:,} ({100 * trainable / total:.4f}%)")
