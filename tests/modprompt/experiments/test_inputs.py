"""Results are held against the CLIP, split and few-shot list that are there now."""

import os
import shutil
import sys

import pytest
import torch
from PIL import Image

from modprompt.clip.load import load
from modprompt.clip.spec import ClipSpec
from modprompt.data.readers.image_folder import ImageFolder
from modprompt.experiments.plan import protocols
from modprompt.experiments.plan.inputs import Inputs
from modprompt.experiments.running import state, status
from modprompt.io import descriptions, identity
from modprompt.io.identity import DESCRIPTIONS, INITIAL, SOURCES
from modprompt.io.images import IMAGE_FILES, image_files
from modprompt.io.program_text import source_hash
from modprompt.io.records import file_hash
from tests.conftest import SAID, random_clip
from tests.modprompt.experiments.conftest import FILE
from tests.modprompt.experiments.fakes import finish
from tests.registered import forget


@pytest.fixture
def clip(tmp_path):
    """Writes a small CLIP of some seed to one path; gives the path."""
    path = tmp_path / "clip.pt"

    def write(seed=1):
        torch.save(random_clip(seed, text_layers=1, vision_layers=1).state_dict(), path)
        return path

    return write


def options(path):
    """Options of an experiment on a file that random_clip's weights are in."""
    return f"MODEL.BACKBONE.PATH: '{path}', MODEL.BACKBONE.ACTIVATION: quick_gelu, MODEL.BACKBONE.HEADS: [1, 2]"


@pytest.fixture
def job(experiment, clip):
    """A zero-shot run on a CLIP from a file."""
    return protocols.jobs(experiment(FILE + f"options: {{{options(clip())}}}\n"))[0]


def stands(job, out, data=None):
    return state.of(job, out, Inputs(out, data))


def test_another_clip_under_the_same_path_makes_results_stale(job, clip, tmp_path):
    finish(job, tmp_path, 80.0, backbone_hash=str(load(ClipSpec("", str(clip()), **SAID)).fingerprint))
    assert stands(job, tmp_path).name == "finished"
    os.utime(clip())
    assert stands(job, tmp_path).name == "finished"  # the same weights at another time
    clip(2)
    assert stands(job, tmp_path)[:1] == ("stale",)
    assert stands(job, tmp_path).why.startswith("the inputs of the run have changed (CLIP 2:")
    clip().unlink()
    assert stands(job, tmp_path).name == "finished"  # nothing to compare with, which is said
    assert Inputs(tmp_path, None).not_compared(job, {"backbone_hash": "2:x"}) == ["CLIP", "split and few-shot list"]


def test_another_split_makes_results_stale(jobs, tmp_path):
    data, split = tmp_path / "data", tmp_path / "data" / "digits" / "split_digits.json"
    split.parent.mkdir(parents=True)
    split.write_text('{"train": []}')
    finish(jobs[0], tmp_path, 80.0, files={"digits/split_digits.json": file_hash(split)})
    assert stands(jobs[0], tmp_path, data).name == "finished"
    split.write_text('{"train": [1]}')
    why = "the inputs of the run have changed (digits/split_digits.json has changed)"
    assert stands(jobs[0], tmp_path, data)[:2] == ("stale", why)
    assert stands(jobs[0], tmp_path, tmp_path / "elsewhere").name == "finished"


