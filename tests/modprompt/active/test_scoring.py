"""What models say of a pool: equal to a plain pass, kept where it cannot change, and without a draw."""

from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import modprompt
from modprompt.active import scoring
from modprompt.active.scoring import Scorer
from tests.conftest import random_clip
from tests.methods import small

IMAGES = [SimpleNamespace(seed=seed, label=seed % 3) for seed in range(7)]
WIDTH = random_clip(2).text_projection.shape[1]


class Pictures(Dataset):
    """Random images, in the form of Dassl's data sets; counts how many were asked for."""

    asked = 0

    def __init__(self, cfg, data_source, transform=None, is_train=False):
        assert not is_train
        self.data_source, self.transform = data_source, transform

    def __len__(self):
        return len(self.data_source)

    def __getitem__(self, index):
        Pictures.asked += 1
        one = self.data_source[index]
        return {"img": pixels(one), "label": one.label}


def pixels(one):
    return torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(one.seed))


def trainer_of(name):
    """What a scorer asks of a trainer, around a method on a small random CLIP."""
    model = small(getattr(modprompt, name)).on(random_clip(2), ["cat", "dog", "eel"])
    loading = SimpleNamespace(TEST=SimpleNamespace(BATCH_SIZE=3), NUM_WORKERS=0)
    return SimpleNamespace(
        model=model,
        test_loader=DataLoader(Pictures(None, [], transform="a transform"), batch_size=3),
        cfg=SimpleNamespace(DATALOADER=loading),
        device=torch.device("cpu"),
        set_model_mode=lambda mode: model.set_mode(mode == "train"),
        encode_image=model.encode_image,
    )


def plain(trainer, images):
    with torch.no_grad():
        return trainer.model.eval().output(torch.stack([pixels(one) for one in images]))


@pytest.mark.parametrize(
    ("name", "kept", "needs", "passes"),
    [
        ("CoOp", 2**31, ["probabilities"], 1),
        ("CoOp", 7 * WIDTH * 4 - 1, ["features"], 2),
        ("MPL", 2**31, [], 2),
        ("CoCoOp", 7 * WIDTH * 4, ["features"], 1),
    ],
)
def test_scores_are_those_of_a_plain_pass_and_frozen_features_computed_once(name, kept, needs, passes, monkeypatch):
    monkeypatch.setattr(scoring, "KEPT", kept)
    scorer, trainer, order = Scorer(IMAGES), trainer_of(name), [3, 0, 6, 1, 2, 5, 4]
    Pictures.asked, before = 0, torch.get_rng_state()
    labels, rest = {3: 2, 0: 1}, order[2:]
    seen = scorer.seen(trainer, rest, labels)
    assert torch.equal(torch.get_rng_state(), before)
    whole = plain(trainer, [IMAGES[place] for place in order])
    text = whole.text if whole.text.dim() == 2 else whole.text.mean(dim=0)
    p = whole.logits.softmax(dim=1)
    assert torch.allclose(torch.cat([seen.labelled_features, seen.features]), whole.image, atol=1e-6)
    assert torch.allclose(torch.cat([seen.labelled_probabilities, seen.probabilities]), p, atol=1e-6)
    assert torch.equal(seen.predicted, p[2:].argmax(dim=1))
    assert torch.allclose(seen.largest, p[2:].amax(dim=1), atol=1e-6)
    assert torch.allclose(seen.text, text, atol=1e-6)
    assert seen.labels.tolist() == [2, 1]
    with torch.no_grad():
        for parameter in trainer.model.prompt_learner.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    again = scorer.seen(trainer, range(7), {}, needs)
    assert Pictures.asked == passes * len(IMAGES)
    wanted = plain(trainer, IMAGES)
    for name, values in (("features", wanted.image), ("probabilities", wanted.logits.softmax(dim=1))):
        made = getattr(again, name)
        assert torch.allclose(made, values, atol=1e-6) if name in needs else made.shape == (7, 0)


def test_logits_that_are_not_finite_are_refused():
    trainer = trainer_of("CoOp")
    with torch.no_grad():
        trainer.model.prompt_learner.ctx.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="not finite"):
        Scorer(IMAGES).seen(trainer, range(7), {})
