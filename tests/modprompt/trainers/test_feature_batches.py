from types import SimpleNamespace

import pytest
import torch

from modprompt import IVLP, CoCoOp, CoOp, ZeroshotCLIP, ZeroshotCLIP2
from modprompt.clip.load import load
from modprompt.clip.spec import ClipSpec
from modprompt.engine import precision
from modprompt.engine.precision import Precision
from modprompt.trainers.feature_batches import FeatureBatches, encode
from modprompt.trainers.kept_features import how_computed
from tests.conftest import RESNET_HEADS


@pytest.mark.parametrize("pins", [True, False])
def test_they_are_pinned_where_the_loaders_batches_are(monkeypatch, pins):
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(len(tensor)) or tensor)
    loader = SimpleNamespace(batch_size=2, pin_memory=pins)
    batches = list(FeatureBatches(torch.randn(3, 4), torch.arange(3), loader))
    assert [len(batch["img"]) for batch in batches] == [2, 1]
    assert pinned == ([3, 3] if pins else [])


def test_an_encoder_may_write_into_the_same_memory_at_every_batch():
    memory = torch.zeros(2, 3)  # as a CUDA graph does
    batches = [{"img": torch.full((2, 3), float(number)), "label": torch.tensor([number] * 2)} for number in range(3)]
    features, labels = encode(batches, memory.copy_)
    assert features[:, 0].tolist() == labels.tolist() == [0, 0, 1, 1, 2, 2]


# ------------------------------------------------------------------ other types than float32, as on a card

AS_ON_A_CARD = {"fp16": Precision(True, None, False, ""), "amp": Precision(False, torch.float16, False, "")}


@pytest.fixture
def as_on_a_card(monkeypatch):
    """PREC fp16 and amp (without its loss scale) are on this CPU what they are on a card: real half tensors."""
    plain = precision.resolve
    monkeypatch.setattr(
        precision, "resolve", lambda prec, device: AS_ON_A_CARD[prec] if prec in AS_ON_A_CARD else plain(prec, device)
    )


METHODS_OF_FEATURES = [
    CoOp(),
    CoOp(csc=True, class_token_position="middle"),
    CoCoOp(),
    IVLP(prompt_depth_text=3, prompt_depth_vision=0),
    ZeroshotCLIP(),
    ZeroshotCLIP2(),
]


@pytest.mark.parametrize("method", METHODS_OF_FEATURES, ids=lambda method: type(method).__name__)
@pytest.mark.parametrize(
    ("prec", "kind"),
    [("fp32", torch.float32), ("fp16", torch.float16), ("amp", torch.float16), ("bf16", torch.bfloat16)],
)
def test_features_serve_in_whatever_type_they_were_kept(method, prec, kind, clip_model, as_on_a_card):
    model = method.on(clip_model, ["cat", "a golden retriever"]).eval()
    model.cast(prec)
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        features = model.encode_image(images)
        assert features.dtype == model.feature_type == kind
        assert torch.equal(model.of_features(features.float()).logits, model.output(images).logits)


def test_a_resnet_says_its_type(resnet_file):
    clip_model = load(ClipSpec("", str(resnet_file), "quick_gelu", RESNET_HEADS))
    model = CoOp().on(clip_model, ["cat", "dog"]).eval().bfloat16()
    clip_model.eval()
    assert model.feature_type == torch.bfloat16
    assert model.encode_image(torch.randn(2, 3, *[clip_model.visual.input_resolution] * 2)).dtype == torch.bfloat16


def test_what_autocast_makes_has_its_type_and_a_key_of_its_own(clip_model):
    model, images, cpu = CoOp().on(clip_model, ["cat", "dog"]).eval(), torch.randn(2, 3, 32, 32), torch.device("cpu")
    assert how_computed(cpu, None) == ""
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        features = model.encode_image(images)
        assert features.dtype == model.feature_type == torch.bfloat16
        assert torch.equal(model.of_features(features.float()).logits, model.output(images).logits)
        assert how_computed(cpu, None) == "torch.bfloat16"
    assert how_computed(cpu, torch.float32) == "torch.float32"
    assert how_computed(torch.device("cuda"), None) == "cuda"
