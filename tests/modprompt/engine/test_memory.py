import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import modprompt.engine.memory as memory
from modprompt.engine.memory import free_bytes, most_text_tokens
from modprompt.errors import UserError

CPU = torch.device("cpu")


def test_tokens_grow_with_memory_and_shrink_with_the_model():
    assert most_text_tokens(12, 512, 4, 2 * 16 * 12 * 512 * 4 * 1000) == 1000
    assert most_text_tokens(12, 512, 2, 2 * 16 * 12 * 512 * 4 * 1000) == 2000
    assert most_text_tokens(12, 512, 4, 5) == 1
    assert most_text_tokens(12, 512, 4, None) is None


def group(folder, limit, used, stat=""):
    """A control group of version 2 in a folder, with its limit."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("memory.max", limit), ("memory.current", used), ("memory.stat", stat)):
        (folder / name).write_text(f"{text}\n")


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """The tree of control groups, empty; the process stands in /slurm/job_7/step_0 of both versions."""
    (tmp_path / "of_process").write_text("4:memory:/slurm/job_7/step_0\n1:cpu:/slurm\n0::/slurm/job_7/step_0\n")
    read, places = Path.read_text, {"/sys/fs/cgroup": "groups", "/proc/self/cgroup": "of_process"}

    def redirected(path, **how):
        for place, name in places.items():
            path = Path(str(path).replace(place, str(tmp_path / name)))
        return read(path, **how)

    monkeypatch.setattr(Path, "read_text", redirected)
    return tmp_path / "groups"


def test_free_memory_is_what_the_tightest_group_above_a_process_leaves(groups):
    whole = free_bytes(CPU)
    assert whole > 2**20
    group(groups, "max", 3 * 10**6)
    assert free_bytes(CPU) > 2**20
    group(groups / "slurm" / "job_7", 10**6, 4 * 10**5)
    group(groups / "slurm" / "job_7" / "step_0", 8 * 10**5, 10**5)
    group(groups / "slurm" / "job_8", 10, 5)  # another's
    assert free_bytes(CPU) == 6 * 10**5
    group(groups / "slurm", 10**6, 9 * 10**5, "anon 200000\nactive_file 300000\ninactive_file 100000")
    assert free_bytes(CPU) == 5 * 10**5  # with files that are dropped where a program needs more
    version_1 = groups / "memory" / "slurm" / "job_7"
    version_1.mkdir(parents=True)
    for name, text in (("limit_in", "1000000"), ("usage_in", "600000")):
        (version_1 / f"memory.{name}_bytes").write_text(f"{text}\n")
    assert free_bytes(CPU) == 4 * 10**5
    group(groups, 10**5, 2 * 10**5)  # as in a container, which sees its own group as the root
    assert free_bytes(CPU) == 0


def test_unknown_memory_sets_no_limit(monkeypatch):
    def unreadable(*_, **how):
        raise OSError

    monkeypatch.setattr(Path, "read_text", unreadable)
    monkeypatch.setattr(os, "sysconf", unreadable)
    assert free_bytes(CPU) is None


@pytest.fixture
def gpu(monkeypatch):
    """A GPU of 80 GiB, of which this process has allocated 4, reserved 6, and 30 are free; gives what is set of it."""
    given = {}
    numbers = {"memory_reserved": 6 << 30, "memory_allocated": 4 << 30, "mem_get_info": (30 << 30, 80 << 30)}
    for name, value in numbers.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda *_: SimpleNamespace(total_memory=80 << 30))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda share: given.update(share=share))
    monkeypatch.delenv("MODPROMPT_GPU_SHARE", raising=False)
    return given


def test_free_memory_of_a_shared_gpu_is_that_of_the_share(gpu, monkeypatch):
    cuda = torch.device("cuda")
    assert free_bytes(cuda) == 32 << 30
    memory.take_share()
    assert gpu == {}
    for share, left in (("0.45", 32), ("0.25", 16), ("0.05", 0), ("1.0", 32)):
        monkeypatch.setenv("MODPROMPT_GPU_SHARE", share)
        assert free_bytes(cuda) == left << 30
    monkeypatch.setenv("MODPROMPT_GPU_SHARE", "0.45")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: (0, 80 << 30))  # the others have taken theirs
    assert free_bytes(cuda) == 32 << 30
    memory.take_share()
    assert gpu == {"share": 0.45}


def test_share_that_is_none_is_told(monkeypatch):
    for told in ("half", "0", "-1", "1.5", "nan", "50%"):
        monkeypatch.setenv("MODPROMPT_GPU_SHARE", told)
        with pytest.raises(
            UserError, match=f"MODPROMPT_GPU_SHARE must be a number greater than 0 and at most 1, got '{told}'"
        ):
            memory.share_of_gpu()


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
