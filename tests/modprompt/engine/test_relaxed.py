"""Searches' layers: options at the price of one attention, and slots with a presence."""

import random

import pytest
import torch
import torch.nn.functional as F

import modprompt
from modprompt.engine.blocks import by_head, project
from modprompt.engine.derived import normalise
from modprompt.engine.model import PromptedCLIP
from modprompt.engine.prompts import Prompts
from modprompt.engine.relaxed import Mixed, Options, Slots, presences
from modprompt.engine.schedule import Schedule, Schedules
from modprompt.engine.space import ALL, steps_of
from modprompt.methods.search import Search
from tests import plain_dpl
from tests.conftest import LAYOUTS, lay_out_for, random_clip

NAMES = ["cat", "annual crop", "golden retriever", "sea lake photo"]


@pytest.fixture(params=LAYOUTS)
def layout(request, monkeypatch):
    lay_out_for(monkeypatch, request.param)


def dpl_search(clip_model, **settings):
    model = modprompt.DPLSearch(**settings).on(clip_model, NAMES)
    with torch.no_grad():
        for alphas in model.alpha_parameters():
            alphas.copy_(torch.randn(alphas.shape))
    return model


def plain_parameters(learner):
    """The learner's parameters as tests.plain_dpl has them."""
    named = {learner.checkpoint_key(name): value for name, value in learner.named_parameters()}
    return {
        {"alphas.vision": "alpha_img", "alphas.text": "alpha_txt"}.get(name, name): value
        for name, value in named.items()
    }


def tokens_of(clip_model):
    from clip import clip

    return clip.tokenize([f"a photo of a {name}." for name in NAMES]).long()


@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize("most", [(2, 3), (4, 1), (0, 2), (3, 0)])
def test_one_attention_equals_the_sum_over_all_options(most):
    clip_model = random_clip(2, text_width=128)
    model = dpl_search(clip_model, n_ctx_text=most[0], n_ctx_vision=most[1])
    images, labels = torch.randn(3, 3, 32, 32), torch.tensor([0, 3, 1])
    parameters = list(model.prompt_learner.parameters())

    ours = model(images)
    plain = plain_dpl.logits(clip_model, plain_parameters(model.prompt_learner), tokens_of(clip_model), images)
    assert (ours - plain).abs().max() <= 1e-5 * plain.abs().max()

    mine = torch.autograd.grad(F.cross_entropy(ours, labels), parameters, allow_unused=True)
    theirs = torch.autograd.grad(F.cross_entropy(plain, labels), parameters)
    largest = max(one.abs().max() for one in theirs)
    for one, two in zip(mine, theirs):
        one = torch.zeros_like(two) if one is None else one  # of a side without a choice
        assert (one - two).abs().max() <= 1e-5 * largest


def sum_over_options(block, options, query, key, value):
    """The plain sum over options in double precision."""
    rows = project(block, normalise(block.ln_1, options.tokens), 1, 3)
    own_key, own_value = (x.transpose(0, 1).double() for x in by_head(rows, 2, block.attn.num_heads))  # (H, N, d)
    query, key, value = (x.double().transpose(1, 2) for x in (query, key, value))
    total, first = 0, 0
    for length, weight in zip(options.lengths, options.weights.double()):
        own = slice(first, first + length)
        first += length
        keys, values = (
            torch.cat([words, prompts[:, own].expand(len(words), -1, -1, -1)], dim=2)
            for words, prompts in ((key, own_key), (value, own_value))
        )
        scores = query @ keys.transpose(-2, -1) * query.shape[-1] ** -0.5
        total = total + weight * scores.softmax(-1) @ values
    return total.transpose(1, 2)


