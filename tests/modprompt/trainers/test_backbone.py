"""Settings of INPUT follow the weights; what the command line says stays, and a size that does not fit is refused."""

import json
import sys

import pytest
import torch
import yaml
from dassl.config import get_cfg_default
from PIL import Image
from torchvision import transforms

from modprompt.cli import train
from modprompt.clip.read import read_embedded
from modprompt.clip.spec import ClipSpec
from modprompt.errors import UserError
from modprompt.hosts import settings as host_settings
from modprompt.trainers import backbone
from modprompt.trainers.mpl import MPL
from tests.other_clips import open_clip_folder
from tests.test_train import refusal


@pytest.fixture(scope="module")
def squashed(tmp_path_factory):
    """A small GELU CLIP of open_clip whose images are squashed to 48 pixels, bilinear, with other statistics."""
    folder = tmp_path_factory.mktemp("clips") / "squashed"
    images = {"mean": [0.5, 0.4, 0.3], "std": [0.3, 0.2, 0.1], "interpolation": "bilinear", "resize_mode": "squash"}
    open_clip_folder(folder, image={"image_size": 48, "layers": 3}, text={"layers": 3}, images=images)
    return folder


@pytest.fixture
def words(command, squashed):
    """Words of a run of zero-shot CLIP on that; further options behind."""

    def make(*more, trainer="ZeroshotCLIP"):
        said = command(trainer)
        said = said[: said.index("MODEL.BACKBONE.PATH")]
        return [*said, "DATASET.NUM_SHOTS", "4", "MODEL.BACKBONE.PATH", str(squashed), *map(str, more)]

    return make


def result(folder):
    return json.loads((folder / "out" / "result.json").read_text())


LINE = (
    "SIZE [32, 32] -> [48, 48], PIXEL_MEAN [0.4815, 0.4578, 0.4082] -> [0.5, 0.4, 0.3], PIXEL_STD "
    "[0.2686, 0.2613, 0.2758] -> [0.3, 0.2, 0.1], INTERPOLATION bicubic -> bilinear, RESIZE_MODE shortest -> squash.\n"
)


def test_config_files_give_way_with_one_line(words, squashed, tmp_path, capsys):
    assert train.main(words()) == 0
    out, err = capsys.readouterr()
    assert f"The image preprocessing uses the settings of {squashed}: {LINE}" in out
    assert out.count("image preprocessing") == 1
    assert "warning" not in err
    assert (
        "The CLIP model has open_clip weights (activation gelu, 2 attention heads in the text encoder, 2 in the" in out
    )
    assert "RESIZE_MODE: squash" in (tmp_path / "out" / "config.yaml").read_text()  # the config as it is run
    found = result(tmp_path)
    assert found["input"] == {
        "INPUT.SIZE": "[48, 48]",
        "INPUT.PIXEL_MEAN": "[0.5, 0.4, 0.3]",
        "INPUT.PIXEL_STD": "[0.3, 0.2, 0.1]",
        "INPUT.INTERPOLATION": "bilinear",
        "INPUT.RESIZE_MODE": "squash",
        "INPUT.DECODING": "dassl",
    }
    clip = found["clip"]
    assert (clip["file"], clip["dialect"], clip["activation"], clip["heads"]) == (
        "squashed",
        "open_clip",
        "gelu",
        [2, 2],
    )
    assert (clip["resize"], clip["size"], clip["mean"]) == ("squash", 48, [0.5, 0.4, 0.3])


@pytest.mark.filterwarnings("default::UserWarning")
def test_command_line_wins_with_one_warning(words, squashed, tmp_path, capsys):
    options = ["INPUT.PIXEL_MEAN", "[0.1, 0.1, 0.1]", "INPUT.RESIZE_MODE", "shortest"]
    assert train.main(words(*options)) == 0
    out, err = capsys.readouterr()
    said = (
        "INPUT.PIXEL_MEAN is [0.1, 0.1, 0.1] instead of [0.5, 0.4, 0.3], "
        "INPUT.RESIZE_MODE is shortest instead of squash.\n"
    )
    assert f"warning: Images are not preprocessed as {squashed} expects: {said}" in err
    assert err.count("Images are not preprocessed") == 1
    found = result(tmp_path)["input"]
    assert (found["INPUT.PIXEL_MEAN"], found["INPUT.RESIZE_MODE"]) == ("[0.1, 0.1, 0.1]", "shortest")
    assert found["INPUT.SIZE"] == "[48, 48]"


