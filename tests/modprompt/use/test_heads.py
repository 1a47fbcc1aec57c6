"""Heads in use: as files for elsewhere, and what is said where one has learned nothing for a class."""

import pytest
import torch

import modprompt
from modprompt.cli import predict
from modprompt.io.tensors import read_safetensors
from modprompt.use import export
from modprompt.use.page import look
from modprompt.use.trained import Trained
from tests.modprompt.use.test_export import holds, loaded, photo, two_layers  # noqa: F401

NAMES = ["one", "two", "three"]


@pytest.fixture
def given(loaded, tmp_path):  # noqa: F811
    """Makes a head of a class, built from random features, with a file of its own."""

    def make(cls):
        clip_model, preprocess = loaded
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
@pytest.mark.parametrize(("cls", "precision"), [(modprompt.TipAdapter, "fp16"), (modprompt.TaskRes, "fp32")], ids=str)
def test_exported_head_is_the_head_and_stays_float32_behind_a_half_image_side(cls, precision, given, tmp_path):
    holds(given(cls), tmp_path / "a.onnx", precision)


@pytest.mark.parametrize("cls", [modprompt.TipAdapter, modprompt.LPPlusPlus])
def test_safetensors_of_a_head_are_loaded_again_for_the_classes_of_its_training(cls, given, tmp_path):
    model, path, images = given(cls), tmp_path / "a.safetensors", torch.rand(2, 3, 32, 32)
    carried = model._replace(model=model.model.with_classes(["four", "five", "six"]))
    with pytest.warns(UserWarning, match="a.safetensors is for the classes of the training"):
        said = export.export(carried, "safetensors", path)
    tensors, _ = read_safetensors(path)
    assert set(tensors) == set(model.model.head.state_dict())  # no class matrix: logits are not cosines with one
    assert said.endswith(f"\n{len(tensors)} learned tensors, for modprompt.load")
    with torch.no_grad():
        assert torch.equal(modprompt.load(path, model.model.clip_model)(images), model.model(images))


@pytest.mark.parametrize("cls", [modprompt.TaskRes, modprompt.CLIP_Adapter])
def test_classes_that_a_head_has_learned_nothing_for_are_told(cls, given, tmp_path, monkeypatch, capsys):
    model = given(cls)
    said = model.model.said_of(["one", "ten"])
    assert (said == "") == (cls is modprompt.CLIP_Adapter)  # which sees images alone
    monkeypatch.setattr("modprompt.use.trained.open_trained", lambda *_, **__: model)
    image = tmp_path / "a.png"
    photo().save(image)
    assert predict.main(["run", str(image), "--classes", "one", "ten"]) == 0
    assert ("learned nothing for 1 of 2 classes" in capsys.readouterr().err) == bool(said)
    assert look(model, str(image), "one\nten").said == said
