"""What models say of a pool: equal to a plain pass, kept where it cannot change, and without a draw."""

from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import modprompt
from modprompt.active.scoring import Scorer
from tests.conftest import random_clip
from tests.methods import small

NAMES = ["cat", "dog", "eel"]


class Pictures(Dataset):
    """Random images, in the form of Dassl's data sets; counts how many were asked for."""

    asked = 0

    def __init__(self, cfg, data_source, transform=None, is_train=False):
        assert not is_train
        self.data_source, self.transform = data_source, transform

    def __len__(self):
        return len(self.data_source)

    def __getitem__(self, index):
        type(self).asked += 1
        one = self.data_source[index]
        generator = torch.Generator().manual_seed(one.seed)
        return {"img": torch.randn(3, 32, 32, generator=generator), "label": one.label}


@pytest.fixture
def images():
    Pictures.asked = 0
    return [SimpleNamespace(seed=seed, label=seed % 3) for seed in range(7)]


def trainer_of(method, batch=3):
    """What a scorer asks of a trainer, around a method on a small random CLIP."""
    torch.manual_seed(1)
    model = small(method).on(random_clip(2), NAMES)
    loader = DataLoader(Pictures(None, [], transform="a transform"), batch_size=batch)
    node = SimpleNamespace(TEST=SimpleNamespace(BATCH_SIZE=batch), NUM_WORKERS=0)
    return SimpleNamespace(
        model=model,
        test_loader=loader,
        cfg=SimpleNamespace(DATALOADER=node),
        device=torch.device("cpu"),
        set_model_mode=lambda mode: model.set_mode(mode == "train"),
        evaluation=SimpleNamespace(
            encode_image=model.encode_image, prompts_images=bool(model.prompt_learner.schedules.vision.depth)
        ),
    )


def plain(trainer, images):
    stack = torch.stack([torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(one.seed)) for one in images])
    with torch.no_grad():
        trainer.model.eval()
        return trainer.model.output(stack)


@pytest.mark.parametrize("name", ["CoOp", "MPL", "CoCoOp", "VPT"])
def test_scores_are_those_of_a_plain_pass(images, name):
    trainer = trainer_of(getattr(modprompt, name))
    before = torch.get_rng_state()
    order = [3, 0, 6, 1, 2, 5, 4]
    scored = Scorer(images).scored(trainer, order)
    assert torch.equal(torch.get_rng_state(), before)
    whole = plain(trainer, [images[place] for place in order])
    text = whole.text if whole.text.dim() == 2 else whole.text.mean(dim=0)
    assert torch.allclose(scored.features, whole.image, atol=1e-6)
    assert torch.allclose(scored.probabilities, whole.logits.softmax(dim=1), atol=1e-6)
    assert torch.allclose(scored.text, text, atol=1e-6)
    assert torch.allclose(scored.probabilities.sum(dim=1), torch.ones(len(images)))


@pytest.mark.parametrize(("name", "passes"), [("CoOp", 1), ("CoCoOp", 1), ("MPL", 2)])
def test_features_that_prompts_cannot_change_are_computed_once(images, name, passes):
    scorer, trainer = Scorer(images), trainer_of(getattr(modprompt, name))
    first = scorer.scored(trainer)
    with torch.no_grad():
        for parameter in trainer.model.prompt_learner.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    second = scorer.scored(trainer)
    assert Pictures.asked == passes * len(images)
    assert not torch.allclose(first.probabilities, second.probabilities, atol=1e-4)
    assert torch.allclose(second.probabilities, plain(trainer, images).logits.softmax(dim=1), atol=1e-6)


def test_logits_that_are_not_finite_are_refused(images):
    trainer = trainer_of(modprompt.CoOp)
    with torch.no_grad():
        trainer.model.prompt_learner.ctx.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="not finite"):
        Scorer(images).scored(trainer)
