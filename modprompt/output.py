"""Print reports of readers and configurations, unless the caller only examines a configuration or a data set."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

_muted: ContextVar[bool] = ContextVar("muted", default=False)


def say(text: object) -> None:
    """Print a text on standard output, unless the block of a `muted` is running in this thread."""
    if not _muted.get():
        print(text)


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Suppress the texts of `say` in this thread while a block runs."""
    token = _muted.set(True)
    try:
        yield
    finally:
        _muted.reset(token)
