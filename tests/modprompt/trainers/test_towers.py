"""Runs of train.py on CLIPs of which a side is a tower: trained, gone on with, tested again, refused."""

import json

import pytest
import torch

import modprompt
from modprompt.cli import train
from modprompt.errors import UserError
from modprompt.io.identity import TOKENIZER
from tests.methods import METHODS
from tests.modprompt.active.test_rounds import NEW_RUN
from tests.modprompt.methods.heads.test_run import short
from tests.test_runs import to
from tests.test_train import refusal
from tests.tower_clips import give, tower_clip

pytestmark = pytest.mark.filterwarnings("ignore:OPTIM")  # words for all trainers, also for those that do not read it


@pytest.fixture
def on_towers(monkeypatch, command):
    """Words of a run of a trainer or a row on a CLIP of these sides; other options behind."""

    def words(method, text, image, *more, **made):
        options = give(monkeypatch, lambda: tower_clip(text, image, **made))
        return command(method, *options, "OPTIM.MAX_EPOCH", 2, *more)

    return words


def result(tmp_path):
    return json.loads((tmp_path / "out" / "result.json").read_text())


@pytest.mark.parametrize(
    ("method", "text", "image"), [("coop_end", "stock", "tower"), ("tcp", "stock", "tower"), ("vpt", "tower", "stock")]
)
def test_prompts_are_trained_on_the_side_that_is_stock(on_towers, method, text, image, tmp_path):
    words = on_towers(METHODS[method], text, image, layers=4)
    assert train.main(words) == 0
    found = result(tmp_path)
    assert found["backbone_hash"]
    assert ("tokenizer" in found["clip"]) == (text == "tower")
    assert train.main(["--once", *words]) == 0


@pytest.mark.slow
def test_a_head_stands_behind_text_prompts_in_front_of_an_image_tower(on_towers, tmp_path):
    assert train.main(on_towers(METHODS["coop_end"], "stock", "tower")) == 0
    behind = ("TRAINER.TIPADAPTER.PROMPTS_FROM", tmp_path / "out")
    words = to(on_towers("TipAdapterF", "stock", "tower", *short("TipAdapterF"), *behind), tmp_path / "head")
    assert train.main(words) == 0
    model = modprompt.load(tmp_path / "head", tower_clip("stock", "tower"))
    assert model.prompt_learner.ctx.shape == (4, 64)


@pytest.mark.parametrize(("trainer", "text"), [("CoOp", "stock"), ("CLIP_Adapter", "tower")])
@pytest.mark.slow
def test_images_are_chosen_in_rounds(on_towers, trainer, text, tmp_path):
    assert train.main(on_towers(trainer, text, "tower", *NEW_RUN)) == 0
    assert len(result(tmp_path)["active"]["rounds"]) == 2


def test_kept_features_are_those_of_one_fingerprint_and_tokenizer(on_towers, tmp_path, capsys):
    assert train.main(on_towers("ZeroshotCLIP", "tower", "tower", "TEST.KEEP_FEATURES", True)) == 0
    for digit, said in (
        ("5", "Using the stored features of "),
        ("6", "were computed with a different CLIP model, different prompts"),
    ):
        kept = ("TEST.FEATURES_OF", tmp_path / "out")
        words = to(on_towers("ZeroshotCLIP", "tower", "tower", *kept, sha256=digit * 64), tmp_path / f"out{digit}")
        capsys.readouterr()
        assert train.main(words) == 0
        assert said in capsys.readouterr().out


def test_another_tokenizer_is_refused(on_towers, tmp_path, capsys):
    assert train.main(on_towers("TipAdapterF", "tower", "tower", *short("TipAdapterF"))) == 0
    other = on_towers("TipAdapterF", "tower", "tower", *short("TipAdapterF"), sha256="6" * 64)
    before, now = (" ".join(f"{key}={value}" for key, value in sorted(one.tokenizer.facts._asdict().items()))
                   for one in (tower_clip(), tower_clip(sha256="6" * 64)))  # fmt: skip
    assert f"{TOKENIZER} {before} -> {now}" in refusal(capsys, "--once", *other)
    flags = ["--eval-only", "--model-dir", str(tmp_path / "out")]
    other[other.index("--output-dir") + 1] = str(tmp_path / "test")
    assert f"{TOKENIZER} (here " in refusal(capsys, *flags, *other)
    with pytest.raises(UserError, match=f"created with different settings: {TOKENIZER} .here .*sha256=666.* in the ch"):
        modprompt.load(tmp_path / "out", tower_clip(sha256="6" * 64))
    assert modprompt.load(tmp_path / "out", tower_clip()).eval()(torch.randn(2, 3, 32, 32)).shape == (2, 5)


def test_a_method_that_cannot_run_is_refused_in_one_line(on_towers, capsys, tmp_path):
    line = refusal(capsys, *on_towers(METHODS["mpl"], "tower", "tower"))
    assert "this CLIP model does not support prompts in its text and image encoder, but MPL needs such prompts" in line
    named = on_towers(METHODS["vpt"], "stock", "tower", "MODEL.BACKBONE.NAME", "convnext_base/laion400m_s13b_b51k")
    assert refusal(capsys, *named).startswith(
        "error: convnext_base/laion400m_s13b_b51k does not support prompts in its"
    )
    assert not (tmp_path / "out" / "result.json").exists()