@pytest.mark.parametrize("key", ["MODEL.INIT_WEIGHTS", "TRAINER.COOP.ASPATH"])
def test_another_content_of_a_named_file_makes_results_stale(experiment, tmp_path, key):
    file, copy = tmp_path / "named.json", tmp_path / "copy.json"
    for path in (file, copy):
        path.write_text('{"zero": ["round"]}')
    job, other = (protocols.jobs(experiment(FILE + f"options: {{{key}: '{path}'}}\n"))[0] for path in (file, copy))
    contents = {"MODEL.INIT_WEIGHTS": {INITIAL: file_hash(file)}}
    contents["TRAINER.COOP.ASPATH"] = {DESCRIPTIONS: f"AS {descriptions.read(str(file)).hash}"}
    record = identity.record(contents[key], {"TRAINER.COOP.ASPATH": DESCRIPTIONS})
    finish(job, tmp_path, 80.0, **{identity.IDENTITY: record})
    assert stands(job, tmp_path).name == "finished"
    file.write_text('{"zero": ["hollow"]}')
    assert stands(job, tmp_path).why == f"the inputs of the run have changed (the content of {file} has changed)"
    assert stands(other, tmp_path).name == "finished"
    shutil.move(file, copy)
    why = f"the inputs of the run have changed (the run was made with {file}, but {copy} is another file and has other content)"
    assert stands(other, tmp_path).why == why