@pytest.mark.parametrize("size", [1.0, 40.0, 300.0])
@pytest.mark.parametrize("apart", [-300.0, 0.0, 300.0])
def test_mixture_is_right_and_finite_however_large_scores_are(size, apart):
    block = random_clip(1, text_width=128).transformer.resblocks[0]
    width, heads = 128, block.attn.num_heads
    options = Options(torch.randn(7, width), (0, 2, 1, 4), torch.randn(4).softmax(0))
    query, key, value = (torch.randn(3, length, heads, width // heads) for length in (5, 6, 6))
    along = F.normalize(query, dim=-1)[:, :1]
    query = size * query + along
    key = key + apart / size * along  # words far below prompts, or far above
    query.requires_grad_(True)
    found = Mixed(block, options)(query, key, value)
    wanted = sum_over_options(block, options, query, key, value)
    scores = max(10, size, abs(apart))  # about their size, and with it that of what float32 rounds off
    assert (found - wanted).abs().max() <= 1e-6 * scores * wanted.abs().max()
    assert torch.isfinite(torch.autograd.grad(found.sum(), query)[0]).all()


def test_options_that_were_first_seen_in_inference_mode_can_be_trained():
    block = random_clip(1, text_width=128).transformer.resblocks[0]
    tokens = torch.randn(12, 128, requires_grad=True)  # of lengths that no other test has
    query = torch.randn(1, 2, block.attn.num_heads, 128 // block.attn.num_heads)

    def run():
        return Mixed(block, Options(tokens, (0, 5, 7), torch.ones(3) / 3))(query, query, query)

    with torch.inference_mode():
        first = run()
    again = run()
    assert torch.equal(first, again)
    (gradient,) = torch.autograd.grad(again.sum(), tokens)
    assert gradient.abs().sum(1).min() > 0


def test_draws_are_the_reference_s():
    clip_model = random_clip(2)
    torch.manual_seed(5)
    wanted, after = plain_dpl.initial_parameters(clip_model, most_text=2, most_vision=3), torch.rand(1)
    torch.manual_seed(5)
    learner = modprompt.DPLSearch(n_ctx_text=2, n_ctx_vision=3).on(clip_model, NAMES).prompt_learner
    assert torch.equal(torch.rand(1), after)
    found = plain_parameters(learner)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], value) for name, value in wanted.items())


@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize("seed", range(4))
def test_decided_options_equal_the_train_stage(seed):
    clip_model = random_clip(seed, text_layers=4, vision_layers=3, text_width=128)
    model = dpl_search(clip_model, n_ctx_text=3, n_ctx_vision=2)
    rng = random.Random(seed)
    paths = {"text": [rng.randint(0, 3) for _ in range(4)], "vision": [rng.randint(0, 2) for _ in range(3)]}
    trained = modprompt.DPL(lengths_text=tuple(paths["text"]), lengths_vision=tuple(paths["vision"]))
    found = trained.on(clip_model, NAMES)
    with torch.no_grad():
        for side, path in paths.items():
            options = getattr(model.prompt_learner, f"{side}_options")
            for layer, n in enumerate(path):
                if n:
                    getattr(found.prompt_learner, f"{side}_prompts")[str(layer)].copy_(options[layer][n - 1])
    images = torch.randn(2, 3, 32, 32)
    with model.prompt_learner.decided(paths):
        mixed = model(images)
    assert (mixed - found(images)).abs().max() <= 1e-5 * mixed.abs().max()


SEARCHED = {
    "MPL": modprompt.MPL(n_ctx=1, prompt_depth=3),
    "MPL before the start": modprompt.MPL(n_ctx=1, prompt_depth=3, place_text="before_start"),
    "MaPLe": modprompt.MaPLe(n_ctx=2, prompt_depth=3),
    "IVLP": modprompt.IVLP(prompt_depth_text=2, prompt_depth_vision=3),
    "IVLP elsewhere": modprompt.IVLP(
        prompt_depth_text=2, prompt_depth_vision=3, place_text="before_start", place_vision="behind_ln_pre"
    ),
    "VPT": modprompt.VPT(),
    "CoOp": modprompt.CoOp(n_ctx=3),
    "CoOp CSC": modprompt.CoOp(n_ctx=3, csc=True),
    "CoCoOp": modprompt.CoCoOp(n_ctx=2),
}


def random_path(rng, options):
    """An option for each layer that removes no more than is there, and the steps that it means."""
    path, present = [], 0
    for there in options:
        fitting = [place for place, (remove, _) in enumerate(there) if remove <= present]
        path.append(rng.choice(fitting))
        remove, add = there[path[-1]]
        present += add - (present if remove == ALL else remove)
    return path, steps_of(path, options)


class Fixed(torch.nn.Module):
    """A learner that gives the first tokens of another one's slots, by a schedule."""

    def __init__(self, searching, schedules):
        super().__init__()
        self.inner, self.schedules = searching.inner, schedules
        self.needs_image = searching.needs_image
        self.prompt_text, self.trains_text = searching.prompt_text, True

    def forward(self, *inputs):
        prompts = self.inner(*inputs)
        return Prompts(prompts.text, *(self._cut(side, prompts) for side in ("text", "vision")))

    def _cut(self, side, prompts):
        additions = getattr(prompts, f"{side}_additions")
        steps = getattr(self.schedules, side)
        return [new if new is None or new.dim() > 2 else new[: step.add] for new, step in zip(additions, steps)]


