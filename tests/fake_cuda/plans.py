"""Attention on a card: plans that cuDNN's would build, and the sequences of one call."""

from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.launch_counts import BATCH, model_of, sgd
from modprompt.engine.precision import set_products
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
        chooses: whether the process is set as a run's, or attention is what PyTorch prefers.
    """
    if chooses:
        set_products()
    with fake_cuda(HOPPER):
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
