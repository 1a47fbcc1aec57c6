"""Results are held against the CLIP, split and few-shot list that are there now."""

import os
import shutil
import sys

import pytest
import torch
from PIL import Image

from modprompt.clip import known
from modprompt.clip.known import Asked
from modprompt.clip.load import load
from modprompt.data.readers.image_folder import ImageFolder
from modprompt.experiments.plan import protocols
from modprompt.experiments.plan.inputs import Inputs
from modprompt.experiments.running import state, status
from modprompt.io import descriptions
from modprompt.io.images import IMAGE_FILES, image_files
from modprompt.io.records import file_hash
from modprompt.io.same_run import DESCRIPTIONS, TEACHER
from tests.conftest import SAID, random_clip
from tests.modprompt.experiments.conftest import FILE
from tests.modprompt.experiments.fakes import finish
from tests.other_clips import edit as edit_json
from tests.other_clips import open_clip_folder


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


def test_another_clip_under_the_same_path_makes_results_stale(job, clip, tmp_path):
    inputs = Inputs(tmp_path, None)
    inputs.note_clips([job])
    finish(job, tmp_path, 80.0, backbone_hash=str(load(Asked("", str(clip()), **SAID)).fingerprint))
    inputs.note_clips([job])
    assert state.of(job, tmp_path, inputs).name == "finished"
    clip(2)
    os.utime(clip(2), ns=(1, 1))
    again = Inputs(tmp_path, None)
    assert again.not_compared(job, {"backbone_hash": "2:x", "files": {}}) == ["CLIP", "split and few-shot list"]
    assert state.of(job, tmp_path, again).name == "finished"  # nobody has hashed it yet, which is said
    again.note_clips([job])
    stands = state.of(job, tmp_path, again)
    assert stands.name == "stale"
    assert stands.why.startswith("made of other inputs: CLIP 2:")


def test_noted_clip_is_not_hashed_again(job, tmp_path, monkeypatch):
    Inputs(tmp_path, None).note_clips([job])
    monkeypatch.setattr("modprompt.clip.load.load", None)
    Inputs(tmp_path, None).note_clips([job])


def test_another_split_makes_results_stale(jobs, tmp_path):
    data, split = tmp_path / "data", tmp_path / "data" / "digits" / "split_digits.json"
    split.parent.mkdir(parents=True)
    split.write_text('{"train": []}')
    finish(jobs[0], tmp_path, 80.0, files={"digits/split_digits.json": file_hash(split)})
    assert state.of(jobs[0], tmp_path, Inputs(tmp_path, data)).name == "finished"
    split.write_text('{"train": [1]}')
    assert state.of(jobs[0], tmp_path, Inputs(tmp_path, data))[:2] == (
        "stale",
        "made of other inputs: digits/split_digits.json has changed",
    )
    assert state.of(jobs[0], tmp_path, Inputs(tmp_path, tmp_path / "elsewhere")).name == "finished"


def test_other_initial_weights_make_results_stale(experiment, tmp_path):
    weights = tmp_path / "init.pth.tar"
    weights.write_bytes(b"one")
    job = protocols.jobs(experiment(FILE + f"options: {{MODEL.INIT_WEIGHTS: '{weights}'}}\n"))[0]
    finish(job, tmp_path, 80.0, init_weights=file_hash(weights))
    assert state.of(job, tmp_path, Inputs(tmp_path, None)).name == "finished"
    weights.write_bytes(b"another")
    assert (
        state.of(job, tmp_path, Inputs(tmp_path, None)).why
        == f"made of other inputs: the content of {weights} has changed"
    )


def test_other_phrases_make_results_stale(experiment, tmp_path):
    phrases = tmp_path / "phrases.json"
    phrases.write_text('{"zero": ["round"]}')
    job = protocols.jobs(experiment(FILE + f"options: {{TRAINER.COOP.ASPATH: '{phrases}'}}\n"))[0]
    finish(job, tmp_path, 80.0, method={DESCRIPTIONS: f"AS {descriptions.read(str(phrases)).hash}"})
    assert state.of(job, tmp_path, Inputs(tmp_path, None)).name == "finished"
    phrases.write_text('{"zero": ["hollow"]}')
    assert (
        state.of(job, tmp_path, Inputs(tmp_path, None)).why
        == f"made of other inputs: the content of {phrases} has changed"
    )


