"""Which CLIP it is: known by all of its tensors, also where they were changed behind loading."""

import copy
import hashlib
import threading

import pytest
import torch
from clip.model import convert_weights

import modprompt
from modprompt.clip import facts
from modprompt.clip.facts import PORTION, digest_of, facts_of, fingerprint
from modprompt.clip.load import load
from modprompt.clip.spec import ClipSpec
from modprompt.errors import UserError
from tests.conftest import RESNET_HEADS, SAID, random_clip
from tests.modprompt.methods.test_model import on

BLOCK = "visual.transformer.resblocks.1.mlp.c_fc.weight"


@pytest.fixture
def loaded(clip_file):
    return modprompt.load_clip(str(clip_file), "cpu", **SAID)[0]


def load_state(clip_model):
    clip_model.load_state_dict({**clip_model.state_dict(), BLOCK: 1.5 * clip_model.state_dict()[BLOCK]})


def through_data(clip_model):
    clip_model.get_parameter(BLOCK).data.mul_(1.5)


def step_fused(clip_model):
    parameter = clip_model.get_parameter(BLOCK)
    parameter.requires_grad_(True).grad = torch.ones_like(parameter)
    torch.optim.SGD([parameter], lr=0.1, fused=True).step()
    parameter.requires_grad_(False)


@pytest.mark.parametrize("change", [load_state, through_data, step_fused])
def test_prompts_know_a_clip_that_was_changed_behind_loading_as_another(change, loaded, tmp_path):
    model = on(modprompt.MPL, loaded)
    model.save(tmp_path / "before.pt")
    change(loaded)
    with pytest.raises(UserError, match="before.pt was trained with .* Use the CLIP model that was used for training"):
        modprompt.load(tmp_path / "before.pt", loaded)
    model.save(tmp_path / "behind.pt")
    with torch.no_grad():
        images = torch.randn(2, 3, 32, 32)
        assert torch.equal(modprompt.load(tmp_path / "behind.pt", loaded)(images), model.eval()(images))
    with pytest.raises(UserError, match="behind.pt was trained with .* Use the CLIP model that was used for training"):
        modprompt.load(tmp_path / "behind.pt", random_clip())


def test_a_cast_a_move_and_a_copy_make_no_other_clip(loaded):
    model = on(modprompt.MPL, loaded)
    before = model.clip_facts
    model.to(torch.bfloat16)
    assert facts_of(loaded, anew=True) == before  # the weights before the cast are gone
    assert facts_of(copy.deepcopy(loaded), anew=True) == before
    other = random_clip()
    known = facts_of(other)
    assert facts_of(copy.deepcopy(other), anew=True) == facts_of(other.double().float(), anew=True) == known


@pytest.mark.slow
def test_models_of_all_kinds_have_the_hash_of_the_file_that_they_were_built_of(clip_file, resnet_file):
    """Else one that is looked at again would be another."""
    kinds = [("any", str(clip_file), *SAID.values()), ("any", str(resnet_file), "quick_gelu", RESNET_HEADS)]
    for given in [*kinds, ("glyph-clip",)]:
        clip_model = load(ClipSpec(*given))
        assert str(fingerprint(clip_model.state_dict(), clip_model)) == clip_model.fingerprint


def of(model):
    return fingerprint(model.state_dict(), model)


@pytest.mark.slow
def test_threads_that_hash_do_not_begin_at_once(monkeypatch):
    """In a forked process the first of PyTorch's own makes a pool anew, and five of a thousand fail where two are."""
    seen = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: seen.append(threading.current_thread()))
    monkeypatch.setattr(facts, "digest_of", lambda *of: seen.append("a tensor") or digest_of(*of))
    clip_model = random_clip()
    fingerprint(clip_model.state_dict(), clip_model)
    assert isinstance(seen[0], threading.Thread)
    assert seen[0] is not threading.main_thread()
    assert set(seen[1:]) == {"a tensor"}


def test_every_tensor_counts():
    model = random_clip(text_layers=1, vision_layers=1)
    before = of(model)
    for name, tensor in model.state_dict().items():
        changed = {**model.state_dict(), name: tensor.clone()}
        changed[name].view(-1)[-1] += 0.5
        assert fingerprint(changed, model) != before, name
        assert fingerprint({**changed, name: tensor}, model) == before


def test_half_file_and_its_exact_float_copy_are_one():
    model = random_clip(text_layers=1, vision_layers=1)
    exact = of(model)
    convert_weights(model)
    half = of(model)
    assert half == of(model.float())
    assert half != exact  # what the cast has rounded away


@pytest.mark.parametrize("last", [0.5, 1 / 3])
def test_tensor_of_many_portions_is_hashed_as_one(last):
    """One value that no half has, at its very end, decides on the type of all; version 2 hashed them in one go."""
    tensor = torch.arange(3 * PORTION + 7).remainder(1000).float()
    tensor[-1] = last
    kind = torch.float16 if last == 0.5 else torch.float32
    expected = hashlib.sha256(f"x {kind} {tuple(tensor.shape)}\n".encode() + tensor.to(kind).numpy().tobytes())
    assert digest_of("x", tensor) == expected.digest()


def test_embedded_model_has_the_fingerprint_that_results_have_recorded():
    assert load(ClipSpec("glyph-clip")).fingerprint == "2:c8ba978be8bffedcdcbd686c"


def test_name_of_a_tensor_counts():
    model = random_clip(text_layers=1, vision_layers=1)
    state = model.state_dict()
    swapped = {**state, "ln_final.weight": state["ln_final.bias"], "ln_final.bias": state["ln_final.weight"]}
    assert fingerprint(swapped, model) != of(model)
