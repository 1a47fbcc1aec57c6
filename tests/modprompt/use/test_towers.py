"""Trained models on CLIPs with towers in use: predictions by each rule, no attention, files for elsewhere."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image

import modprompt
from modprompt.cli import main
from modprompt.clip.known import Images
from modprompt.clip.load import image_transform
from modprompt.use import export, export_files
from modprompt.use.attention import attention_of, layers_of
from modprompt.use.trained import Trained, open_trained
from tests import siglips
from tests.modprompt.use.made import write_run
from tests.tower_clips import IMAGE_SIDES, PIXELS, of_open_clip, tower_clip

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


def predicted(run, photo, tmp_path, *more):
    words = ["predict", str(run), str(photo), "--csv", str(tmp_path / "out.csv"), "--clip", "glyph-clip", *more]
    assert main.main(words) == 0
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def test_a_sigmoid_judges_each_class_by_itself_and_the_table_names_the_rule(run_of, photo, tmp_path):
    run = run_of(modprompt.ZeroshotCLIP(), bias=-3.0)
    trained = open_trained(run, clip="glyph-clip", device="cpu")
    with torch.no_grad():
        logits = trained.model(trained.preprocess(Image.open(photo))[None])[0]
    for rule, more, wanted in (("sigmoid", {"rule"}, (logits - 3).sigmoid()), ("softmax", set(), logits.softmax(0))):
        rows = predicted(run, photo, tmp_path, "--rule", rule)
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


def test_a_tower_that_its_package_runs_has_no_attention_to_show():
    model = modprompt.ZeroshotCLIP().on(tower_clip(), NAMES).eval()
    assert layers_of(model) == 0
    with pytest.raises(modprompt.UserError, match="^this CLIP has an image side of another package, which has no att"):
        attention_of(model, torch.zeros(1, 3, PIXELS, PIXELS))


def plain_attention(found, x):
    """Weights (B, L, L) of the first layer of timm's vision transformer, in the mean over heads."""
    block = found.image_module.trunk.blocks[0]
    query, key, _ = block.attn.qkv(block.norm1(x)).unflatten(2, (3, block.attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
    return (query @ key.transpose(2, 3) * query.shape[-1] ** -0.5).softmax(dim=-1).mean(dim=1)


def test_where_a_siglips_prompts_look_is_that_of_a_plain_computation():
    found, pictures = siglips.made("open_clip"), torch.randn(2, 3, siglips.PIXELS, siglips.PIXELS)
    model = modprompt.VPT(n_ctx_vision=3, prompt_depth_vision=2).on(siglips.clip_of(found), NAMES).eval()
    seen = attention_of(model, pictures)
    assert (layers_of(model), seen.grid, seen.class_token) == (siglips.IMAGE_LAYERS, (4, 4), None)
    with torch.no_grad():
        x = torch.cat([found.image.embed(pictures), model.vision_prompts().vision_additions[0].expand(2, -1, -1)], 1)
        plain = plain_attention(found, x)[:, siglips.PATCHES :, : siglips.PATCHES]
    torch.testing.assert_close(seen.prompts[0].flatten(2), plain.transpose(0, 1), atol=1e-6, rtol=0)


def test_without_a_class_token_and_prompts_there_is_none():
    model = modprompt.ZeroshotCLIP().on(siglips.clip_of(siglips.made("open_clip")), NAMES).eval()
    with pytest.raises(modprompt.UserError, match="^this CLIP has no class token, and there are no vision prompts"):
        attention_of(model, torch.zeros(1, 3, siglips.PIXELS, siglips.PIXELS))


def trained(clip_model, pixels, path):
    model = modprompt.ZeroshotCLIP().on(clip_model, NAMES).eval()
    return Trained(model, image_transform(Images(pixels)), path / "result.json")


def test_what_the_exporter_refuses_is_a_line_and_nothing_is_written(tmp_path):
    clip_model = tower_clip()
    plain = clip_model.visual.module.forward
    clip_model.visual.module.forward = lambda images: plain(images) * (2 if images.sum().item() > 0 else 3)
    given = trained(clip_model, PIXELS, tmp_path)
    with pytest.raises(
        modprompt.UserError, match=r"^--to torch: PyTorch's exporter does not accept this model \([^\n]*\)$"
    ):
        export.export(given, "torch", tmp_path / "a.pt2")
    with pytest.raises(modprompt.UserError, match="^--precision fp16: the image side of this CLIP runs in float32"):
        export.export(given, "torch", tmp_path / "a.pt2", "fp16")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.timeout(360)
@pytest.mark.parametrize("to", ["torch", "onnx"])
@pytest.mark.parametrize("name", IMAGE_SIDES)
def test_image_sides_of_other_packages_are_exported(name, to, tmp_path):
    clip_model, _ = of_open_clip(name)
    given = trained(clip_model, clip_model.visual.input_resolution, tmp_path)
    path = tmp_path / f"a{export.SUFFIXES[to]}"
    done = export.export(given, to, path)
    assert done.checked.features <= 1e-5
    images = torch.randn(3, 3, *[given.preprocess.transforms[1].size[0]] * 2)
    with torch.no_grad():
        expected = given.model.output(images)
    features, probabilities = export_files.RUNS[to](path.read_bytes())(images)
    torch.testing.assert_close(features, expected.image, atol=1e-5, rtol=0)
    torch.testing.assert_close(probabilities, expected.logits.softmax(1), atol=1e-4, rtol=0)
