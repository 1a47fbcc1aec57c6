import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from modprompt import IVLP, CoCoOp, CoOp, ZeroshotCLIP, ZeroshotCLIP2
from modprompt.cli import train
from modprompt.clip.load import load
from modprompt.clip.source import Asked
from modprompt.engine import precision
from modprompt.engine.precision import Precision
from modprompt.io.arrays import read_arrays, write_arrays, write_rows
from modprompt.trainers.evaluation import Evaluation
from modprompt.trainers.feature_cache import encode, how_computed
from tests.conftest import RESNET_HEADS
from tests.methods import METHODS


@pytest.fixture
def evaluate(command, tmp_path, monkeypatch):
    """Trains a method once, then evaluates it with kept features; gives accuracy and number of images encoded."""
    from modprompt.engine.encoders import VisionEncoder

    count, plain = [], VisionEncoder.forward
    monkeypatch.setattr(
        VisionEncoder, "forward", lambda self, image, *a: count.append(len(image)) or plain(self, image, *a)
    )

    def run(row, *more, cache=True):
        method = METHODS.get(row, "ZeroshotCLIP")
        if row in METHODS and not (tmp_path / "out").exists():
            assert train.main(command(method, "OPTIM.MAX_EPOCH", 1)) == 0
        count.clear()
        kept = ["TEST.FEATURE_CACHE", tmp_path / "features"] if cache else []
        words = command(method, *kept, *more)
        tested = tmp_path / "tested" / row
        words[words.index("--output-dir") + 1] = str(tested)
        assert train.main(["--eval-only", "--model-dir", str(tmp_path / "out"), *words]) == 0
        return json.loads((tested / "result.json").read_text())["accuracy_pct"], sum(count)

    return run


@pytest.mark.cover(1)
@pytest.mark.parametrize("row", ["zeroshot", "coop_end", "cocoop", "language_prompting"])
def test_images_are_encoded_once(evaluate, row, tmp_path):
    plain, images = evaluate(row, cache=False)
    assert evaluate(row) == (plain, images)
    assert evaluate(row) == (plain, 0)
    (file,) = (tmp_path / "features").iterdir()
    assert file.name.startswith("EuroSAT_test_")


@pytest.mark.slow
def test_methods_of_one_clip_share_them(evaluate):
    accuracy, _ = evaluate("zeroshot")
    assert evaluate("coop_end")[1] == 0
    assert evaluate("zeroshot") == (accuracy, 0)


@pytest.mark.slow
def test_methods_with_vision_prompts_keep_none(evaluate, tmp_path):
    _, images = evaluate("maple")
    assert evaluate("maple")[1] == images > 0
    assert not (tmp_path / "features").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("default::UserWarning")
def test_other_images_classes_or_transforms_are_encoded_anew(evaluate, eurosat_root):
    _, images = evaluate("zeroshot")
    assert evaluate("zeroshot", "DATASET.SUBSAMPLE_CLASSES", "new")[1] == images
    assert evaluate("zeroshot", "INPUT.INTERPOLATION", "bilinear")[1] == images
    assert evaluate("zeroshot", "MODEL.BACKBONE.ACTIVATION", "gelu")[1] == images
    for path in (eurosat_root / "eurosat" / "2750" / "Forest").iterdir():
        os.utime(path, (0, 0))
    assert evaluate("zeroshot")[1] == images


@pytest.mark.parametrize("pins", [True, False])
def test_they_are_pinned_where_the_loaders_batches_are(monkeypatch, pins):
    from modprompt.trainers.feature_cache import FeatureBatches

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


@pytest.mark.cover(1)
@pytest.mark.parametrize("fault", ["no archive", "a flipped bit", "other arrays", "of another list", "floats"])
def test_file_that_does_not_fit_is_made_again_with_a_line(evaluate, tmp_path, capsys, fault):
    accuracy, images = evaluate("zeroshot")
    (file,) = (tmp_path / "features").iterdir()
    whole, (rows, stands_for) = file.read_bytes(), read_arrays(file, "rows", "stands_for")
    kind = np.float64 if fault == "floats" else np.float32
    if fault == "no archive":
        file.write_bytes(b"PK nothing")
    elif fault == "a flipped bit":
        at = whole.index(rows.tobytes()) + 99
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    elif fault == "other arrays":
        write_arrays(file, features=rows, labels=np.zeros(len(rows), int), seal=np.array("of these"))
    else:  # as a program with a fault would have written it
        whose = "others" if "list" in fault else str(stands_for)
        write_rows(file, np.dtype((kind, rows.shape[1:])), len(rows), [rows.astype(kind)], whose)
    assert evaluate("zeroshot") == (accuracy, images)
    out = capsys.readouterr().out
    assert len([line for line in out.splitlines() if "does not fit the images (" in line]) == 1
    assert file.read_bytes() == whole
    assert evaluate("zeroshot") == (accuracy, 0)


# ------------------------------------------------------------------ other types than float32, as on a card

AS_ON_A_CARD = {"fp16": Precision(True, None, False, ""), "amp": Precision(False, torch.float16, False, "")}


@pytest.fixture
def as_on_a_card(monkeypatch):
    """PREC fp16 and amp (without its loss scale) are on this CPU what they are on a card: real half tensors."""
    plain = precision.resolve
    monkeypatch.setattr(
        precision, "resolve", lambda prec, device: AS_ON_A_CARD[prec] if prec in AS_ON_A_CARD else plain(prec, device)
    )


@pytest.fixture
def logits(evaluate, as_on_a_card, tmp_path, monkeypatch):
    """The logits of a test set, with or without kept features, and the number of images encoded."""
    seen = []
    plain = Evaluation.logits
    monkeypatch.setattr(Evaluation, "logits", lambda self, images: seen.append(plain(self, images)) or seen[-1].clone())

    def run(row, prec, cache):
        prec_of = [f"TRAINER.{METHODS[row].node}.PREC", prec] if row in METHODS else []
        if not (tmp_path / "tested").exists():
            evaluate(row, cache=False)  # trains it, too
        seen.clear()
        count = evaluate(row, *prec_of, cache=cache)[1]
        return torch.cat(seen), count

    return run


ROWS = ["zeroshot", "coop_end", "coop_middle_csc", "cocoop", "language_prompting"]


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_half_features_that_were_kept_give_the_same_logits(logits, row):
    expected, images = logits(row, "fp16", cache=False)
    assert expected.dtype == torch.float16
    for count in (images, 0):
        found, encoded = logits(row, "fp16", cache=True)
        assert encoded == count
        assert torch.equal(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("row", ["coop_end", "cocoop", "coop_dept"])
def test_no_precision_takes_the_features_of_another(logits, row, tmp_path):
    for prec in ("amp", "fp16", "bf16", "fp32"):  # amp and fp16 have the same types of weights
        expected, images = logits(row, prec, cache=False)
        found, encoded = logits(row, prec, cache=True)
        assert encoded == images, prec
        assert torch.equal(found, expected), prec
    assert len(list((tmp_path / "features").iterdir())) == 4


METHODS_OF_FEATURES = [
    CoOp(),
    CoOp(csc=True, class_token_position="middle"),
    CoCoOp(),
    IVLP(prompt_depth_text=3, prompt_depth_vision=0),
    ZeroshotCLIP(),
    ZeroshotCLIP2(),
]


@pytest.mark.cover(8)
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
    clip_model = load(Asked("", str(resnet_file), "quick_gelu", RESNET_HEADS))
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
