"""The marker of tests that take fake CUDA tensors."""

import os

import pytest

from tests.fake_cuda.building import REQUIRED, why_not


def marker() -> pytest.MarkDecorator:
    """Skips a test where they cannot be had; where REQUIRED is set it runs and fails, so that nobody is misled."""
    return pytest.mark.skipif(bool(why_not()) and not os.environ.get(REQUIRED), reason=why_not() or "-")


needs_fake_cuda = marker()
