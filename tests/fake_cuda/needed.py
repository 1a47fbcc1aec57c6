"""The marker of tests that take fake CUDA tensors; .ci/run says at its end whether they could be had."""

import pytest

from tests.fake_cuda.building import why_not

needs_fake_cuda = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")
