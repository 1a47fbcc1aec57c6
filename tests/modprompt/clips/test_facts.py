"""Which CLIP it is: known by all of its tensors, also where they were changed behind loading."""

import copy

import pytest
import torch

import modprompt
from modprompt.clips import build
from modprompt.clips.facts import facts_of, fingerprint
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
    with pytest.raises(UserError, match="made with another CLIP"):
        modprompt.load(tmp_path / "before.pt", loaded)
    model.save(tmp_path / "behind.pt")
    with torch.no_grad():
        images = torch.randn(2, 3, 32, 32)
        assert torch.equal(modprompt.load(tmp_path / "behind.pt", loaded)(images), model.eval()(images))
    with pytest.raises(UserError, match="made with another CLIP"):
        modprompt.load(tmp_path / "behind.pt", random_clip())


def test_trainers_see_what_was_written_and_hash_nothing_else(loaded, monkeypatch):
    hashed = []
    monkeypatch.setattr("modprompt.clips.facts.fingerprint", lambda *given: hashed.append(1) or fingerprint(*given))
    model = on(modprompt.MPL, loaded)
    before = model.clip_facts
    assert model.clip_facts == before
    assert not hashed
    load_state(loaded)
    behind = model.clip_facts
    assert behind.fingerprint != before.fingerprint
    assert before.file
    assert not behind.file
    assert model.clip_facts == behind
    assert len(hashed) == 1


def test_a_cast_a_move_and_a_copy_make_no_other_clip(loaded):
    model = on(modprompt.MPL, loaded)
    before = model.clip_facts
    model.to(torch.bfloat16)
    assert facts_of(loaded, sure=True) == before  # the weights before the cast are gone
    assert facts_of(copy.deepcopy(loaded), sure=True) == before
    load_state(loaded)
    assert model.clip_facts.fingerprint != before.fingerprint
    other = random_clip()
    known = facts_of(other)
    assert facts_of(copy.deepcopy(other), sure=True) == facts_of(other.double().float(), sure=True) == known


def test_models_of_all_kinds_have_the_hash_of_the_file_that_they_were_built_of(clip_file, resnet_file):
    """Else one that is looked at again would be another."""
    kinds = [("any", str(clip_file), *SAID.values()), ("any", str(resnet_file), "quick_gelu", RESNET_HEADS)]
    for given in [*kinds, ("glyph-clip",)]:
        clip_model = build.load_clip(*given)
        assert str(fingerprint(clip_model.state_dict(), clip_model)) == clip_model.fingerprint
