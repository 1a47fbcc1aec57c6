import contextlib
import json
import sys
from types import SimpleNamespace

import pytest
import torch

from modprompt.cli import train
from modprompt.engine.encoders import TextEncoder, VisionEncoder
from modprompt.errors import OutOfMemory, UserError
from modprompt.trainers import card_errors
from tests.conftest import ROOT
from tests.methods import METHODS

FULL = "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 15.77 GiB of which 3.12 MiB is free."
REPEATS = (
    "adaptive_avg_pool2d_backward_cuda does not have a deterministic implementation, but you set "
    "'torch.use_deterministic_algorithms(True)'. You can turn off determinism just for this operation."
)
TRAINING = (
    "error: out of memory (for 20.00 MiB): give a smaller MODEL.TEXT_CHUNK (now 3) or DATALOADER.TRAIN_X.BATCH_SIZE (now "
    "4), or TRAINER.COOP.PREC fp16 or amp (now fp32)"
)
TEST = TRAINING.replace("DATALOADER.TRAIN_X.BATCH_SIZE (now 4)", "DATALOADER.TEST.BATCH_SIZE (now 10)").replace(
    "now 3", "now 0: as memory allowed"
)


@pytest.fixture
def raising(monkeypatch):
    """Has an encoder raise an error when it has been called so often."""

    def of(encoder, error, calls=1):
        left, plain = [calls], encoder.forward

        def forward(self, *inputs):
            left[0] -= 1
            if left[0] < 0:
                raise error
            return plain(self, *inputs)

        monkeypatch.setattr(encoder, "forward", forward)

    return of


def out_of_memory(text=FULL):
    return getattr(torch.cuda, "OutOfMemoryError", RuntimeError)(text)


BATCHES = ("DATALOADER.TRAIN_X.BATCH_SIZE", 4, "DATALOADER.TEST.BATCH_SIZE", 10)


def last_line(capsys):
    return capsys.readouterr().err.splitlines()[-1]


def test_out_of_memory_in_training_names_what_to_set(command, raising, capsys, tmp_path):
    raising(TextEncoder, out_of_memory())
    assert train.main(command(METHODS["coop_end"], "MODEL.TEXT_CHUNK", 3, *BATCHES)) == OutOfMemory.exit_code
    assert last_line(capsys) == TRAINING
    assert TRAINING in (tmp_path / "out" / "log.txt").read_text()


@pytest.mark.cover(1)
@pytest.mark.parametrize("evaluates", [False, True])
def test_out_of_memory_in_a_test_names_its_batch(command, raising, capsys, tmp_path, evaluates):
    words, steps = command(METHODS["coop_end"], *BATCHES, "OPTIM.MAX_EPOCH", 1), 5
    if evaluates:
        assert train.main(words) == 0
        words, steps = ["--eval-only", "--model-dir", str(tmp_path / "out"), *words], 0
    raising(VisionEncoder, RuntimeError("CUDA error: out of memory"), calls=steps)
    assert train.main(words) == OutOfMemory.exit_code
    assert last_line(capsys) == TEST.replace(" (for 20.00 MiB)", "")


@pytest.mark.parametrize(
    ("method", "smaller"),
    [
        (METHODS["coop_end"], "MODEL.TEXT_CHUNK (now 3) or DATALOADER.TRAIN_X.BATCH_SIZE (now 4)"),
        ("ZeroshotCLIP", "DATALOADER.TEST.BATCH_SIZE (now 10)"),
    ],
)
def test_more_at_once_than_a_kernel_numbers_names_what_to_set(method, smaller, command, raising, capsys):
    raising(VisionEncoder, RuntimeError("CUDA error: invalid configuration argument\nCUDA kernel errors might be"))
    assert train.main(command(method, "MODEL.TEXT_CHUNK", 3, *BATCHES)) == 2
    line = f"error: more is computed at once than the GPU allows (invalid configuration argument): give a smaller {smaller}"
    assert last_line(capsys) == line


def test_of_what_trains_nothing_the_batch_alone_is_named(command, raising, capsys):
    raising(VisionEncoder, out_of_memory())
    assert train.main(command("ZeroshotCLIP", *BATCHES)) == OutOfMemory.exit_code
    line = "error: out of memory (for 20.00 MiB): give a smaller DATALOADER.TEST.BATCH_SIZE (now 10)"
    assert last_line(capsys) == line


def test_where_a_host_starts_the_trainer_it_is_the_same_line(command, monkeypatch):
    """As a codebase makes the trainer: an error of Python's with the line, PyTorch's own behind it."""
    from modprompt.trainers.building import Building

    def full(self):
        raise out_of_memory()

    monkeypatch.setattr(Building, "load_clip", full)
    monkeypatch.setattr(train, "ending", lambda *_: contextlib.nullcontext(SimpleNamespace(code=0)))
    with pytest.raises(UserError, match=r"^out of memory \(for 20.00 MiB\): give a smaller MODEL.TEXT_CHUNK ") as found:
        train.main(command(METHODS["coop_end"]))
    assert str(found.value.__cause__) == FULL


