"""What is measured: models of ViT-B/16's size with random weights, one training step, one evaluation; and FLOPs."""

import importlib
import random
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.plain import Learner, PlainCLIP
from modprompt.clip.cast import cast_products
from modprompt.clip.package import import_clip
from modprompt.clip.towers import CLIP
from modprompt.engine.context import from_words, placeholders
from modprompt.engine.memory import keep_freed_memory
from modprompt.engine.model import PromptedCLIP
from modprompt.engine.prompts import PromptText
from modprompt.engine.schedule import Schedules, modular, no_prompts, replacement, shallow
from modprompt.methods.cocoop import ConditionalPromptLearner
from modprompt.methods.parts.learners import CoupledPromptLearner

NOUNS = (
    "crop land forest river highway pasture lake retriever tree frog panda organ bus engine tower pepper hammer violin"
)
QUALITIES = "annual brown golden red church school fire water bell passion sports persian siamese"


class Case(NamedTuple):
    """One measurement.

    side: "ours", "plain", or the folder of a checkout of the official MPL repository.
    method: "MPL" (the reference setting) or "CoCoOp".
    classes: their number.
    batch: images at a time.
    images: of an evaluation; 0 measures training steps.
    precision: "fp32" or "bf16".
    """

    side: str
    method: str = "MPL"
    classes: int = 5
    batch: int = 4
    images: int = 0
    precision: str = "fp32"


def class_names(count: int) -> list[str]:
    """Names of one to four words, all different up to some tens of thousands."""
    rng = random.Random(0)
    names: dict[str, None] = {}
    while len(names) < count:
        words = rng.sample(QUALITIES.split(), rng.choice((0, 1, 1, 2))) + rng.sample(
            NOUNS.split(), rng.choice((1, 1, 2))
        )
        names[" ".join(words)] = None
    return list(names)


def random_clip(layers: int = 12, size: int = 224) -> CLIP:
    """A stock CLIP of ViT-B/16's widths, with `layers` layers on each side, for images of `size` pixels."""
    import_clip()
    torch.manual_seed(0)
    clip_model: CLIP = importlib.import_module("clip.model").CLIP(512, size, layers, 768, 16, 77, 49408, 512, 8, layers)
    return clip_model.eval().requires_grad_(False)


def vit_b16() -> CLIP:
    """A CLIP of ViT-B/16's size."""
    return random_clip()


def build(case: Case) -> tuple[PlainCLIP | PromptedCLIP, Learner]:
    """The model of a case, and its learner."""
    clip_model, names = vit_b16(), class_names(case.classes)
    if case.method == "MPL":
        schedules = Schedules(replacement(12, 9, 1, "text"), modular(12, 9, 1, 1, 2))
        context = placeholders("a photo of a", 1, clip_model)
        learner: Learner = CoupledPromptLearner(names, clip_model, schedules, context)
    else:
        schedules = Schedules(shallow(12, 4, "text"), no_prompts(12))
        learner = ConditionalPromptLearner(names, clip_model, schedules, from_words("a photo of a", 4, clip_model))
    if case.side == "plain":
        return PlainCLIP(learner, clip_model, names), learner
    keep_freed_memory()
    stream = None
    if case.precision == "bf16":
        cast_products(clip_model, torch.bfloat16)
        stream = torch.float32
    model = PromptedCLIP(learner, clip_model, stream)
    model.limit_text()
    return model, learner


def training_step(loss_of: Callable[[Tensor, Tensor], Tensor], learner: nn.Module, case: Case) -> Callable[[], None]:
    """A function that makes one step of SGD on `loss_of(images, labels)`."""
    optimiser = torch.optim.SGD(learner.parameters(), lr=0.0035, momentum=0.9, weight_decay=5e-4)
    images, labels = torch.randn(case.batch, 3, 224, 224), torch.arange(case.batch) % case.classes

    def step() -> None:
        loss = loss_of(images, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def stepper(case: Case) -> Callable[[], None]:
    """A function that makes one training step, or one whole evaluation."""
    if case.side not in ("ours", "plain"):
        from benchmarks.reference import reference_model

        reference = reference_model(case.side, vit_b16().state_dict(), class_names(case.classes)).train()
        return training_step(reference, reference.get_submodule("prompt_learner"), case)
    model, learner = build(case)
    if not case.images:
        return training_step(lambda images, labels: F.cross_entropy(model(images), labels), learner, case)
    images = torch.randn(case.batch, 3, 224, 224)

    @torch.no_grad()
    def evaluate() -> None:
        for _ in range(case.images // case.batch):
            model(images)

    model.eval()
    return evaluate


def needed_flops(case: Case) -> float:
    """Floating-point operations of one of our training steps of MPL: two per weight and token, forward and backward.

    It counts the products with CLIP's matrices and attention's two (five in its backward pass), without the tokens
    and parts that need not be computed: see docs/performance.md.
    """
    if (case.method, case.images) != ("MPL", 0):
        raise ValueError("Floating-point operations are counted only for training steps of MPL.")
    model, learner = build(case._replace(side="ours", precision="fp32"))
    text = learner.prompt_text
    assert isinstance(text, PromptText)
    own = sum(len(group.classes) * group.length for group in text.groups)
    pairs = text.shared**2 + sum(len(g.classes) * g.length * (text.shared + g.length) for g in text.groups)
    total = _side(12, 512, [text.shared + own] * 12, case.classes, [pairs] * 12)
    lengths = [197 + n for n in learner.schedules.vision.counts]
    tokens = [case.batch * length for length in lengths]
    total += _side(12, 768, tokens, case.batch, [case.batch * length**2 for length in lengths])
    return total + 2 * case.batch * 196 * 768 * 3 * 16 * 16


def _side(layers: int, width: int, tokens: list[int], ends: int, pairs: list[int]) -> float:
    full = sum(2 * 2 * 12 * width**2 * n for n in tokens[:-1])
    last = 2 * 2 * width**2 * (2 * tokens[-1] + 10 * ends)
    attention = sum((2 + 5) * 2 * width * n for n in pairs[: layers - 1])
    return full + last + attention
