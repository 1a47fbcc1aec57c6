"""Changes of layers on both sides, against whole sequences of all tokens through plain layers."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from modprompt.engine import encoders
from modprompt.engine.encoders import TextEncoder, VisionEncoder
from modprompt.engine.layer_change import LayerChange
from modprompt.engine.model import PromptedCLIP
from modprompt.engine.prompts import Prompts, PromptText, class_texts
from modprompt.engine.schedule import Schedule, Schedules
from modprompt.engine.text_layers import run_packed
from modprompt.methods.parts.learners import Learner
from tests.conftest import LAYOUTS, lay_out_for
from tests.plain_neighbours import image_features, text_features

NAMES = ["cat", "a very long name of a thing", "x_y", "dog"]
TEXT, VISION = Schedule([(0, 0)] * 3, "text"), Schedule([(0, 0)] * 3)


class Change(LayerChange, nn.Module):
    """Shifts what enters, adds to the products of `which`, and with `behind` to the block's output."""

    def __init__(self, width, which="qkvo", behind=True):
        super().__init__()
        self.shift = nn.Parameter(torch.randn(width))
        self.products = nn.ModuleDict({one: nn.Linear(width, width) for one in which})
        self.behind = nn.Linear(width, width) if behind else None

    def enters(self, x):
        return x + self.shift * x.abs()

    def product(self, which, x):
        return self.products[which](x) if which in self.products else None

    def residual(self, out, h):
        return out if self.behind is None else out + F.relu(self.behind(h))


def changes_of(width):
    torch.manual_seed(1)
    return [None, Change(width, "vo", behind=False), Change(width)]


def gradients(features, changes):
    learned = [x for one in changes if one is not None for x in one.parameters()]
    return torch.autograd.grad(features.sin().sum(), learned)


def assert_alike(ours, plain, changes):
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-4)
    for one, other in zip(gradients(ours, changes), gradients(plain, changes)):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("most_tokens", "names"), [(None, NAMES), (None, NAMES[:1]), (1, NAMES), (9, NAMES)])
def test_text_side_is_that_of_plain_layers(clip_model, monkeypatch, layout, most_tokens, names):
    from clip import clip

    lay_out_for(monkeypatch, layout)
    clip_model.requires_grad_(False)
    text = PromptText(class_texts(names, "a photo of a"), names, 0, clip_model)
    ids, changes = clip.tokenize(text.texts).long(), changes_of(64)
    encoder = TextEncoder(clip_model, TEXT, most_tokens=most_tokens)
    (ours,) = encoder(text(torch.empty(0, 64)), [None] * 3, changes)
    words = clip_model.token_embedding(ids)
    assert_alike(ours, text_features(clip_model, ids, words, {}, 0, unit=False, changes=changes), changes)


def test_vision_side_is_that_of_plain_layers(clip_model):
    clip_model.requires_grad_(False)
    images, changes = torch.randn(2, 3, 32, 32), changes_of(128)
    ours = F.normalize(VisionEncoder(clip_model.visual, VISION)(images, [None] * 3, changes), dim=-1)
    assert_alike(ours, image_features(clip_model, images, {}, changes), changes)


class Changed(Learner):
    """Class names in a template, and changes of both sides; nothing else."""

    changes_images = True
    bound = False

    def __init__(self, clip_model, first=0):
        super().__init__(Schedules(TEXT, VISION), "a photo of a")
        self.first = first  # layer with a change on the text side
        self.register_buffer("ctx", torch.empty(0, 64))
        self.text, self.vision = (nn.ModuleList([Change(width) for _ in range(3)]) for width in (64, 128))
        self.put_in(NAMES, clip_model)

    def forward(self):
        text = [None] * self.first + list(self.text)[self.first :]
        return Prompts(self.prompt_text(self.ctx), [None] * 3, [None] * 3, text, list(self.vision))


@pytest.fixture
def model(clip_model):
    torch.manual_seed(0)
    return PromptedCLIP(Changed(clip_model), clip_model).eval()


class Steps:
    """Logits and gradients of a model whose text side has its first change in the last layer, and its runs of layers."""

    def __init__(self, clip_model, monkeypatch, most_tokens=None):
        torch.manual_seed(0)
        self.model = PromptedCLIP(Changed(clip_model, first=2), clip_model).train()
        self.model.text_encoder.most_tokens = most_tokens
        self.images, self.runs = torch.randn(2, 3, 32, 32), 0
        monkeypatch.setattr(encoders, "run_packed", self._counted)

    def _counted(self, *given):
        self.runs += 1
        return run_packed(*given)

    def step(self):
        """The logits, the gradients of a loss, and how many layers were run whole."""
        before = self.runs
        logits = self.model(self.images)
        learned = [one for name, one in self.model.prompt_learner.named_parameters() if name.startswith("text.2.")]
        return logits, torch.autograd.grad(logits.sin().sum(), learned), self.runs - before


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("most_tokens", "chunks"), [(None, 1), (1, len(NAMES))])
def test_layers_that_nothing_reaches_are_run_once(clip_model, monkeypatch, layout, most_tokens, chunks):
    lay_out_for(monkeypatch, layout)
    steps = Steps(clip_model, monkeypatch, most_tokens)
    first, again = steps.step(), steps.step()
    assert (first[2], again[2]) == (2 * chunks, 0)
    monkeypatch.setattr(steps.model.text_encoder, "untouched", lambda *given: 0)
    logits, gradients, _ = steps.step()
    for found in (first, again):
        assert torch.equal(found[0], logits)
        assert all(torch.equal(one, other) for one, other in zip(found[1], gradients))


@pytest.mark.parametrize("change", ["weights", "words", "mode", "chunks"])
def test_what_was_run_once_is_run_anew_when_something_below_has_changed(clip_model, monkeypatch, change):
    steps = Steps(clip_model, monkeypatch)
    before, *_ = steps.step()
    with torch.no_grad():
        if change == "weights":
            clip_model.transformer.resblocks[0].ln_1.weight.mul_(2)
        elif change == "words":
            steps.model.prompt_learner.put_in(["car", *NAMES[1:]], clip_model)
        elif change == "mode":
            clip_model.transformer.resblocks[0].ln_1.weight.data.mul_(2)  # unseen, but by train()
            steps.model.train()
        else:
            steps.model.text_encoder.most_tokens = 1
    after, _, runs = steps.step()
    assert runs == (2 * len(NAMES) if change == "chunks" else 2)
    assert torch.allclose(before, after, atol=1e-4) == (change == "chunks")
