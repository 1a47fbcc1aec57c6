"""An exported file is what the model is, says what it takes, and is there whole or not at all."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import modprompt
from modprompt.clip.known import Images
from modprompt.clip.load import image_transform
from modprompt.errors import UserError
from modprompt.io import checkpoint
from modprompt.io.tensors import read_safetensors, write_safetensors
from modprompt.methods.table import HEADS, kind_of
from modprompt.use import export, onnx_file
from modprompt.use.export_model import ExportedModel
from modprompt.use.run_images import images_of
from modprompt.use.trained import Trained
from tests.conftest import ROOT, SAID, random_clip
from tests.methods import QUICK, some_slow
from tests.modprompt.methods.test_model import CLASSES, NAMES, by_name, on
from tests.tower_clips import IMAGE_SIDES, PIXELS, of_open_clip, tower_clip

WITH_MATRIX = [one for one in CLASSES if one.__name__ not in ("CoCoOp", "ExtrasLinearProbeCoCoOp")]
ON_A_RESNET = [modprompt.CoOp, modprompt.ZeroshotCLIP]
EVERY = [(cls, "fp32") for cls in WITH_MATRIX] + [(cls, "fp16") for cls in WITH_MATRIX if cls.__name__ in QUICK]


@pytest.fixture(scope="session")
def two_layers(tmp_path_factory):
    """A file of a CLIP of two layers a side: exporters take seconds for each."""
    path = tmp_path_factory.mktemp("small") / "small.pt"
    torch.save(random_clip(text_layers=2, vision_layers=2).state_dict(), path)
    return path


@pytest.fixture
def loaded(two_layers):
    return modprompt.load_clip(two_layers, "cpu", **SAID)


def trained(cls, loaded, tmp_path, **settings):
    clip_model, preprocess = loaded
    model = on(cls, clip_model, NAMES, **settings).eval()
    model.save(tmp_path / "own.pt")
    return Trained(model, preprocess, tmp_path / "own.pt")


def photo(side=50):
    values = np.random.default_rng(0).integers(0, 256, (side, side + 9, 3), dtype=np.uint8)
    return Image.fromarray(values)


def holds(given, path, precision="fp32"):
    """Exports to ONNX; the file's outputs are the model's, for a photo and for more of them than any check had."""
    said = export.export(given, "onnx", path, precision)
    images = given.preprocess(photo())[None].repeat(11, 1, 1, 1) * torch.linspace(0.5, 1.5, 11).view(-1, 1, 1, 1)
    with torch.no_grad():
        output = given.model.output(images)
    features, probabilities = onnx_file.run_onnx(path.read_bytes())(images)
    half = precision == "fp16"
    assert torch.allclose(features, output.image, atol=1e-2 if half else 1e-5)
    assert torch.allclose(features.norm(dim=1), torch.ones(11), atol=1e-5)
    assert torch.allclose(probabilities, output.logits.softmax(1), atol=0.1 if half else 1e-4)
    return said


@pytest.mark.slow
def test_onnx_is_the_model_and_says_what_it_takes(loaded, tmp_path):
    import onnx

    given = trained(modprompt.MPL, loaded, tmp_path)
    path = export.place_of(given, "onnx", str(tmp_path / "deep" / "a.onnx"))
    text = holds(given, path)
    assert text.startswith(f"written: {path} (")
    assert "\nimages (batch, 3, 32, 32) -> features (batch, 32), probabilities (batch, 3)\n" in text
    assert "\nagainst PyTorch in fp32, batches of 1 and 7: features within " in text
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [one.version for one in model.opset_import if not one.domain] == [18]
    said = {one.key: json.loads(one.value) for one in model.metadata_props}
    assert (said["classes"], said["method"], said["precision"]) == (NAMES, "MPL", "fp32")
    assert said["preprocessing"]["size"] == 32
    assert said["preprocessing"]["colours"] == "RGB"
    people = export.metadata_of(given.model, images_of(given.preprocess), "fp32", "people")
    assert people["preprocessing"]["colours"].startswith("RGB, turned as EXIF says, 16 bits scaled")
    batch = [one.type.tensor_type.shape.dim[0].dim_param for one in (*model.graph.input, *model.graph.output)]
    assert batch == ["batch"] * 3
    assert str(ROOT).encode() not in path.read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(360)
@pytest.mark.parametrize(("cls", "precision"), EVERY, ids=lambda one: getattr(one, "__name__", one))
def test_every_method(cls, precision, loaded, tmp_path):
    given = trained(cls, loaded, tmp_path)
    holds(given, tmp_path / f"{precision}.onnx", precision)
    if cls is modprompt.VPT and precision == "fp16":
        export.export(given, "onnx", tmp_path / "a.onnx")
        assert (tmp_path / "fp16.onnx").stat().st_size < 0.65 * (tmp_path / "a.onnx").stat().st_size


@pytest.mark.slow
@pytest.mark.timeout(360)
@pytest.mark.parametrize("precision", export.PRECISIONS)
@pytest.mark.parametrize("cls", ON_A_RESNET, ids=by_name)
def test_a_resnet(cls, precision, resnet_file, tmp_path):
    clip = modprompt.load_clip(resnet_file, "cpu", activation="quick_gelu", heads=(1, 4))
    holds(trained(cls, clip, tmp_path), tmp_path / "a.onnx", precision)


@pytest.mark.slow
@pytest.mark.timeout(360)
@pytest.mark.parametrize("name", IMAGE_SIDES)
def test_image_sides_of_other_packages(name, tmp_path):
    clip_model, _ = of_open_clip(name)
    preprocess = image_transform(Images(clip_model.visual.input_resolution))
    holds(trained(modprompt.ZeroshotCLIP, (clip_model, preprocess), tmp_path), tmp_path / "a.onnx")


# ------------------------------------------------------------------ safetensors


@pytest.mark.cover(2)
@pytest.mark.parametrize("cls", some_slow([one for one in WITH_MATRIX if kind_of(one.__name__) != HEADS]), ids=by_name)
def test_safetensors_come_back_as_the_model(cls, loaded, tmp_path):
    given = trained(cls, loaded, tmp_path)
    assert "for modprompt.load" in export.export(given, "safetensors", tmp_path / "a.safetensors")
    again = modprompt.load(tmp_path / "a.safetensors", loaded[0])
    images = torch.stack([given.preprocess(photo())] * 2)
    with torch.no_grad():
        assert torch.equal(again(images), given.model(images))
    assert (again.method, again.classes) == (given.model.method, given.model.classes)
    tensors, _ = read_safetensors(tmp_path / "a.safetensors")
    if given.model.has_own_logits:
        assert "class_matrix" not in tensors  # it would not give the logits
        return
    with torch.no_grad():
        output = given.model.output(images)
    assert torch.equal(tensors["class_matrix"], output.text)
    logits = tensors["logit_scale"] * output.image @ tensors["class_matrix"].t()
    assert torch.allclose(logits, output.logits, atol=1e-4)


def test_safetensors_keep_what_the_checkpoint_says_of_its_run_unless_classes_are_others(loaded, tmp_path):
    given, path = trained(modprompt.MPL, loaded, tmp_path), tmp_path / "a.safetensors"
    before = checkpoint.read(given.path)
    export.export(given, "safetensors", path)
    after = checkpoint.read(path)
    assert after.record == before.record
    assert set(after.state_dict) == set(before.state_dict)
    export.export(given._replace(model=given.model.with_classes(["one", "two"])), "safetensors", path)
    other = checkpoint.read(path)
    assert other.record["classes"]["names"] == ["one", "two"]
    assert other.settings["INPUT.SIZE"] == "[32, 32]"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"modprompt": 3}', '{"epoch": 0, "modprompt": {"version": 2}}'])
def test_a_record_that_is_none_is_damage(text, tmp_path):
    write_safetensors(tmp_path / "a.safetensors", {"prompt_learner.ctx": torch.zeros(2, 4)}, {"modprompt": text})
    with pytest.raises(UserError, match="is damaged"):
        checkpoint.read(tmp_path / "a.safetensors")


def test_a_changed_record_is_found_out_and_others_say_nothing(loaded, tmp_path):
    export.export(trained(modprompt.MPL, loaded, tmp_path), "safetensors", tmp_path / "a.safetensors")
    tensors, texts = read_safetensors(tmp_path / "a.safetensors")
    write_safetensors(tmp_path / "b.safetensors", tensors, {"modprompt": texts["modprompt"].replace("cat", "cow")})
    with pytest.raises(UserError, match="damaged or was changed by hand"):
        modprompt.load(tmp_path / "b.safetensors", loaded[0])
    write_safetensors(tmp_path / "b.safetensors", {"prompt_learner.ctx": torch.zeros(2, 4)}, {})
    assert checkpoint.read(tmp_path / "b.safetensors").record == {}


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize("to", ["onnx", "safetensors"])
def test_images_with_class_prompts_of_their_own_have_no_class_matrix(to, loaded, tmp_path):
    given = trained(modprompt.CoCoOp, loaded, tmp_path)
    with pytest.raises(UserError, match="^CoCoOp makes new class prompts for each image[^\n]*$"):
        export.export(given, to, tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("change", "half", "said"),
    [
        (lambda features, shares: (features + 1e-3, shares), False, "is not the model: its features are 1.0e-03 away"),
        (lambda features, shares: (features * float("nan"), shares), False, "what was exported is not the model"),
        (lambda features, shares: (features[:, 1:], shares), False, "what was exported is not the model"),
        (lambda features, shares: (features, shares.flip(1).roll(1, 1)), True, "fp16 has another likeliest class for"),
        (lambda features, shares: (features + 0.1, shares), True, "fp16 features are .* needs --precision fp32"),
    ],
)
def test_what_differs_is_not_written_and_what_was_there_stays(change, half, said, loaded, tmp_path, monkeypatch):
    given = trained(modprompt.VPT, loaded, tmp_path)
    exported = ExportedModel(given.model)
    (tmp_path / "a.onnx").write_text("before")
    monkeypatch.setattr(onnx_file, "onnx_bytes", lambda *_: b"")
    monkeypatch.setattr(onnx_file, "run_onnx", lambda _: lambda images: change(*exported(images)))
    with torch.no_grad(), pytest.raises(UserError, match=said):
        export.export(given, "onnx", tmp_path / "a.onnx", "fp16" if half else "fp32")
    assert (tmp_path / "a.onnx").read_text() == "before"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.onnx", "own.pt"]


@pytest.mark.slow
def test_what_the_exporter_refuses_and_what_is_too_large_is_a_line(loaded, tmp_path, monkeypatch):
    clip_model = tower_clip()
    plain = clip_model.visual.module.forward
    clip_model.visual.module.forward = lambda images: plain(images) * (2 if images.sum().item() > 0 else 3)
    given = trained(modprompt.ZeroshotCLIP, (clip_model, image_transform(Images(PIXELS))), tmp_path)
    with pytest.raises(UserError, match=r"^--to onnx: PyTorch's exporter does not accept this model \([^\n]*\)$"):
        export.export(given, "onnx", tmp_path / "a.onnx")
    with pytest.raises(UserError, match="^--precision fp16: the image side of this CLIP runs in float32"):
        export.export(given, "onnx", tmp_path / "a.onnx", "fp16")
    monkeypatch.setattr(onnx_file, "MOST_BYTES", 10)
    with pytest.raises(UserError, match="an ONNX file can have 2 GB, this one would have"):
        export.export(trained(modprompt.VPT, loaded, tmp_path), "onnx", tmp_path / "a.onnx")
    assert not (tmp_path / "a.onnx").exists()


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("a.bin", "a file of --to onnx ends in .onnx"),
        ("folder.onnx", "is a folder: name a file in it"),
        ("own.onnx", "is the file that is exported: name another"),
    ],
)
def test_places_that_are_none(out, said, tmp_path):
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "own.onnx").write_text("")
    given = Trained(None, None, tmp_path / "own.onnx")
    with pytest.raises(UserError, match=said):
        export.place_of(given, "onnx", str(tmp_path / out))


def test_a_run_has_its_export_beside_its_model(tmp_path):
    given = Trained(None, None, tmp_path / "run" / "prompt_learner" / "model.pth.tar-2")
    assert export.place_of(given, "onnx") == tmp_path / "run" / "export.onnx"
    assert export.place_of(given._replace(path=tmp_path / "a.pt"), "lora") == tmp_path / "export.pt"
    with pytest.raises(UserError, match="leave out --precision"):
        export.export(given, "safetensors", tmp_path / "a", "fp16")
    with pytest.raises(UserError, match="this transform of images is not known"):
        images_of(lambda image: image)
