"""All that decides a finished run's numbers, changed alone on disk: no run is skipped that would give other ones."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from modprompt.cli import train
from modprompt.data.readers.folders import EUROSAT
from modprompt.io import identity
from modprompt.io import result as results
from modprompt.io.images import IMAGE_FILES
from modprompt.methods.base import BESIDE
from tests.conftest import bare, random_clip, replace_unnoticed, slow_but
from tests.other_clips import open_clip_folder
from tests.test_train import refusal


def clip_in(path, seed):
    torch.save(random_clip(seed, text_layers=2, vision_layers=2).state_dict(), path)
    return path


class Run:
    """A run on small images, on CLIPs and other files of its own, which a case may change."""

    def __init__(self, root, tmp_path):
        self.root, self.trainer, self.out, self.files = root, "MPL", tmp_path / "out", tmp_path / "files"
        self.files.mkdir(exist_ok=True)
        self.backbone = clip_in(self.files / "clip.pt", 1)
        self.config = self.files / "config.yaml"
        self.config.write_text(CONFIG)

    def words(self, *more, out=None):
        return [
            *("--once", "--root", str(self.root), "--seed", "1", "--trainer", self.trainer),
            *("--output-dir", str(out or self.out), "--config-file", str(self.config)),
            *("--dataset-config-file", "configs/datasets/eurosat.yaml", *bare(self.backbone)),
            *("DATASET.NUM_SHOTS", "2", *map(str, more)),
        ]


CONFIG = """
DATALOADER: {TRAIN_X: {BATCH_SIZE: 10}, TEST: {BATCH_SIZE: 50}, NUM_WORKERS: 0}
INPUT:
  SIZE: (32, 32)
  INTERPOLATION: "bicubic"
  PIXEL_MEAN: [0.48145466, 0.4578275, 0.40821073]
  PIXEL_STD: [0.26862954, 0.26130258, 0.27577711]
  TRANSFORMS: ["normalize"]
OPTIM: {NAME: "sgd", LR: 0.01, MAX_EPOCH: 1}
"""
DEEP = ("TRAINER.MPL.PREC", "fp32", "TRAINER.MPL.PROMPT_DEPTH", 2, "TRAINER.MPL.N_CTX", 1)
PROMPTS, TEACHER, SHOTS = "prompts.pth.tar", "teacher", "shots.csv"  # among the run's files
KINDS = {
    "method": ("MPL", DEEP),
    "teacher": ("MPL", (*DEEP, "TRAINER.KDPL.ON", "True", "TRAINER.KDPL.TEACHER", TEACHER)),
    "initial": ("MPL", (*DEEP, "MODEL.INIT_WEIGHTS", PROMPTS)),
    "shots": ("MPL", (*DEEP, "DATASET.NUM_SHOTS", -1, "DATASET.SHOTS_BY_CLASS", SHOTS)),
    "head": ("TipAdapter", ("TRAINER.TIPADAPTER.PROMPTS_FROM", PROMPTS)),
    "rounds": ("MPL", (*DEEP, "ACTIVE.ROUNDS", 1, "ACTIVE.METHOD", "random", "DATASET.NUM_SHOTS", -1)),
    "search": ("MPL", (*DEEP, "SEARCH.ON", "True", "DATASET.NUM_SHOTS", 4)),
}


def prepared(run, kind):
    """The words of a kind of run, whose files are made."""
    if PROMPTS in KINDS[kind][1]:
        run.trainer, words = KINDS["method"]
        assert train.main(run.words(*words, out=run.files / "before")) == 0
        shutil.copy(next((run.files / "before").glob("*/model.pth.tar-1")), run.files / PROMPTS)
    if kind == "teacher":
        open_clip_folder(run.files / TEACHER)
    (run.files / SHOTS).write_text("class,shots\n" + "".join(f"{name},2\n" for name in EUROSAT.values()))
    run.trainer, words = KINDS[kind]
    return [run.files / word if word in (PROMPTS, TEACHER, SHOTS) else word for word in words]


def another_teacher(run):
    """Other weights of the same sizes, in the same place."""
    weights = run.files / TEACHER / "open_clip_model.safetensors"
    open_clip_folder(run.files / "other", seed=9)
    shutil.move(run.files / "other" / weights.name, weights)
    shutil.rmtree(run.files / "other")


def image_of(run, what):
    """The first image of the run's test, or of its training: of the few-shot list, if there is one."""
    folder = run.root / "eurosat"
    split = json.loads((folder / "split_zhou_EuroSAT.json").read_text())
    first = split["test" if what == "test" else "train"][0][0]
    for path in (folder / "split_fewshot").glob("shot*.json") if what == "training" else ():
        first = json.loads(path.read_text())["train"][0]
    return folder / "2750" / first


