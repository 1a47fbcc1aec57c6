"""What codebases have beside the usual, by cause: Dassl under another name, imports in another order, wider calls."""

import importlib
import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

import modprompt.trainers.all  # noqa: F401 - registers the trainers
from modprompt.clip import build
from modprompt.clip.package import import_clip
from modprompt.compat.find import also_named
from modprompt.errors import UserError
from modprompt.hosts import doctor, foreign, install
from modprompt.hosts import settings as host_settings
from modprompt.io import program_words
from modprompt.io.tensors import read_tensors
from modprompt.trainers.registration import register
from tests.modprompt.hosts.conftest import losses
from tests.modprompt.hosts.stand_in import dassl_folder, run_in, site, write_host

FLAGS = "parser.add_argument('--trainer')\nparser.add_argument('--trainer_config')\n# dassl build_trainer\n"


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_package_has_the_same_modules_by_another_name(tmp_path, monkeypatch):
    write(tmp_path, {"theirs_57/__init__.py": "", "theirs_57/part.py": "ONE = object()\n"})
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    also_named("theirs_57", "usual_57")
    usual, theirs = (importlib.import_module(f"{name}.part") for name in ("usual_57", "theirs_57"))
    assert usual is theirs
    assert theirs.__spec__.name == "theirs_57.part"


def rename_dassl(host):
    """Give a codebase a copy of Dassl as `their_dassl`, which all of it imports."""
    shutil.copytree(Path(dassl_folder()) / "dassl", host / "their_dassl", ignore=shutil.ignore_patterns("__pycache__"))
    for file in [
        *host.glob("their_dassl/**/*.py"),
        *host.glob("datasets/*.py"),
        *host.glob("trainers/*.py"),
        host / "train.py",
    ]:
        file.write_text(re.sub(r"\bdassl\b", "their_dassl", file.read_text()))


@pytest.mark.slow
@pytest.mark.timeout(360)
def test_losses_are_ours_with_dassl_by_another_name_clip_that_imports_trainers_and_wider_calls(workshop, tmp_path):
    host = write_host(tmp_path / "host")
    with (host / "clip/model.py").open("a") as file:
        file.write("\nimport trainers.own\n")
    program = (host / "train.py").read_text()
    for usual, other in (
        ("trainer.train()", "trainer.train(vis=False)"), ("build_trainer(cfg)", "build_trainer(cfg, None)"),
        ('"--config-file", "--dataset-config-file"', '"--trainer_config", "--dataset_config"'),
        ("args.config_file", "args.trainer_config"), ("args.dataset_config_file", "args.dataset_config"),
    ):  # fmt: skip
        program = program.replace(usual, other)
    (host / "train.py").write_text(program)
    rename_dassl(host)
    builder = host / "their_dassl/engine/build.py"
    text = builder.read_text().replace("def build_trainer(cfg", "def build_trainer(cfg, info=None")
    builder.write_text(re.sub(r"(TRAINER_REGISTRY\.get\(.*?\))\(cfg\)", r"\1(cfg, info)", text))
    by_host = run_in(host, "-m", "modprompt", "train", "--host", ".", *workshop.words("MPL", "output/host"))
    assert losses(by_host.stdout) == workshop.losses, by_host.stderr
    recorded = json.loads((host / "output/host/result.json").read_text())["settings"]["DATASET.READER"]
    assert recorded.startswith("squares.py ")
    words = [str(word) for word in workshop.words("MPL", "output/run")]
    words = ["--dataset_config" if word == "--dataset-config-file" else word for word in words]
    words = ["--trainer_config" if word == "--config-file" else word for word in words]
    launched = run_in(host, "-m", "modprompt.launch", "train.py", *words)
    assert losses(launched.stdout) == workshop.losses, launched.stderr
    notes = [line for line in launched.stdout.splitlines() if line.startswith("note: ")]
    assert notes == [
        "note: this program passes argument 1 to the trainer's constructor, which modprompt's trainers ignore.",
        "note: this program passes vis to train(), which modprompt's trainers ignore.",
    ]


@pytest.mark.slow
def test_program_that_builds_its_own_trainer_is_not_taken_for_ours(tmp_path):
    write_host(tmp_path)
    words = "import argparse\nwords = argparse.ArgumentParser()\nwords.add_argument('--trainer')\nwords.parse_args()\n"
    (tmp_path / "train.py").write_text(f"import modprompt.trainers.mpl\n{words}")
    for way in (("-m", "modprompt.launch", "train.py"), ("train.py",)):  # the launcher, the line
        done = run_in(tmp_path, *way, "--trainer", "MPL")
        assert done.returncode == 2
        assert re.fullmatch(
            r"error: \S*train.py did not build the trainer MPL of modprompt, .* `modprompt train --host \.` instead\.\n",
            done.stderr,
        )
        for words in (["--trainer", "OWN"], ["--trainer", "MPL", "--help"]):
            assert run_in(tmp_path, *way, *words).returncode == 0
        assert "did not build" not in run_in(tmp_path, *way, "--trainer", "MPL", "--bogus").stderr


@pytest.mark.slow
def test_error_of_a_trainer_that_is_not_ours_is_one_line(tmp_path):
    write_host(tmp_path)
    (tmp_path / "train.py").write_text("open('missing.json')\n")
    done = run_in(tmp_path, "-m", "modprompt.launch", "train.py", "--trainer", "MPL")
    assert done.stderr.endswith("because train.py does not call Dassl's build_trainer.\n")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


