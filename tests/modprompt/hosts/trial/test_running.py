"""MPL really tried in stand-ins: the verdicts, and that nothing is left behind."""

import os
import subprocess
import tempfile
import time

import pytest

from modprompt.hosts.trial.running import INSTALLER, LAUNCHER, Place, try_out
from modprompt.hosts.trial.verdict import CANNOT, UNTRIED, WELL
from tests.conftest import ROOT
from tests.modprompt.hosts.stand_in import dassl_folder, git, write_host

WAYS = (LAUNCHER, INSTALLER)
WELL_BOTH = {
    "usual": {},
    "its own MPL": {"own_mpl": True},
    "cleaned config": {"clean": True},
    "no reader of EuroSAT": {"eurosat": False},
    "many": {"load": "note", "late_model": True, "clip": "ivlp", "dataset_flag": True, "task": True, "epochs": 50},
}
CANNOT_BOTH = {
    "no design of ours": ({"clip": "own word"}, "when its model is built"),
    "loses weights": ({"clip": "loses_weights"}, "when its model is built"),
    "lacks a file": ({"last": ("trainers.base",)}, "the codebase lacks its own trainers.base, which train.py:"),
    "lacks packages": ({"first": ("ot",), "last": ("einops",)}, "not installed: einops, ot"),
}


@pytest.fixture
def temp(tmp_path, monkeypatch):
    """Temporary folders are made in here; our package and Dassl are on the path of other processes."""
    (tmp_path / "temp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([dassl_folder(), str(ROOT)]))
    return tmp_path / "temp"


def tried(host, ways=WAYS, seconds=240.0):
    trainer = "ModMPL" if (host / "trainers/mpl.py").is_file() else "MPL"
    return try_out(Place(host, trainer, False, time.monotonic() + seconds), ways)


@pytest.mark.slow
@pytest.mark.parametrize("kind", WELL_BOTH)
def test_what_trains_is_said_to_train_and_nothing_is_left(kind, temp, tmp_path):
    host = write_host(tmp_path / "host", **WELL_BOTH[kind])
    verdicts = tried(host)
    assert verdicts == {way: ("MPL trains and tests", [], WELL) for way in WAYS}
    assert git(host, "status", "--porcelain", "--ignored") == ""
    assert list(temp.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", CANNOT_BOTH)
def test_what_cannot_run_is_said_not_to_run(kind, temp, tmp_path):
    traits, why = CANNOT_BOTH[kind]
    verdicts = tried(write_host(tmp_path / "host", **traits))
    for way in WAYS:
        assert verdicts[way].state.startswith(f"MPL cannot run: {why}"), verdicts
        assert verdicts[way].code == CANNOT
    if kind == "lacks packages":
        assert all("pip install einops POT" in verdict.advice for verdict in verdicts.values())


@pytest.mark.slow
def test_a_reader_that_wants_other_files_gives_way_to_made_up_data(temp, tmp_path):
    host = write_host(tmp_path / "host")
    with (host / "datasets" / "eurosat.py").open("a") as file:
        file.write("\n\ndef pictures(root):\n    raise KeyError('descriptions')\n")
    verdict = tried(host, [LAUNCHER])[LAUNCHER]
    assert (verdict.state, verdict.code) == ("MPL trains and tests", WELL)
    assert "the codebase's reader of EuroSAT stopped on made-up pictures, KeyError: 'descriptions'" in verdict.advice[0]


@pytest.mark.slow
def test_data_that_a_program_takes_whatever_its_config_says_are_not_tried(temp, tmp_path):
    verdict = tried(write_host(tmp_path / "host", override="DATASET.NAME Squares"), [LAUNCHER])[LAUNCHER]
    assert verdict.code == UNTRIED
    assert verdict.state.startswith("could not be tried: the codebase ")


@pytest.mark.slow
def test_a_mistake_of_load_model_is_found_where_it_is_made(temp, tmp_path):
    host = write_host(tmp_path / "host")
    text = (host / "train.py").read_text()
    (host / "train.py").write_text(text.replace("trainer.load_model(", "trainer.no_such_function("))
    verdict = tried(host, [LAUNCHER])[LAUNCHER]
    assert verdict.state.startswith("MPL cannot run: it trains and tests, but --eval-only does not: AttributeError: ")


@pytest.mark.slow
def test_flags_that_nobody_knows_are_not_tried(temp, tmp_path):
    verdicts = tried(write_host(tmp_path / "host", unknown_flag=True))
    for way in WAYS:
        assert verdicts[way].code == UNTRIED
        assert "train.py asks for --key-file, of unknown value: " in verdicts[way].state


@pytest.mark.slow
def test_no_process_outlives_its_time(temp, tmp_path):
    host = write_host(tmp_path / "host")
    text = "child = __import__('subprocess').Popen(['sleep', '77'])\nopen('pid', 'w').write(str(child.pid))\n"
    (host / "train.py").write_text(f"{text}__import__('time').sleep(77)\nimport dassl\n")
    start = time.monotonic()
    verdict = tried(host, [INSTALLER], seconds=3)[INSTALLER]
    assert time.monotonic() - start < 10
    assert verdict.state == "could not be tried: the time is over (before it builds a trainer)"
    assert (verdict.code, verdict.advice) == (UNTRIED, ["give it more: --seconds 300"])
    pid = (host / "pid").read_text()
    state = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True, check=False).stdout
    assert state.strip()[:1] in ("", "Z")
    assert list(temp.iterdir()) == []


def test_no_room_for_made_up_data_is_told(temp, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    verdict = tried(write_host(tmp_path / "host"), [LAUNCHER])[LAUNCHER]
    assert verdict.code == UNTRIED
    assert verdict.state.startswith(f"could not be tried: the made-up data cannot be written in {tmp_path}/nowhere: ")


def test_a_program_that_is_no_python_is_not_run(temp, tmp_path):
    host = write_host(tmp_path / "host")
    (host / "train.py").write_text("import dassl, build_trainer\nprint 'old'\n")
    verdict = tried(host, [INSTALLER])[INSTALLER]
    assert verdict.code == CANNOT
    assert verdict.state.startswith("MPL cannot run: train.py is not a Python program")
