"""A checkpoint with one thing wrong is a line."""

import math
import warnings

import numpy as np
import pytest
import torch

import modprompt
from modprompt.errors import UserError
from modprompt.io import checkpoint
from modprompt.io.records import KEY, sealed
from tests.conftest import one_line, random_clip

NAMES = ["zero", "one"]


@pytest.fixture(scope="module")
def clip_model():
    return random_clip()


@pytest.fixture(scope="module")
def saved(clip_model, tmp_path_factory):
    """The content of a model's file."""
    path = tmp_path_factory.mktemp("saved") / "a.pt"
    modprompt.CoOp(n_ctx=2).on(clip_model, NAMES).save(path)
    return torch.load(path, weights_only=True)


@pytest.fixture
def line_of(tmp_path, clip_model):
    """What modprompt.load says of a content."""

    def line(content):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of quantized tensors
            torch.save(content, tmp_path / "b.pt")
        with one_line(r"b\.pt") as raised:
            modprompt.load(tmp_path / "b.pt", clip_model)
        return str(raised.value)

    return line


def test_content_comes_back(saved, tmp_path):
    torch.save(saved, tmp_path / "b.pt")
    found = checkpoint.read(tmp_path / "b.pt")
    assert found.trained_on == tuple(NAMES)
    assert found.made_with["the method"] == saved[KEY]["method"]["learner"]
    assert found.state_dict.keys() == saved["state_dict"].keys()


@pytest.mark.parametrize(("part", "wrong"), [("method", 7), ("method", {}), ("classes", []), ("classes", None)])
def test_part_of_another_type_is_a_line(saved, line_of, part, wrong):
    parts = {key: value for key, value in saved[KEY].items() if key not in ("version", "hash")}
    again = sealed({}, checkpoint.VERSION, **{**parts, part: wrong})
    assert "is damaged (invalid modprompt record: " in line_of({**saved, **again})


WRONG = {
    "nan": torch.full((2, 64), math.nan),
    "infinity": torch.full((2, 64), math.inf),
    "complex": torch.zeros(2, 64, dtype=torch.complex64),
    "whole numbers": torch.zeros(2, 64, dtype=torch.int8),
    "sparse": torch.zeros(2, 64).to_sparse(),
    "meta": torch.zeros(2, 64, device="meta"),
    "scalar": torch.tensor(1.0),
    "text": "text",
}


@pytest.mark.parametrize("kind", WRONG)
def test_learned_tensors_are_finite_numbers(saved, line_of, kind):
    for key, value in saved["state_dict"].items():
        if value.shape == (2, 64):
            line = line_of({**saved, "state_dict": {**saved["state_dict"], key: WRONG[kind]}})
            assert (
                kind not in ("nan", "infinity")
                or "contains values that are not finite, so the training diverged" in line
            )


@pytest.mark.parametrize("epoch", [50, np.int64(50)])
def test_checkpoints_of_the_family_have_epochs_of_any_kind_and_nothing_else(epoch, saved, tmp_path):
    torch.save({"state_dict": saved["state_dict"], "epoch": epoch, "settings": [1]}, tmp_path / "b.pt")
    found = checkpoint.read(tmp_path / "b.pt")
    assert (found.epoch, found.settings, found.record) == (50, {}, {})
    torch.save(saved["state_dict"], tmp_path / "b.pt")
    assert checkpoint.read(tmp_path / "b.pt").epoch == 0


def test_pointer_leads_to_no_checkpoint_elsewhere(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "model-other").touch()
    for word in ("../model-other", str(tmp_path / "model-other"), "", "model/../../model-other"):
        (tmp_path / "run" / "checkpoint").write_text(word)
        with pytest.raises(UserError, match="Available checkpoints: none"):
            checkpoint.newest_checkpoint(str(tmp_path / "run"))
