"""Memory of a card that scoring a pool takes, and where things stand that need not be there."""

import contextlib
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch

from benchmarks.cases import class_names, vit_b16
from benchmarks.launch_counts import model_of
from modprompt.compat import find as compat
from modprompt.methods.kgcoop import KgCoOp
from modprompt.methods.model import PromptedModel
from tests.fake_cuda.device import CUDA, fake_cuda, with_values
from tests.held import Held

compat.add_to_path()

from modprompt.active import generators  # noqa: E402
from modprompt.active.scoring import Scorer  # noqa: E402
from modprompt.trainers.evaluation import FeatureBatches  # noqa: E402

BATCH = 20


def scored(images: int) -> dict[str, Any]:
    """The bytes that are held at most on the card, and the devices of what the scorer gives."""
    with fake_cuda():
        model = model_of("CoOp", 50)
        scorer = Scorer([SimpleNamespace(label=0)] * images)
        labels = torch.zeros(images, dtype=torch.int64)
        scorer._kept = FeatureBatches(torch.randn(images, 512), labels, SimpleNamespace(batch_size=BATCH))
        trainer = SimpleNamespace(
            model=model,
            evaluation=SimpleNamespace(prompts_images=False),
            device=CUDA,
            set_model_mode=lambda mode: model.set_mode(mode == "train"),
        )
        with mock.patch.object(generators, "kept", contextlib.nullcontext), Held() as held:
            found = scorer.scored(trainer)
        return {"peak": held.peak["cuda"], "devices": [one.device.type for one in found]}


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