def test_size_that_the_model_cannot_take_stays_an_error(words, capsys):
    line = refusal(capsys, *words("INPUT.SIZE", "(32, 32)"))
    assert "INPUT.SIZE is 32 x 32, but this model needs images of 48 x 48 pixels" in line


def test_resize_mode_that_is_none_is_refused(words, capsys):
    assert "must be shortest or squash, got 'longest'" in refusal(capsys, *words("INPUT.RESIZE_MODE", "longest"))


def test_test_images_are_squashed_and_not_cut(words, tmp_path, monkeypatch):
    seen = {}
    build = MPL.build_data_loader
    monkeypatch.setattr(MPL, "build_data_loader", lambda self: (build(self), seen.update(trainer=self))[0])
    short = ("TRAINER.MPL.PREC", "fp32", "TRAINER.MPL.PROMPT_DEPTH", 3, "OPTIM.MAX_EPOCH", 1)
    assert train.main(words(*short, trainer="MPL")) == 0
    for loader in (seen["trainer"].test_loader, seen["trainer"].val_loader):
        image = Image.effect_noise((60, 100), 80).convert("RGB")
        resized = image.resize((48, 48), Image.Resampling.BILINEAR)
        expected = transforms.Normalize([0.5, 0.4, 0.3], [0.3, 0.2, 0.1])(transforms.ToTensor()(resized))
        assert torch.equal(loader.dataset.transform(image), expected)


def test_transform_that_does_not_resize_and_crop_cannot_be_squashed():
    class Loader:
        class dataset:
            transform = transforms.Compose([transforms.ToTensor()])

    with pytest.raises(UserError, match="does not begin with Resize and CenterCrop"):
        backbone.squash([Loader], (48, 48))


def test_a_codebases_own_node_may_lack_our_keys(monkeypatch):
    """Its command line is looked at, since nobody has kept what it gave."""
    cfg = get_cfg_default()
    cfg.MODEL.BACKBONE.NAME = "glyph-clip"
    for key in ("PATH", "ACTIVATION", "HEADS"):
        cfg.MODEL.BACKBONE.pop(key, None)
    cfg.INPUT.pop("RESIZE_MODE", None)
    monkeypatch.setattr(sys, "argv", ["train.py", "INPUT.INTERPOLATION", "bilinear"])
    with pytest.warns(UserWarning, match="INPUT.INTERPOLATION is bilinear instead of bicubic"):
        mine = host_settings.of_program(cfg)
    assert backbone.asked_of(mine.MODEL.BACKBONE) == ClipSpec("glyph-clip")
    assert mine.INPUT.INTERPOLATION == "bilinear"
    assert tuple(mine.INPUT.SIZE) == (32, 32)
    assert not backbone.requires_squash(mine)
    assert tuple(cfg.INPUT.SIZE) == (224, 224)  # the program's own stays what it is


@pytest.mark.filterwarnings("default::UserWarning")
def test_what_nothing_says_of_bare_weights_stays_as_settings_have_it(command, tmp_path, capsys):
    """Only their size is known; a warning says that the rest is not as OpenAI's."""
    config_file = tmp_path / "bare.yaml"
    words = command("ZeroshotCLIP")
    node = yaml.safe_load(config_file.read_text())
    node["INPUT"].update(PIXEL_MEAN=[0.5, 0.5, 0.5], SIZE=[64, 64])
    del node["INPUT"]["INTERPOLATION"]
    config_file.write_text(yaml.safe_dump(node))
    assert train.main(words) == 0
    out, err = capsys.readouterr()
    assert (
        "(the weights do not state their preprocessing, so that of OpenAI's CLIP is used): SIZE [64, 64] -> [32, 32]"
        in out
    )
    assert "INTERPOLATION bilinear -> bicubic" in out
    assert "and the settings differ from OpenAI's CLIP: INPUT.PIXEL_MEAN is [0.5, 0.5, 0.5] instead of [0.4815" in err
    found = result(tmp_path)["input"]
    assert found["INPUT.PIXEL_MEAN"] == "[0.5, 0.5, 0.5]"


