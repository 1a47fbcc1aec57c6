"""Heads in use: as files for elsewhere, and what is said where one has learned nothing for a class."""

import pytest
import torch

import modprompt
from modprompt.cli import predict
from modprompt.io.tensors import read_safetensors
from modprompt.use import export, export_files
from modprompt.use.inspection import Look
from modprompt.use.trained import Trained
from tests.conftest import SAID
from tests.modprompt.use.test_export import holds, photo, two_layers  # noqa: F401

NAMES = ["one", "two", "three"]
BOUND = [modprompt.TipAdapter, modprompt.TaskRes, modprompt.LPPlusPlus, modprompt.ADAPTER]
HEADS = [modprompt.TipAdapter, *(pytest.param(cls, marks=pytest.mark.slow) for cls in BOUND[1:])]


@pytest.fixture
def given(two_layers, tmp_path):  # noqa: F811
    """Makes a head of a class, built from random features, with a file of its own."""

    def make(cls):
        clip_model, preprocess = modprompt.load_clip(two_layers, "cpu", **SAID)
        torch.manual_seed(0)
        model = cls().on(clip_model, NAMES).eval()
        with torch.no_grad():
            views = [torch.randn(6, model.width) for _ in range(2)]
            model.head.build(model.bank(views, torch.tensor([0, 0, 1, 1, 2, 2])), model.scale())
            for one in model.head.parameters():
                one.add_(0.1 * torch.randn(one.shape))
        model.save(tmp_path / "own.pt")
        return Trained(model, preprocess, tmp_path / "own.pt")

    return make


@pytest.mark.slow
@pytest.mark.parametrize("to", ["torch", "onnx"])
@pytest.mark.parametrize("cls", HEADS)
def test_exported_head_is_the_head(cls, to, given, tmp_path):
    model = given(cls)
    path = export.place_of(model, to, str(tmp_path / f"a{export.SUFFIXES[to]}"))
    export.export(model, to, path)
    holds(export_files.RUNS[to](path.read_bytes()), model)


@pytest.mark.slow
def test_head_behind_a_half_image_side_stays_float32(given, tmp_path):
    model = given(modprompt.TipAdapter)
    export.export(model, "onnx", tmp_path / "a.onnx", "fp16")
    holds(export_files.run_onnx((tmp_path / "a.onnx").read_bytes()), model, half=True)


@pytest.mark.cover(2)
@pytest.mark.parametrize("cls", [*BOUND, modprompt.CLIP_Adapter])
def test_safetensors_of_a_head_are_loaded_again(cls, given, two_layers, tmp_path):  # noqa: F811
    model = given(cls)
    done = export.export(model, "safetensors", tmp_path / "a.safetensors")
    tensors, _ = read_safetensors(tmp_path / "a.safetensors")
    assert set(tensors) == set(model.model.head.state_dict())  # no class matrix: logits are not cosines with one
    assert done.gives == f"{len(tensors)} learned tensors, for modprompt.load"
    images = torch.rand(2, 3, 32, 32)
    clip_model = modprompt.load_clip(two_layers, "cpu", **SAID)[0]
    with torch.no_grad():
        assert torch.equal(modprompt.load(tmp_path / "a.safetensors", clip_model)(images), model.model(images))


@pytest.mark.parametrize("cls", [modprompt.TaskRes, modprompt.CLIP_Adapter])
def test_classes_that_a_head_has_learned_nothing_for_are_told(cls, given, tmp_path, monkeypatch, capsys):
    model = given(cls)
    said = model.model.said_of(["one", "ten"])
    assert (said == "") == (cls is modprompt.CLIP_Adapter)  # which sees images alone
    assert model.model.said_of(NAMES) == ""
    monkeypatch.setattr("modprompt.use.trained.open_trained", lambda *_, **__: model)
    image = tmp_path / "a.png"
    photo().save(image)
    assert predict.main(["run", str(image), "--classes", "one", "ten"]) == 0
    assert ("learned nothing for 1 of 2 classes" in capsys.readouterr().err) == bool(said)
    assert Look(model).look(str(image), "one\nten").said == said


@pytest.mark.cover(2)
@pytest.mark.parametrize("cls", BOUND)
def test_safetensors_of_a_head_that_was_carried_are_of_the_classes_of_its_training(cls, given, two_layers, tmp_path):  # noqa: F811
    model = given(cls)
    carried = model._replace(model=model.model.with_classes(["four", "five", "six"]))
    with pytest.warns(UserWarning, match="a.safetensors is for the classes of the training"):
        export.export(carried, "safetensors", tmp_path / "a.safetensors")
    images = torch.rand(2, 3, 32, 32)
    again = modprompt.load(tmp_path / "a.safetensors", modprompt.load_clip(two_layers, "cpu", **SAID)[0])
    with torch.no_grad():
        assert torch.equal(again(images), model.model(images))
