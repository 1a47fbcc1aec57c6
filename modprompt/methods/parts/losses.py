"""What a method minimises: a weighted sum of terms, and a rule that may change its gradients; frozen CLIPs as teachers.

Shapes: B images, C classes, E joint width.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from modprompt.clip.build import layers_of
from modprompt.clip.towers import CLIP, text_width
from modprompt.engine.class_prompts import class_prompts
from modprompt.engine.encoders import image_encoder, text_encoder
from modprompt.engine.model import Output
from modprompt.engine.prompts import template_texts
from modprompt.engine.schedule import no_prompts


class Term(NamedTuple):
    """A part of a loss: `of(output, images (B, 3, H, W), labels (B,))` returns a scalar."""

    name: str
    weight: float
    of: Callable[[Output, Tensor, Tensor], Tensor]


def plain_log(output: Output, labels: Tensor, loss: Tensor) -> Mapping[str, Tensor]:
    """The loss, by name; without gradients, on the device."""
    return {"loss": loss}


class Objective(NamedTuple):
    """The weighted sum of its terms, added up in their order; with a rule, that computes the gradients.

    A rule acts where a loss is made, so that loss scales, recomputed chunks and users' loops need no change.
    `log(output, labels (B,), loss)` is what the log says of a step, besides what the rule notes. `teachers` are the
    frozen models in its terms and its rule: `set_stream` tells them what the model computes in.
    """

    terms: tuple[Term, ...]
    rule: "Projected | None" = None
    log: Callable[[Output, Tensor, Tensor], Mapping[str, Tensor]] = plain_log
    teachers: tuple[Any, ...] = ()

    def plus(self, *terms: Term, teachers: Sequence[Any] = ()) -> "Objective":
        """The same with more terms at the end, and their frozen models."""
        return self._replace(terms=(*self.terms, *terms), teachers=(*self.teachers, *teachers))

    def noted(self) -> Mapping[str, Tensor]:
        """What the log says of the last step, by name, in addition to the method's own."""
        return {} if self.rule is None else self.rule.noted

    def loss(self, output: Output, images: Tensor, labels: Tensor) -> Tensor:
        """The sum of the terms, each times its weight."""
        total: Tensor | None = None
        for term in self.terms:
            value = term.of(output, images, labels)
            value = value if term.weight == 1 else term.weight * value
            total = value if total is None else total + value
        assert total is not None  # an objective has a term
        return total if self.rule is None else self.rule(total, output, images, labels)


def cross_entropy(output: Output, images: Tensor, labels: Tensor) -> Tensor:
    """The cross entropy of logits (B, C), in float32."""
    return F.cross_entropy(output.logits.float(), labels)


CROSS_ENTROPY = Objective((Term("cross_entropy", 1.0, cross_entropy),))


class FrozenCLIP(nn.Module):
    """A stock CLIP's image encoder, and class features from a template.

    Args:
        clip_model: a stock CLIP; its parameters are frozen here.
        stream: type of the tokens between products; None for that of the weights.
    """

    def __init__(self, clip_model: CLIP, stream: torch.dtype | None = None):
        super().__init__()
        clip_model.requires_grad_(False)
        self.clip_model = clip_model
        self.text_layers, self.vision_layers = layers_of(clip_model)
        self.image_encoder = image_encoder(clip_model.visual, no_prompts(self.vision_layers), stream)
        self.text_encoder = text_encoder(clip_model, no_prompts(self.text_layers, "text"), stream)

    def set_stream(self, stream: torch.dtype | None) -> None:
        """Set the type of the tokens between products; None for that of the weights."""
        self.image_encoder.stream = self.text_encoder.stream = stream

    @torch.no_grad()
    def encode_image(self, image: Tensor) -> Tensor:
        """(B, E) of images (B, 3, H, W), not normalised."""
        features: Tensor = self.image_encoder(image, [None] * self.vision_layers)
        return features

    def class_features(self, classnames: Sequence[str], template: str) -> Tensor:
        """(C, E) of class names put into a template like "a photo of a {}.", not normalised.

        Raises:
            UserError: if a prompt is longer than the text context.
        """
        return self.text_features(template_texts(classnames, template), classnames)

    @torch.no_grad()
    def text_features(self, texts: Sequence[str], labels: Sequence[str] = (), cut: bool = False) -> Tensor:
        """(N, E) of N texts, not normalised; messages name each by its label, or else by the text.

        Raises:
            UserError: if one is longer than the text context, and longer ones are not `cut`.
        """
        fixed = class_prompts(texts, labels or texts, 0, self.clip_model, cut=cut)
        fixed = fixed.to(self.clip_model.logit_scale.device)
        kind, device = self.clip_model.dtype, self.text_encoder.device
        nothing = torch.empty(0, text_width(self.clip_model), dtype=kind, device=device)
        features: Tensor = self.text_encoder(fixed(nothing), [None] * self.text_layers)  # (1, C, E)
        return features[0]


