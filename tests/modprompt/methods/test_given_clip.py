"""A module that is no CLIP, given in the place of one."""

import pytest
from torch import nn

import modprompt


@pytest.fixture
def saved(clip_model, tmp_path):
    path = tmp_path / "mpl.pt"
    modprompt.MPL(n_ctx=1, n_add_op=1, prompt_depth=2).on(clip_model, ["cat", "dog"]).save(path)
    return path


def test_load_refuses_what_is_no_clip(saved):
    with pytest.raises(
        modprompt.UserError, match=r"torch.nn.modules.linear.Linear is not a model of the `clip` package"
    ):
        modprompt.load(saved, nn.Linear(2, 2))


def test_load_takes_the_clip_of_the_file(saved, clip_model):
    assert modprompt.load(saved, clip_model).classes.names == ("cat", "dog")
