"""The sides of a case: ours (eager or compiled), the plain implementation, the official code.

All start from the same CLIP, whose matrices are exact in half precision, and from the same prompts.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.cases import class_names, random_clip
from benchmarks.gpu.task import Place, Task
from benchmarks.plain import PlainCLIP
from benchmarks.reference import PUBLISHED, WithLoss, reference_model
from modprompt.clip.cast import cast_products
from modprompt.clip.towers import CLIP
from modprompt.engine import precision
from modprompt.errors import UserError
from modprompt.methods.base import Method
from modprompt.methods.cocoop import CoCoOp
from modprompt.methods.coop import CoOp
from modprompt.methods.heads.model import HeadedModel
from modprompt.methods.heads.tip_adapter import TipAdapterF
from modprompt.methods.maple import MaPLe
from modprompt.methods.model import PromptedModel
from modprompt.methods.mpl import MPL
from modprompt.methods.promptsrc import PromptSRC
from modprompt.methods.records import view_of

OURS, PLAIN, OFFICIAL = "ours", "plain", "official"
BATCH = {"CoCoOp": 1}  # as in its configs; 4 for the others


class Side(NamedTuple):
    """A model in training.

    loss: gives the loss of images (B, 3, H, W) and labels (B,), with its gradient.
    step: a step of training on them; gives the loss, without its gradient.
    optimiser: of what it trains.
    test: gives the logits (B, C) of images in a test.
    """

    loss: Callable[[Tensor, Tensor], Tensor]
    step: Callable[[Tensor, Tensor], Tensor]
    optimiser: torch.optim.Optimizer
    test: Callable[[Tensor], Tensor]


def others(task: Task) -> list[str]:
    """The sides that ours is compared with, if they have this method."""
    return [PLAIN, OFFICIAL] if task.method in PUBLISHED else []


def batch(task: Task, place: Place, number: int = 0, count: int = 0) -> tuple[Tensor, Tensor]:
    """Images (B, 3, H, W) and labels (B,) on the device, the same for every side: of a step, or `count`."""
    draws, count = torch.Generator().manual_seed(number), count or BATCH.get(task.method, 4)
    images = torch.randn(count, 3, place.size, place.size, generator=draws)
    labels = torch.randint(place.classes(task), (count,), generator=draws)
    return images.to(place.device), labels.to(place.device)


def build(name: str, task: Task, place: Place) -> Side:
    """A side by its name: "ours", perhaps followed by a word of MODEL.COMPILE, "plain" or "official"."""
    if not place.dry_run:
        precision.set_products()
    if name == PLAIN:
        return _plain(task, place)
    return _official(task, place) if name == OFFICIAL else ours(task, place, name[len(OURS) :].strip())


def ours(task: Task, place: Place, how: str = "", scaler: Any = None) -> Side:
    """Our side, made as by the trainer.

    Args:
        task: the case.
        place: where it runs.
        how: MODEL.COMPILE: "", "default" or "reduce-overhead".
        scaler: of the loss, for PREC amp.
    """
    model = _model(task, place)
    model.to(place.device).cast(task.precision)
    model.limit_text()
    model.compile_encoders(place.choose(how, ""))  # a CPU may have no compiler
    optimiser = _of_head(model, place) if isinstance(model, HeadedModel) else _sgd(model.prompt_learner)
    if scaler is not None:
        optimiser = precision.fused(optimiser)  # as in the trainer

    def step(images: Tensor, labels: Tensor) -> Tensor:
        loss = model.loss(images, labels)
        precision.step(loss, optimiser, scaler)
        return loss.detach()

    return Side(model.loss, step, optimiser, _tested(model.set_mode, model))


def _of_head(model: HeadedModel, place: Place) -> torch.optim.Optimizer:
    """Build a head from random images, four of a class, and make its own optimiser."""
    labels = torch.arange(len(model.classes.names)).repeat(4)
    draws = torch.Generator().manual_seed(2)
    images = torch.randn(len(labels), 3, place.size, place.size, generator=draws)
    with torch.no_grad():
        view = model.encode_image(images.to(place.device))
    model.head.build(model.bank([view], labels), model.scale())
    rates = model.head.rates(1)
    assert rates is not None  # the measured heads have it
    return rates[0]


def _tested(set_mode: Callable[[bool], object], logits: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A call as in a test: without gradients, the model in eval mode; afterwards in training mode again."""

    @torch.no_grad()
    def test(images: Tensor) -> Tensor:
        set_mode(False)
        found = logits(images)
        set_mode(True)
        return found

    return test