@pytest.fixture
def photos(tmp_path):
    """One's own images in train/ and test/, which have no split file, and may have no few-shot list."""
    root = tmp_path / "photos"
    for path in ("train/zero/a.png", "train/one/b.png", "test/zero/c.png", "test/one/d.png"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(root / path)
    return root


def test_folders_that_are_split_by_hand_are_looked_at(jobs, photos, tmp_path):
    job = jobs[0]._replace(dataset="image_folder")
    result = {"backbone_hash": "", "files": {}, "split": {"hash": ImageFolder.split_hash_now(photos)}}

    def changes():
        return Inputs(tmp_path, photos).changes(job, result, {})

    assert changes() == []
    assert "split" not in Inputs(tmp_path, photos).not_compared(job, result)
    (photos / "test/one/d.png").rename(photos / "test/one/e.png")
    others = ["the images, which have no split file, have changed"]
    assert changes() == others
    shutil.rmtree(photos / "train")  # they would be split by chance now
    assert changes() == others
    assert not (photos / "split_ImageFolder.json").exists()
    result["files"] = {"split_fewshot/shot_4-seed_1.json": "a"}
    assert changes() == ["split_fewshot/shot_4-seed_1.json does not exist any more"]
    gone = Inputs(tmp_path, tmp_path / "gone")
    assert gone.changes(job, result, {}) == []
    assert "split and few-shot list" in gone.not_compared(job, result)


def test_images_that_are_replaced_in_place_make_results_stale(jobs, photos, tmp_path):
    job = jobs[0]._replace(dataset="image_folder", kind="test", options=())
    lists, folder = Inputs(tmp_path, photos).lists(job)
    result = {"backbone_hash": "", "files": {}, "settings": {}, IMAGE_FILES: image_files(lists, folder)}
    image = photos / "test/one/d.png"
    before = image.read_bytes()
    Image.new("RGB", (4, 4), (1, 0, 0)).save(image)
    assert Inputs(tmp_path, photos).changes(job, result, {}) == ["the test images have changed"]
    image.write_bytes(before)
    os.utime(image, ns=(1, 1))
    Image.new("RGB", (4, 4), (1, 0, 0)).save(photos / "train/zero/a.png")  # which no test reads
    assert Inputs(tmp_path, photos).changes(job, result, {}) == []


def test_what_is_not_compared_is_said(jobs, tmp_path):
    finish(jobs[0], tmp_path, 80.0)
    finish(jobs[1], tmp_path, 80.0, backbone_hash="", files={"digits/split.json": "0"})
    assert status.lines(jobs[:2], tmp_path, Inputs(tmp_path, tmp_path / "nowhere")) == [
        "2 runs: 2 finished",
        "The recorded CLIP of 1 finished run could not be compared with the current files.",
        "The recorded split and few-shot list of 1 finished run could not be compared with the current files.",
    ]


@pytest.fixture
def growing(tmp_path, monkeypatch):
    """A custom method's module in the current folder, which nothing imports; gives its file."""
    file = tmp_path / "own_growing.py"
    file.write_text(
        "from modprompt import MPL, register_own\n\n\n@register_own\nclass OwnGrowing(MPL):\n    node = 'TRAINER.G'\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield file
    forget("OwnGrowing", "own_growing")


def test_an_edited_custom_method_makes_its_results_stale(jobs, growing, tmp_path):
    method = {"module": "own_growing", SOURCES: {"own_growing": source_hash("own_growing", growing)}}
    contents = identity.of_sources(method[SOURCES])
    finish(jobs[0], tmp_path, 80.0, method=method, identity=identity.record(contents, {}))
    assert stands(jobs[0], tmp_path).name == "finished"
    growing.write_text("x = 1\n")
    why = f"the inputs of the run have changed ({growing}, or a module next to it that it imports, has changed)"
    assert stands(jobs[0], tmp_path).why == why
    growing.unlink()
    assert stands(jobs[0], tmp_path).name == "finished"
    for result in ({"method": method}, {"method": {"module": "own_growing"}}):
        assert "method's source" in Inputs(tmp_path, None).not_compared(jobs[0], result)


def test_training_images_of_a_custom_method_are_compared(jobs, growing, photos, tmp_path):
    method = jobs[0].method._replace(trainer="OwnGrowing", imports=(str(growing.with_suffix("")),))
    job = jobs[0]._replace(dataset="image_folder", method=method, kind="training", options=())
    lists, folder = Inputs(tmp_path, photos).lists(job)
    result = {"backbone_hash": "", "files": {}, "settings": {}, IMAGE_FILES: image_files(lists, folder)}
    Image.new("RGB", (4, 4), (1, 0, 0)).save(photos / "train/zero/a.png")
    assert Inputs(tmp_path, photos).changes(job, result, {}) == ["the training images have changed"]
    forget("OwnGrowing", "own_growing")
    growing.unlink()
    assert Inputs(tmp_path, photos).changes(job, result, {}) == []
    assert "images" in Inputs(tmp_path, photos).not_compared(job, result)


def test_recorded_names_lead_nowhere_else(jobs, tmp_path):
    (tmp_path / "secret.json").write_text("{}")
    (tmp_path / "data").mkdir()
    finish(jobs[0], tmp_path, 80.0, files={"../secret.json": file_hash(tmp_path / "secret.json")})
    why = stands(jobs[0], tmp_path, tmp_path / "data").why
    assert why == "the inputs of the run have changed (../secret.json does not exist any more)"


def test_another_commit_of_a_hub_makes_results_stale(experiment, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "cache" / "models--owner--name"
    first, second = "1" * 40, "2" * 40
    (place / "refs").mkdir(parents=True)
    for commit in (first, second):
        (place / "snapshots" / commit).mkdir(parents=True)
    (place / "refs" / "main").write_text(first)
    job = protocols.jobs(experiment(FILE + "options: {MODEL.BACKBONE.NAME: 'hf-hub:owner/name'}\n"))[0]
    result = {"backbone_hash": "2:x", "files": {}, "clip": {"commit": first}}
    finish(job, tmp_path, 80.0, **result)
    assert stands(job, tmp_path).name == "finished"
    assert "CLIP" not in Inputs(tmp_path, None).not_compared(job, result)
    (place / "refs" / "main").write_text(second)
    why = f"the inputs of the run have changed (the commit of the CLIP, {first[:12]} -> {second[:12]})"
    assert stands(job, tmp_path)[:2] == ("stale", why)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    assert "CLIP" in Inputs(tmp_path, None).not_compared(job, result)


def test_new_classes_with_unknown_images_stay_when_a_file_is_added(experiment, photos, tmp_path):
    jobs = protocols.jobs(experiment(FILE + "options: {TEST.OOD: new}\n"))
    job = next(job for job in jobs if ("DATASET.SUBSAMPLE_CLASSES", "new") in job.options)
    job = job._replace(dataset="image_folder")
    lists, folder = Inputs(tmp_path, photos).lists(job)
    result = {"backbone_hash": "", "files": {}, "settings": {}, IMAGE_FILES: image_files(lists, folder)}
    (photos / "test/zero/notes.txt").write_text("nothing that a run reads")
    assert Inputs(tmp_path, photos).changes(job, result, {}) == []
