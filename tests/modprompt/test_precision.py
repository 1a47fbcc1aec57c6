import pytest
import torch

from modprompt.errors import UserError
from modprompt.precision import resolve

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_fp32_is_plain_everywhere():
    for device in (CPU, CUDA):
        assert resolve("fp32", device) == (False, None, False, "")


def test_amp_is_bfloat16_on_a_cpu_and_scaled_fp16_on_cuda():
    assert resolve("amp", CPU)[:3] == (False, torch.bfloat16, False)
    assert resolve("amp", CUDA)[:3] == (False, torch.float16, True)
    with resolve("amp", CPU).context(CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


def test_fp16_keeps_half_weights_on_cuda_and_says_that_it_is_fp32_on_a_cpu():
    assert resolve("fp16", CUDA) == (True, None, False, "")
    on_cpu = resolve("fp16", CPU)
    assert not on_cpu.half_weights
    assert "runs as fp32 on a CPU" in on_cpu.note


def test_unknown_precision_names_the_choices():
    with pytest.raises(UserError, match="PREC must be one of fp16, fp32, amp, got 'bf16'"):
        resolve("bf16", CPU)
