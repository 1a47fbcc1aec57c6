"""Steps and a test of a trainer on fake CUDA tensors, for test_waits.py: called in the process of tests/fake_cuda/child.py."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import library as torch_library

from modprompt.engine import precision
from modprompt.methods.parts.step import fused
from modprompt.methods.table import row_of
from tests.conftest import random_clip
from tests.fake_cuda.device import CUDA, fake_cuda, with_values
from tests.fake_cuda.watching import Watch

NAMES = ["annual crop", "forest", "a river", "sea lake", "pasture"]
STEPS, FREQUENCY = 4, 3  # of an epoch; a line comes behind the third step


class Loader:
    """Batches from pinned memory; counts the waits between one and the next."""

    def __init__(self) -> None:
        self.waits: list[dict[str, int]] = []

    def __len__(self) -> int:
        return STEPS

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        for _ in range(STEPS):
            batch = {"img": torch.randn(4, 3, 32, 32), "label": torch.arange(4)}
            with Watch() as watch:
                yield batch
            self.waits.append(dict(watch.waits))


class Evaluator:
    """Counts batches that it is given on the CPU."""

    def __init__(self) -> None:
        self.on_cpu = 0

    def reset(self) -> None:
        """There is nothing to forget."""

    def process(self, mo: torch.Tensor, gt: torch.Tensor) -> None:
        """A batch."""
        self.on_cpu += mo.device.type == gt.device.type == "cpu"

    def evaluate(self) -> dict[str, float]:
        """A result."""
        return {"accuracy": 50.0}


def trainer_of(method: str, prec: str) -> Any:
    """A trainer with all that an epoch and a test ask for, on the card."""
    from dassl.config import get_cfg_default

    from modprompt.trainers.part import Run  # behind conftest, which finds Dassl
    from modprompt.trainers.prompt_trainer import PromptTrainer

    clip_model = with_values(random_clip)(text_layers=9, vision_layers=9)
    trainer = object.__new__(PromptTrainer)
    trainer.device, of = CUDA, row_of(method).method()
    model = of.on(clip_model, NAMES, epochs=2)
    model.to(CUDA).cast(prec)
    optimiser: torch.optim.Optimizer = torch.optim.SGD(model.prompt_learner.parameters(), lr=0.5, momentum=0.9)
    scaler = precision.grad_scaler() if precision.resolve(prec, CUDA).scale_loss else None
    optimiser = optimiser if scaler is None else fused(optimiser)
    loader = Loader()
    cfg = get_cfg_default()
    cfg.OUTPUT_DIR, cfg.TRAIN.PRINT_FREQ = "", FREQUENCY
    trainer.__dict__.update(
        cfg=cfg,
        _models={"prompts": model.prompt_learner},
        _optims={"prompts": optimiser},
        _scheds={"prompts": None},
        optim=optimiser,
        scaler=scaler,
        evaluator=Evaluator(),
        epoch=0,
        max_epoch=2,
        train_loader_x=loader,
        test_loader=loader,
        val_loader=None,
        model=model,
    )
    trainer.make_parts()
    trainer.run = Run(trainer.cfg, "", of)
    return trainer


def waits(method: str, prec: str) -> dict[str, Any]:
    """Waits of each step of the second epoch, and of each batch of a test behind it."""
    library = torch_library.Library("aten", "IMPL", "Meta")
    library.impl("_fused_sgd_", lambda *inputs, **named: None)  # it writes in place, and PyTorch has no fake of it
    with fake_cuda():
        trainer = trainer_of(method, prec)
        trainer.run_epoch()
        trainer.train_loader_x.waits.clear()
        trainer.run_epoch()
        steps = [*trainer.train_loader_x.waits]
        trainer.train_loader_x.waits.clear()
        trainer.test("test")
        return {"steps": steps, "batches": trainer.train_loader_x.waits, "on the CPU": trainer.evaluator.on_cpu}
