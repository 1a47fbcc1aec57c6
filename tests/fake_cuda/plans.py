"""Attention on a card: plans that cuDNN's would build, what callers allow, and the sequences of one call."""

import contextlib
from collections.abc import Sequence
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.launch_counts import BATCH, model_of, sgd
from modprompt.engine import blocks
from tests.fake_cuda import device
from tests.fake_cuda.device import CUDA, fake_cuda
from tests.fake_cuda.watching import Watch

HOPPER = (9, 0)
CLASSES = 5
TESTED = (100, 60)  # images of a test's batches, the last of which is smaller


def counted(method: str, chooses: bool) -> dict[str, int]:
    """How many plans a training and a test of a method ask for, at ViT-B/16's size and PREC fp16.

    Args:
        method: its name.
        chooses: whether attention chooses its kernel, or takes what PyTorch prefers.
    """
    left_alone = contextlib.nullcontext() if chooses else mock.patch.object(blocks, "_has_cudnn", return_value=False)
    with fake_cuda(HOPPER), left_alone:
        model = model_of(method, CLASSES)
        optimiser = sgd(model.prompt_parameters())
        with Watch() as training:
            for _ in range(2):
                model.loss(torch.randn(BATCH, 3, 224, 224, device=CUDA), torch.arange(BATCH, device=CUDA)).backward()
                optimiser.step()
        model.eval()
        with Watch() as test, torch.no_grad():
            for images in TESTED:
                model(torch.randn(images, 3, 224, 224, device=CUDA))
        found = {"training": len(training.plans), "test": len(test.plans)}
        assert chooses == any("flash" in name for name in training.by_name), "nothing of attention was seen"
        return found


def taken(allowed: Sequence[str], backward: Sequence[str]) -> dict[str, Any]:
    """The kernels of one step, whose text side is computed again in the backward pass, and what is allowed after it.

    Args:
        allowed: kinds of attention that a caller allows in the forward pass.
        backward: those of the backward pass.
    """
    with fake_cuda(HOPPER):
        model = model_of("CoOp", CLASSES)
        model.limit_text(2)
        watches: list[dict[str, int]] = []
        with _allowing(allowed), Watch() as watch:
            loss = model.loss(torch.randn(2, 3, 224, 224, device=CUDA), torch.arange(2, device=CUDA))
            watches.append(_attention(watch))
            left = [kind for kind in _KINDS if _is_on(kind)]
        with _allowing(backward), Watch() as watch:
            loss.backward()
            watches.append(_attention(watch))
        return {"forward": watches[0], "backward": watches[1], "left": left}


def sequences(method: str, classes: int, images: int, trains: bool) -> dict[str, int]:
    """The most sequences of one call of attention on the text side, and how many there are in all, on a large card.

    Args:
        method: its name.
        classes: their number.
        images: of a batch.
        trains: whether it is a step or a test.
    """
    with mock.patch.object(device, "FREE", 141 * 2**30), fake_cuda():
        model = model_of(method, classes).train(trains)
        batches: list[int] = []

        def noting(query: Tensor, *inputs: Any, **named: Any) -> Tensor:
            batches.append(len(query))
            return attend(query, *inputs, **named)

        attend = F.scaled_dot_product_attention
        features = torch.randn(images, 512, device=CUDA, dtype=torch.float16)
        with mock.patch.object(F, "scaled_dot_product_attention", noting):
            if trains:
                model.of_features(features).logits.sum().backward()
            else:
                with torch.no_grad():
                    model.of_features(features)
        return {"most": max(batches), "chunks": batches.count(max(batches))}


_KINDS = ("cudnn", "flash", "mem_efficient", "math")


def _is_on(kind: str) -> bool:
    on: bool = getattr(torch.backends.cuda, f"{kind}_sdp_enabled")()
    return on


@contextlib.contextmanager
def _allowing(kinds: Sequence[str]) -> Any:
    before = [kind for kind in _KINDS if _is_on(kind)]
    _allow(kinds)
    try:
        yield
    finally:
        _allow(before)


def _allow(kinds: Sequence[str]) -> None:
    for kind in _KINDS:
        getattr(torch.backends.cuda, f"enable_{kind}_sdp")(kind in kinds)


def _attention(watch: Watch) -> dict[str, int]:
    return {name: count for name, count in watch.by_name.items() if "scaled_dot_product" in name}
