import pytest
import torch
from clip.model import convert_weights

from modprompt.clip.cast import cast_products
from modprompt.engine.precision import resolve, set_products
from modprompt.errors import UserError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("prec", "device", "half_weights", "products", "scale_loss", "said"),
    [
        *(("fp32", device, False, None, False, "") for device in (CPU, CUDA)),
        *(("bf16", device, False, torch.bfloat16, False, "") for device in (CPU, CUDA)),
        ("amp", CPU, False, torch.bfloat16, False, "uses bfloat16 for matrix products"),
        ("amp", CUDA, False, torch.float16, True, ""),
        ("fp16", CPU, False, None, False, "runs as fp32 on a CPU"),
        ("fp16", CUDA, True, None, False, ""),
    ],
)
def test_what_a_precision_means(prec, device, half_weights, products, scale_loss, said):
    found = resolve(prec, device)
    assert found[:3] == (half_weights, products, scale_loss)
    assert said in found.note
    assert found.stream == (torch.float32 if products else None)


def test_unknown_precision_names_the_choices():
    with pytest.raises(UserError, match="PREC must be one of fp16, fp32, amp, bf16, got 'fp8'"):
        resolve("fp8", CPU)


def test_matrices_are_cast_as_clip_casts_them_and_nothing_else(clip_model):
    import copy

    theirs = copy.deepcopy(clip_model)
    convert_weights(theirs)
    cast_products(clip_model, torch.bfloat16)
    for (name, mine), (_, other) in zip(clip_model.state_dict().items(), theirs.state_dict().items()):
        assert (mine.dtype == torch.bfloat16) == (other.dtype == torch.float16), name


@pytest.mark.parametrize(
    ("capability", "hip", "refused"), [((7, 5), None, True), ((8, 0), None, False), ((9, 0), "6.2", False)]
)
def test_bf16_is_refused_on_a_card_that_has_none(capability, hip, refused, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    monkeypatch.setattr(torch.version, "hip", hip)
    for prec in ("fp16", "fp32", "amp"):
        resolve(prec, CUDA)
    assert resolve("bf16", CPU).products == torch.bfloat16
    if not refused:
        assert resolve("bf16", CUDA).products == torch.bfloat16
        return
    with pytest.raises(UserError, match=r"^PREC bf16 is not supported by Tesla T4 \(capability 7.5\)"):
        resolve("bf16", CUDA)


def test_a_process_is_set_to_exact_products_without_a_warning(recwarn):
    set_products()
    backends = torch.backends
    on = backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32, backends.cuda.cudnn_sdp_enabled()
    assert on == (False, False, False)
    assert not recwarn