def test_a_test_that_a_codebase_calls_by_itself_tells_it_too():
    from dassl.config import get_cfg_default

    class Trainer:
        cfg = get_cfg_default()

        @card_errors.in_a_test
        def test(self, split=None):
            if split == "val":
                return 50.0
            raise out_of_memory()

    assert Trainer().test(split="val") == 50.0
    with pytest.raises(UserError, match="out of memory"):
        Trainer().test()


def test_what_cannot_repeat_its_numbers_is_named(command, raising, capsys):
    raising(VisionEncoder, RuntimeError(REPEATS))
    assert train.main(command(METHODS["coop_end"], "MODEL.DETERMINISTIC", "True")) == 2
    assert last_line(capsys) == (
        "error: MODEL.DETERMINISTIC True: adaptive_avg_pool2d_backward_cuda has no deterministic form on this device in "
        f"PyTorch {torch.__version__}: run without MODEL.DETERMINISTIC, in another --output-dir"
    )


def test_cublas_that_has_started_otherwise_is_told(command, raising, capsys):
    said = (
        "Deterministic behavior was enabled with either `torch.use_deterministic_algorithms(True)` or "
        "`at::Context::setDeterministicAlgorithms(true)`, but this operation is not deterministic because it uses CuBLAS "
        "and you have CUDA >= 10.2. To enable deterministic behavior in this case, you must set an environment variable "
        "before running your PyTorch application: CUBLAS_WORKSPACE_CONFIG=:4096:8 or CUBLAS_WORKSPACE_CONFIG=:16:8."
    )
    raising(VisionEncoder, RuntimeError(said))
    assert train.main(command(METHODS["coop_end"], "MODEL.DETERMINISTIC", "True")) == 2
    assert last_line(capsys).startswith("error: MODEL.DETERMINISTIC True: cuBLAS has started without CUBLAS_WORKSPACE_")


def test_other_errors_are_left_as_they_are(command, raising):
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    raising(VisionEncoder, error)
    with pytest.raises(RuntimeError) as found:
        train.main(command(METHODS["coop_end"]))
    assert found.value is error


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
        "4000000000 bytes. Error code 12 (Cannot allocate memory)",
        "HIP out of memory. Tried to allocate 2.00 GiB",
    ],
)
def test_other_words_for_it(said):
    from dassl.config import get_cfg_default

    line = r"^out of memory.*: give a smaller DATALOADER.TRAIN_X.BATCH_SIZE \(now 32\)$"
    with pytest.raises(UserError, match=line), card_errors.told(object(), get_cfg_default()):
        raise RuntimeError(said)


@pytest.mark.slow
def test_an_experiment_keeps_the_line(command, tmp_path, monkeypatch):
    from modprompt.experiments.running import state
    from modprompt.experiments.running.worker import FAILED, Task, Worker

    (tmp_path / "small_card.py").write_text(
        "from modprompt.engine.encoders import TextEncoder\n\n\n"
        f"def full(*inputs):\n    raise RuntimeError({FULL!r})\n\n\nTextEncoder.forward = full\n"
    )
    monkeypatch.chdir(tmp_path)
    words = ["--import", "small_card", *command(METHODS["coop_end"], "MODEL.TEXT_CHUNK", 3, *BATCHES)]
    task = Task(str(tmp_path / "out"), (sys.executable, str(ROOT / "train.py"), *words), {}, False, "")
    assert Worker(task).run() == FAILED
    failure = json.loads((tmp_path / "out" / state.FAILURE).read_text())
    assert (failure["line"], failure["exit"]) == (TRAINING, 4)  # of too little memory


ON_A_CPU = (
    "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "8192 bytes. Error code 12 (Cannot allocate memory)"
)


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (ON_A_CPU, r"^out of memory \(for 8192 bytes\): give this program more, or end others$"),
        ("could not create a primitive", "^out of memory: give this program more"),
        ("can't start new thread", "^the system gives this process no more threads: raise its limit"),
    ],
)
def test_too_little_memory_without_a_trainer_is_one_line(said, line):
    with pytest.raises(UserError, match=line), card_errors.told_outside():
        raise RuntimeError(said)
    with pytest.raises(RuntimeError, match="^another$"), card_errors.told_outside():
        raise RuntimeError("another")


@pytest.mark.parametrize("said", [ON_A_CPU, "could not create a primitive"])
def test_too_little_memory_of_a_cpu_names_what_to_set(said, command, raising, capsys):
    raising(TextEncoder, RuntimeError(said))
    assert train.main(command(METHODS["coop_end"], *BATCHES)) == OutOfMemory.exit_code
    assert "give a smaller MODEL.TEXT_CHUNK" in last_line(capsys)
