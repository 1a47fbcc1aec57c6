"""Every program of the project leaves the process that it runs in as it found it, also when it fails."""

import json
import random
import signal
import socket
import sys

import numpy as np
import pytest
import torch

from benchmarks import active, gelu, images, search, speed
from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import plan
from benchmarks.gpu.task import Found, Place, Task
from docs import made_pages
from lpclip import feat_extractor, linear_probe
from modprompt.cli import interpret, main, train, warm
from modprompt.data import names
from modprompt.data.prepare.__main__ import main as prepare
from modprompt.experiments.reporting import report, tasks
from modprompt.experiments.running import run, service, worker
from modprompt.hosts import install
from modprompt.trainers.loop import Loop
from modprompt.trainers.prompt_trainer import PromptTrainer
from tests.conftest import ROOT
from tests.modprompt.experiments.conftest import FILE, quick  # noqa: F401 - a fixture
from tests.modprompt.experiments.test_tasks import finished
from tests.modprompt.hosts.stand_in import run_in
from tests.process_state import changes, generators_and_warnings, settings
from tools import (
    address,
    architecture_figure,
    digit_photos,
    method_figure,
    random_schedules,
    release,
    train_glyph_clip,
)


def state():
    return {**settings(), **generators_and_warnings()}


def ended(program, *words):
    """What a program's call comes to: its exit code, or the name of the error that came out."""
    try:
        return program(*words) or 0
    except Exception as error:
        return type(error).__name__


def interrupted(*_):
    raise KeyboardInterrupt


def _train(request):
    return train.main, [*request.getfixturevalue("mpl_flags"), *request.getfixturevalue("mpl_options")]


def training(request, monkeypatch, tmp_path):
    program, words = _train(request)
    return program, [*words, "OPTIM.MAX_EPOCH", "1"], 0


def training_that_is_interrupted(request, monkeypatch, tmp_path):
    monkeypatch.setattr(PromptTrainer, "after_epoch", interrupted)
    return (*_train(request), 130)


def training_that_breaks(request, monkeypatch, tmp_path):
    monkeypatch.setattr(Loop, "output", lambda self: None)
    return (*_train(request), "TypeError")


def training_of_an_unknown_method(request, monkeypatch, tmp_path):
    return train.main, ["--trainer", "MLP"], 2


def _experiment(request, tmp_path):
    request.getfixturevalue("quick")
    (tmp_path / "small.yaml").write_text(FILE.replace("[1, 2]", "[1]"))
    return [str(tmp_path / "small.yaml"), "--out", str(tmp_path / "out")]


def runs(request, monkeypatch, tmp_path):
    return run.main, [*_experiment(request, tmp_path), "--jobs", "4"], 0


def runs_that_are_stopped(request, monkeypatch, tmp_path):
    monkeypatch.setattr(
        "modprompt.experiments.running.local.LocalLauncher.start", lambda *_: signal.raise_signal(signal.SIGTERM) or []
    )
    return run.main, _experiment(request, tmp_path), 130


def runs_that_break(request, monkeypatch, tmp_path):
    monkeypatch.setattr("modprompt.experiments.running.local.LocalLauncher.start", lambda *_: [][0])
    return run.main, _experiment(request, tmp_path), "IndexError"


def a_report(request, monkeypatch, tmp_path):
    return report.main, _experiment(request, tmp_path), 1


def a_worker(request, monkeypatch, tmp_path):
    ours, theirs = socket.socketpair()
    request.addfinalizer(theirs.close)
    monkeypatch.setattr(sys, "stdin", theirs)
    task = worker.Task(str(tmp_path / "run"), ("false",), {}, tests=False, parent="")
    service.Channel(ours).send(task._asdict())
    ours.close()
    return warm.main, ["--cores", "0"], 0


def a_worker_that_nobody_asks(request, monkeypatch, tmp_path):
    file = (tmp_path / "no socket").open("w")
    request.addfinalizer(file.close)
    monkeypatch.setattr(sys, "stdin", file)
    return warm.main, [], 2


def features(request, monkeypatch, tmp_path):
    monkeypatch.setattr(
        feat_extractor, "extract", lambda trainer, images: (torch.rand(2, 3).numpy(), torch.ones(2).numpy())
    )
    return feat_extractor.run, ["--output-dir", str(tmp_path / "f"), "--seed", "3"], 0


