import hashlib

import pytest
import torch

from modprompt.clips import build as backbone
from modprompt.clips.fingerprint import fingerprint
from modprompt.errors import UserError
from modprompt.storage.versioned import Versioned, in_the_form_of, proves_less, understood
from tests.conftest import random_clip


def of(model):
    return fingerprint(model.state_dict(), model)


def test_every_tensor_counts():
    model = random_clip(text_layers=1, vision_layers=1)
    before = of(model)
    for name, tensor in model.state_dict().items():
        changed = {**model.state_dict(), name: tensor.clone()}
        changed[name].view(-1)[-1] += 0.5
        assert fingerprint(changed, model) != before, name
        assert fingerprint({**changed, name: tensor}, model) == before


def test_half_file_and_its_exact_float_copy_are_one(half_weights):
    model = random_clip(text_layers=1, vision_layers=1)
    exact = of(model)
    half_weights(model)
    half = of(model)
    assert half == of(model.float())
    assert half != exact  # what the cast has rounded away


def test_activation_and_heads_count():
    model = random_clip(text_layers=1, vision_layers=1)
    before = of(model)
    block = model.visual.transformer.resblocks[0]
    block.attn.num_heads += 2
    assert of(model) != before
    block.attn.num_heads -= 2
    block.mlp.gelu = torch.nn.GELU()
    assert of(model) != before


def test_name_of_a_tensor_counts():
    model = random_clip(text_layers=1, vision_layers=1)
    state = model.state_dict()
    swapped = {**state, "ln_final.weight": state["ln_final.bias"], "ln_final.bias": state["ln_final.weight"]}
    assert fingerprint(swapped, model) != of(model)


def test_loaded_model_knows_its_file(clip_file, resnet_file):
    one, other = (backbone.load_clip("any", str(path)).fingerprint for path in (clip_file, resnet_file))
    assert one.startswith("2:")
    assert one != other
    assert one == backbone.load_clip("any", str(clip_file)).fingerprint


def test_hash_of_version_one_is_still_understood():
    model = random_clip(text_layers=1, vision_layers=1)
    first = (model.text_projection, next(model.visual.parameters()))
    recorded = hashlib.sha256(b"".join(t.detach().half().numpy().tobytes() for t in first)).hexdigest()[:12]
    mine = of(model)
    assert in_the_form_of(recorded, mine) == recorded
    assert proves_less(recorded, mine)
    assert in_the_form_of(mine, mine) == mine
    assert not proves_less(mine, mine)


def test_hash_of_a_later_version_is_refused():
    with pytest.raises(UserError, match="hash of version 3 .* newer modprompt"):
        in_the_form_of("3:abc", of(random_clip(text_layers=1, vision_layers=1)))


def test_warning_names_what_an_earlier_rule_has_said():
    mine = Versioned("2:abc", old="123")
    with pytest.warns(UserWarning, match="run holds the weights by an earlier rule, which proves less"):
        assert understood({"the weights": "123"}, {"the weights": mine, "SEED": "1"}, "run") == {
            "the weights": "123",
            "SEED": "1",
        }
    assert understood({}, {"the weights": mine}, "run") == {"the weights": "2:abc"}