EPS = 1e-7  # the least product of two lengths, as in the reference


@dataclass(eq=False)
class ClassTeacher:
    """One minus the mean cosine of the class features and the frozen ones, over all classes, in the batch or not.

    KgCoOp (arXiv 2303.13283), equation 4.

    Args:
        class_features: the frozen class features (C, E), normalised, float32.
    """

    class_features: Tensor

    def __call__(self, output: Output, images: Tensor, labels: Tensor) -> Tensor:
        """From 0, all alike, to 2; where class features depend on the image (B, C, E), the mean over images too."""
        self.class_features = self.class_features.to(output.text.device)
        return 1 - F.cosine_similarity(output.text.float(), self.class_features, dim=-1, eps=EPS).mean()


@dataclass(eq=False)
class LogitsTeacher:
    """The cross entropy of the logits and the frozen CLIP's, as probabilities, at a temperature T, times T squared.

    ProGrad (arXiv 2205.14865), equation 3, without the teacher's entropy, which is constant.

    Args:
        class_features: the frozen class features (C, E), normalised, float32.
        logit_scale: CLIP's.
        temperature: T.
        frozen: computes the teacher's image features; None for the model's own, equal to them without vision prompts.
    """

    class_features: Tensor
    logit_scale: Tensor
    temperature: float
    frozen: FrozenCLIP | None = None

    def __call__(self, output: Output, images: Tensor, labels: Tensor) -> Tensor:
        """For images (B, 3, H, W); the mean over the batch."""
        image = output.image.detach().float()
        if self.frozen is not None:
            image = F.normalize(self.frozen.encode_image(images).float(), dim=-1)
        self.class_features = self.class_features.to(image.device)
        goal = self.logit_scale.detach().exp().float() * image @ self.class_features.t()  # (B, C)
        said = F.log_softmax(output.logits.float() / self.temperature, dim=-1)
        entropies = -(F.softmax(goal / self.temperature, dim=-1) * said).sum(dim=-1)  # (B,)
        return self.temperature**2 * entropies.mean()


class Weights(NamedTuple):
    """Weights of the three losses; PromptSRC's are 25, 10 and 1."""

    text: float
    image: float
    logits: float


def mean_class_features(frozen: FrozenCLIP, classnames: Sequence[str], templates: Sequence[str]) -> Tensor:
    """Normalised mean (C, E) of the class features of all templates, which are not normalised themselves."""
    silent = True if len(templates) == 1 else None
    each = tqdm(templates, desc="Class features of all templates", leave=False, disable=silent)
    total = sum((frozen.class_features(classnames, template).float() for template in each), torch.zeros(()))
    return F.normalize(total / len(templates), dim=-1)