def _plain(task: Task, place: Place) -> Side:
    half = _in_half(task, place)
    model = _model(task, place)
    learner: Any = model.prompt_learner
    learner.cast(torch.float16 if half else torch.float32)
    plain = PlainCLIP(learner, model.clip_model, _names(task, place)).to(place.device)

    def loss(images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(plain(images).float(), labels)

    return _published(loss, learner, _tested(plain.train, plain))


def _official(task: Task, place: Place) -> Side:
    if not place.reference:
        raise UserError("no --reference names a checkout of the official repository")
    ours = _model(task, place)
    prompts = view_of(ours.method, ours.prompt_learner).state_dict()
    depth = min(9, place.layers)
    kind = "fp16" if _in_half(task, place) else "fp32"
    model = reference_model(
        place.reference, _clip(place).state_dict(), _names(task, place), task.method, kind, place.size, depth
    )
    _put_in(model, prompts)
    model.to(place.device).train()
    logits = model.model if isinstance(model, WithLoss) else model
    return _published(model, model.get_submodule("prompt_learner"), _tested(model.train, logits))


def _put_in(model: nn.Module, prompts: Mapping[str, Tensor]) -> None:
    """Start a published model from given prompts.

    Raises:
        KeyError: if it trains something that is not given.
    """
    learner = model.get_submodule("prompt_learner")
    with torch.no_grad():
        for name, parameter in learner.named_parameters():
            parameter.copy_(prompts[name] if name in prompts else prompts[f"prompt_learner.{name}"])


def _published(loss: Callable[[Tensor, Tensor], Tensor], learner: nn.Module, test: Callable[[Tensor], Tensor]) -> Side:
    """A side with the steps of the published trainers, which read every loss."""
    optimiser = _sgd(learner)

    def step(images: Tensor, labels: Tensor) -> Tensor:
        found = loss(images, labels)
        optimiser.zero_grad()
        found.backward()
        optimiser.step()
        return torch.tensor(found.item())

    return Side(loss, step, optimiser, test)


def _sgd(learner: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(learner.parameters(), lr=0.0035, momentum=0.9, weight_decay=5e-4)


def _in_half(task: Task, place: Place) -> bool:
    return precision.resolve(task.precision, place.device).half_weights


def _names(task: Task, place: Place) -> list[str]:
    return class_names(place.classes(task))


def _model(task: Task, place: Place) -> PromptedModel:
    """Our model on the CPU, with new prompts, the same at every call."""
    clip_model = _clip(place)
    if _in_half(task, place):
        cast_products(clip_model, torch.float16)
    torch.manual_seed(1)
    return _method(task.method, min(9, place.layers)).on(clip_model, _names(task, place))


def _method(name: str, depth: int) -> Method:
    """A method with the settings of its published config."""
    methods: dict[str, Callable[[], Method]] = {
        "MPL": lambda: MPL(n_ctx=1, n_add_op=2, n_rm_op=1, prompt_depth=depth),
        "MaPLe": lambda: MaPLe(n_ctx=2, prompt_depth=depth),
        "CoOp": CoOp,
        "CoCoOp": lambda: CoCoOp(ctx_init="a photo of a"),
        "PromptSRC": lambda: PromptSRC(prompt_depth_text=depth, prompt_depth_vision=depth),
        "TipAdapterF": TipAdapterF,
    }
    return methods[name]()


@functools.lru_cache(maxsize=1)
def _first_clip(layers: int, size: int) -> CLIP:
    clip_model = random_clip(layers, size)
    cast_products(clip_model, torch.float16)  # and back: OpenAI's matrices are exact in half precision
    return clip_model.float()


def _clip(place: Place) -> CLIP:
    """A CLIP of its own in float32, always with the same weights."""
    return copy.deepcopy(_first_clip(place.layers, place.size))
