"""Searches' layers: options at the price of one attention, and slots with a presence."""

import random

import pytest
import torch
import torch.nn.functional as F

import modprompt
from modprompt.engine.model import PromptedCLIP
from modprompt.engine.prompts import Prompts
from modprompt.engine.schedule import Schedule, Schedules
from modprompt.methods.parts.learners import Learner
from modprompt.methods.search.file import ALL
from modprompt.methods.search.over import Search
from modprompt.methods.search.space import steps_of
from modprompt.methods.search.supernet import Slots, presences
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
@pytest.mark.parametrize("most", [(2, 3), (0, 2)])
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
@pytest.mark.parametrize("seed", range(2))
def test_decided_options_equal_the_train_stage(seed):
    clip_model = random_clip(seed, text_layers=4, vision_layers=3, text_width=128)
    model = dpl_search(clip_model, n_ctx_text=3, n_ctx_vision=2)
    rng = random.Random(seed)
    paths = {"text": [rng.randint(0, 3) for _ in range(4)], "vision": [rng.randint(0, 2) for _ in range(3)]}
    trained = modprompt.DPL.of({"lengths_text": paths["text"], "lengths_vision": paths["vision"]})
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


class Fixed(Learner):
    """A learner that gives the first tokens of another one's slots, by a schedule."""

    def __init__(self, searching, schedules):
        super().__init__(schedules, "")
        self.inner = searching.inner
        self.needs_image = searching.needs_image
        self.prompt_text, self.trains_text = searching.prompt_text, True

    def forward(self, *inputs):
        prompts = self.inner(*inputs)
        return Prompts(prompts.text, *(self._cut(side, prompts) for side in ("text", "vision")))

    def _cut(self, side, prompts):
        additions = getattr(prompts, f"{side}_additions")
        steps = getattr(self.schedules, side)
        return [new if new is None or new.dim() > 2 else new[: step.add] for new, step in zip(additions, steps)]


@pytest.mark.parametrize(
    ("name", "seed", "layout"),
    [(name, (at + more) % 3, LAYOUTS[(at + 2 * more) % 3]) for more in (0, 1) for at, name in enumerate(SEARCHED)],
)
def test_decided_slots_equal_the_engine_s_schedule(name, seed, layout, monkeypatch):
    lay_out_for(monkeypatch, layout)
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


def one_hot_layer(layer, remove, add, *, layers):
    """Removals and arrivals of a layer that is decided."""
    comes = torch.zeros(layers, 2)
    comes[layer, :add] = 1
    return torch.tensor([float(remove == n) for n in range(3)]), comes.flatten()


@pytest.mark.parametrize("seed", range(5))
def test_presences_of_decided_layers_are_those_of_the_stack(seed):
    rng = random.Random(seed)
    layers, stack, wanted = [], [], []
    for layer in range(5):
        present = sum(stack)
        remove = rng.choice([n for n in (0, 1, 2) if n <= present] + [ALL])
        add = rng.randint(0, 2)
        layers.append(one_hot_layer(layer, remove, add, layers=5))
        left = present if remove == ALL else remove
        for place in reversed(range(len(stack))):
            if stack[place] and left:
                stack[place], left = 0, left - 1
        stack += [int(add > slot) for slot in range(2)]
        wanted.append([*stack, *[0] * (10 - len(stack))])
    found = presences(*map(torch.stack, zip(*layers)))
    assert found.tolist() == wanted


def interpolated(removes, comes):
    """As presences, slot by slot: survival of the k-th from the end, read at k between whole numbers."""
    layers = [list(comes[0])]
    for removed, arrives in zip(removes[1:], comes[1:]):
        known = [0.0, *(sum(removed[:k]) for k in range(1, len(removed) + 1))]
        present = []
        for slot, there in enumerate(layers[-1]):
            place = min(1 + float(sum(layers[-1][slot + 1 :])), len(known) - 1)
            low = min(int(place), len(known) - 2)
            present.append(there * (known[low] + (known[low + 1] - known[low]) * (place - low)) + arrives[slot])
        layers.append(present)
    return layers


@pytest.mark.parametrize("most", [0, 1, 3])
def test_presences_of_undecided_layers_are_those_of_single_slots(most):
    torch.manual_seed(most)
    weights = torch.rand(6, most + 2).softmax(1)
    comes = torch.zeros(6, 6, 2)
    comes[range(6), range(6)] = torch.rand(6, 2)
    comes, removes = comes.flatten(1), weights[:, : most + 1]  # the last column: all are removed
    torch.testing.assert_close(presences(removes, comes), torch.tensor(interpolated(removes.tolist(), comes.tolist())))


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
    model = modprompt.VPT(prompt_depth_vision=1).on(clip_model, NAMES)
    images = torch.randn(2, 3, 32, 32)
    prompts = model.prompt_learner()
    empty = [Slots(None, torch.zeros(0))] * 3
    nothing = model.image_encoder(images, empty)
    model.image_encoder.schedule = Schedules(Schedule([(0, 0)] * 3, "text"), Schedule([(0, 0)] * 3)).vision
    assert torch.equal(nothing, model.image_encoder(images, [None] * 3))
    assert not torch.equal(nothing, model.image_encoder(images, prompts.vision_additions))


@pytest.mark.parametrize("search", ["options", "slots"])
def test_features_that_are_kept_are_those_of_what_is_decided_now(search):
    clip_model = random_clip(2, text_width=128)
    if search == "options":
        model = dpl_search(clip_model, n_ctx_text=3, n_ctx_vision=2).eval()
    else:
        model = Search().over(modprompt.CoOp(n_ctx=2)).on(clip_model, NAMES).eval()
    with torch.no_grad():
        for parameter in model.prompt_learner.parameters():
            parameter.add_(torch.randn(parameter.shape))
    images, learner = torch.randn(2, 3, 32, 32), model.prompt_learner
    paths = {side: [0] * len(options) for side, options in learner.options.items()}
    with torch.no_grad():
        before = model(images)
        with learner.decided(paths):
            inside = model(images)
        after = model(images)
    assert not torch.allclose(before, inside)
    assert torch.equal(before, after)


@pytest.mark.parametrize("method", [modprompt.MPL(n_ctx=1), modprompt.IVLP()], ids=["MPL", "IVLP"])
def test_alphas_have_finite_gradients_under_autocast(method):
    clip_model = random_clip(2, text_layers=9, vision_layers=9, text_width=128)
    model = Search().over(method).on(clip_model, NAMES)
    with torch.autocast("cpu", torch.float16):
        loss = model.alpha_loss(torch.randn(2, 3, 32, 32), torch.tensor([0, 1]))
    for gradient in torch.autograd.grad(loss, model.alpha_parameters()):
        assert torch.isfinite(gradient).all()