@dataclass(eq=False)
class SelfRegularisation:
    """A loss that keeps prompted features near the frozen ones (equations 3 to 5).

    Args:
        frozen: the CLIP without prompts.
        class_features: the frozen class features (C, E), normalised, float32.
        weights: of the losses on class features, on image features, and on logits.
    """

    frozen: FrozenCLIP
    class_features: Tensor
    weights: Weights

    def __call__(self, output: Output, image: Tensor, labels: Tensor) -> Tensor:
        """Mean absolute distances of features, and the divergence of logits, of images (B, 3, H, W)."""
        self.class_features = self.class_features.to(output.text.device)
        teacher = F.normalize(self.frozen.encode_image(image).float(), dim=-1)  # (B, E)
        text = F.l1_loss(output.text.float(), self.class_features)
        features = F.l1_loss(output.image.float(), teacher)
        goal = self.frozen.clip_model.logit_scale.exp().float() * teacher @ self.class_features.t()  # (B, C)
        said, goal = F.log_softmax(output.logits.float(), dim=1), F.log_softmax(goal, dim=1)
        divergence = F.kl_div(said, goal, reduction="sum", log_target=True)
        text_weight, image_weight, logits_weight = self.weights
        return text_weight * text + image_weight * features + logits_weight * divergence / output.logits.numel()


def project(gradient: Tensor, against: Tensor, weight: float) -> Tensor:
    """A gradient without `weight` times its part against another one; unchanged if the two agree.

    Both of one shape, each taken as a single vector; against zeros the gradient is unchanged too.
    """
    direction = F.normalize(against.float().flatten(), dim=0, eps=torch.finfo(torch.float32).tiny)
    flat = gradient.float().flatten()
    along = (flat @ direction).clamp(max=0)  # not a number if either is not: the step shows it
    return (flat - weight * along * direction).view_as(gradient).to(gradient.dtype)


class _Losses(NamedTuple):
    """Two scalars of one graph, the weight of the projection, and the processes that share a batch, if several do."""

    loss: Tensor
    other: Tensor
    weight: float
    processes: Any


class _Step(torch.autograd.Function):
    """The value of a loss; its gradients are computed when they are needed, under any loss scale."""

    @staticmethod
    def forward(ctx: Any, losses: _Losses, *parameters: Tensor) -> Tensor:
        ctx.losses, ctx.parameters = losses, parameters
        return losses.loss.detach().clone()

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        losses, parameters = ctx.losses, ctx.parameters
        mine = torch.autograd.grad(losses.loss, parameters, scale, retain_graph=True, allow_unused=True)
        theirs = torch.autograd.grad(losses.other, parameters, scale, allow_unused=True)
        if losses.processes is not None:
            mine, theirs = (tuple(_mean(one, losses.processes) for one in both) for both in (mine, theirs))
        return None, *map(_projected, mine, theirs, [losses.weight] * len(parameters))


def _projected(mine: Tensor | None, theirs: Tensor | None, weight: float) -> Tensor | None:
    return mine if mine is None or theirs is None else project(mine, theirs, weight)


def _mean(gradient: Tensor | None, processes: Any) -> Tensor | None:
    """The gradient of the whole batch, from those of its parts: projected parts are not the projected whole."""
    if gradient is None:
        return None
    dist.all_reduce(gradient, group=processes)
    return gradient / dist.get_world_size(processes)


def _processes() -> Any:
    """The processes of the DistributedDataParallel that runs this forward pass; None outside one."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return None
    around = DistributedDataParallel._active_ddp_module
    return None if around is None else around.process_group


@dataclass(eq=False)
class Projected:
    """A rule of an objective: each parameter's gradient, by itself, is projected if it goes against another loss.

    Args:
        other: the other loss: `other(output, images (B, 3, H, W), labels (B,))` returns a scalar.
        weight: how much of the conflicting part is removed; 1 is all.
        parameters: returns what is learned.
        noted: for the log, "kl_loss", the other loss of the last step.
    """

    other: Callable[[Output, Tensor, Tensor], Tensor]
    weight: float
    parameters: Callable[[], Iterator[nn.Parameter]]
    noted: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, loss: Tensor, output: Output, images: Tensor, labels: Tensor) -> Tensor:
        """The same value; its backward pass computes the projected gradients."""
        if not loss.requires_grad:
            return loss
        other = self.other(output, images, labels)
        self.noted["kl_loss"] = other.detach()
        learned: list[nn.Parameter] = [one for one in self.parameters() if one.requires_grad]
        projected: Tensor = _Step.apply(_Losses(loss, other, self.weight, _processes()), *learned)  # type: ignore[no-untyped-call]  # PyTorch's
        return projected