def a_probe(request, monkeypatch, tmp_path):
    (tmp_path / "D").mkdir()
    arrays = {"feature_list": np.eye(8, 4, dtype=np.float32), "label_list": np.arange(8) % 2}
    for split in ("train", "val", "test"):
        np.savez(tmp_path / "D" / f"{split}.npz", **arrays)
    words = ["--dataset", "D", "--feature_dir", str(tmp_path), "--num_run", "1", "--num_step", "1", "--shots", "1"]
    return linear_probe.run, words, 0


def words_of_a_checkpoint(request, monkeypatch, tmp_path):
    torch.save([1], tmp_path / "file")
    return interpret.main, [str(tmp_path / "file")], 2


def an_address(request, monkeypatch, tmp_path):
    return address.main, ["nowhere"], 2


def a_release(request, monkeypatch, tmp_path):
    return release.main, ["0.0.1"], 2


def a_glyph_clip(request, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["train_glyph_clip", "--out", str(tmp_path / "clip.npz"), "--minutes", "0"])
    monkeypatch.setattr(train_glyph_clip, "families", lambda: {}["none here"])
    return train_glyph_clip.main, None, "KeyError"


def data(request, monkeypatch, tmp_path):
    return prepare, ["EuroSAT", "--check", "--root", str(tmp_path)], 1


def a_command(request, monkeypatch, tmp_path):
    return main.main, ["install", str(ROOT)], 2


def an_installation(request, monkeypatch, tmp_path):
    return install.main, [str(ROOT)], 2


def a_measurement(request, monkeypatch, tmp_path):
    monkeypatch.setattr(speed, "stepper", lambda case: lambda: None)
    return speed.main, ["--one", json.dumps([{"side": "ours"}, 1, torch.get_num_threads() + 1])], 0


def a_comparison(request, monkeypatch, tmp_path):
    monkeypatch.setattr(gelu, "stepper", lambda case: lambda: None)
    monkeypatch.setattr(gelu, "CALLS", 1)
    return gelu.main, ["--rounds", "1", "--steps", "1", "--threads", str(torch.get_num_threads() + 1)], 0


def a_search_step(request, monkeypatch, tmp_path):
    monkeypatch.setattr(search, "vit_b16", lambda: None)
    monkeypatch.setattr(search, "stepper", lambda *_: lambda: None)
    return search.main, ["--one", "ours", "--threads", str(torch.get_num_threads() + 1)], 0


def a_choice_of_images(request, monkeypatch, tmp_path):
    monkeypatch.setattr(active, "measured", lambda *_: (1.0, 1.0))
    return active.main, ["--one", "badge", "--threads", str(torch.get_num_threads() + 1)], 0


def a_comparison_of_choices(request, monkeypatch, tmp_path):
    monkeypatch.setattr(active, "SMALL", active.Size(20, 3, 4, 5))
    monkeypatch.setattr(active, "in_own_process", lambda *_: (1.0, 1.0))
    return active.main, ["--rounds", "1"], 0  # it draws from NumPy


def kept_images(request, monkeypatch, tmp_path):
    return images.main, ["--images", "5", "--rounds", "1", "--workers", "0", "--folder", str(tmp_path)], 0


def kept_images_that_differ(request, monkeypatch, tmp_path):
    monkeypatch.setattr(images, "_evaluations", lambda folder, kept, workers: ([1.0], {kept}))
    return images.main, ["--images", "5", "--rounds", "1", "--folder", str(tmp_path)], "RuntimeError"


def digits_as_photos(request, monkeypatch, tmp_path):
    return digit_photos.main, [str(tmp_path / "photos")], 0


def schedules_drawn_at_random(request, monkeypatch, tmp_path):
    return random_schedules.main, [], 0


def a_figure_of_the_method(request, monkeypatch, tmp_path):
    return method_figure.main, ["--to", str(tmp_path / "method.png")], 0


def a_figure_of_the_rooms(request, monkeypatch, tmp_path):
    return architecture_figure.main, ["--to", str(tmp_path / "method.png")], 0


def a_table_of_first_settings(request, monkeypatch, tmp_path):
    return made_pages.main, None, 0


def a_name_of_a_data_set(request, monkeypatch, tmp_path):
    return names.main, ["EuroSAT"], 0


def a_mean_of_runs(request, monkeypatch, tmp_path):
    return tasks.main, [str(finished(tmp_path / "run", 50.0))], 0


def a_mean_of_a_run_that_is_not_finished(request, monkeypatch, tmp_path):
    return tasks.main, [str(tmp_path / "nowhere")], 2


