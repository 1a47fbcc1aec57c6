"""Errors of PyTorch on memory and determinism, turned into one-line messages that say what to do."""

import contextlib
import re
from collections.abc import Iterator

from modprompt.errors import OutOfMemory, UserError
from modprompt.programs import one_line

_SMALLER = (
    "Set a smaller MODEL.TEXT_CHUNK or DATALOADER.TRAIN_X.BATCH_SIZE (for a test: DATALOADER.TEST.BATCH_SIZE), set "
    "PREC to fp16 or amp, or stop other programs that use the memory."
)
_FIXED = (
    "Set the environment variable CUBLAS_WORKSPACE_CONFIG=:4096:8 before the start, or run without MODEL.DETERMINISTIC "
    "in a different --output-dir."
)
_FULL = "out of memory|can't allocate memory|not enough memory|could not create a primitive|_ALLOC_FAILED"
_KNOWN = (  # words of the error, what it becomes
    (
        "can't start new thread",
        UserError,
        "No more threads can be started",
        "Raise the limit of memory (ulimit -v) or of processes (ulimit -u).",
    ),
    (_FULL, OutOfMemory, "The run is out of memory", _SMALLER),
    ("invalid configuration argument", UserError, "The batch is larger than the GPU allows", _SMALLER),
    (
        "deterministic implementation|CUBLAS_WORKSPACE_CONFIG",
        UserError,
        "MODEL.DETERMINISTIC True is not possible",
        _FIXED,
    ),
)


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Turn errors of PyTorch on memory and determinism into a UserError, or OutOfMemory with its own exit code."""
    try:
        yield
    except RuntimeError as error:
        for words, kind, what, to_do in _KNOWN:
            if re.search(words, str(error)):
                raise kind(f"{what} ({one_line(error)[:200]}). {to_do}") from error
        raise
