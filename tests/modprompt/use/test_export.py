"""An exported file is what the model is, says what it takes, and is there whole or not at all."""

import io
import json
import logging

import numpy as np
import pytest
import torch
from PIL import Image

import modprompt
from modprompt.errors import UserError
from modprompt.io import checkpoint
from modprompt.io.tensors import read_safetensors, write_safetensors
from modprompt.methods.table import HEADS, kind_of
from modprompt.use import export, export_check, export_files
from modprompt.use.export_model import ExportedModel
from modprompt.use.preprocessing import images_of
from modprompt.use.trained import Trained
from tests.conftest import ROOT, SAID, random_clip
from tests.methods import QUICK, some_slow
from tests.modprompt.methods.test_model import CLASSES, NAMES, by_name, on

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


def holds(found, given, half=False):
    """Whether a file's outputs are the model's, for a photo and for more of them than any check had."""
    run, model, preprocess = found, given.model, given.preprocess
    images = preprocess(photo())[None].repeat(11, 1, 1, 1) * torch.linspace(0.5, 1.5, 11).view(-1, 1, 1, 1)
    with torch.no_grad():
        output = model.output(images)
    features, probabilities = run(images)
    assert torch.allclose(features, output.image, atol=1e-2 if half else 1e-5)
    assert torch.allclose(features.norm(dim=1), torch.ones(11), atol=1e-5)
    assert torch.allclose(probabilities, output.logits.softmax(1), atol=0.1 if half else 1e-4)


@pytest.mark.slow
def test_onnx_is_the_model_and_says_what_it_takes(loaded, tmp_path):
    import onnx

    given = trained(modprompt.MPL, loaded, tmp_path)
    path = export.place_of(given, "onnx", str(tmp_path / "deep" / "a.onnx"))
    done = export.export(given, "onnx", path)
    holds(export_files.run_onnx(path.read_bytes()), given)
    assert done.checked.features <= 1e-5
    assert done.checked.probabilities <= 1e-4
    assert [one.batch for one in done.checked.speeds] == [1, 7]
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [one.version for one in model.opset_import if not one.domain] == [18]
    said = {one.key: json.loads(one.value) for one in model.metadata_props}
    assert (said["classes"], said["method"], said["precision"]) == (NAMES, "MPL", "fp32")
    assert said["preprocessing"]["size"] == 32
    assert said["preprocessing"]["colours"] == "RGB"
    people = export.metadata_of(given.model, images_of(given.preprocess), "fp32", "people")
    assert people["preprocessing"]["colours"].startswith("RGB, turned as EXIF says, 16 bits scaled")
    assert said["preprocessing"]["mean"] == list(images_of(given.preprocess).mean)
    batch = [one.type.tensor_type.shape.dim[0].dim_param for one in (*model.graph.input, *model.graph.output)]
    assert batch == ["batch"] * 3
    assert str(ROOT).encode() not in path.read_bytes()
    assert logging.root.manager.disable == logging.NOTSET
    text = export.report(done)
    assert f"written: {path}" in text
    assert "images (batch, 3, 32, 32) -> features (batch, 32), probabilities (batch, 3)" in text
    assert "batch 7: " in text


@pytest.mark.slow
def test_a_program_is_the_model_and_says_what_it_takes(loaded, tmp_path):
    given = trained(modprompt.IVLP, loaded, tmp_path)
    path = export.place_of(given, "torch", str(tmp_path / "a.pt2"))
    export.export(given, "torch", path)
    holds(export_files.run_program(path.read_bytes()), given)
    extra = {export_files.METADATA: ""}
    torch.export.load(io.BytesIO(path.read_bytes()), extra_files=extra)
    assert json.loads(extra[export_files.METADATA])["classes"] == NAMES


def holds_as(to, precision, given, tmp_path):
    path = tmp_path / f"a{export.SUFFIXES[to]}"
    export.export(given, to, path, precision)
    holds(export_files.RUNS[to](path.read_bytes()), given, precision == "fp16")


@pytest.mark.slow
@pytest.mark.timeout(360)
@pytest.mark.parametrize("to", ["onnx", "torch"])
@pytest.mark.parametrize(("cls", "precision"), EVERY, ids=lambda one: getattr(one, "__name__", one))
def test_every_method(cls, precision, to, loaded, tmp_path):
    holds_as(to, precision, trained(cls, loaded, tmp_path), tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(360)
@pytest.mark.parametrize("precision", export.PRECISIONS)
@pytest.mark.parametrize("to", ["onnx", "torch"])
@pytest.mark.parametrize("cls", ON_A_RESNET, ids=by_name)
def test_a_resnet(cls, to, precision, resnet_file, tmp_path):
    given = trained(cls, modprompt.load_clip(resnet_file, "cpu", activation="quick_gelu", heads=(1, 4)), tmp_path)
    holds_as(to, precision, given, tmp_path)


@pytest.mark.slow
def test_fp16_is_half_as_large(loaded, tmp_path):
    given = trained(modprompt.VPT, loaded, tmp_path)
    whole, half = (
        export.export(given, "torch", tmp_path / f"{precision}.pt2", precision) for precision in export.PRECISIONS
    )
    assert half.size < 0.65 * whole.size
    assert 1e-6 < half.checked.features < 1e-2


# ------------------------------------------------------------------ safetensors


@pytest.mark.cover(2)
@pytest.mark.parametrize("cls", some_slow([one for one in WITH_MATRIX if kind_of(one.__name__) != HEADS]), ids=by_name)
def test_safetensors_come_back_as_the_model(cls, loaded, tmp_path):
    given = trained(cls, loaded, tmp_path)
    done = export.export(given, "safetensors", tmp_path / "a.safetensors")
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
    assert "for modprompt.load" in export.report(done)


def test_safetensors_keep_what_the_checkpoint_says_of_its_run(loaded, tmp_path):
    given = trained(modprompt.MPL, loaded, tmp_path)
    before = checkpoint.read(given.path)
    export.export(given, "safetensors", tmp_path / "a.safetensors")
    after = checkpoint.read(tmp_path / "a.safetensors")
    assert after.record == before.record
    assert set(after.state_dict) == set(before.state_dict)


def test_safetensors_of_other_classes_say_these_and_how_images_are_made(loaded, tmp_path):
    given = trained(modprompt.MPL, loaded, tmp_path)
    other = given._replace(model=given.model.with_classes(["one", "two"]))
    export.export(other, "safetensors", tmp_path / "a.safetensors")
    found = checkpoint.read(tmp_path / "a.safetensors")
    assert found.record["classes"]["names"] == ["one", "two"]
    assert found.settings["INPUT.SIZE"] == "[32, 32]"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"modprompt": 3}', '{"epoch": 0, "modprompt": {"version": 2}}'])
