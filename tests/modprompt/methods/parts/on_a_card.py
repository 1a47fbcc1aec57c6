"""Optimisers of one kernel on fake CUDA tensors, for test_fused.py: called in the process of tests/fake_cuda/child.py."""

import torch
from torch import nn

from modprompt.methods.parts.fused import fused
from tests.fake_cuda.device import CUDA, fake_cuda


def counted(kind: str) -> list[tuple[str, str]]:
    """Where, and as what, an optimiser counts steps behind the state of one that counted them on the CPU."""
    model = nn.Linear(4, 3)
    plain = getattr(torch.optim, kind)(model.parameters())
    model(torch.randn(5, 4)).sum().backward()
    plain.step()
    with fake_cuda():
        made = fused(type(plain)(model.to(CUDA).parameters()))
        made.load_state_dict(plain.state_dict())
        return [(state["step"].device.type, str(state["step"].dtype)) for state in made.state.values()]
