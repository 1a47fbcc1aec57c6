"""Launches, waits and kept memory of one training step at ViT-B/16's size, on fake CUDA tensors.

`count` runs in the process that tests/fake_cuda/child.py starts.
"""

from collections import Counter
from typing import Any, Callable, Dict, Iterable, List, NamedTuple
from unittest import mock

import torch
from torch import Tensor

from benchmarks.cases import class_names, vit_b16
from benchmarks.reference import reference_model
from modprompt.engine import derived
from modprompt.methods.table import row_of
from tests.fake_cuda.counting import kept_mib
from tests.fake_cuda.device import CUDA, fake_cuda, with_values
from tests.fake_cuda.watching import Watch

BATCH = 4
REFERENCE = {"MPL": {"n_ctx": 1}}  # the reference setting, where it is not a method's default


class Side(NamedTuple):
    """A model on the card, and how its trainer runs a step.

    loss: of images (B, 3, 224, 224) and labels (B,).
    trained: its parameters that are.
    held: all tensors that it holds anyway.
    pinned: whether a batch is copied while the host goes on.
    reads: whether the loss is read at every step.
    """

    loss: Callable[[Tensor, Tensor], Tensor]
    trained: List[Tensor]
    held: Iterable[Tensor]
    pinned: bool
    reads: bool


def ours(method: str, classes: int) -> Side:
    """Our model of a method in its reference setting, as a trainer makes it for PREC fp16; its step prints nothing."""
    model = row_of(method).method(**REFERENCE.get(method, {})).on(with_values(vit_b16)(), class_names(classes))
    model.to(CUDA).cast("fp16")
    model.limit_text()
    held = [*model.parameters(), *model.buffers()]
    return Side(model.loss, list(model.prompt_learner.parameters()), held, pinned=True, reads=False)


def official(method: str, classes: int, directory: str) -> Side:
    """The published model of a method in a checkout."""
    weights = with_values(vit_b16)().state_dict()
    model = with_values(reference_model)(directory, weights, class_names(classes), method, "fp16").train().to(CUDA)
    trained = [one for one in model.parameters() if one.requires_grad]
    return Side(model, trained, [*model.parameters(), *model.buffers()], pinned=False, reads=True)


def count(method: str, classes: int, directory: str = "", cast_norms: bool = False) -> Dict[str, Any]:
    """What the second step of SGD does: forward and backward launches and waits by name, MiB kept in between.

    Args:
        method: its name.
        classes: their number.
        directory: a checkout of the official repository, to count its model and not ours.
        cast_norms: as for weights of normalisations that half precision cannot hold.
    """
    in_half = (lambda *_: None) if cast_norms else derived._exact_halves
    with fake_cuda(), mock.patch.object(derived, "_exact_halves", in_half):
        side = official(method, classes, directory) if directory else ours(method, classes)
        optimiser = torch.optim.SGD(side.trained, lr=0.0035, momentum=0.9, weight_decay=5e-4)
        images, labels = torch.randn(BATCH, 3, 224, 224), torch.arange(BATCH) % classes

        def forward() -> Tensor:
            return side.loss(*(one.to(CUDA, non_blocking=side.pinned) for one in (images, labels)))

        def backward(loss: Tensor) -> None:
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if side.reads:
                loss.item()

        backward(forward())
        with Watch() as first:
            loss, kept = kept_mib(forward, side.held)
        with Watch() as second:
            backward(loss)
    waits = Counter(first.waits) + Counter(second.waits)
    return {"forward": first.by_name, "backward": second.by_name, "waits": waits, "kept_mib": kept}
