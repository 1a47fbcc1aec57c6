"""A bound on work that would take for ever if it went wrong: on this thread's own time, not on a loaded machine's."""

import contextlib
import time
from collections.abc import Iterator


@contextlib.contextmanager
def work_within(seconds: float) -> Iterator[None]:
    """Fail if what is done here takes more seconds of processor time of this thread, whether or not it raises."""
    start = time.thread_time()
    try:
        yield
    finally:
        assert time.thread_time() - start < seconds