def test_folders_that_are_split_by_hand_are_looked_at(jobs, tmp_path):
    """One's own images in train/ and test/ have no split file, and may have no few-shot list."""
    root = tmp_path / "photos"
    for path in ("train/zero/a.png", "train/one/b.png", "test/zero/c.png", "test/one/d.png"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(root / path)
    job, made = jobs[0]._replace(dataset="image_folder"), ImageFolder.split_hash_now(root)
    result = {"backbone_hash": "2:x", "files": {}, "split": {"hash": made}}
    assert Inputs(tmp_path, root).changes(job, result, {}) == []
    assert "split" not in Inputs(tmp_path, root).not_compared(job, result)
    (root / "test/one/d.png").rename(root / "test/one/e.png")
    others = ["the images, which have no split file, have changed"]
    assert Inputs(tmp_path, root).changes(job, result, {}) == others
    result["files"] = {"split_fewshot/shot_4-seed_1.json": "a"}
    assert (
        Inputs(tmp_path, root).changes(job, result, {})
        == [f"{one} is not there any more" for one in result["files"]] + others
    )
    shutil.rmtree(root / "train")  # they would be split by chance now
    assert Inputs(tmp_path, root).changes(job, result, {})[1:] == others
    assert not (root / "split_ImageFolder.json").exists()
    gone = Inputs(tmp_path, tmp_path / "gone")
    assert gone.changes(job, result, {}) == []
    assert "split and few-shot list" in gone.not_compared(job, result)


def test_images_that_are_replaced_in_place_make_results_stale(jobs, tmp_path):
    root = tmp_path / "photos"
    for path in ("train/zero/a.png", "train/one/b.png", "test/zero/c.png", "test/one/d.png"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(root / path)
    job = jobs[0]._replace(dataset="image_folder", tests=True, options=())
    lists, folder = Inputs(tmp_path, root).lists(job)
    result = {"backbone_hash": "2:x", "files": {}, "settings": {}, IMAGE_FILES: image_files(lists, folder)}
    image = root / "test/one/d.png"
    before = image.read_bytes()
    Image.new("RGB", (4, 4), (1, 0, 0)).save(image)
    assert Inputs(tmp_path, root).changes(job, result, {}) == ["the test images have changed"]
    image.write_bytes(before)
    os.utime(image, ns=(1, 1))
    Image.new("RGB", (4, 4), (1, 0, 0)).save(root / "train/zero/a.png")  # which no test reads
    assert Inputs(tmp_path, root).changes(job, result, {}) == []


def test_another_teacher_at_its_place_makes_results_stale(experiment, tmp_path):
    place = tmp_path / "teacher"
    open_clip_folder(place)
    words = f"TRAINER.KDPL.ON: true, TRAINER.KDPL.TEACHER: '{place}'"
    text = FILE.replace("methods:", "methods:\n  KDPL: {trainer: MPL, config: glyph, options: {" + words + "}}", 1)
    job = next(one for one in protocols.jobs(experiment(text)) if one.method.label == "KDPL")
    teacher = known.named(str(place))
    finish(job, tmp_path, 80.0, method={TEACHER: known.identity(teacher)[0]}, clip_files={TEACHER: known.seen(teacher)})
    inputs = Inputs(tmp_path, None)
    assert state.of(job, tmp_path, inputs).name == "finished"
    open_clip_folder(tmp_path / "other", seed=5)
    shutil.move(tmp_path / "other" / "open_clip_model.safetensors", place / "open_clip_model.safetensors")
    inputs.note_clips([job])
    assert state.of(job, tmp_path, inputs).why.startswith("made of other inputs: the teacher 2:")


def test_split_without_a_file_is_said_not_to_be_compared(jobs, tmp_path):
    """A reader that cannot tell, as those of ImageNet's variants."""
    (tmp_path / "own").mkdir()
    result = {"backbone_hash": "2:x", "files": {"own/split_fewshot/shot_4-seed_1.json": "a"}, "split": {"hash": "b"}}
    inputs, job = Inputs(tmp_path, tmp_path), jobs[0]._replace(dataset="imagenet_a")
    assert "split" in inputs.not_compared(job, result)
    result["files"]["own/split_ImageFolder.json"] = "c"
    assert "split" not in inputs.not_compared(job, result)


def test_what_is_not_compared_is_said(jobs, tmp_path):
    finish(jobs[0], tmp_path, 80.0)
    finish(jobs[1], tmp_path, 80.0, backbone_hash="", files={"digits/split.json": "0"})
    lines = status.lines(jobs[:2], tmp_path, Inputs(tmp_path, tmp_path / "nowhere"))
    assert lines == [
        "2 finished, of 2 runs",
        "not compared with what is there now: CLIP of 2 finished runs",
        "not compared with what is there now: split and few-shot list of 1 finished runs",
    ]


def test_recorded_names_lead_nowhere_else(jobs, tmp_path):
    (tmp_path / "secret.json").write_text("{}")
    (tmp_path / "data").mkdir()
    finish(jobs[0], tmp_path, 80.0, files={"../secret.json": file_hash(tmp_path / "secret.json")})
    stands = state.of(jobs[0], tmp_path, Inputs(tmp_path, tmp_path / "data"))
    assert stands.why == "made of other inputs: ../secret.json is not there any more"


def test_looking_needs_no_pytorch(tmp_path):
    import subprocess

    code = "import sys, modprompt.experiments.running.status, modprompt.experiments.reporting.results; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_a_folder_of_weights_is_one_clip_and_its_config_counts(experiment, tmp_path):
    folder = tmp_path / "folder"
    open_clip_folder(folder, text={"layers": 1}, image={"layers": 1})
    job = protocols.jobs(experiment(FILE + f"options: {{MODEL.BACKBONE.PATH: '{folder}'}}\n"))[0]
    inputs = Inputs(tmp_path, None)
    inputs.note_clips([job])
    finish(job, tmp_path, 80.0, backbone_hash=str(load(Asked("", str(folder))).fingerprint))
    assert state.of(job, tmp_path, inputs).name == "finished"
    edit_json(folder / "open_clip_config.json", "model_cfg", "quick_gelu", value=True)
    os.utime(folder / "open_clip_config.json", ns=(1, 1))
    again = Inputs(tmp_path, None)
    again.note_clips([job])
    assert state.of(job, tmp_path, again).name == "stale"


def test_how_a_bare_file_is_run_is_part_of_what_it_is(experiment, clip, tmp_path):
    path = clip()
    one, other = (
        protocols.jobs(experiment(FILE + f"options: {{{options(path).replace('quick_gelu', activation)}}}\n"))[0]
        for activation in ("quick_gelu", "gelu")
    )
    inputs = Inputs(tmp_path, None)
    inputs.note_clips([one, other])
    assert len({note["hash"] for note in inputs.notes.values()}) == 2
    finish(one, tmp_path, 80.0, backbone_hash=str(load(Asked("", str(path), **SAID)).fingerprint))
    assert state.of(one, tmp_path, inputs).name == "finished"
    assert state.of(other, tmp_path, inputs).name == "stale"


def test_another_commit_of_a_hub_makes_results_stale(experiment, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "cache" / "models--owner--name"
    first, second = "1" * 40, "2" * 40
    (place / "refs").mkdir(parents=True)
    for commit in (first, second):
        (place / "snapshots" / commit).mkdir(parents=True)
    (place / "refs" / "main").write_text(first)
    job = protocols.jobs(experiment(FILE + "options: {MODEL.BACKBONE.NAME: 'hf-hub:owner/name'}\n"))[0]
    finish(job, tmp_path, 80.0, backbone_hash="2:x", clip={"commit": first})
    inputs = Inputs(tmp_path, None)
    assert state.of(job, tmp_path, inputs).name == "finished"
    assert "CLIP" not in inputs.not_compared(job, {"backbone_hash": "2:x", "files": {}, "clip": {"commit": first}})
    (place / "refs" / "main").write_text(second)
    stands = state.of(job, tmp_path, inputs)
    assert (stands.name, stands.why) == (
        "stale",
        f"made of other inputs: the commit of its CLIP {first[:12]} -> {second[:12]}",
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    assert "CLIP" in inputs.not_compared(job, {"backbone_hash": "2:x", "files": {}, "clip": {"commit": first}})
