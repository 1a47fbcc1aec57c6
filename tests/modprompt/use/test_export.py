"""An exported file is what the model is, says what it takes, and is there whole or not at all."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

import modprompt
from modprompt.clip.load import image_transform
from modprompt.clip.spec import Images
from modprompt.errors import UserError
from modprompt.io import checkpoint
from modprompt.io.tensors import read_safetensors, write_safetensors
from modprompt.use import export, export_model
from modprompt.use.trained import Trained
from tests.conftest import ROOT, random_clip
from tests.modprompt.use.made import NAMES, model_of
from tests.tower_clips import PIXELS, of_open_clip, tower_clip


@pytest.fixture(scope="module")
def loaded():
    """A CLIP of two layers a side, as exporters take seconds for each, and its transform."""
    return random_clip(text_layers=2, vision_layers=2), image_transform(Images(32))


@pytest.fixture
def trained(loaded, tmp_path):
    """Makes a saved model of a method."""

    def make(name, clip=loaded):
        model = model_of(name, clip_model=clip[0])
        if name == "TipAdapter":
            views = [torch.randn(6, model.width) for _ in range(2)]
            with torch.no_grad():
                model.head.build(model.bank(views, torch.tensor([0, 0, 1, 1, 2, 2])), model.scale())
        model.save(tmp_path / "own.pt")
        return Trained(model, clip[1], tmp_path / "own.pt")

    return make


def photo(side=50):
    values = np.random.default_rng(0).integers(0, 256, (side, side + 9, 3), dtype=np.uint8)
    return Image.fromarray(values)


def holds(given, path, precision="fp32"):
    """Exports to ONNX; the file's outputs are the model's, for a photo and for more of them than any check had."""
    said = export.export(given, "onnx", path, precision)
    images = given.preprocess(photo())[None].repeat(11, 1, 1, 1) * torch.linspace(0.5, 1.5, 11).view(-1, 1, 1, 1)
    with torch.no_grad():
        output = given.model.output(images)
    features, probabilities = export_model.run_onnx(path.read_bytes())(images)
    half = precision == "fp16"
    assert torch.allclose(features, output.image, atol=1e-2 if half else 1e-5)
    assert torch.allclose(features.norm(dim=1), torch.ones(11), atol=1e-5)
    assert torch.allclose(probabilities, output.logits.softmax(1), atol=0.1 if half else 1e-4)
    return said


@pytest.mark.slow
def test_onnx_says_what_it_takes(trained, tmp_path):
    import onnx

    given = trained("MPL")
    path = export.place_of(given, "onnx", str(tmp_path / "deep" / "a.onnx"))
    text = holds(given, path)
    assert text.startswith(f"Exported to {path} (")
    maps = "The model maps images (batch, 3, 32, 32) to features (batch, 32) and probabilities (batch, 3)."
    assert f"\n{maps}\n" in text
    assert "\nCompared with PyTorch in fp32 (batches of 1 and 7 test patterns), features differ by at most " in text
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    said = {prop.key: json.loads(prop.value) for prop in model.metadata_props}
    assert (said["classes"], said["method"], said["precision"]) == (NAMES, "MPL", "fp32")
    assert (said["preprocessing"]["size"], said["preprocessing"]["colours"]) == (32, "RGB")
    values = (*model.graph.input, *model.graph.output)
    assert {value.type.tensor_type.shape.dim[0].dim_param for value in values} == {"batch"}
    assert str(ROOT).encode() not in path.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["CoOp", "CLIPLoRA", "MMRL", "TaskRes"])
def test_onnx_is_the_model(name, trained, tmp_path):
    holds(trained(name), tmp_path / "a.onnx")


@pytest.mark.slow
def test_half_precision_is_half_the_size_and_heads_stay_float32(trained, resnet_file, tmp_path):
    holds(trained("TipAdapter"), tmp_path / "head.onnx", "fp16")
    resnet = modprompt.load_clip(resnet_file, "cpu", activation="quick_gelu", heads=(1, 4))
    holds(trained("CoOp", resnet), tmp_path / "resnet.onnx", "fp16")
    given = trained("VPT")
    for precision in ("fp32", "fp16"):
        holds(given, tmp_path / f"{precision}.onnx", precision)
    assert (tmp_path / "fp16.onnx").stat().st_size < 0.65 * (tmp_path / "fp32.onnx").stat().st_size


@pytest.mark.slow
@pytest.mark.parametrize("name", ["siglip", "convnext"])
def test_image_sides_of_other_packages(name, trained, tmp_path):
    clip_model, _ = of_open_clip(name)
    preprocess = image_transform(Images(clip_model.visual.input_resolution))
    holds(trained("ZeroshotCLIP", (clip_model, preprocess)), tmp_path / "a.onnx")


@pytest.mark.parametrize("name", ["MPL", "CLIPLoRA", "MMRL"])
def test_safetensors_come_back_as_the_model(name, trained, tmp_path):
    given, path = trained(name), tmp_path / "a.safetensors"
    export.export(given, "safetensors", path)
    again = modprompt.load(path, given.model.clip_model)
    before, after = checkpoint.read(given.path), checkpoint.read(path)
    images = torch.stack([given.preprocess(photo())] * 2)
    with torch.no_grad():
        assert torch.equal(again(images), given.model(images))
        output = given.model.output(images)
    assert (again.method, again.classes) == (given.model.method, given.model.classes)
    assert (after.record, set(after.state_dict)) == (before.record, set(before.state_dict))
    tensors, _ = read_safetensors(path)
    assert ("class_matrix" in tensors) is not given.model.has_own_logits  # it would not give the logits
    if not given.model.has_own_logits:
        assert torch.equal(tensors["class_matrix"], output.text)
        logits = tensors["logit_scale"] * output.image @ tensors["class_matrix"].t()
        assert torch.allclose(logits, output.logits, atol=1e-4)


def test_safetensors_of_other_classes_say_so(trained, tmp_path):
    given, path = trained("MPL"), tmp_path / "a.safetensors"
    export.export(given.with_classes(["one", "two"]), "safetensors", path)
    other = checkpoint.read(path)
    assert other.record["classes"]["names"] == ["one", "two"]
    assert other.settings["INPUT.SIZE"] == "[32, 32]"


def test_safetensors_of_a_head_are_for_the_classes_of_its_training(trained, tmp_path):
    given, path, images = trained("TaskRes"), tmp_path / "a.safetensors", torch.rand(2, 3, 32, 32)
    with pytest.warns(UserWarning, match="a.safetensors can be loaded only for the classes of the training"):
        said = export.export(given.with_classes(["four", "five", "six"]), "safetensors", path)
    tensors, _ = read_safetensors(path)
    assert set(tensors) == set(given.model.head.state_dict())  # no class matrix: logits are not cosines with one
    assert said.endswith(f"\nThe file contains {len(tensors)} learned tensors. Load the file with modprompt.load.")
    with torch.no_grad():
        assert torch.equal(modprompt.load(path, given.model.clip_model)(images), given.model(images))


def test_a_record_that_is_none_or_was_changed_is_damage_and_others_say_nothing(trained, tmp_path):
    path, family = tmp_path / "a.safetensors", {"prompt_learner.ctx": torch.zeros(2, 4)}
    export.export(trained("MPL"), "safetensors", path)
    tensors, texts = read_safetensors(path)
    changed = texts["modprompt"].replace("one", "cow")
    for text in ("", "[]", '{"modprompt": 3}', '{"epoch": 0, "modprompt": {"version": 2}}', changed):
        write_safetensors(path, tensors if text == changed else family, {"modprompt": text})
        with pytest.raises(UserError, match="damaged"):
            checkpoint.read(path)
    write_safetensors(path, family, {})
    assert checkpoint.read(path).record == {}


@pytest.mark.parametrize("to", ["onnx", "safetensors"])
def test_images_with_class_prompts_of_their_own_have_no_class_matrix(to, trained, tmp_path):
    with pytest.raises(UserError, match="^CoCoOp makes new class prompts for each image[^\n]*$"):
        export.export(trained("CoCoOp"), to, tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("shift", "left_out", "order", "precision", "said"),
    [  # of features, of their first columns, of classes
        (1e-3, 0, [0, 1, 2], "fp32", "differs from the PyTorch model: features differ by up to 1.0e-03 "),
        (math.nan, 0, [0, 1, 2], "fp32", "The exported model differs from the PyTorch model"),
        (0, 1, [0, 1, 2], "fp32", "The exported model differs from the PyTorch model"),
        (0, 0, [1, 2, 0], "fp32", ", probabilities by up to .* No file was written"),
        (
            0,
            0,
            [1, 2, 0],
            "fp16",
            "With --precision fp16, features differ .* and the most probable class changes for 8 of 8 test inputs",
        ),
        (0.1, 0, [0, 1, 2], "fp16", r"With --precision fp16, features differ by up to 1.* Use --precision fp32\."),
    ],
)
def test_what_differs_is_not_written(shift, left_out, order, precision, said, trained, tmp_path, monkeypatch):
    given = trained("VPT")
    exported = export_model.ExportedModel(given.model)

    def run(images):
        features, probabilities = exported(images)
        return features[:, left_out:] + shift, probabilities[:, order]

    (tmp_path / "a.onnx").write_text("before")
    monkeypatch.setattr(export_model, "onnx_bytes", lambda *_: b"")
    monkeypatch.setattr(export_model, "run_onnx", lambda _: run)
    with pytest.raises(UserError, match=said):
        export.export(given, "onnx", tmp_path / "a.onnx", precision)
    assert (tmp_path / "a.onnx").read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "own.pt"]


@pytest.mark.slow
def test_what_the_exporter_refuses_and_what_is_too_large_is_a_line(trained, tmp_path, monkeypatch):
    clip_model, path = tower_clip(), tmp_path / "a.onnx"
    plain = clip_model.visual.module.forward
    clip_model.visual.module.forward = lambda images: plain(images) * (2 if images.sum().item() > 0 else 3)
    given = trained("ZeroshotCLIP", (clip_model, image_transform(Images(PIXELS))))
    with pytest.raises(
        UserError, match=r"^PyTorch's ONNX exporter does not support this model \([^\n]*\)\. Use [^\n]*\.$"
    ):
        export.export(given, "onnx", path)
    with pytest.raises(
        UserError, match="^--precision fp16 is not supported for this CLIP model, whose image encoder runs in float32"
    ):
        export.export(given, "onnx", path, "fp16")
    monkeypatch.setattr(export_model, "MOST_BYTES", 10)
    with pytest.raises(UserError, match="The ONNX file would have a size of .* but the format allows only 2 GB"):
        export.export(trained("VPT"), "onnx", path)
    assert not path.exists()


def test_an_export_lies_beside_its_model_and_never_on_it(tmp_path):
    given = Trained(None, None, tmp_path / "run" / "prompt_learner" / "model.pth.tar-2")
    assert export.place_of(given, "onnx") == tmp_path / "run" / "export.onnx"
    assert export.place_of(given._replace(path=tmp_path / "a.pt"), "lora") == tmp_path / "export.pt"
    own = given._replace(path=tmp_path / "own.onnx")
    own.path.write_text("")
    for out, said in (
        ("a.bin", "does not end in .onnx, the file extension for --to onnx"),
        ("own.onnx", "is the same file as the checkpoint to be exported. Choose another"),
    ):
        with pytest.raises(UserError, match=said):
            export.place_of(own, "onnx", str(tmp_path / out))
