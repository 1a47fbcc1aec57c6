import os

import numpy as np
import pytest
import torch
from PIL import Image

import modprompt
from modprompt.errors import UserError
from modprompt.io.image_files import as_people
from modprompt.use.prediction import find_images, predict
from modprompt.use.trained import open_trained
from tests.modprompt.use.made import NAMES, model_of


def picture(path, size=(40, 30), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def trained(tmp_path):
    model_of(modprompt.MPL).save(tmp_path / "a.pt")
    return open_trained(tmp_path / "a.pt", device="cpu")


def test_images_of_folders_and_files(tmp_path):
    deep, top = picture(tmp_path / "in" / "b" / "x.JPG"), picture(tmp_path / "in" / "a.png")
    picture(tmp_path / "in" / ".hidden" / "x.png")
    picture(tmp_path / "in" / ".x.png")
    (tmp_path / "in" / "notes.txt").write_text("no image")
    (tmp_path / "in" / "loop.png").symlink_to(tmp_path / "in")
    (tmp_path / "named.txt").write_text("")
    named = tmp_path / "named.txt"
    images, left_out = find_images([named, tmp_path / "in", str(top)])
    assert images == [named, top, deep]
    assert [path.name for path in left_out] == ["loop.png", "notes.txt"]
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="there is no image in .*none"):
        find_images([tmp_path / "none"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read all")
def test_a_folder_that_cannot_be_listed_is_told(tmp_path):
    (tmp_path / "shut").mkdir(mode=0)
    with pytest.raises(UserError, match="cannot list .*shut"):
        find_images([tmp_path])


@pytest.mark.cover(2)
@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_each_image_has_its_own_probabilities_and_bad_ones_say_why(batch_size, trained, tmp_path):
    paths = [picture(tmp_path / f"{seed}.png", seed=seed) for seed in range(5)]
    (tmp_path / "bad.png").write_bytes(b"\x89PNG broken")
    picture(tmp_path / "strip.png", size=(200000, 1))
    paths[2:2] = [tmp_path / "bad.png", tmp_path / "nosuch.png", tmp_path / "strip.png"]
    found = list(predict(trained, paths, top=2, batch_size=batch_size))
    assert [one.image for one in found] == paths
    faults = [one.fault for one in found if one.fault]
    assert not any(one.labels for one in found if one.fault)
    assert "bad.png" in faults[0]
    assert faults[1] == f"image not found: {tmp_path / 'nosuch.png'}"
    assert "it has 200000 x 1 pixels, a strip" in faults[2]
    for one in found:
        if not one.fault:
            batch = trained.preprocess(Image.open(one.image))[None]
            with torch.no_grad():
                expected = trained.model(batch).softmax(-1)[0].topk(2)
            assert one.labels == expected.indices.tolist()
            assert one.probabilities == pytest.approx(expected.values.tolist(), abs=1e-5)


def test_no_more_classes_than_there_are_and_they_add_up(trained, tmp_path):
    (one,) = predict(trained, [picture(tmp_path / "a.png")], top=99)
    assert sorted(one.labels) == list(range(len(NAMES)))
    assert sum(one.probabilities) == pytest.approx(1)
    assert list(predict(trained, [])) == []


def test_numbers_that_are_none_and_a_machine_that_fails_are_told(trained, tmp_path, monkeypatch):
    path = picture(tmp_path / "a.png")
    with torch.no_grad():
        next(trained.model.prompt_learner.parameters()).fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="the logits are not finite"):
        list(predict(trained, [path]))

    def fail(path, rule):
        raise OSError(24, "Too many open files", str(path))

    monkeypatch.setattr("modprompt.use.prediction.read_rgb", fail)
    with pytest.raises(OSError, match="Too many open files"):
        list(predict(trained, [path]))


def test_images_are_read_as_the_models_run_read_them(trained, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 2000, (40, 30), dtype=np.uint16)
    Image.fromarray(pixels).save(tmp_path / "deep.png")
    Image.fromarray(np.rint(pixels / 257).astype(np.uint8)).save(tmp_path / "seen.png")
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / "clipped.png")
    paths = [tmp_path / f"{name}.png" for name in ("deep", "seen", "clipped")]
    deep, seen, clipped = (one.probabilities for one in predict(trained, paths))
    assert deep == pytest.approx(clipped, abs=1e-6)
    assert seen != pytest.approx(clipped, abs=1e-3)
    trained.preprocess.transforms.insert(0, as_people)
    deep, seen, clipped = (one.probabilities for one in predict(trained, paths))
    assert deep == pytest.approx(seen, abs=1e-6)
