"""A frozen CLIP, with or without trained prompts, and a head on both sides: the model of a head's method.

Shapes: B images, N training images, C classes, T templates, D joint width.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from modprompt.clip.towers import joint_width
from modprompt.engine import precision
from modprompt.engine.encoders import TextEncoder
from modprompt.engine.model import Output
from modprompt.engine.prompts import Prompts
from modprompt.errors import SettingError, UserError
from modprompt.io.checkpoint import Checkpoint
from modprompt.io.files import Refused
from modprompt.io.tensors import require_learned
from modprompt.methods.heads.base import Bank, Head, HeadClassifier, cosines, unit
from modprompt.methods.model import PromptedModel
from modprompt.methods.parts.learners import Classes, Learner
from modprompt.methods.records import load_content, require_made_with, view_of

TENSORS = "prompts."  # before the names of the prompts' tensors in a head's checkpoint
BASE = "enhanced_base"  # likewise, the text projection that replaces CLIP's
_AT_ONCE = 100  # images whose class features are computed at once, where each has its own


def require_projection(value: Any, where: str) -> None:
    """Raise Refused unless a value of a file is a matrix of finite numbers."""
    require_learned({where: value})
    if value.dim() != 2:
        raise Refused(f"{where} has the shape {tuple(value.shape)}, but a projection must be a matrix")


def put_base(model: "HeadedModel", projection: Tensor) -> None:
    """Replace the text projection of a model's CLIP, which others share, for this model alone."""
    encoder = model.text_encoder
    if not isinstance(encoder, TextEncoder):
        why = " needs the text encoder of OpenAI's CLIP, which this CLIP model does not have. Remove ENHANCED_BASE."
        raise SettingError([("ENHANCED_BASE", why)])
    own = encoder.text_projection
    if projection.shape != own.shape:
        shapes = f"{tuple(projection.shape)}, but {tuple(own.shape)} is expected"
        raise SettingError(
            [("ENHANCED_BASE", f": the projection in {model.method.enhanced_base} has the shape {shapes}.")]
        )
    encoder.text_projection = nn.Parameter(projection.to(own), requires_grad=False)


