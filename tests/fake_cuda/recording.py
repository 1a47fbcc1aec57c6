"""What a step that is to be recorded does on a card; run in the process that child.py starts."""

from typing import Any, Dict, List, Sequence
from unittest import mock

import torch
from torch import library as torch_library

from modprompt.clips.cast import exact_copy
from modprompt.engine import precision
from modprompt.methods import groups
from modprompt.methods.table import METHODS
from modprompt.training.graph import rates_read_from
from modprompt.training.step import Step
from modprompt.training.watch import Watch
from tests.conftest import random_clip
from tests.fake_cuda.counting import counted
from tests.fake_cuda.device import CUDA, fake_cuda, with_values
from tests.methods import small
from tests.modprompt.methods.test_model import NAMES

# kernels that change tensors and have no form without values
IN_PLACE = ("_fused_sgd_.tensor_lr", "_amp_foreach_non_finite_check_and_unscale_", "_amp_update_scale_")


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


def steps(names: Sequence[str], prec: str, chunk: int) -> Dict[str, List[Any]]:
    """What steps of methods do, whose text side is computed in chunks of so many classes (0: at once).

    Returns:
        By method: what stands against a recording, whether two steps do the same, waits of the second by name, and the
        number of operations.
    """
    found = {}
    teacher = mock.patch.object(groups, "mean_class_features", side_effect=lambda *_: torch.zeros(len(NAMES), 32))
    with fake_cuda(), teacher, torch_library._scoped_library("aten", "IMPL") as kernels:
        for name in IN_PLACE:
            kernels.impl(name, lambda first, *_, **__: first if isinstance(first, torch.Tensor) else None, "Meta")
        for cls in (row.method for row in METHODS if row.method.__name__ in names):
            step, rate = _step(cls, prec, chunk), torch.full((), 0.01, device=CUDA)
            images, labels = torch.randn(4, 3, 32, 32).to(CUDA), torch.tensor([0, 1, 2, 1]).to(CUDA)

            def once(step: Step = step, rate: Any = rate, images: Any = images, labels: Any = labels) -> None:
                with rates_read_from([rate], step.optimiser):
                    step(images, labels)

            once()
            with Watch() as first:
                once()
            with Watch() as second:
                counts = counted(once)
            same = first.operations == second.operations
            found[cls.__name__] = [first.obstacle or second.obstacle, same, counts.waits_by_name, len(first.operations)]
    return found