READER = """from dassl.data.datasets import DATASET_REGISTRY, DatasetBase


@DATASET_REGISTRY.register()
class EuroSAT(DatasetBase):
    pass
"""
COMPLETED = """
from modprompt.hosts import borrowed
host = borrowed.entered(".")
import modprompt.trainers.all
import modprompt.data.readers.all
from modprompt.io.settings import Settings
files = [host.config_of("eurosat"), "mine.yaml"]
settings = host.completed(Settings.read(files))
print(settings["DATASET.READER"].value, sorted(settings))
"""


@pytest.mark.slow
def test_reader_is_the_one_that_the_program_imports_and_what_its_data_config_sets_is_said(tmp_path):
    config = "DATASET: {NAME: EuroSAT}\nTEST: {FINAL_MODEL: best_val}\nOPTIM: {MAX_EPOCH: 7}\nTRAINER: {A: {X: 1}}\n"
    files = {"datasets/first.py": READER, "datasets/second.py": READER, "configs/datasets/eurosat.yaml": config}
    program = "from dassl.engine import build_trainer\nimport datasets.second\n"
    write(tmp_path, {**files, "train.py": program, "mine.yaml": "OPTIM: {MAX_EPOCH: 3}\n"})
    done = run_in(tmp_path, "-c", COMPLETED)
    assert done.returncode == 0, done.stderr
    *notes, last = done.stdout.splitlines()
    place = tmp_path / "configs/datasets/eurosat.yaml"
    assert notes == [
        f"note: {place} sets TEST.FINAL_MODEL to best_val.",
        "note: settings that this codebase does not have are ignored: TRAINER.A.X.",
    ]
    assert last.startswith("second.py ")
    assert last.endswith("['DATASET.NAME', 'DATASET.READER', 'OPTIM.MAX_EPOCH', 'TEST.FINAL_MODEL']")


@pytest.mark.parametrize("design", [False, True])
def test_build_model_gets_its_arguments_by_name(design, clip_file, monkeypatch):
    plain, given = import_clip().build_model, []

    def with_design(cfg, state_dict, design_details):
        given.append((cfg, design_details["trainer"]))
        return plain(state_dict)

    def with_configuration(state_dict, cfg=None):
        given.append((cfg, ""))
        return plain(state_dict)

    monkeypatch.setattr(import_clip(), "build_model", with_design if design else with_configuration)
    build.build_clip(read_tensors(clip_file))
    assert given == [(None, "CoOp" if design else "")]


def test_call_that_only_its_own_trainers_know_is_named(monkeypatch):
    own = "def load_features(self):\n    a, b, c = 1, 2\n"
    names = {}
    exec(own, names)
    trainer = object.__new__(type("MPL", (register("MPL"),), {"load_features": names["load_features"]}))
    monkeypatch.setattr(sys, "argv", ["train.py", "--trainer", "MPL"])
    with pytest.raises(ValueError, match="unpack") as error:
        exec("trainer.load_features()", {"__name__": "__main__", "trainer": trainer})
    said = "This program calls load_features(), which only the trainers of its own codebase have (not enough values"
    said += " to unpack (expected 3, got 2)). Use `modprompt train --host .` instead."
    assert foreign.mistake_of(error.value).startswith(said)


def test_words_are_told_by_the_programs_own_flags_and_the_built_trainer_is_known(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("OPTIM: {MAX_EPOCH: 5}\n")
    spelled = {"--config-file": "--trainer_config", "--eval-only": "--eval_only"}
    program_words.enter(["--trainer_config=a.yaml", "--eval_only", "OPTIM.LR", "1"], spelled)
    try:
        assert program_words.only_tests()
        assert program_words.user_words().settings().texts() == {"OPTIM.LR": "1", "OPTIM.MAX_EPOCH": "5"}
    finally:
        assert not program_words.leave()
    given = ["--trainer", "MPL", "--trainer_config", "glyph"]
    assert host_settings.with_our_config(given, spelled)[3].endswith("MPL/glyph.yaml")


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (FLAGS, "python train.py --trainer MPL --trainer_config vit_b4_c1_add2_rm1 DATASET.NUM_SHOTS 16 DATASET.SUBSAMPLE"),
        ("parser.add_argument('--shots')\n", "has no flag for the trainer"),
        (f"from theirs.engine import build_trainer\n{FLAGS}", "imports a Dassl of another name"),
    ],
)  # fmt: skip
def test_printed_command_has_only_flags_that_the_program_has(program, said, tmp_path):
    program = f"{program}cfg.merge_from_file(args.trainer_config)\n"
    write(tmp_path, {"theirs/__init__.py": "", "datasets/__init__.py": "", "train.py": program})
    try:
        line = install.start_of(tmp_path)
    except UserError as error:
        line = str(error)
    assert said in line


@pytest.mark.slow
def test_line_before_its_own_mpl_leaves_that_one_its_name(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([site(), dassl_folder()]))
    assert install.main([str(write_host(tmp_path / "host", "own MPL"))]) == 0
    assert "To start training, run: python train.py --trainer ModMPL " in capsys.readouterr().out


def test_doctor_names_the_codebases_of_a_folder_and_tries_none(tmp_path, monkeypatch, capsys):
    files = {f"{name}/datasets/__init__.py": "" for name in ("a", "b/c/d")}
    write(tmp_path, {**files, "a/train.py": FLAGS, "b/c/d/train.py": FLAGS, "b/train.py": "print()"})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", sys.dont_write_bytecode)
    assert doctor.main([]) == 2
    said = capsys.readouterr().out
    assert f"{tmp_path}: the folder contains several codebases (a, b/c/d). Use the path of one codebase." in said
    assert "MPL can run here" not in said
