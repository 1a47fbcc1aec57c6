import json

import pytest
import torch

from modprompt.cli import train
from modprompt.methods.templates import SELECTED
from modprompt.runs.settings import Settings
from modprompt.trainers.config import build
from modprompt.trainers.zsclip import ZeroshotCLIP, ZeroshotCLIP2
from tests.conftest import ROOT


@pytest.fixture
def words(mpl_flags, mpl_options):
    def of(trainer, *more):
        flags = [*mpl_flags]
        flags[flags.index("MPL")] = trainer
        return [*flags, "--eval-only", *mpl_options, *map(str, more)]

    return of


def class_features(monkeypatch, words, trainer):
    """The class features of two runs in one process, class names, and the CLIP."""
    seen, plain = [], trainer.build_model
    monkeypatch.setattr(trainer, "build_model", lambda self: seen.append(self) or plain(self))
    for _ in range(2):
        assert train.main(words) == 0
    assert torch.equal(seen[0].class_features, seen[1].class_features)
    names = [name.replace("_", " ") for name in seen[0].dm.dataset.classnames]
    return seen[0].class_features, names, seen[0].model.clip_model


@pytest.mark.parametrize(
    ("trainer", "templates"),
    [
        (ZeroshotCLIP, ["a centered satellite photo of {}."]),
        (ZeroshotCLIP2, [*SELECTED, "a centered satellite photo of {}."]),
    ],
)
def test_features_are_the_mean_of_normalised_ones_also_the_second_time(monkeypatch, words, trainer, templates):
    from clip import clip

    mine, names, clip_model = class_features(monkeypatch, words(trainer.__name__), trainer)
    features = []
    with torch.no_grad():
        for template in templates:
            text = clip_model.encode_text(clip.tokenize([template.format(name) for name in names]))
            features.append(text / text.norm(dim=-1, keepdim=True))
    mean = sum(features) / len(features)
    torch.testing.assert_close(mine, mean / mean.norm(dim=-1, keepdim=True), atol=1e-5, rtol=1e-5)


def test_imagenet_has_no_template_of_its_own_in_the_ensemble(mpl_flags, monkeypatch):
    trainer = ZeroshotCLIP2.__new__(ZeroshotCLIP2)
    for name, count in (("ImageNet", 7), ("ImageNetV2", 8), ("EuroSAT", 8)):
        files = [ROOT / "configs/datasets/eurosat.yaml"]
        trainer.cfg = build(Settings.read(files, {"TRAINER.NAME": "ZeroshotCLIP2"}, ["DATASET.NAME", name]))
        assert len(trainer.templates()) == count


def test_runs_on_a_resnet(words, resnet_file, tmp_path):
    assert train.main(words("ZeroshotCLIP2", "MODEL.BACKBONE.PATH", resnet_file, "INPUT.SIZE", "(64, 64)")) == 0
    assert json.loads((tmp_path / "out" / "result.json").read_text())["trainer"] == "ZeroshotCLIP2"
