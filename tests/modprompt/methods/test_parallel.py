"""Two processes have the gradients of one: DistributedDataParallel, gloo, on the CPU."""

import os
import subprocess
import sys

import pytest
import torch

from tests.conftest import ROOT

NAMED = ["MPL", "CoCoOp", "ProGrad", "PromptSRC", "HiCroPL"]
PROGRAM = """
import sys

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from modprompt.methods.table import row_of
from tests.conftest import random_clip
from tests.methods import small
from tests.modprompt.methods.test_model import NAMES

rank, store = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
LABELS, NAMED = torch.tensor([0, 1, 2, 1]), sys.argv[3].split()


def made(row, seed):
    torch.manual_seed(seed)
    model = small(row.method).on(random_clip(), NAMES, epochs=2)
    return model, torch.randn(4, 3, 32, 32)


def gradient(model, images, labels):
    model.zero_grad()
    model.loss(images, labels).backward()
    return torch.cat([one.grad.flatten() for one in model.prompt_learner.parameters()])


def telling(row):  # a seed with which each half's own projected step is not the whole one's
    for seed in range(40):
        model, images = made(row, seed)
        whole = gradient(model, images, LABELS)
        halves = (gradient(model, images[:2], LABELS[:2]) + gradient(model, images[2:], LABELS[2:])) / 2
        if (whole - halves).norm() > 0.02 * whole.norm():
            return seed
    raise SystemExit("no seed tells projected halves from a projected whole")


for name in NAMED:
    row = row_of(name)
    model, images = made(row, telling(row) if name == "ProGrad" else 1)
    model.zero_grad()
    labels = LABELS
    ddp = DistributedDataParallel(model)
    half = slice(2 * rank, 2 * rank + 2)
    ddp(images[half], labels[half]).backward()
    if rank == 0:
        shared = {name: parameter.grad.clone() for name, parameter in model.prompt_learner.named_parameters()}
        model.zero_grad()
        model.loss(images, labels).backward()
        for name, parameter in model.prompt_learner.named_parameters():
            torch.testing.assert_close(shared[name], parameter.grad, rtol=1e-3, atol=1e-5)
        print(row.name, len(shared))
    dist.barrier()
dist.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="this PyTorch has no torch.distributed")
def test_two_processes_have_the_gradients_of_one(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-W", "ignore", str(tmp_path / "program.py")]
    both = [
        subprocess.Popen(
            [*words, str(rank), str(tmp_path / "store"), " ".join(NAMED)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        found = [process.communicate(timeout=110) for process in both]
    finally:
        for process in both:
            process.kill()
    assert [process.returncode for process in both] == [0, 0], [err[-3500:] for _, err in found]
    assert [line.split()[0] for line in found[0][0].splitlines()] == NAMED
