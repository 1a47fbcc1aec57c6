"""A checkpoint with one thing wrong, sealed again, is a line: of modprompt.load, of train.py, of modprompt interpret."""

import copy
import math
import warnings

import numpy as np
import pytest
import torch

import modprompt
from modprompt.cli import train
from modprompt.errors import UserError
from modprompt.io import checkpoint
from modprompt.io.checksum import KEY, sealed
from modprompt.programs import report
from tests.conftest import random_clip
from tests.methods import METHODS
from tests.mutations import HUGE, changed, mutations

NAMES = ["zero", "one"]


def sealed_again(content):
    """With the right hash, so that the seal does not hide what is wrong; as it is where it cannot be sealed."""
    record = content.get(KEY) if isinstance(content, dict) else None
    if not isinstance(record, dict) or not all(isinstance(key, str) for key in record) or "version" not in record:
        return content
    parts = {key: value for key, value in record.items() if key not in ("version", "hash")}
    try:
        return {**content, KEY: sealed({}, record["version"], **parts)[KEY]}
    except (TypeError, ValueError):
        return content


@pytest.fixture(scope="module")
def clip_model():
    return random_clip()


@pytest.fixture(scope="module", params=["coop", pytest.param("mpl", marks=pytest.mark.slow)])
def saved(request, clip_model, tmp_path_factory):
    """The content of a model's file."""
    torch.manual_seed(0)
    methods = {"mpl": modprompt.MPL(n_ctx=2, prompt_depth=2), "coop": modprompt.CoOp(n_ctx=2)}
    path = tmp_path_factory.mktemp("saved") / "a.pt"
    methods[request.param].on(clip_model, NAMES).save(path)
    return torch.load(path, weights_only=True)


def line_of(path, clip_model):
    """What modprompt.load says of a file; "" if it takes it."""
    try:
        model = modprompt.load(path, clip_model)
    except UserError as error:
        line = str(error)
        assert len(line.splitlines()) == 1
        assert len(line) < 1000, line[:300]
        assert str(path) in line
        return line
    assert all(torch.isfinite(one).all() for one in model.prompt_learner.parameters())
    return ""


def read_or_line(path):
    try:
        return checkpoint.read(path)
    except UserError as error:
        line = str(error)
    assert len(line.splitlines()) == 1
    return line


def write(path, content):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of quantized tensors
        torch.save(content, path)


WRONG: dict[str, tuple] = {
    "epoch": (-1, "1", HUGE, None),
    "val_result": ("text", []),
    "state_dict": (7, [], None),
    KEY: (7, [], {}),
    f"{KEY}.clip": (7, {"size": "text"}),
    f"{KEY}.method": (7, {}, {"name": 7}),
    f"{KEY}.schedules": (7, [], {"text": 7}, {"text": {"place": "", "steps": [[0]]}}),
    f"{KEY}.classes": (7, {"names": [7]}),
    f"{KEY}.run": (7, []),
    f"{KEY}.versions": (7, {"torch": 7}),
}


@pytest.mark.parametrize(("part", "wrong"), [(part, one) for part, some in WRONG.items() for one in some])
def test_part_of_another_type_is_a_line(part, wrong, saved, clip_model, tmp_path):
    write(tmp_path / "b.pt", sealed_again(changed(saved, part.split("."), wrong)))
    assert line_of(tmp_path / "b.pt", clip_model)


