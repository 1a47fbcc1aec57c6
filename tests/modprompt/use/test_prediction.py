import os

import numpy as np
import pytest
import torch
from PIL import Image

from modprompt.clip.load import image_transform
from modprompt.clip.spec import Images
from modprompt.errors import UserError
from modprompt.io.image_files import as_people
from modprompt.use.prediction import find_images, predict
from modprompt.use.trained import Trained, open_trained
from tests.modprompt.use.made import NAMES, model_of
from tests.tower_clips import PIXELS, tower_clip


def picture(path, size=(40, 30), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def trained(tmp_path):
    model_of("MPL").save(tmp_path / "a.pt")
    return open_trained(tmp_path / "a.pt", device="cpu")


def logits_of(trained, path):
    with torch.no_grad():
        return trained.model(trained.preprocess(Image.open(path))[None])[0]


def test_images_of_folders_and_files(tmp_path):
    folder, named = tmp_path / "in", tmp_path / "named.txt"
    deep, top = picture(folder / "b" / "x.JPG"), picture(folder / "a.png")
    picture(folder / ".hidden" / "x.png")
    picture(folder / ".x.png")
    (folder / "loop.png").symlink_to(folder)
    for path in (folder / "notes.txt", named):
        path.write_text("no image")
    (folder / "split_ImageFolder.json").write_text("{}")  # ours: nothing to be said of it
    images, left_out = find_images([named, folder, str(top)])
    assert images == [named, top, deep]
    assert [path.name for path in left_out] == ["loop.png", "notes.txt"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read all")
def test_a_folder_that_cannot_be_listed_is_told(tmp_path):
    (tmp_path / "shut").mkdir(mode=0)
    with pytest.raises(UserError, match="Cannot list the folder .*shut"):
        find_images([tmp_path])


@pytest.mark.parametrize(("batch_size", "top"), [(2, 2), (64, 99)])
def test_each_image_has_its_own_probabilities_and_bad_ones_say_why(batch_size, top, trained, tmp_path):
    paths = [picture(tmp_path / f"{seed}.png", seed=seed) for seed in range(5)]
    (tmp_path / "bad.png").write_bytes(b"\x89PNG broken")
    picture(tmp_path / "strip.png", size=(200000, 1))
    paths[2:2] = [tmp_path / "bad.png", tmp_path / "nosuch.png", tmp_path / "strip.png"]
    predictions = list(predict(trained, paths, top=top, batch_size=batch_size))
    assert [prediction.image for prediction in predictions] == paths
    bad = [prediction for prediction in predictions if prediction.fault]
    assert not any(prediction.labels for prediction in bad)
    assert "bad.png" in bad[0].fault
    assert bad[1].fault == f"The image {tmp_path / 'nosuch.png'} does not exist."
    assert "has 200000 x 1 pixels and is too long and narrow" in bad[2].fault
    for prediction in predictions:
        if not prediction.fault:
            expected = logits_of(trained, prediction.image).softmax(-1).topk(min(top, len(NAMES)))
            assert prediction.labels == expected.indices.tolist()
            assert prediction.probabilities == pytest.approx(expected.values.tolist(), abs=1e-5)


def test_a_sigmoid_judges_each_class_by_itself_where_a_clip_was_trained_so(tmp_path):
    path = picture(tmp_path / "a.png")

    def shares(name, bias, rule):
        trained = Trained(model_of(name, clip_model=tower_clip(bias=bias)), image_transform(Images(PIXELS)), path)
        (prediction,) = predict(trained, [path], rule=rule)
        return torch.tensor(prediction.probabilities), logits_of(trained, path).sort(descending=True).values

    for rule, by_plain in (("softmax", lambda x: x.softmax(0)), ("sigmoid", lambda x: (x - 3).sigmoid())):
        probabilities, logits = shares("ZeroshotCLIP", -3.0, rule)
        torch.testing.assert_close(probabilities, by_plain(logits))
    for name, bias, said in (
        (
            "ZeroshotCLIP",
            None,
            "this CLIP model has no logit bias, that is, the CLIP was not trained to score each class independently",
        ),
        ("CLIP_Adapter", -3.0, "the logits of CLIP_Adapter are not scaled cosine similarities"),
    ):
        with pytest.raises(UserError, match=f"^--rule sigmoid is not supported, because {said}"):
            shares(name, bias, "sigmoid")


def test_numbers_that_are_none_and_a_machine_that_fails_are_told(trained, tmp_path, monkeypatch):
    path = picture(tmp_path / "a.png")
    with torch.no_grad():
        next(trained.model.prompt_learner.parameters()).fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="The logits are not finite"):
        list(predict(trained, [path]))

    def fail(path, rule):
        raise OSError(24, "Too many open files", str(path))

    monkeypatch.setattr("modprompt.use.prediction.read_rgb", fail)
    with pytest.raises(OSError, match="Too many open files"):
        list(predict(trained, [path]))


def test_images_are_read_as_the_models_run_read_them(trained, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 2000, (40, 30), dtype=np.uint16)
    seen_as = {"deep": pixels, "scaled": np.rint(pixels / 257), "clipped": pixels.clip(0, 255)}
    for name, values in seen_as.items():
        Image.fromarray(values if name == "deep" else values.astype(np.uint8)).save(tmp_path / f"{name}.png")
    paths = [tmp_path / f"{name}.png" for name in seen_as]
    deep, scaled, clipped = (prediction.probabilities for prediction in predict(trained, paths))
    assert deep == pytest.approx(clipped, abs=1e-6)
    assert scaled != pytest.approx(clipped, abs=1e-3)
    trained.preprocess.transforms.insert(0, as_people)
    deep, scaled, _ = (prediction.probabilities for prediction in predict(trained, paths))
    assert deep == pytest.approx(scaled, abs=1e-6)