def test_a_record_that_is_none_is_damage(text, tmp_path):
    write_safetensors(tmp_path / "a.safetensors", {"prompt_learner.ctx": torch.zeros(2, 4)}, {"modprompt": text})
    with pytest.raises(UserError, match="is damaged"):
        checkpoint.read(tmp_path / "a.safetensors")


def test_a_changed_record_is_found_out(loaded, tmp_path):
    given = trained(modprompt.MPL, loaded, tmp_path)
    export.export(given, "safetensors", tmp_path / "a.safetensors")
    tensors, texts = read_safetensors(tmp_path / "a.safetensors")
    write_safetensors(tmp_path / "b.safetensors", tensors, {"modprompt": texts["modprompt"].replace("cat", "cow")})
    with pytest.raises(UserError, match="damaged or was changed by hand"):
        modprompt.load(tmp_path / "b.safetensors", loaded[0])


def test_safetensors_of_others_say_nothing(tmp_path):
    write_safetensors(tmp_path / "a.safetensors", {"prompt_learner.ctx": torch.zeros(2, 4)}, {})
    found = checkpoint.read(tmp_path / "a.safetensors")
    assert (found.record, list(found.state_dict)) == ({}, ["prompt_learner.ctx"])


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize("to", [one for one in export.SUFFIXES if one != "lora"])
def test_images_with_class_prompts_of_their_own_have_no_class_matrix(to, loaded, tmp_path):
    given = trained(modprompt.CoCoOp, loaded, tmp_path)
    with pytest.raises(UserError, match="^CoCoOp makes new class prompts for each image") as raised:
        export.export(given, to, tmp_path / "a")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "a").exists()


@pytest.mark.slow
def test_what_differs_is_not_written_and_what_was_there_stays(loaded, tmp_path, monkeypatch):
    given = trained(modprompt.VPT, loaded, tmp_path)
    (tmp_path / "a.pt2").write_text("before")

    def shifted(content):
        run = export_files.run_program(content)
        return lambda images: tuple(one + 1e-3 for one in run(images))

    monkeypatch.setitem(export_files.RUNS, "torch", shifted)
    with pytest.raises(UserError, match="what was exported is not the model: its features are 1.0e-03 away"):
        export.export(given, "torch", tmp_path / "a.pt2")
    assert (tmp_path / "a.pt2").read_text() == "before"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.pt2", "own.pt"]


def checked(loaded, tmp_path, change, half):
    given = trained(modprompt.VPT, loaded, tmp_path)
    exported = ExportedModel(given.model)

    def run(images):
        with torch.no_grad():
            return change(*exported(images))

    return export_check.check(given.model, images_of(given.preprocess), run, half)


def test_what_is_no_number_is_no_model(loaded, tmp_path):
    with pytest.raises(UserError, match="what was exported is not the model"):
        checked(loaded, tmp_path, lambda features, shares: (features * float("nan"), shares), False)


def test_half_with_another_likeliest_class_is_refused(loaded, tmp_path):
    with pytest.raises(UserError, match="fp16 has another likeliest class for .* this model needs --precision fp32"):
        checked(loaded, tmp_path, lambda features, shares: (features, shares.flip(1).roll(1, 1)), True)


def test_half_that_is_far_away_is_refused(loaded, tmp_path):
    with pytest.raises(UserError, match="fp16 features are .* away from fp32's"):
        checked(loaded, tmp_path, lambda features, shares: (features + 0.1, shares), True)


def test_other_shapes_are_refused(loaded, tmp_path):
    with pytest.raises(UserError, match="what was exported gives"):
        checked(loaded, tmp_path, lambda features, shares: (features[:, 1:], shares), False)


def test_half_of_safetensors_is_refused(loaded, tmp_path):
    with pytest.raises(UserError, match="leave out --precision"):
        export.export(trained(modprompt.MPL, loaded, tmp_path), "safetensors", tmp_path / "a", "fp16")


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
    assert export.place_of(given._replace(path=tmp_path / "a.pt"), "torch") == tmp_path / "export.pt2"


def test_a_strangers_transform_is_refused():
    with pytest.raises(UserError, match="this transform of images is not known"):
        images_of(lambda image: image)


@pytest.mark.slow
def test_too_large_for_onnx_is_said(loaded, tmp_path, monkeypatch):
    monkeypatch.setattr(export_files, "MOST_BYTES", 10)
    with pytest.raises(UserError, match="an ONNX file can have 2 GB, this one would have"):
        export.export(trained(modprompt.VPT, loaded, tmp_path), "onnx", tmp_path / "a.onnx")
    assert not (tmp_path / "a.onnx").exists()
