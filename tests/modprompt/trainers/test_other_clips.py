"""Runs on a CLIP of open_clip's with GELU, heads 80 wide and images of its own: trained, resumed, tested.

Its ratios and heads are those of ViT-H and ViT-bigG, which the `clip` package cannot build.
"""

import json

import pytest
import torch
from clip import clip
from PIL import Image

from modprompt.cli import train
from modprompt.io import checkpoint
from modprompt.trainers.prompt_trainer import PromptTrainer
from modprompt.trainers.registration import register
from tests.conftest import by_config
from tests.methods import METHODS, TAUGHT
from tests.other_clips import open_clip_folder, transformers_folder
from tests.stopping import stopped_before
from tests.test_runs import to

ROWS = {"mpl": METHODS["mpl"], "coop_dept": METHODS["coop_dept"], "promptkd": TAUGHT["promptkd"]}
IMAGES = {"mean": [0.5, 0.4, 0.3], "std": [0.3, 0.3, 0.25], "interpolation": "bilinear", "resize_mode": "squash"}
CLIP = {"name": "", "dialect": "open_clip", "activation": "gelu", "heads": [2, 2], "size": 48, **IMAGES}
CLIP["resize"] = CLIP.pop("resize_mode")


@pytest.fixture(scope="module")
def gelu(tmp_path_factory):
    """The folder, and what open_clip makes of it."""
    folder = tmp_path_factory.mktemp("gelu") / "gelu-clip"
    tower = {"layers": 4, "width": 160, "head_width": 80, "mlp_ratio": 4.9231, "patch_size": 16, "image_size": 48}
    text = {"layers": 4, "width": 64, "heads": 2}
    return folder, *open_clip_folder(folder, embed=32, image=tower, text=text, images=IMAGES)


def clip_of(record):
    """Of the record of a CLIP what is known of this one."""
    return {key: record["clip"][key] for key in CLIP}


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_run_that_was_stopped_ends_as_an_undisturbed_one_and_is_tested_again(row, command, gelu, tmp_path, capsys):
    method, (folder, *_) = ROWS[row], gelu
    words = command(method, *by_config(folder))
    assert train.main(to(words, tmp_path / "whole")) == 0
    out = capsys.readouterr().out
    assert f"INPUT follows the weights of {folder}: " in out
    assert "CLIP: open_clip weights, gelu, 2 and 2 heads (text, image)" in out

    with stopped_before(PromptTrainer, 1):
        assert train.main(words) == 130
    assert not (tmp_path / "out" / "result.json").exists()
    assert train.main(words) == 0
    assert "resuming after epoch 1" in capsys.readouterr().out

    saved = [checkpoint.read(tmp_path / name / method.folder / "model.pth.tar-2") for name in ("whole", "out")]
    whole, resumed = (one.state_dict for one in saved)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[key]) for key, value in whole.items())
    results = [result_of(tmp_path / name) for name in ("whole", "out")]
    assert results[0]["prompts_hash"] == results[1]["prompts_hash"]
    assert results[0]["accuracy_pct"] == results[1]["accuracy_pct"]
    for record in (*(one.record for one in saved), *results):
        assert clip_of(record) == CLIP
        assert record["clip"]["file"] == "gelu-clip"
    assert results[0]["backbone_hash"] == saved[0].clip["fingerprint"] != ""

    test = ["--eval-only", "--model-dir", str(tmp_path / "out"), *to(words, tmp_path / "test")]
    assert train.main(test) == 0
    tested = result_of(tmp_path / "test")
    assert tested["accuracy_pct"] == results[0]["accuracy_pct"]
    assert tested["prompts_hash"] == results[0]["prompts_hash"]
    assert clip_of(tested) == CLIP


def stretch(root):
    """Make all images of a tree half as wide again, so that a square cut out of one is not one squashed."""
    for path in root.rglob("*.jpg"):
        Image.open(path).resize((48, 32)).save(path)


def own_logits(oracle, images, names):
    """Logits (B, C) by the package's own forward."""
    ids = clip.tokenize([f"a centered satellite photo of {name.replace('_', ' ')}." for name in names])
    with torch.no_grad():
        if hasattr(oracle, "text_model"):
            return oracle(input_ids=ids, pixel_values=images).logits_per_image
        return oracle.get_logits(images, ids)[0]


@pytest.mark.slow
@pytest.mark.parametrize("package", ["open_clip", "transformers"])
def test_zero_shot_run_has_the_packages_own_images_logits_and_accuracy(
    package, command, gelu, eurosat_root, tmp_path, monkeypatch
):
    folder, oracle, preprocess = gelu
    if package == "transformers":
        folder = tmp_path / "hf-clip"
        tower = {"hidden_size": 160, "intermediate_size": 787, "patch_size": 16, "image_size": 48}
        oracle, preprocess = transformers_folder(folder, act="gelu", image=tower, images={"resample": 2})
    stretch(eurosat_root)
    seen, trainer = [], register("ZeroshotCLIP")
    plain = trainer.build_model
    monkeypatch.setattr(trainer, "build_model", lambda self: seen.append(self) or plain(self))
    words = command("ZeroshotCLIP", *by_config(folder), "DATASET.SUBSAMPLE_CLASSES", "all")
    assert train.main(["--eval-only", *words]) == 0

    (trainer,) = seen
    items, names = trainer.dm.dataset.test, trainer.dm.dataset.classnames
    images = torch.stack([preprocess(Image.open(item.impath)) for item in items])
    assert (torch.cat([batch["img"] for batch in trainer.test_loader]) - images).abs().max() <= 1e-6
    theirs = own_logits(oracle, images, names)
    with torch.no_grad():
        assert (trainer.model(images) - theirs).abs().max() <= 1e-5 * theirs.abs().max()
    labels = torch.tensor([item.label for item in items])
    result = result_of(tmp_path / "out")
    assert result["correct"] == int((theirs.argmax(1) == labels).sum())
    assert (result["clip"]["dialect"], result["clip"]["activation"]) == (package, "gelu")
    assert result["clip"]["heads"] == [2, 2]


def test_ensemble_of_templates_runs(command, gelu, tmp_path):
    assert train.main(["--eval-only", *command("ZeroshotCLIP2", *by_config(gelu[0]))]) == 0
    assert clip_of(result_of(tmp_path / "out")) == CLIP
