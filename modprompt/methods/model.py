"""What a method's `.on()` gives: a plain module from images to logits, with the method's loss and its files.

Shapes: B images, C classes.
"""

import copy
import logging
import warnings
from pathlib import Path
from typing import Any, Dict, Iterable, Optional, Union, cast

import torch
from torch import Tensor, nn

from modprompt.clips.cast import cast_products, exact_copy, note_rounding, rounded_to
from modprompt.clips.facts import ClipFacts, called, facts_of
from modprompt.clips.structure import CLIP
from modprompt.clips.words import require_known_words
from modprompt.engine import precision
from modprompt.engine.model import Output, PromptedCLIP
from modprompt.errors import UserError
from modprompt.learners.base import Learner
from modprompt.methods.contract import Classes, ModelsMethod, classes_of
from modprompt.methods.records import describe, method_record, view_of, write
from modprompt.training.objective import Objective

LOG = logging.getLogger("modprompt")


def warn_of_rounding(clip_model: nn.Module) -> None:
    """Warn that the matrices of a CLIP are not those that it was loaded with."""
    warnings.warn(
        f"the matrices of {called(clip_model)} were rounded to {rounded_to(clip_model)} by an earlier cast: load it "
        "anew for exact ones",
        stacklevel=3,
    )


class PromptedModel(PromptedCLIP):
    """A method's prompts in front of a frozen CLIP, which is shared, with the user and with models of other classes.

    `half()`, `bfloat16()` (or `.to(torch.bfloat16)`) and `float()` mean what PREC fp16, bf16 and fp32 mean; other types
    are refused. In eval mode, without gradients, class features are computed once, and anew when a parameter has
    changed (in CLIP through `.data`: unseen).

    Args:
        method: whose it is.
        learner: its prompts.
        clip_model: a stock CLIP.
        classes: what is told apart.
        epochs: number of epochs of the training; 0 if it is not known.
    """

    prompt_learner: Learner
    clip_model: CLIP

    def __init__(
        self, method: ModelsMethod, learner: Learner, clip_model: nn.Module, classes: Classes, epochs: int = 0
    ):
        clip = cast(CLIP, clip_model)
        super().__init__(learner, clip)
        self.method = method
        self.classes = classes
        self.epochs = epochs
        self.average = method.average(epochs) if epochs else None
        # not a submodule: its parts that are run are there already
        self.__dict__["clip_model"] = clip
        self.products = clip.dtype  # type of the matrices as this model knows them
        self._exact: Optional[CLIP] = None
        self._objective: Optional[Objective] = None

    # ------------------------------------------------------------------ images in, logits or loss out

    def output(self, image: Tensor) -> Output:
        """Logits and features of images (B, 3, H, W).

        Raises:
            UserError: if the CLIP was cast behind this model's back, or the images have another shape.
        """
        self._require_own_type()
        visual = self.clip_model.visual
        size, sides = visual.input_resolution, tuple(image.shape[-2:])
        if image.dim() != 4 or image.shape[1] != 3:
            raise UserError(f"images must be a batch (B, 3, H, W), got {tuple(image.shape)}")
        if sides != (size, size):
            raise UserError(f"images are {' x '.join(map(str, sides))} pixels, but this CLIP takes {size} x {size}")
        if visual.training and not hasattr(visual, "transformer"):
            raise UserError(
                f"{called(self.clip_model)} is a ResNet in training mode, whose features depend on the batch: call "
                "clip_model.eval()"
            )
        return super().output(image)

    def forward(self, images: Tensor, labels: Optional[Tensor] = None) -> Tensor:
        """Logits (B, C) of images (B, 3, H, W); with labels (B,) the loss, as DistributedDataParallel needs it."""
        output = self.output(images)
        return output.logits if labels is None else self.objective.loss(output, images, labels)

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """The method's loss of a batch: images (B, 3, H, W), labels (B,)."""
        loss: Tensor = self(images, labels)
        return loss

    @property
    def objective(self) -> Objective:
        """What the method minimises, for these classes; made when it is first asked for."""
        if self._objective is None:
            with precision.no_autocast(self.logit_scale.device), torch.inference_mode(False):
                self._objective = self.method.objective(self)
            self._exact = None
        return self._objective

    def end_epoch(self) -> bool:
        """Do what the method does between epochs; call it behind the last step of each.

        Returns:
            Whether the prompts are other ones now: behind the last epoch of a method that averages over epochs.

        Raises:
            UserError: if the method averages and does not know the number of epochs, or has had them all.
        """
        if self.average is None:
            if self.method.averages():
                raise UserError("GPA_STD averages over epochs: say how many, `.on(clip_model, names, epochs=N)`")
            return False
        self.average.add(dict(self.prompt_learner.named_parameters()))
        if self.average.epochs < self.epochs:
            return False
        self.average.load_into(self.prompt_learner)
        return True

    # ------------------------------------------------------------------ which CLIP, which type

    @property
    def clip_facts(self) -> ClipFacts:
        """What is known of its CLIP."""
        return facts_of(self.clip_model)

    def exact_clip(self) -> CLIP:
        """The CLIP in float32, with the weights that it had before any cast; where these are lost a warning says so."""
        if self._exact is not None:
            return self._exact
        whole, rounded = self.clip_model.dtype == torch.float32, rounded_to(self.clip_model)
        if rounded and exact_copy(self.clip_model) is None:
            warnings.warn(
                f"the frozen class features are of a CLIP that was rounded to {rounded}: "
                "call .with_classes before the first loss, or load CLIP anew for each model",
                stacklevel=2,
            )
        exact = self.clip_model if whole and not rounded else exact_copy(self.clip_model)
        return exact or copy.deepcopy(self.clip_model).float()

    def cast(self, prec: str) -> None:
        """Compute as PREC has it: fp32, fp16, bf16 or amp, on the device where the model is. The CLIP is cast with it.

        What a cast to a shorter type has rounded, no later cast brings back; a warning says so.

        Raises:
            UserError: on another value.
        """
        how = precision.resolve(prec, self.logit_scale.device)
        if how.note:
            LOG.info(how.note)
        wanted = torch.float16 if how.half_weights else how.products or torch.float32
        if wanted != self.products:
            facts_of(self.clip_model)  # while its weights are whole
            if self._exact is None and self._objective is None and self.method.keeps_exact():
                self._exact = exact_copy(self.clip_model)
            self._cast_clip(wanted)
        self.products = wanted
        if isinstance(self.prompt_learner, Learner):
            self.prompt_learner.cast(torch.float16 if how.half_weights else torch.float32)
        self.set_stream(how.stream)
        self._kept = None

    def _cast_clip(self, wanted: torch.dtype) -> None:
        clip_model = self.clip_model
        if clip_model.dtype == wanted:
            return  # another model of this CLIP has done it
        if clip_model.dtype != torch.float32:
            clip_model.float()
        if not cast_products(clip_model, wanted):
            note_rounding(clip_model, wanted)
        elif rounded_to(clip_model):
            warn_of_rounding(clip_model)

    def set_stream(self, stream: Optional[torch.dtype]) -> None:
        """Another type for the tokens between products, the teacher's too; None for that of the weights."""
        super().set_stream(stream)
        for term in self._objective.terms if self._objective else ():
            if hasattr(term.of, "set_stream"):
                term.of.set_stream(stream)

    def _require_own_type(self) -> None:
        mine, there = self.products, self.clip_model.dtype
        if mine != there:
            raise UserError(
                f"{called(self.clip_model)} is {there} now, but this model was made or cast for {mine}: it is shared; "
                "cast this model too (.float(), .half(), .to(torch.bfloat16))"
            )

    def half(self) -> "PromptedModel":
        """PREC fp16, on CUDA.

        Raises:
            UserError: on a CPU, where half precision is slower than float32.
        """
        if self.logit_scale.device.type == "cpu":
            raise UserError("half() on a CPU is slower than float32: move the model first, or take .to(torch.bfloat16)")
        self.cast("fp16")
        return self

    def bfloat16(self) -> "PromptedModel":
        """PREC bf16: products in bfloat16, all else float32."""
        self.cast("bf16")
        return self

    def float(self) -> "PromptedModel":
        """PREC fp32."""
        self.cast("fp32")
        return self

    def double(self) -> "PromptedModel":
        """Refused: UserError."""
        return self.type(torch.float64)

    def type(self, dst_type: Any) -> "PromptedModel":
        """As half(), bfloat16() or float(); UserError on another type."""
        casts = {torch.float32: self.float, torch.float16: self.half, torch.bfloat16: self.bfloat16}
        if dst_type not in casts:
            raise UserError(f"this model computes in float32, float16 or bfloat16, not in {dst_type}")
        return casts[dst_type]()

    def to(self, *args: Any, **kwargs: Any) -> "PromptedModel":
        """As nn.Module.to; a type means what half(), bfloat16() or float() mean."""
        device, dtype, non_blocking, _ = torch._C._nn._parse_to(*args, **kwargs)
        if device is not None:
            super().to(device, non_blocking=non_blocking)
        return self if dtype is None else self.type(dtype)

    def _apply(self, fn: Any, *args: Any, **kwargs: Any) -> "PromptedModel":
        # a cast of a module around this one comes here, and means what the model's own does
        device = self.logit_scale.device
        found = [fn(torch.empty(0, dtype=dtype, device=device)) for dtype in (torch.float32, self.products)]
        if [one.dtype for one in found] != [torch.float32, self.products]:
            return self.to(found[0].device).type(found[0].dtype)
        super()._apply(fn, *args, **kwargs)  # type: ignore[no-untyped-call]  # PyTorch's
        self.clip_model.token_embedding._apply(fn)  # the one part that is not run, but moves along
        if self._exact is not None:
            self._exact._apply(fn)  # type: ignore[no-untyped-call]  # PyTorch's
        return self

    def __getstate__(self) -> Dict[str, Any]:
        # a teacher of exact weights cannot be made anew; other objectives are, and need not be picklable
        kept = self._objective if self.method.keeps_exact() else None
        return {**super().__getstate__(), "_objective": kept}

    # ------------------------------------------------------------------ other classes, files, figures

    def with_classes(self, names: Iterable[str], dataset: str = "") -> "PromptedModel":
        """The same prompts in front of the same CLIP, neither copied, for other classes.

        Args:
            names: of the classes, in label order.
            dataset: name of their data set; this model's if empty.

        Raises:
            UserError: if the prompts belong to their classes (CSC), or a name does not fit.
        """
        classes = classes_of(names, dataset or self.classes.dataset)
        require_known_words(classes.names, self.clip_model)
        learner = self._learner_for(classes)
        other = PromptedModel(self.method, learner, self.clip_model, classes, self.epochs)
        other.products, other._exact = self.products, self._exact
        other.set_stream(self.stream)
        other.text_encoder.most_tokens = self.text_encoder.most_tokens
        other.compile_encoders(self.compiled)
        return other.train(self.training)

    def _learner_for(self, classes: Classes) -> Learner:
        """The same prompts for other classes; if they learn nothing, those of the data set."""
        mine, clip_model = self.prompt_learner, self.clip_model
        if not self._learns_nothing():
            return mine.for_classes(classes.names, clip_model)
        learner = self.method.learner(clip_model, classes, mine.schedules)
        learner.words_type = mine.words_type
        return learner.for_classes(classes.names, clip_model).to(self.logit_scale.device)

    def save(self, path: Union[str, Path]) -> None:
        """Save the prompts, without CLIP, with all that says what they are; modprompt.load reads it."""
        record = describe(method_record(self.method), self.classes, self.clip_facts, self.prompt_learner)
        epoch = 0 if self.average is None else self.average.epochs
        write(path, view_of(self.method, self.prompt_learner).state_dict(), record, epoch)

    def count_parameters(self) -> Dict[str, int]:
        """How many there are, `trainable` and `all`."""
        trainable = sum(one.numel() for one in self.prompt_learner.parameters() if one.requires_grad)
        frozen = sum(one.numel() for one in self.clip_model.parameters())
        return {"trainable": trainable, "all": trainable + frozen}

    def print_trainable_parameters(self) -> None:
        """Print how many parameters are trained, of how many."""
        trainable, total = self.count_parameters().values()
        print(f"trainable: {trainable:,} of {total:,}, {100 * trainable / total:.4f}%")