@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", SEARCHED)
def test_decided_slots_equal_the_engine_s_schedule(name, seed):
    clip_model = random_clip(seed, text_layers=4, vision_layers=4, text_width=128)
    model = Search(remove=1 + seed % 2, add=2).over(SEARCHED[name]).on(clip_model, NAMES)
    learner, rng = model.prompt_learner, random.Random(seed)
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    own, paths, schedules = learner.schedules, {}, {}
    for side, options in learner.options.items():
        paths[side], steps = random_path(rng, options)
        schedules[side] = Schedule(steps, side, getattr(own, side).place)
    plain = PromptedCLIP(Fixed(learner, own._replace(**schedules)), clip_model)
    images = torch.randn(2, 3, 32, 32)
    with learner.decided(paths):
        ours = model(images)
        mine = torch.autograd.grad(ours[:, 0].sum(), list(learner.trained().values()), allow_unused=True)
    theirs_logits = plain(images)
    theirs = torch.autograd.grad(theirs_logits[:, 0].sum(), list(learner.trained().values()), allow_unused=True)
    assert (ours - theirs_logits).abs().max() <= 1e-5 * ours.abs().max().clamp(min=1)
    largest = max(one.abs().max() for one in theirs if one is not None)
    for one, two in zip(mine, theirs):
        one, two = (torch.zeros(1) if x is None else x for x in (one, two))
        assert (one - two).abs().max() <= 1e-4 * largest


def one_hot_layer(remove, add, *, most=2, slots=2):
    """Survival and arrival of a layer that is decided."""
    fewer = torch.tensor([float(remove != ALL and remove < k) for k in range(most + 2)])
    return fewer, torch.tensor([float(add > slot) for slot in range(slots)])


@pytest.mark.parametrize("seed", range(5))
def test_presences_of_decided_layers_are_those_of_the_stack(seed):
    rng = random.Random(seed)
    layers, stack, wanted = [], [], []
    for _ in range(5):
        present = sum(stack)
        remove = rng.choice([n for n in (0, 1, 2) if n <= present] + [ALL])
        add = rng.randint(0, 2)
        layers.append(one_hot_layer(remove, add))
        left = present if remove == ALL else remove
        for place in reversed(range(len(stack))):
            if stack[place] and left:
                stack[place], left = 0, left - 1
        stack += [int(add > slot) for slot in range(2)]
        wanted.append(list(stack))
    found = presences([one for one, _ in layers], [two for _, two in layers])
    assert [[round(value) for value in there.tolist()] for there in found] == wanted
    assert all(value in (0.0, 1.0) for there in found for value in there.tolist())


def test_presence_between_whole_numbers_is_interpolated():
    survival = [torch.tensor([0.0, 1.0]), torch.tensor([0.0, 0.5, 1.0])]  # one is removed or none, evenly
    arrival = [torch.tensor([1.0, 0.4]), torch.zeros(0)]
    _, second = presences(survival, arrival)
    # the last slot is first from the end: 0.5 of 0.4; the other has 0.4 behind it: between 0.5 and 1
    assert second.tolist() == pytest.approx([0.5 + 0.4 * 0.5, 0.2])


def test_absent_slots_have_finite_gradients():
    clip_model = random_clip(1, text_width=128)
    model = Search().over(modprompt.VPT()).on(clip_model, NAMES)
    with torch.no_grad():
        model.prompt_learner.alphas["vision"][1:] = -200.0
        model.prompt_learner.alphas["vision"][1:, 0] = 200.0  # nothing removed, nothing added
    loss = model.alpha_loss(torch.randn(2, 3, 32, 32), torch.tensor([0, 1]))
    (gradient,) = torch.autograd.grad(loss, model.alpha_parameters())
    assert torch.isfinite(gradient).all()


def test_slots_without_tokens_change_nothing():
    clip_model = random_clip(1, text_width=128)
    model = modprompt.VPT().on(clip_model, NAMES)
    images = torch.randn(2, 3, 32, 32)
    prompts = model.prompt_learner()
    empty = [Slots(None, torch.zeros(0))] * 3
    nothing = model.image_encoder(images, empty)
    model.image_encoder.schedule = Schedules(Schedule([(0, 0)] * 3, "text"), Schedule([(0, 0)] * 3)).vision
    assert torch.equal(nothing, model.image_encoder(images, [None] * 3))
    assert not torch.equal(nothing, model.image_encoder(images, prompts.vision_additions))
