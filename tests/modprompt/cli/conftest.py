import signal

import pytest


@pytest.fixture(autouse=True)
def _interrupts_are_heard():
    """Programs that a test starts hear Ctrl-C, even where the tests run in the background of a shell, which ignores it."""
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, signal.SIG_DFL if earlier is None else earlier)
