import pytest
import torch

from modprompt.cli import train
from modprompt.methods import zeroshot
from modprompt.methods.parts.templates import SELECTED
from trainers.zsclip import ZeroshotCLIP, ZeroshotCLIP2


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
    one, two = (trainer.model.of_features(torch.eye(32)).text for trainer in seen)
    assert torch.equal(one, two)
    names = [name.replace("_", " ") for name in seen[0].dm.dataset.classnames]
    return one, names, seen[0].model.clip_model


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


@pytest.mark.parametrize(("dataset", "count"), [("ImageNet", 7), ("ImageNetV2", 8), ("EuroSAT", 8)])
def test_imagenet_has_no_template_of_its_own_in_the_ensemble(dataset, count):
    assert len(zeroshot.ZeroshotCLIP2().templates(dataset)) == count
