"""How a run stands is told by its files alone."""

import json
import os

import pytest

from modprompt.experiments.plan import protocols
from modprompt.experiments.running import state
from modprompt.io import folder as run_folder
from modprompt.io.files import write_json
from modprompt.io.records import sealed
from tests.modprompt.experiments.conftest import FILE
from tests.modprompt.experiments.fakes import edit, finish


@pytest.fixture
def trained(jobs):
    """(training, test) of MPL, seed 1."""
    return jobs[4], jobs[5]


def test_never_started_and_finished(jobs, tmp_path):
    assert state.of(jobs[0], tmp_path) == state.State("waiting")
    finish(jobs[0], tmp_path, 80.0)
    (tmp_path / jobs[0].folder / "job").mkdir()
    (tmp_path / jobs[0].folder / state.FAILURE).write_text('{"line": "before"}')  # it does not outlive a result
    stands = state.of(jobs[0], tmp_path)
    assert (stands.name, stands.accuracy_pct) == ("finished", 80.0)


def test_test_of_a_model_that_was_trained_again_is_outdated(trained, tmp_path):
    train, test = trained
    path = finish(train, tmp_path, 80.0)
    finish(test, tmp_path, 70.0)
    assert state.of(test, tmp_path).name == "finished"
    edit(path, prompts_hash="another")
    outdated = state.State("waiting", "its training has saved a different model since this test")
    assert state.of(test, tmp_path) == dict(state.of_all(trained, tmp_path))[test] == outdated
    path.unlink()
    assert state.of(test, tmp_path).name == "finished"  # nothing contradicts it


def test_a_model_without_a_hash_of_its_own_is_known_by_its_checkpoint(trained, tmp_path):
    """Trainers that know nothing of this project."""
    train, test = trained
    mine, other = ({"name": "net/model.pth.tar-1", "hash": digit * 64} for digit in "12")
    finish(train, tmp_path, 80.0, prompts_hash=None, checkpoint=mine)
    path = finish(test, tmp_path, 70.0, prompts_hash=None, checkpoint=mine)
    for result in (path, tmp_path / train.folder / "result.json"):
        content = json.loads(result.read_text())
        del content["prompts_hash"], content["modprompt"]
        write_json(result, sealed(content, 2))
    assert state.of(test, tmp_path).name == "finished"
    edit(path, checkpoint=other)
    assert state.of(test, tmp_path) == state.State(
        "waiting", "its training has saved a different model since this test"
    )


def test_a_test_or_another_beginning_is_no_training(trained, tmp_path):
    job, _ = trained
    finish(job, tmp_path, 80.0, evaluated="here epoch 1")
    assert state.of(job, tmp_path).why == "a test of here epoch 1 has replaced the result of the training"
    finish(job, tmp_path, 80.0, began_from="ab")
    assert state.of(job, tmp_path).why == "the run started from the checkpoint of another training (--resume)"


def test_a_training_whose_images_changed_is_stale_like_its_test(trained, tmp_path):
    train, test = trained
    finish(train, tmp_path, 80.0, images_changed="training images changed during the run")
    finish(test, tmp_path, 70.0)
    stands = state.of(train, tmp_path)
    assert (stands.name, stands.why) == ("stale", "the training images changed during the run")
    assert state.of(test, tmp_path).name == "stale"


def test_running_is_who_holds_the_lock_and_nothing_else(jobs, tmp_path):
    folder = tmp_path / jobs[0].folder
    file = run_folder.take(folder)
    (folder / state.FAILURE).write_text('{"line": "before"}')
    assert state.of(jobs[0], tmp_path).name == "running"
    file.release()
    assert state.of(jobs[0], tmp_path) == state.State("failed", "before")


@pytest.mark.parametrize(
    ("content", "stands"),
    [
        ('{"line": 3}', ("failed", "the reason is unknown, because job/failure.json is damaged", None, 0.0)),
        ("[]", ("waiting", "", None, 0.0)),
        ('{"line": "a\\nb\\u001b[2J\\udcff", "time_s": "x"}', ("failed", r"a b\x1b[2J\udcff", None, 0.0)),
    ],
)
def test_records_of_failures_that_nobody_has_written_so(jobs, tmp_path, content, stands):
    path = tmp_path / jobs[0].folder / state.FAILURE
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert state.of(jobs[0], tmp_path) == stands


def test_test_of_a_stale_training_is_stale_too(experiment, tmp_path):
    """Also where the training's own data set is what has changed."""
    text = "protocol: cross_dataset\nsource: imagenet\ndatasets: [dtd]\nseeds: [1]\n"
    train, test = protocols.jobs(experiment(text + "methods:\n  MPL: {trainer: MPL, config: vit_b4_c1_add2_rm1}\n"))
    path = finish(train, tmp_path, 80.0)
    finish(test, tmp_path, 70.0)
    assert state.of(test, tmp_path).name == "finished"
    edit(path, config_hash="other", settings={**json.loads(path.read_text())["settings"], "DATASET.NAME": "Else"})
    assert state.of(test, tmp_path)[:2] == (
        "stale",
        "its training is stale, because the result was made with different settings (DATASET.NAME Else -> ImageNet)",
    )


def test_edited_config_is_noticed_by_a_process_that_has_read_it(experiment, tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text("OPTIM:\n  LR: 1\n")
    job = protocols.jobs(experiment(FILE.replace("MPL, config: glyph", "MPL, config: mine.yaml")))[4]
    finish(job, tmp_path, 80.0)
    assert state.of(job, tmp_path).name == "finished"
    config.write_text("OPTIM:\n  LR: 2\n")
    os.utime(config, ns=(1, 1))
    assert state.of(job, tmp_path).why == "the result was made with different settings (OPTIM.LR 1 -> 2)"
