import contextlib
from types import SimpleNamespace

import pytest
import torch

from modprompt.cli import train
from modprompt.engine.encoders import TextEncoder, VisionEncoder
from modprompt.errors import OutOfMemory, UserError
from modprompt.trainers import card_errors
from tests.methods import METHODS

FULL = "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 15.77 GiB of which 3.12 MiB is free."
LINE = f"error: The run is out of memory ({FULL}). Set a smaller MODEL.TEXT_CHUNK or DATALOADER.TRAIN_X.BATCH_SIZE (for a test"
ERRORS = {
    FULL: (OutOfMemory, "Set a smaller MODEL.TEXT_CHUNK or"),
    "CUDA error: out of memory": (OutOfMemory, "DATALOADER.TEST.BATCH_SIZE"),
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`": (OutOfMemory, "Set a smaller"),
    "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "4000000000 bytes. Error code 12 (Cannot allocate memory)": (OutOfMemory, "Set a smaller"),
    "could not create a primitive": (OutOfMemory, "Set a smaller"),
    "can't start new thread": (UserError, "Raise the limit of memory"),
    "CUDA error: invalid configuration argument\nCUDA kernel errors might be": (UserError, "The batch is larger than the GPU allows"),
    "adaptive_avg_pool2d_backward_cuda does not have a deterministic implementation, but you set": (
        UserError,
        "MODEL.DETERMINISTIC True is not possible (adaptive_avg_pool2d_backward_cuda does not",
    ),
    "Deterministic behavior was enabled ... you must set an environment variable: CUBLAS_WORKSPACE_CONFIG=:4096:8": (
        UserError,
        "Set the environment variable CUBLAS_WORKSPACE_CONFIG=:4096:8 before the start",
    ),
}  # fmt: skip


@pytest.mark.parametrize("said", ERRORS, ids=[said[:20] for said in ERRORS])
def test_what_a_user_can_mend_is_one_line(said):
    kind, to_do = ERRORS[said]
    with pytest.raises(UserError) as found, card_errors.told():
        raise RuntimeError(said)
    assert type(found.value) is kind
    assert to_do in str(found.value)
    assert "\n" not in str(found.value)
    assert str(found.value.__cause__) == said


def test_other_errors_are_left_as_they_are():
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(RuntimeError) as found, card_errors.told():
        raise error
    assert found.value is error


@pytest.mark.parametrize(("encoder", "steps"), [(TextEncoder, 0), (VisionEncoder, 5)], ids=["training", "test"])
def test_out_of_memory_in_a_run_is_one_line_with_its_exit_code(encoder, steps, command, monkeypatch, capsys, tmp_path):
    left, plain = [steps], encoder.forward

    def forward(self, *inputs):
        left[0] -= 1
        if left[0] < 0:
            raise torch.OutOfMemoryError(FULL)
        return plain(self, *inputs)

    monkeypatch.setattr(encoder, "forward", forward)
    assert train.main(command(METHODS["coop_end"], "OPTIM.MAX_EPOCH", 1)) == OutOfMemory.exit_code
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(LINE)
    assert line in (tmp_path / "out" / "log.txt").read_text()


def test_where_a_host_starts_the_trainer_it_is_the_same_line(command, monkeypatch):
    """As a codebase makes the trainer: an error of Python's with the line, PyTorch's own behind it."""
    from modprompt.trainers import building

    def full(trainer):
        raise torch.OutOfMemoryError(FULL)

    monkeypatch.setattr(building, "load_clip", full)
    monkeypatch.setattr(train, "ending", lambda *_: contextlib.nullcontext(SimpleNamespace(code=0)))
    with pytest.raises(OutOfMemory) as found:
        train.main(command(METHODS["coop_end"]))
    assert str(found.value.__cause__) == FULL
