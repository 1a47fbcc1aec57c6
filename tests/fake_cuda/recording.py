"""What a step that is to be recorded does on a card; run in the process that child.py starts."""

from collections.abc import Sequence
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from modprompt.clip.cast import exact_copy
from modprompt.engine import precision
from modprompt.methods.parts import groups
from modprompt.methods.parts.graph import rates_read_from
from modprompt.methods.parts.step import Step
from modprompt.methods.table import METHODS
from tests.conftest import random_clip
from tests.fake_cuda.counting import counted
from tests.fake_cuda.device import CUDA, fake_cuda, with_values
from tests.methods import small
from tests.modprompt.methods.test_model import NAMES

NOTHING = ("aten.detach.default", "aten.alias.default")  # of what does nothing PyTorch does more or less


def _said(leaf: Any) -> Any:
    return (tuple(leaf.shape), leaf.dtype) if isinstance(leaf, torch.Tensor) else repr(leaf)


class Looked(TorchDispatchMode):
    """What each operation is of, in turn, and what a replay would not do again: draws, and what lies on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Any] = []
        self.against: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look at an operation, and run it."""
        out, name, given = func(*args, **(kwargs or {})), str(func), tree_leaves((args, kwargs))
        if name not in NOTHING and func.namespace not in ("prim", "profiler"):
            self.operations.append((name, *map(_said, given)))
        if "attention" in name:  # where its dropout begins lies on the CPU, but nobody asks for one
            return out
        tensors = [one for one in (*given, *tree_leaves(out)) if isinstance(one, torch.Tensor)]
        if torch.Tag.nondeterministic_seeded in func.tags or len({one.device for one in tensors}) > 1:
            self.against.append(name)
        return out


def _step(cls: Any, prec: str, chunk: int) -> Step:
    clip_model = with_values(random_clip)()
    model = small(cls).on(clip_model, NAMES, dataset="EuroSAT", epochs=2)
    if model.keeps_exact:  # made while there are values
        model._exact = with_values(exact_copy)(clip_model)
    model.to(CUDA).cast(prec)
    model.limit_text(chunk)
    model.train()

    def loss_of(images: Any, labels: Any) -> Any:
        output = model.output(images)
        return output, model.objective.loss(output, images, labels)

    optimiser = torch.optim.SGD(model.prompt_learner.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    scaled = precision.resolve(prec, CUDA).scale_loss
    return Step(loss_of, optimiser, precision.grad_scaler() if scaled else None)


def steps(names: Sequence[str], prec: str, chunk: int) -> dict[str, list[Any]]:
    """What steps of methods do, whose text side is computed in chunks of so many classes (0: at once).

    Returns:
        By method: operations that stand against a recording, whether two steps do the same, waits of the second by
        name, and the number of operations.
    """
    found = {}
    teacher = mock.patch.object(groups, "mean_class_features", side_effect=lambda *_: torch.zeros(len(NAMES), 32))
    with fake_cuda(), teacher:
        for cls in (row.method for row in METHODS if row.method.__name__ in names):
            step, rate = _step(cls, prec, chunk), torch.full((), 0.01, device=CUDA)
            images, labels = torch.randn(4, 3, 32, 32).to(CUDA), torch.tensor([0, 1, 2, 1]).to(CUDA)

            def once(step: Step = step, rate: Any = rate, images: Any = images, labels: Any = labels) -> None:
                with rates_read_from([rate], step.optimiser):
                    step(images, labels)

            once()
            with Looked() as first:
                once()
            with Looked() as second:
                counts = counted(once)
            same = first.operations == second.operations
            against = first.against + second.against
            found[cls.__name__] = [against, same, counts.waits_by_name, len(first.operations)]
    return found