@pytest.mark.filterwarnings("default::UserWarning")
def test_name_beside_a_path_is_not_used_with_a_warning(words, squashed, capsys):
    assert train.main(["--backbone", "ViT-B/16", *words()]) == 0
    assert (
        f"MODEL.BACKBONE.NAME ViT-B/16 is ignored, because the weights are read from MODEL.BACKBONE.PATH {squashed}."
        in capsys.readouterr().err
    )


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A file with the weights of glyph-clip, all words drawn, of which nothing says how they are run."""
    state = read_embedded()
    words = state["token_embedding.weight"]
    words.copy_(0.1 * torch.randn(words.shape, generator=torch.Generator().manual_seed(0)))
    path = tmp_path_factory.mktemp("bare") / "bare.pt"
    torch.save(state, path)
    return path


def without_path(words):
    return [*words[: words.index("MODEL.BACKBONE.PATH")], "DATASET.NUM_SHOTS", "4"]


def test_backbone_takes_a_path(words, squashed, tmp_path):
    described = ["--backbone", str(squashed), *without_path(words())]
    assert train.main(described) == 0
    assert result(tmp_path)["clip"]["file"] == "squashed"
    assert "MODEL.BACKBONE.NAME" not in result(tmp_path)["settings"]


def test_backbone_refuses_two_paths(words, squashed, capsys):
    line = refusal(capsys, "--backbone", "./a.pt", *words())
    assert (
        f"--backbone is the path a.pt, but MODEL.BACKBONE.PATH is {squashed}. Remove one of these two settings." in line
    )


def test_backbone_name_gives_a_file_its_architecture(words, bare, tmp_path, capsys):
    of_file = ["MODEL.BACKBONE.PATH", str(bare)]
    assert train.main(["--backbone", "glyph-clip", *without_path(words()), *of_file]) == 0
    out, err = capsys.readouterr()
    how = "activation quick_gelu, heads [1, 2] (text side, image side)"
    assert f"The weights in MODEL.BACKBONE.PATH {bare} are read as a glyph-clip model: {how}\n" in out
    assert "is ignored" not in err
    clip = result(tmp_path)["clip"]
    assert (clip["dialect"], clip["activation"], clip["heads"]) == ("bare", "quick_gelu", [1, 2])
    (tmp_path / "out" / "result.json").unlink()
    gelu = ["MODEL.BACKBONE.ACTIVATION", "gelu"]
    assert train.main(["--backbone", "glyph-clip", *without_path(words()), *of_file, *gelu]) == 0
    assert result(tmp_path)["clip"]["activation"] == "gelu"


def test_file_of_another_shape_than_the_name_is_refused(words, bare, capsys):
    line = refusal(capsys, "--backbone", "ViT-B/16", *without_path(words()), "MODEL.BACKBONE.PATH", str(bare))
    assert (
        f"{bare} does not have the architecture of --backbone ViT-B/16: its tensors have pixels 32, not 224; patch 8"
        in line
    )


@pytest.mark.filterwarnings("default::UserWarning")
def test_name_in_a_config_says_nothing_of_a_file(words, bare, tmp_path, capsys):
    (tmp_path / "mine.yaml").write_text("MODEL: {BACKBONE: {NAME: glyph-clip}}\n")
    of_file = ["MODEL.BACKBONE.PATH", str(bare)]
    for flags, options in (
        (["--config-file", str(tmp_path / "mine.yaml")], []),
        ([], ["MODEL.BACKBONE.NAME", "glyph-clip"]),
    ):
        line = refusal(capsys, *flags, *without_path(words()), *of_file, *options)
        assert f"The activation and the attention heads of {bare} are unknown" in line