@pytest.mark.parametrize(
    "wrong",
    [
        torch.full((2, 64), math.nan),
        torch.full((2, 64), math.inf),
        torch.zeros(2, 64, dtype=torch.complex64),
        torch.zeros(2, 64, dtype=torch.bool),
        torch.zeros(2, 64, dtype=torch.int8),
        torch.zeros(2, 64).to_sparse(),
        torch.zeros(2, 64, device="meta"),
        "quantized",
        torch.tensor(1.0),
        torch.empty(0),
        None,
        "text",
        [1.0],
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:.*quantized")
def test_learned_tensors_are_numbers(wrong, saved, clip_model, tmp_path):
    if type(wrong) is str and wrong == "quantized":
        wrong = torch.quantize_per_tensor(torch.zeros(2, 64), 0.1, 0, torch.qint8)
    for key in saved["state_dict"]:
        if saved["state_dict"][key].shape == (2, 64):
            write(tmp_path / "b.pt", {**saved, "state_dict": {**saved["state_dict"], key: wrong}})
            assert line_of(tmp_path / "b.pt", clip_model)


@pytest.mark.parametrize("name", ["token_prefix", "token_suffix", "prompt_learner.token_suffix"])
@pytest.mark.parametrize("wrong", [torch.tensor(1.0), torch.empty(0), torch.zeros(3), torch.zeros(0, 7, 64)], ids=str)
def test_class_tokens_are_of_classes(name, wrong, saved, clip_model, tmp_path):
    write(tmp_path / "b.pt", {**saved, "state_dict": {**saved["state_dict"], name: wrong}})
    assert "no tokens of classes" in line_of(tmp_path / "b.pt", clip_model)


def test_names_of_tensors_are_texts(saved, clip_model, tmp_path):
    for name in (7, 1.5, "\ud800", True, None):
        write(tmp_path / "b.pt", {**saved, "state_dict": {**saved["state_dict"], name: torch.zeros(1)}})
        assert line_of(tmp_path / "b.pt", clip_model)


def test_what_others_call_like_parts_of_ours_is_not_taken_for_these(saved, tmp_path):
    path, taken = tmp_path / "b.pt", 0
    old = {key: part for key, part in saved.items() if key != KEY}
    old.update(settings={"SEED": "1"}, made_with={"the method": "MPL"}, class_list="a", backbone="ViT-B/16")
    for what, mutated in mutations(old):
        write(path, mutated)
        found = read_or_line(path)
        if isinstance(found, str):
            assert "state_dict" in what or "all of it" in what, (what, found)
            continue
        taken += 1
        assert type(found.epoch) is int, what
        assert 0 <= found.epoch <= 1 << 20, what
        assert (found.made_with, found.settings, found.class_list, found.clip) == ({}, {}, "", {}), what
    assert taken > 40


@pytest.mark.parametrize("epoch", [50, np.int64(50), 50.0, torch.tensor(50)])
def test_epochs_of_the_family_are_numbers_of_any_kind(epoch, saved, tmp_path):
    write(tmp_path / "b.pt", {"state_dict": saved["state_dict"], "epoch": epoch, "settings": [1]})
    found = read_or_line(tmp_path / "b.pt")
    assert (found.epoch, found.settings) == (50, {})


@pytest.mark.slow
def test_program_and_tool_say_it_in_a_line(command, tmp_path, capsys):
    from modprompt.cli import interpret

    method = METHODS["coop_end"]
    words = command(method, "OPTIM.MAX_EPOCH", 1, "DATASET.NUM_SHOTS", 1)
    assert train.main(words) == 0
    path = tmp_path / "out" / method.folder / "model.pth.tar-1"
    whole = torch.load(path, weights_only=True)
    asked = ["--eval-only", "--model-dir", str(tmp_path / "out"), *words]
    asked[asked.index("--output-dir") + 1] = str(tmp_path / "test")
    for part in ("settings", "learner", "name", "config", "node"):
        content = copy.deepcopy(whole)
        content[KEY]["method"][part] = 7
        torch.save(sealed_again(content), path)
        capsys.readouterr()
        assert train.main(asked) == 2
        *_, line = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: {path} is damaged (its part modprompt.method.{part} is 7, not ")
        assert report(interpret.run, [str(path), "3"]) == 2
        *_, line = capsys.readouterr().err.splitlines()
        assert "is damaged (its part modprompt.method." in line