class HeadedModel(PromptedModel):
    """A frozen CLIP with a head on both sides; the head is float32, whatever CLIP computes in.

    Args:
        method: whose head it is.
        learner: the prompts of the classes, frozen.
        clip_model: a stock CLIP.
        classes: which classes are told apart.
        epochs: number of epochs of the training; 0 if unknown.
        head: for these classes.
    """

    method: Any  # a HeadMethod, whose `model` makes this
    joint_head = None  # a head reads the features of prompts, whatever was trained in addition to these
    has_own_logits = True  # not cosines with a class matrix

    def __init__(self, method: Any, learner: Learner, clip_model: nn.Module, classes: Classes, epochs: int, head: Head):
        super().__init__(method, learner, clip_model, classes, epochs)
        self._hold(head, classes)

    def _hold(self, head: Head, made_for: Classes) -> None:
        self._modules["head"], self.made_for = head, made_for
        head.which = made_for.which

    def load(self, content: Checkpoint, path: str, made_with: Mapping[str, str]) -> None:
        """Replace head, prompts before it and enhanced base by a checkpoint's; UserError if one does not fit."""
        require_made_with(content, made_with, path)
        front, projection, base_hash = self.method.loaded
        if front is not None:
            own = {name[len(TENSORS) :]: one for name, one in content.state_dict.items() if name.startswith(TENSORS)}
            load_content(view_of(front.method, self.prompt_learner), content._replace(state_dict=own, record={}), path)
        if BASE in content.state_dict:
            try:
                require_projection(content.state_dict[BASE], BASE)
            except Refused as error:
                raise UserError(f"{path} is damaged ({error}). Use another copy of the file.") from None
            put_base(self, content.state_dict[BASE])
        elif base_hash and projection is None:
            raise UserError(
                f"The head in {path} was trained with the enhanced base {self.method.enhanced_base}, which the "
                "checkpoint does not contain. Pass the same enhanced base file when you create the method, or use "
                "the trainer that wrote the checkpoint."
            )
        self.take(content, path)

    @property
    def made(self) -> Head:
        """The head for the classes of its training, shared by all models that `with_classes` makes of this one."""
        return cast(Head, self._modules["head"])

    @property
    def head(self) -> Head:
        """The head for this model's classes, with its current tensors."""
        told = self.classes.dataset == self.made_for.dataset  # numbers of equal names mean nothing for another data set
        return self.made.for_classes(self.classes.names, self.classes.which if told else ())

    def set_mode(self, mode: bool) -> None:
        """Set the head's mode; the prompts before it are frozen, and stay in eval mode: they draw nothing."""
        super().set_mode(mode)
        self.prompt_learner.eval()

    def scale(self) -> Tensor:
        """The factor of cosines in heads, a scalar: CLIP's exp(logit_scale), or the method's literal."""
        own = self.logit_scale.detach().exp().float()
        return torch.full_like(own, self.method.literal_scale) if self.method.literal_scale else own

    def raw_text(self) -> Tensor:
        """The current class features (C, T, D) of all templates, as the text side gives them; float32."""
        return self._current()[1]

    def text_for(self, image: Tensor) -> Tensor:
        """As raw_text, or (B, C, 1, D) where each image, with raw features (B, D), has its own."""
        if not self.prompt_learner.needs_image:
            return self.raw_text()
        each = []
        for some in image.to(self.feature_type).split(_AT_ONCE):
            prompts = self.prompt_learner(self._unit(some))
            each.append(self.raw_features(prompts.text, prompts)[:, :, None].float())
        return torch.cat(each)

    @torch.no_grad()
    def plain_logits(self, image: Tensor) -> Tensor:
        """Logits (N, C) of raw image features (N, D) without the head: scaled cosines."""
        at_once = _AT_ONCE if self.prompt_learner.needs_image else len(image)
        parts = [cosines(some.float(), self.head.pooled(self.text_for(some))) for some in image.split(at_once)]
        return self.scale() * torch.cat(parts)

    def class_features(self) -> Tensor:
        return unit(self.head.pooled(self.raw_text()))

    def bank(self, views: Sequence[Tensor], labels: Tensor | Sequence[Tensor]) -> Bank:
        """What the head is built from: features (N, D) of each pass over the training images; labels as in Bank.of."""
        views = [view.to(self.logit_scale.device) for view in views]
        if not self.prompt_learner.needs_image:
            return Bank.of(views, labels, self.raw_text())
        text = torch.zeros(0, len(self.classes.names), 1, self.width, device=self.logit_scale.device)
        return Bank.of(views, labels, self.text_for(views[0]) if views and self.head.reads_text else text)

    def _class_features(self, prompts: Prompts) -> Tensor:
        """Return class features (C, T, D) of all templates; several prompts of a class are pooled."""
        each = prompts.text if isinstance(prompts.text, list) else [prompts.text]
        raw, pooling = [self.raw_features(text, prompts) for text in each], self.prompt_learner.pooling
        if pooling is not None:
            raw = [pooling(self._streamed(one)) for one in raw]
        return torch.stack([one[0] for one in raw], 1).float()

    def _current(self) -> tuple[Prompts, Tensor, Tensor | None]:
        return self._of_text_side()  # without a classifier that was trained with the prompts

    def _prompts_may_differ(self) -> bool:
        return False

    def _logits(self, features: Tensor, text: Tensor, raw: Tensor | None = None) -> Output:
        return self._answered(self.head, features, text)

    def _answered(self, answer: Callable[..., Tensor], features: Tensor, text: Tensor) -> Output:
        with precision.no_autocast(features.device):
            image, pooled = features.float(), self.head.pooled(text)
            return Output(answer(image, pooled, self.scale()), unit(image), unit(pooled))

    def begin(self) -> Callable[[Tensor], Output]:
        begun = self.head.begin()

        def answer(images: Tensor) -> Output:
            features = self.encode_image(images) if images.dim() == 4 else images.to(self.feature_type)
            return self._answered(begun, features, self.text_for(features))

        return answer

    def _of_each(self, features: Tensor) -> Output:
        return self._logits(features, self.text_for(features))

    def classifier(self) -> nn.Module:
        self.method.require_each_alone("classifier()")
        self.require_one_text()
        with torch.no_grad():
            return HeadClassifier(self.head, self.head.pooled(self.raw_text()).clone(), self.scale().clone())

    @property
    def learned(self) -> nn.Module:
        return self.made

    @property
    def class_bound(self) -> bool:
        return self.made.class_bound

    def penalty(self) -> Tensor:
        """What the head adds to cross-entropy, a scalar.

        Raises:
            UserError: if the head belongs to other classes than this model's, or lacks what the penalty needs.
        """
        if self.class_bound and self.made.names != self.classes.names:
            raise UserError(
                f"{type(self.method).__name__} cannot be trained on this model, because its head was made "
                "for other classes. Use the loss of the model on which .with_classes was called, or make a "
                "new model with .on(clip_model, names)."
            )
        return self.made.penalty()

    def end_epoch(self) -> bool:
        self.made.end_epoch()
        return super().end_epoch()

    def prompt_parameters(self) -> list[nn.Parameter]:
        return [one for one in self.made.parameters() if one.requires_grad]

    def saved_state(self) -> dict[str, Tensor]:
        """The head's tensors, those of the prompts that it is put on, and the enhanced base."""
        state: dict[str, Tensor] = self.made.state_dict()
        front = self.method.loaded.front
        if front is not None:
            prompts = view_of(front.method, self.prompt_learner).state_dict()
            state.update({TENSORS + name: tensor for name, tensor in prompts.items()})
        if self.method.loaded.base_hash:
            encoder: Any = self.text_encoder
            state[BASE] = encoder.text_projection.detach().float()
        return state

    @property
    def saved_classes(self) -> Classes:
        """The classes of the training, for which a class-bound head has rows."""
        return self.made_for if self.made.class_bound else self.classes

    def said_of(self, names: Sequence[str]) -> str:
        """A message if a class-bound head has learned nothing for some of these classes; empty if not."""
        new = int((self.made.places(names) < 0).sum()) if self.class_bound else 0
        of_new = f"{new} of {len(names)} classes. For these classes, the head uses only the input features"
        return f"{type(self.method).__name__} has learned nothing for {of_new}." if new else ""

    def take(self, content: Checkpoint, path: str) -> None:
        """Load the head of a checkpoint, for this model's classes: rows of classes are matched by name.

        Raises:
            UserError: if it does not fit, belongs to another method of the same form, or does not say for which classes
                it was made and was, or may have been, made for others.
        """
        mine, of = type(self.method).__name__, self.classes
        theirs, said = (content.record.get(part, {}) for part in ("method", "classes"))
        if theirs.get("name", mine) != mine:
            raise UserError(
                f"{path} belongs to {theirs['name']}, not to {mine}. Use the trainer or the method that "
                "made the checkpoint."
            )
        if said:
            of = Classes(tuple(said["names"]), said.get("dataset", ""), tuple(said.get("which", ())))
        with torch.random.fork_rng(devices=[]):
            head = self.method.head(of.names, self.width).to(self.logit_scale.device)
        head.take(own_of_head(content.state_dict), path)
        if not said and head.class_bound and head.is_of_others(head.pooled(self.raw_text())):
            raise UserError(
                f"{path} contains a head but no class names, and the class features in the file do not match the "
                "classes of this model. Use the classes with which the head was trained."
            )
        self._hold(head, of)

    def go_on_with(self, content: Checkpoint, path: str) -> None:
        """Load a checkpoint's head into the one that is built; both must be for the same classes.

        Raises:
            UserError: if it does not fit, or belongs to other classes.
        """
        names = content.record["classes"]["names"] if content.record else self.classes.names
        if self.class_bound and tuple(names) != self.classes.names:
            raise UserError(
                f"The head in {path} was trained on different classes than the classes of this run. To resume the "
                "training, use the same classes."
            )
        self.made.take(own_of_head(content.state_dict), path)

    @property
    def width(self) -> int:
        """D."""
        return joint_width(self.clip_model)


def own_of_head(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A head's own tensors in its checkpoint."""
    return {name: tensor for name, tensor in state.items() if not name.startswith((TENSORS, BASE))}


class Saved(nn.Module):
    """A model's head as a training saves and resumes it: with what checkpoints have beside it, which stays as it is."""

    model: HeadedModel

    def __init__(self, model: HeadedModel):
        super().__init__()
        self.__dict__["model"] = model  # not a submodule: the trainer sets its mode by itself

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:  # type: ignore[override]
        return self.model.saved_state()

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        return self.model.made.load_state_dict(own_of_head(state_dict))
