"""Where things stand that need not be on the card."""

from typing import Any

import torch

from benchmarks.cases import class_names, vit_b16
from modprompt.methods.kgcoop import KgCoOp
from modprompt.methods.model import PromptedModel
from tests.fake_cuda.device import CUDA, fake_cuda, with_values


def exact_weights() -> dict[str, Any]:
    """Of amp and a teacher of exact weights: where these stand, for whom they are left, and whether they were read."""
    with fake_cuda():
        model = KgCoOp().on(with_values(vit_b16)(), class_names(5)).to(CUDA)
        model.cast("amp")
        standing = _devices(model)
        other = model.with_classes(class_names(6))
        model.loss(torch.randn(2, 3, 224, 224, device=CUDA), torch.arange(2, device=CUDA))
        return {
            "standing": standing,
            "left": _devices(other),
            "kept": _devices(model),
        }


def _devices(model: PromptedModel) -> list[str]:
    return [] if model._exact is None else sorted({one.device.type for one in model._exact.parameters()})
