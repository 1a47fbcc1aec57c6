"""Runs on a CLIP of open_clip's with GELU, heads 80 wide and images of its own: trained and tested.

Its ratios and heads are those of ViT-H and ViT-bigG, which the `clip` package cannot build.
"""

import pytest

from modprompt.cli import train
from modprompt.io import checkpoint
from tests.conftest import by_config
from tests.methods import METHODS
from tests.other_clips import open_clip_folder
from tests.test_runs import result, to

IMAGES = {"mean": [0.5, 0.4, 0.3], "std": [0.3, 0.3, 0.25], "interpolation": "bilinear", "resize_mode": "squash"}
CLIP = {"name": "", "dialect": "open_clip", "activation": "gelu", "heads": [2, 2], "size": 48, **IMAGES}
CLIP["resize"] = CLIP.pop("resize_mode")


@pytest.fixture(scope="module")
def gelu(tmp_path_factory):
    """The folder."""
    folder = tmp_path_factory.mktemp("gelu") / "gelu-clip"
    tower = {"layers": 4, "width": 160, "head_width": 80, "mlp_ratio": 4.9231, "patch_size": 16, "image_size": 48}
    text = {"layers": 4, "width": 64, "heads": 2}
    open_clip_folder(folder, embed=32, image=tower, text=text, images=IMAGES)
    return folder


def clip_of(record):
    """Of the record of a CLIP what is known of this one."""
    return {key: record["clip"][key] for key in CLIP}


@pytest.mark.slow
def test_run_says_its_clip_and_is_tested_again(command, gelu, tmp_path, capsys):
    words = command(METHODS["mpl"], *by_config(gelu))
    assert train.main(words) == 0
    out = capsys.readouterr().out
    assert f"The image preprocessing uses the settings of {gelu}: " in out
    assert (
        "The CLIP model has open_clip weights (activation gelu, 2 attention heads in the text encoder, 2 in the image encoder"
        in out
    )
    trained = result(tmp_path / "out")
    saved = checkpoint.read(tmp_path / "out" / METHODS["mpl"].folder / "model.pth.tar-2")
    assert trained["backbone_hash"] == saved.clip["fingerprint"] != ""
    test = ["--eval-only", "--model-dir", str(tmp_path / "out"), *to(words, tmp_path / "test")]
    assert train.main(test) == 0
    tested = result(tmp_path / "test")
    for record in (saved.record, trained, tested):
        assert clip_of(record) == CLIP
        assert record["clip"]["file"] == "gelu-clip"
    for key in ("accuracy_pct", "prompts_hash"):
        assert tested[key] == trained[key]


def test_ensemble_of_templates_runs(command, gelu, tmp_path):
    assert train.main(["--eval-only", *command("ZeroshotCLIP2", *by_config(gelu))]) == 0
    assert clip_of(result(tmp_path / "out")) == CLIP