def a_card_that_is_not_there(request, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return gpu.main, ["--out", str(tmp_path / "gpu")], 2


def a_case_of_a_card(request, monkeypatch, tmp_path):
    monkeypatch.setitem(plan.KINDS, "step", plan.Kind(lambda task, place: Found([], {})))
    place = Place(dry_run=True)
    return gpu.main, ["--one", json.dumps([[Task("step")._asdict()], place._asdict(), str(tmp_path)])], 0


CASES = {
    "train.py": [training, training_that_is_interrupted, training_that_breaks, training_of_an_unknown_method],
    "experiments/run.py": [runs, runs_that_are_stopped, runs_that_break],
    "experiments/report.py": [a_report],
    "modprompt/cli/warm.py": [a_worker, a_worker_that_nobody_asks],
    "lpclip/feat_extractor.py": [features],
    "lpclip/linear_probe.py": [a_probe],
    "tools/interpret.py": [words_of_a_checkpoint],
    "tools/address.py": [an_address],
    "tools/release.py": [a_release],
    "tools/train_glyph_clip.py": [a_glyph_clip],
    "tools/method_figure.py": [a_figure_of_the_method],
    "tools/digit_photos.py": [digits_as_photos],
    "tools/random_schedules.py": [schedules_drawn_at_random],
    "tools/architecture_figure.py": [a_figure_of_the_rooms],
    "docs/made_pages.py": [a_table_of_first_settings],
    "modprompt/data/names.py": [a_name_of_a_data_set],
    "modprompt/experiments/reporting/tasks.py": [a_mean_of_runs, a_mean_of_a_run_that_is_not_finished],
    "datasets/prepare/__main__.py": [data],
    "modprompt/data/prepare/__main__.py": [data],
    "modprompt/__main__.py": [a_command],
    "modprompt/install.py": [an_installation],
    "benchmarks/speed.py": [a_measurement],
    "benchmarks/gelu.py": [a_comparison],
    "benchmarks/search.py": [a_search_step],
    "benchmarks/active.py": [a_choice_of_images, a_comparison_of_choices],
    "benchmarks/gpu/__main__.py": [a_card_that_is_not_there, a_case_of_a_card],
    "benchmarks/images.py": [kept_images, kept_images_that_differ],
}
IN_A_PROCESS_OF_THEIR_OWN = {"modprompt/launch.py", "modprompt/doctor.py"}  # below: they register trainers once more
CHILDREN_ALONE = {
    "benchmarks/startup.py",
    "benchmarks/deep.py",
    "benchmarks/taught.py",
    "benchmarks/experiments.py",
    "benchmarks/loading.py",
    "benchmarks/launches.py",
    "benchmarks/schedules.py",
    "benchmarks/towers.py",
}  # they start programs and set nothing


def test_no_program_is_forgotten():
    paths = [path for path in ROOT.rglob("*.py") if not {".venv", "tests", "build"} & {*path.relative_to(ROOT).parts}]
    found = {str(path.relative_to(ROOT)) for path in paths if '\nif __name__ == "__main__":' in path.read_text()}
    assert found == {*CASES, *IN_A_PROCESS_OF_THEIR_OWN, *CHILDREN_ALONE}


TAKE_SECONDS = {a_comparison, kept_images}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=[pytest.mark.slow] if case in TAKE_SECONDS else [])
        for cases in CASES.values()
        for case in cases
    ],
    ids=lambda case: case.__name__,
)
def test_program_leaves_its_process_as_it_found_it(case, request, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    program, words, code = case(request, monkeypatch, tmp_path)
    random.random()
    before = state()
    assert ended(program, *([] if words is None else [words])) == code
    assert changes(before, state()) == []


SCRIPT = """
import os, random, sys, warnings
random.seed(1)
os.environ["OF_THE_SCRIPT"] = "1"
sys.path.insert(0, "/of/the/script")
sys.stdout = open(os.devnull, "w")
warnings.simplefilter("ignore")
sys.exit(3)
"""
FOREIGN = """
import sys
from tests.process_state import changes, generators_and_warnings, settings
from modprompt import {name} as program
sys.argv = ["program"]
before = {{**settings(), **generators_and_warnings()}}
try:
    code = program.main({words!r})
except SystemExit as error:
    code = error.code
assert code == {code}, code
found = changes(before, {{**settings(), **generators_and_warnings()}})
assert not found, found
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words", "code"),
    [("launch", ["script.py", "--flag"], 3), ("doctor", [], 0)],
)
def test_program_for_other_codebases_leaves_its_process_as_it_found_it(name, words, code, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = run_in(tmp_path, "-c", FOREIGN.format(name=name, words=words, code=code))
    assert done.returncode == 0, done.stderr