def repaint(path):
    """Another image of the same side; gives what undoes that."""
    with Image.open(path) as image:
        size = image.size
    before = path.read_bytes()
    Image.new("RGB", size, (255, 0, 255)).save(path, quality=90)
    return lambda: (path.write_bytes(before), os.utime(path))


def rewrite(path, write):
    before = path.read_bytes()
    write()
    return lambda: path.write_bytes(before)


def once(run, words, capsys):
    """Whether the run counts as finished; else what it says."""
    capsys.readouterr()
    code = train.main(run.words(*words))
    said = capsys.readouterr()
    return "finished" if code == 0 and "This run is already finished: " in said.out else f"{said.out[-300:]}{said.err}"


@pytest.fixture
def run(eurosat_root, tmp_path, monkeypatch):
    return Run(eurosat_root, tmp_path)


@pytest.mark.parametrize("kind", slow_but(KINDS, "method", "teacher"))
def test_a_finished_run_is_another_once_anything_that_decides_it_has_changed(run, kind, capsys):
    words = prepared(run, kind)
    assert train.main(run.words(*words)) == 0, capsys.readouterr().err
    result = results.read(run.out).result
    assert once(run, words, capsys) == "finished"
    facts = identity.facts(result)
    changes = {
        identity.CLIP: lambda: rewrite(run.backbone, lambda: clip_in(run.backbone, 9)),
        "the test images": lambda: repaint(image_of(run, "test")),
        "the training images": lambda: repaint(image_of(run, "training")),
    }
    if identity.TEACHER in facts:
        weights = run.files / TEACHER / "open_clip_model.safetensors"
        changes[identity.TEACHER] = lambda: rewrite(weights, lambda: another_teacher(run))
    for fact in (identity.INITIAL, identity.PROMPTS_BEFORE):
        if fact in facts:
            path = run.files / PROMPTS
            changes[fact] = lambda path=path: rewrite(path, lambda: path.write_bytes(path.read_bytes() + b"x"))
    if identity.SHOTS in facts:
        path = run.files / SHOTS
        changes[identity.SHOTS] = lambda path=path: rewrite(path, lambda: path.write_text(path.read_text()[:-2] + "4"))
    for name in result["files"]:
        path = Path(run.root, name)
        changes[f"files/{name}"] = lambda path=path: rewrite(path, lambda: path.write_text(path.read_text() + " \n[]"))
    named = {name for name in facts if not name.isupper() and " " in name and not name.startswith("INPUT")}
    assert named - {*changes, identity.TOKENIZER, identity.IMAGES, identity.TEACHER_CKPT, BESIDE} == set()
    found = {}
    for what, change in changes.items():
        back = change()
        found[what] = [once(run, words, capsys) == "finished"]
        back()
        found[what].append(once(run, words, capsys) == "finished")
    assert found == dict.fromkeys(changes, [False, True])
    assert "OPTIM.LR 0.01 -> 0.02" in once(run, (*words, "OPTIM.LR", 0.02), capsys)


def test_images_moved_over_others_are_noticed_and_equal_copies_accepted(run, capsys):
    run.trainer, words = KINDS["method"]
    assert train.main(run.words(*words)) == 0
    for path in (run.root / "eurosat" / "2750").rglob("*.jpg"):
        shutil.copy2(path, path.with_suffix(".copy")).replace(path)
    assert once(run, words, capsys) == "finished"
    replace_unnoticed(image_of(run, "test"))
    assert "the test images have changed" in once(run, words, capsys)


@pytest.mark.slow
def test_a_teacher_that_moved_is_the_same_and_copied_images_are_too(run, capsys):
    words = prepared(run, "teacher")
    assert train.main(run.words(*words)) == 0
    shutil.copytree(run.files / TEACHER, run.files / "elsewhere")
    assert once(run, (*words[:-1], run.files / "elsewhere"), capsys) == "finished"
    for path in (run.root / "eurosat" / "2750").rglob("*.jpg"):
        os.utime(path, ns=(1, 1))
    assert once(run, words, capsys) == "finished"
    assert IMAGE_FILES in results.read(run.out).result


def test_without_a_folder_nothing_is_trained(run, capsys):
    run.trainer, words = KINDS["method"]
    given = run.words(*words)
    given[given.index("--output-dir") + 1] = ""
    line = refusal(capsys, *given[1:], "OUTPUT_DIR", "")
    assert "OUTPUT_DIR is not set" in line
