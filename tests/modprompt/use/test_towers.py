"""Trained models on CLIPs with towers in use: predictions by each rule, and where SigLIP's prompts look."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image

import modprompt
from modprompt.cli import main
from modprompt.use.attention import attention_of, layers_of
from modprompt.use.trained import open_trained
from tests import siglips
from tests.modprompt.use.made import write_run
from tests.tower_clips import PIXELS, tower_clip

NAMES = ["one", "two", "three"]


@pytest.fixture
def run_of(monkeypatch, tmp_path):
    """The folder of a run of a method on a CLIP of two towers, which is loaded whatever is asked for."""

    def made(method, **more):
        clip_model = tower_clip(**more)
        monkeypatch.setattr("modprompt.methods.loading.load_clip", lambda *of, **how: (clip_model, None))
        return write_run(tmp_path / "run", method.on(clip_model, NAMES).eval())

    return made


@pytest.fixture
def photo(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_a_sigmoid_judges_each_class_by_itself_and_the_table_names_the_rule(run_of, photo, tmp_path):
    run = run_of(modprompt.ZeroshotCLIP(), bias=-3.0)
    trained = open_trained(run, clip="glyph-clip", device="cpu")
    with torch.no_grad():
        logits = trained.model(trained.preprocess(Image.open(photo))[None])[0]
    for rule, more, wanted in (("sigmoid", {"rule"}, (logits - 3).sigmoid()), ("softmax", set(), logits.softmax(0))):
        words = [run, photo, "--csv", tmp_path / "out.csv", "--clip", "glyph-clip", "--rule", rule]
        assert main.main(["predict", *map(str, words)]) == 0
        with (tmp_path / "out.csv").open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        assert set(rows[0]) - {"image", "rank", "class", "probability"} == more
        assert {row.get("rule", "softmax") for row in rows} == {rule}
        found = {row["class"]: float(row["probability"]) for row in rows}
        assert [found[name] for name in NAMES] == pytest.approx(wanted.tolist(), abs=1e-5)


@pytest.mark.parametrize(
    ("method", "bias", "said"),
    [
        (modprompt.ZeroshotCLIP(), None, "this CLIP was not trained to judge each class by itself"),
        (modprompt.CLIP_Adapter(), -3.0, "CLIP_Adapter makes logits that are not scaled cosines"),
    ],
)
def test_a_sigmoid_that_means_nothing_is_refused(run_of, photo, method, bias, said, capsys):
    run = run_of(method, bias=bias)
    assert main.main(["predict", str(run), str(photo), "--clip", "glyph-clip", "--rule", "sigmoid"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert f"error: --rule sigmoid: {said}" in err


def test_where_a_siglips_prompts_look_is_that_of_a_plain_computation():
    found, pictures = siglips.made("open_clip"), torch.randn(2, 3, siglips.PIXELS, siglips.PIXELS)
    model = modprompt.VPT(n_ctx_vision=3, prompt_depth_vision=2).on(siglips.clip_of(found), NAMES).eval()
    seen = attention_of(model, pictures)
    assert (layers_of(model), seen.grid, seen.class_token) == (siglips.IMAGE_LAYERS, (4, 4), None)
    block = found.image_module.trunk.blocks[0]  # timm's
    with torch.no_grad():
        x = torch.cat([found.image.embed(pictures), model.vision_prompts().vision_additions[0].expand(2, -1, -1)], 1)
        parts = block.attn.qkv(block.norm1(x)).unflatten(2, (3, block.attn.num_heads, -1))
        query, key, _ = parts.permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(2, 3) * query.shape[-1] ** -0.5).softmax(dim=-1).mean(dim=1)  # over heads
    plain = weights[:, siglips.PATCHES :, : siglips.PATCHES]
    torch.testing.assert_close(seen.prompts[0].flatten(2), plain.transpose(0, 1), atol=1e-6, rtol=0)


def test_without_layers_or_tokens_that_look_there_is_none():
    for clip_model, pixels, said in (
        (tower_clip(), PIXELS, "this CLIP has an image side of another package, which has no attention to show"),
        (siglips.clip_of(siglips.made("open_clip")), siglips.PIXELS, "this CLIP has no class token, and there are no"),
    ):
        model = modprompt.ZeroshotCLIP().on(clip_model, NAMES).eval()
        assert layers_of(model) == 0
        with pytest.raises(modprompt.UserError, match=f"^{said}"):
            attention_of(model, torch.zeros(1, 3, pixels, pixels))
