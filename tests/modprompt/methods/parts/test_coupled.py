import itertools

import pytest
import torch
import torch.nn.functional as F

from modprompt.clip.build import layers_of
from modprompt.engine.context import placeholders
from modprompt.engine.model import PromptedCLIP
from modprompt.engine.schedule import Schedules, from_config, modular, replacement
from modprompt.methods.parts.learners import CoupledPromptLearner
from tests import plain_mpl
from tests.conftest import lay_out_for, random_clip

NAMES = ["Annual Crop Land", "Forest", "sea_or_lake", "a class with quite a long name"]
SETTINGS = [
    {"n_ctx": 1, "n_add": 2, "n_rm": 1, "depth": 3},
    {"n_ctx": 2, "n_add": 1, "n_rm": 2, "depth": 4},
    {"n_ctx": 3, "n_add": 3, "n_rm": 0, "depth": 2},
    {"n_ctx": 2, "n_add": 2, "n_rm": 1, "depth": 1},
]


def build(clip_model, n_ctx=1, n_add=2, n_rm=1, depth=3, names=NAMES, text=(), vision=()):
    text_layers, vision_layers = layers_of(clip_model)
    schedules = Schedules(
        from_config(text, text_layers, "text", n_ctx) if text else replacement(text_layers, depth, n_ctx, "text"),
        from_config(vision, vision_layers, "vision", n_ctx)
        if vision
        else modular(vision_layers, depth, n_ctx, n_rm, n_add * n_ctx),
    )
    context = placeholders("a photo of a", n_ctx, clip_model)
    return CoupledPromptLearner(names, clip_model, schedules, context)


def tokens_of(learner):
    from clip import clip

    return torch.cat([clip.tokenize(text) for text in learner.prompt_text.texts]).long()


def test_prompt_text_is_placeholders_then_words_then_name(clip_model):
    assert build(clip_model, n_ctx=2).prompt_text.texts[2] == "X X a photo of a sea or lake."


@pytest.mark.parametrize(("setting", "seed"), list(itertools.product(SETTINGS, [1, 2])))
def test_seed_gives_the_reference_initial_values(setting, seed):
    clip_model = random_clip(text_layers=4, vision_layers=4)
    torch.manual_seed(seed)
    learner = build(clip_model, **setting)
    after = torch.rand(1)
    torch.manual_seed(seed)
    rest = {key: setting[key] for key in ("n_ctx", "n_add", "depth")}
    expected = plain_mpl.initial_parameters(clip_model, tokens_of(learner), **rest)
    assert torch.rand(1) == after  # as many numbers were drawn
    mine = learner.state_dict()
    assert set(mine) == set(expected)
    for name in mine:
        assert torch.equal(mine[name], expected[name]), name


@pytest.mark.parametrize("setting", SETTINGS)
def test_logits_and_gradients_equal_the_plain_implementation(setting):
    clip_model = random_clip(3, text_layers=4, vision_layers=5)
    torch.manual_seed(5)
    learner = build(clip_model, **setting)
    model = PromptedCLIP(learner, clip_model)
    params = {name: value.detach().clone().requires_grad_(True) for name, value in learner.state_dict().items()}
    images, labels = torch.randn(3, 3, 32, 32), torch.tensor([0, 3, 1])

    ours = model(images)
    plain = plain_mpl.logits(clip_model, params, tokens_of(learner), images, **setting)
    assert (ours - plain).abs().max() <= 1e-5 * plain.abs().max()

    F.cross_entropy(ours, labels).backward()
    F.cross_entropy(plain, labels).backward()
    largest = max(p.grad.abs().max() for p in params.values())
    for name, parameter in learner.named_parameters():
        assert (parameter.grad - params[name].grad).abs().max() <= 1e-5 * largest, name


@pytest.mark.parametrize("settings", SETTINGS)
def test_one_product_for_all_projections_is_each_of_them(clip_model, monkeypatch, settings):
    learner = build(clip_model, **{**settings, "depth": min(3, settings["depth"])})
    lengths = [1, 3] * len(learner.compound_prompts_text)
    for (name, rows), length in zip(list(learner.compound_prompts_text.items()), lengths):
        longer = rows.detach().repeat(2, 1)[: max(length, len(rows))]  # layers with other numbers of vectors
        learner.compound_prompts_text[name] = torch.nn.Parameter(longer)

    def both_ways():
        learner.zero_grad()
        rows = [one for one in learner.vision_additions() if one is not None]
        torch.cat([row * (1 + number) for number, row in enumerate(rows)]).square().sum().backward()
        return [row.detach() for row in rows], [one.grad for one in learner.parameters() if one.grad is not None]

    one_by_one = both_ways()
    lay_out_for(monkeypatch, "whole")
    together = both_ways()
    for ours, expected in zip(together, one_by_one):
        assert len(ours) == len(expected)
        for one, two in zip(ours, expected):
            torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)
