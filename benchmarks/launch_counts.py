"""Launches, waits and kept memory of one training step at ViT-B/16's size, on fake CUDA tensors.

`count` runs in the process that tests/fake_cuda/child.py starts.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor

from benchmarks.cases import class_names, vit_b16
from benchmarks.reference import reference_model
from modprompt.engine import weight_cache
from modprompt.methods.model import PromptedModel
from modprompt.methods.search.over import Search
from modprompt.methods.search.space import BETAS, AlphaSettings
from modprompt.methods.table import row_of
from tests.fake_cuda.device import CUDA, fake_cuda, with_values
from tests.fake_cuda.watching import Counted, Watch, kept_mib

BATCH = 4
REFERENCE = {"MPL": {"n_ctx": 1}}  # the reference setting, if it is not the method's default


class Side(NamedTuple):
    """A model on the GPU, and how its trainer runs a step.

    loss: of images (B, 3, 224, 224) and labels (B,).
    trained: its trained parameters.
    held: all tensors that it always holds.
    pinned: whether a batch is copied without blocking the host.
    reads: whether the loss is read at every step.
    """

    loss: Callable[[Tensor, Tensor], Tensor]
    trained: list[Tensor]
    held: Iterable[Tensor]
    pinned: bool
    reads: bool


def model_of(method: str, classes: int) -> PromptedModel:
    """Our model of a method in its reference setting, made as by a trainer for PREC fp16."""
    model = row_of(method).method(**REFERENCE.get(method, {})).on(with_values(vit_b16)(), class_names(classes))
    model.to(CUDA).cast("fp16")
    model.limit_text()
    return model


def ours(method: str, classes: int) -> Side:
    """Our model of a method, whose step prints nothing."""
    model = model_of(method, classes)
    held = [*model.parameters(), *model.buffers()]
    return Side(model.loss, list(model.prompt_learner.parameters()), held, pinned=True, reads=False)


def searching(method: str, classes: int) -> tuple[Any, ...]:
    """Our model of a method during a search of its schedule, and the optimisers of its alphas and prompts."""
    made = row_of(method).method(**REFERENCE.get(method, {}))
    search = made if isinstance(made, AlphaSettings) else Search().over(made)
    model = search.on(with_values(vit_b16)(), class_names(classes))
    model.to(CUDA).cast("fp16")
    model.limit_text()
    return model, torch.optim.Adam(model.alpha_parameters(), lr=0.0035, betas=BETAS), sgd(model.prompt_parameters())


def sgd(trained: Sequence[Tensor]) -> torch.optim.Optimizer:
    """The optimiser of prompts."""
    return torch.optim.SGD(trained, lr=0.0035, momentum=0.9, weight_decay=5e-4)


def official(method: str, classes: int, directory: str) -> Side:
    """The published model of a method in a checkout."""
    weights = with_values(vit_b16)().state_dict()
    model = with_values(reference_model)(directory, weights, class_names(classes), method, "fp16").train().to(CUDA)
    trained = [one for one in model.parameters() if one.requires_grad]
    return Side(model, trained, [*model.parameters(), *model.buffers()], pinned=False, reads=True)


def count(method: str, classes: int, directory: str = "", cast_norms: bool = False) -> dict[str, Any]:
    """The second step of SGD: forward and backward launches and waits by name, and MiB kept in between.

    Args:
        method: its name.
        classes: their number.
        directory: a checkout of the official repository, to count its model in place of ours.
        cast_norms: as for weights of normalisations that half precision cannot hold.
    """
    in_half = (lambda *_: None) if cast_norms else weight_cache._exact_halves
    with fake_cuda(), mock.patch.object(weight_cache, "_exact_halves", in_half):
        side = official(method, classes, directory) if directory else ours(method, classes)
        optimiser = sgd(side.trained)
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


def count_search(method: str, classes: int) -> dict[str, dict[str, int]]:
    """Launches and waits of a search's second alternation, by name: a step of the alphas, and one of the prompts."""
    with fake_cuda():
        model, *optimisers = searching(method, classes)
        images, labels = torch.randn(BATCH, 3, 224, 224), torch.arange(BATCH) % classes

        def step(loss_of: Callable[..., Tensor], optimiser: Any) -> Counted:
            watch = Watch()
            with watch:
                loss = loss_of(*(one.to(CUDA, non_blocking=True) for one in (images, labels)))
                optimiser.zero_grad()
                loss.backward(inputs=optimiser.param_groups[0]["params"])
                optimiser.step()
            return watch.counted()

        for _ in range(2):
            alphas, prompts = (step(*one) for one in zip((model.alpha_loss, model.loss), optimisers))
    waits = Counter(alphas.waits_by_name) + Counter(prompts.waits_by_name)
    return {"alphas": alphas.by_name, "prompts": prompts.by_name, "waits": waits}
