import subprocess
import sys

import pytest
import torch

import modprompt.engine.memory as memory
from modprompt.engine.memory import free_bytes, most_text_tokens

CPU = torch.device("cpu")


def test_tokens_grow_with_memory_and_shrink_with_the_model():
    assert most_text_tokens(12, 512, 4, 2 * 16 * 12 * 512 * 4 * 1000) == 1000
    assert most_text_tokens(12, 512, 2, 2 * 16 * 12 * 512 * 4 * 1000) == 2000
    assert most_text_tokens(12, 512, 4, 5) == 1
    assert most_text_tokens(12, 512, 4, None) is None


def test_free_memory_is_what_the_machine_or_the_container_has_left(monkeypatch, tmp_path):
    whole = free_bytes(CPU)
    assert whole > 2**20
    limit, used = tmp_path / "max", tmp_path / "current"
    limit.write_text("1000000\n")
    used.write_text("400000\n")
    monkeypatch.setattr(memory, "_CGROUPS", ((str(limit), str(used)),))
    assert free_bytes(CPU) == 600000
    limit.write_text("max\n")  # no limit
    assert free_bytes(CPU) > 2**20


def test_unknown_memory_sets_no_limit(monkeypatch):
    monkeypatch.setattr(memory, "_CGROUPS", ())
    monkeypatch.setattr(memory, "_available", lambda: None)
    assert free_bytes(CPU) is None


FAULTS = """
import resource
import torch
from modprompt.memory import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def use():
    before = faults()
    torch.ones(2**24)  # 64 MiB, freed at once
    return faults() - before

use()
again = use()
kept = keep_freed_memory()
use()
print(kept, again, use())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks glibc")
def test_freed_memory_is_kept_where_the_c_library_can():
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    kept, before, after = done.stdout.split()
    if kept == "False":
        pytest.skip("the C library is not glibc")
    assert int(after) < int(before) / 10


def test_a_c_library_without_mallopt_is_left_alone(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert memory.keep_freed_memory() is False


def test_what_is_computed_again_has_the_same_gradient_and_keeps_its_inputs_alone():
    x, kept = torch.randn(50, 8, requires_grad=True), []

    def product(x):
        return (x.exp() * x.sin()).cos()

    (expected,) = torch.autograd.grad(product(x).sum(), x)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        out = memory.recomputed(product, x).sum()
    assert [one for one in kept if one.numel() > 1 and one.data_ptr() != x.data_ptr()] == []
    assert torch.equal(torch.autograd.grad(out, x)[0], expected)
    with torch.no_grad():
        assert memory.recomputed(product, x).grad_fn is None
