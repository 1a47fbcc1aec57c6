from collections import OrderedDict
from types import SimpleNamespace

import pytest
import torch

from modprompt.errors import UserError
from modprompt.methods.records import PREFIX, CheckpointView, count_classes, load_learner, require_made_with, view_of
from modprompt.methods.table import row_of
from tests.methods import small
from tests.modprompt.methods.parts.test_coupled import build


def reference_state(learner, clip_model):
    """The names of the reference's full checkpoint: learner with its class tokens, and all of CLIP, maybe half."""
    state = OrderedDict((f"prompt_learner.{name}", value) for name, value in learner.state_dict().items())
    state["prompt_learner.token_prefix"] = torch.zeros(7, 1, 64)
    state["prompt_learner.token_suffix"] = torch.zeros(7, 75, 64)
    for name, value in clip_model.visual.state_dict().items():
        state[f"image_encoder.{name}"] = value
    return state


def view(learner):
    return CheckpointView(learner, lambda name: PREFIX + name)


def save(path, state_dict, **more):
    torch.save({"state_dict": state_dict, "epoch": 5, **more}, path)
    return path


def test_full_checkpoint_of_the_reference_loads(clip_model, tmp_path):
    learner, other = build(clip_model), build(clip_model, names=["dog"])
    optimiser = torch.optim.SGD(learner.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 5.0)
    successor = {key: value for key, value in vars(schedule).items() if key != "optimizer"}
    path = save(
        tmp_path / "model.pth.tar-5",
        reference_state(learner, clip_model),
        optimizer=optimiser.state_dict(),
        scheduler={**successor, "successor": schedule},
        val_result=None,  # the reference pickles the schedule itself
    )
    loaded = load_learner(view(other), path)
    assert (loaded.epoch, count_classes(loaded.state_dict), loaded.class_list, loaded.record) == (5, 7, "", {})
    for name, value in learner.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)


def test_checkpoint_made_with_other_settings_of_equal_shapes_is_refused():
    made_with = {"TRAINER.MPL.N_RM_OP": "1", "the weights of CLIP": "abc"}
    content = SimpleNamespace(record={}, made_with=made_with)
    for same in (made_with, {**made_with, "TRAINER.MPL.N_RM_OP": "1.0"}):
        require_made_with(content, same, "c.pth")
    for name, value, found in (("TRAINER.MPL.N_RM_OP", "0", "1"), ("the weights of CLIP", "1e3", "abc")):
        with pytest.raises(
            UserError, match=rf"different settings: {name} \(here {value}, but {found} in the checkpoint\)"
        ):
            require_made_with(content, {**made_with, name: value}, "c.pth")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"depth": 2}, "compound_prompts_text.1 is missing in the file"),
        ({"n_ctx": 2}, r"ctx has the shape \(1, 64\) in this model, but \(2, 64\) in the file. Use the settings"),
    ],
)
def test_checkpoint_of_another_form_names_a_tensor(clip_model, tmp_path, other, message):
    path = save(tmp_path / "c.pth", build(clip_model, **other).state_dict())
    with pytest.raises(UserError, match=message):
        load_learner(view(build(clip_model)), path)


def test_failed_load_leaves_the_learner_as_it_was(clip_model, tmp_path):
    learner = build(clip_model)
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    path = save(tmp_path / "c.pth", build(clip_model, depth=2).state_dict())
    with pytest.raises(UserError):
        load_learner(view(learner), path)
    assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {"weight": torch.zeros(2)}}, {"epoch": 3}])
def test_file_without_a_learner_is_refused(clip_model, tmp_path, content):
    torch.save(content, tmp_path / "c.pth")
    with pytest.raises(
        UserError, match="is not a checkpoint of (a prompt-learning method|this method. The file has no )"
    ):
        load_learner(view(build(clip_model)), tmp_path / "c.pth")


def test_learner_without_prefix_beside_deep_prompts_keeps_all_its_names():
    from modprompt.methods.records import learner_part

    state = {
        "ctx": torch.zeros(2, 4),
        "meta_net.linear1.weight": torch.zeros(2, 4),
        "text_encoder.transformer.resblocks.1.VPT_shallow": torch.zeros(2, 4),
        "token_prefix": torch.zeros(3, 1, 4),
    }
    assert set(learner_part(state)) == set(state) - {"token_prefix"}
    inside = {
        "image_encoder.VPT": torch.zeros(2, 4),
        "image_encoder.conv1.weight": torch.zeros(1),
        "logit_scale": torch.zeros(()),
    }
    assert set(learner_part(inside)) == {"image_encoder.VPT"}


def test_class_tokens_that_are_no_rows_are_of_no_classes():
    assert count_classes({"prompt_learner.token_suffix": torch.tensor(1.0)}) == 0
    assert count_classes({"prompt_learner.token_suffix": "text"}) == 0


ODD = [torch.tensor(1.0), torch.zeros(3), torch.zeros(0), torch.zeros(2, 2, 2, 2, 2), 5, None, "x", [1]]


@pytest.mark.parametrize("name", ["MPL", "VPT", "CoCoOp"])
def test_tensor_of_any_other_shape_or_type_is_one_line(name, clip_model, tmp_path):
    model = small(row_of(name).method, clip_model).on(clip_model, ["a", "b"])
    mine = view_of(model.method, model.prompt_learner)
    state = {key: value.detach() for key, value in mine.state_dict().items()}
    for key in state:
        for odd in ODD:
            with pytest.raises(UserError) as raised:
                load_learner(mine, save(tmp_path / "file", {**state, key: odd}))
            assert "\n" not in str(raised.value)
    prefix = PREFIX if any(key.startswith(PREFIX) for key in state) else ""
    for key in ("token_prefix", "token_suffix"):
        assert load_learner(mine, save(tmp_path / "file", {**state, prefix + key: torch.tensor(1.0)})).epoch == 5
