"""Outputs of an exported model compared with PyTorch's: how much they differ, and how fast it is.

Shapes: B images, C classes, E joint width.
"""

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from modprompt.clip.known import Images
from modprompt.errors import UserError
from modprompt.methods.model import PromptedModel
from modprompt.use.export_files import Runs

BATCHES = (1, 7)
FEATURES, PROBABILITIES = 1e-5, 1e-4  # the largest differences from PyTorch that fp32 may have
_HALF_FEATURES = 2e-2  # for fp16, whose numbers have 11 bits: more means that something went wrong
_DECIDED = 0.1  # between the logits of the two likeliest classes; less counts as a tie in fp16
_REPEATS, _SECONDS = 10, 2.0  # the end of a measurement, whichever comes first


class Speed(NamedTuple):
    """Seconds of a batch, by the exported file and by PyTorch."""

    batch: int
    file: float
    pytorch: float


class Checked(NamedTuple):
    """How an exported file differs from PyTorch, over batches of 1 and 7.

    features, probabilities: the largest differences.
    same_top, decided: for how many images the likeliest class is the same, of those where it is not a tie.
    speeds: at each batch size.
    """

    features: float
    probabilities: float
    same_top: int
    decided: int
    speeds: tuple[Speed, ...]


def check_images(images: Images, count: int) -> Tensor:
    """Images (B, 3, H, W) of coarse and fine patterns, the same each time, as a transform would make them."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for number in range(count):
        side = 2 ** (number % 4 + 1)
        pattern = torch.rand(1, 3, side, side, generator=generator)
        made.append(F.interpolate(pattern, size=(images.size, images.size), mode="bilinear", align_corners=False))
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (images.mean, images.std))
    return (torch.cat(made) - mean) / std


def check(model: PromptedModel, images: Images, run: Runs, half: bool) -> Checked:
    """Compare a file's outputs with a model's, and measure the speed of both.

    Args:
        model: in float32, on the CPU.
        images: how its images are made.
        run: how the file is run.
        half: whether it has fp16 weights, for which more is allowed.

    Raises:
        UserError: if they differ too much.
    """
    found = Checked(0.0, 0.0, 0, 0, ())
    for batch in BATCHES:
        found = _with_batch(found, model, check_images(images, batch), run)
    if half:
        _require_half(found)
    elif found.features > FEATURES or found.probabilities > PROBABILITIES:
        raise UserError(
            f"what was exported is not the model: its features are {found.features:.1e} away from PyTorch's "
            f"({FEATURES:g} is allowed), its probabilities {found.probabilities:.1e} ({PROBABILITIES:g})"
        )
    return found


def _with_batch(before: Checked, model: PromptedModel, images: Tensor, run: Runs) -> Checked:
    def by_pytorch(images: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            output = model.output(images)
        return output.image, output.logits.softmax(dim=-1)

    features, probabilities = by_pytorch(images)
    its_features, its_probabilities = run(images)
    best = probabilities.log().topk(min(2, probabilities.shape[1]), dim=1).values
    decided = best[:, 0] - best[:, -1] > _DECIDED
    same = decided & (its_probabilities.argmax(dim=1) == probabilities.argmax(dim=1))
    return Checked(
        max(before.features, _apart(its_features, features)),
        max(before.probabilities, _apart(its_probabilities, probabilities)),
        before.same_top + int(same.sum()),
        before.decided + int(decided.sum()),
        (*before.speeds, Speed(len(images), _seconds(run, images), _seconds(by_pytorch, images))),
    )


def _apart(one: Tensor, other: Tensor) -> float:
    if one.shape != other.shape:
        raise UserError(f"what was exported gives {tuple(one.shape)} where PyTorch gives {tuple(other.shape)}")
    return float((one - other).abs().nan_to_num(nan=math.inf).max())  # NaN is within no bound


def _require_half(found: Checked) -> None:
    if found.features > _HALF_FEATURES:
        raise UserError(f"fp16 features are {found.features:.1e} away from fp32's: this model needs --precision fp32")
    if found.same_top < found.decided:
        raise UserError(
            f"fp16 has another likeliest class for {found.decided - found.same_top} of {found.decided} images: this "
            "model needs --precision fp32"
        )


def _seconds(run: Callable[[Tensor], object], images: Tensor) -> float:
    """The median of a few calls, after one that does not count."""
    run(images)
    taken: list[float] = []
    while len(taken) < _REPEATS and sum(taken) < _SECONDS:
        start = time.perf_counter()
        run(images)
        taken.append(time.perf_counter() - start)
    return sorted(taken)[len(taken) // 2]
