"""A program that is told to end (SIGTERM) ends as one that is interrupted, so that nothing of it is left."""

import contextlib
import signal
import threading
from typing import Iterator


@contextlib.contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Have SIGTERM raise KeyboardInterrupt in the block; in a thread, which may not ask for that, nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
