"""Launches, waits and kept memory of one training step at ViT-B/16's size, on fake CUDA tensors.

`count` runs in the process that tests/fake_cuda/child.py starts.
"""

from typing import Any, Callable, Dict, Iterable, List, NamedTuple

import torch
from torch import Tensor

from benchmarks.cases import class_names, vit_b16
from modprompt.methods.table import row_of
from tests.fake_cuda.counting import kept_mib
from tests.fake_cuda.device import CUDA, fake_cuda, with_values
from tests.fake_cuda.watching import Watch

BATCH = 4


class Side(NamedTuple):
    """A model on the card: its loss of (images, labels), what is trained, and all tensors that it holds anyway."""

    loss: Callable[[Tensor, Tensor], Tensor]
    trained: List[Tensor]
    held: Iterable[Tensor]


def ours(method: str, classes: int) -> Side:
    """Our model of a method with its defaults, as a trainer makes it for PREC fp16."""
    clip_model = with_values(vit_b16)()
    model = row_of(method).method().on(clip_model, class_names(classes))
    model.to(CUDA).cast("fp16")
    model.limit_text()
    return Side(model.loss, list(model.prompt_learner.parameters()), [*model.parameters(), *model.buffers()])


def count(method: str, classes: int) -> Dict[str, Any]:
    """What the second step of SGD does: forward and backward launches and waits by name, MiB kept in between."""
    with fake_cuda():
        side = ours(method, classes)
        optimiser = torch.optim.SGD(side.trained, lr=0.0035, momentum=0.9, weight_decay=5e-4)
        images, labels = torch.randn(BATCH, 3, 224, 224), torch.arange(BATCH) % classes

        def forward() -> Tensor:
            return side.loss(images.to(CUDA), labels.to(CUDA))

        def backward(loss: Tensor) -> None:
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

        backward(forward())
        with Watch() as first:
            loss, kept = kept_mib(forward, side.held)
        with Watch() as second:
            backward(loss)
    waits = first.waits + second.waits
    return {"forward": first.by_name, "backward": second.by_name, "waits": waits, "kept_mib": kept}
