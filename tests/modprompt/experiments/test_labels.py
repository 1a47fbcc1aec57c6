"""A run that waits for labels is neither finished nor failed: it goes on once they are there, and not before."""

import pytest

from modprompt.active import picks_file as labels
from modprompt.experiments.plan import protocols
from modprompt.experiments.running import run, state, status
from modprompt.io import folder as run_folder
from tests.modprompt.experiments.conftest import brought_to_an_end, starts
from tests.modprompt.experiments.fake_rounds import ask, finish_rounds
from tests.modprompt.experiments.fakes import finish
from tests.modprompt.experiments.test_rounds import ROUNDS

ASKS = ROUNDS.replace("random, badge+pcb", "random").replace("rounds: 2", "rounds: 1\nfew_shot: false")


@pytest.fixture
def found(experiment):
    """(zero-shot test, run with rounds)."""
    return protocols.jobs(experiment(ASKS))


def fill(folder, text="one"):
    file = folder / "rounds" / "round_1.csv"
    file.write_text(file.read_text().replace(",\n", f",{text}\n"))


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_empty_labels_are_counted_however_a_spreadsheet_writes_them(tmp_path, separator):
    file = ask(tmp_path, ["one", "", " ", "two"], separator=separator)
    assert labels.asked(tmp_path) == labels.Asked(3, file, 2, 4)
    assert labels.asked(tmp_path).text == f"2 of 4 labels of round 3 are missing in {file}"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n") + b"\r\n" + separator.encode() * 6)
    assert labels.asked(tmp_path).missing == 2


def test_file_that_cannot_be_counted_is_left_to_the_run_itself(tmp_path):
    file = ask(tmp_path, ["", ""])
    for content in (b"", b"rank,file\n1,a\n", b"\xff\xfe\x00label", b'"label\n' + b"x" * 200_000):
        file.write_bytes(content)
        assert labels.asked(tmp_path).missing == 0
    file.unlink()
    assert labels.asked(tmp_path).missing == 0


def test_name_of_the_file_leads_nowhere_else(tmp_path):
    ask(tmp_path, [""])
    (tmp_path / "rounds" / "waiting.json").write_text('{"round": "x", "file": "../../other.csv", "of": null}')
    assert labels.asked(tmp_path) == (0, tmp_path / "rounds" / "other.csv", 0, 0)


def test_state_is_told_by_the_labels_that_are_missing(found, tmp_path):
    folder = tmp_path / found[1].folder
    file = ask(folder, ["one", ""])
    assert state.of(found[1], tmp_path) == state.State("waiting for labels", labels.asked(folder).text)
    held = run_folder.take(folder)
    assert state.of(found[1], tmp_path).name == "running"
    (folder / "rounds" / "round_2.json").write_text("{}")
    (folder / "rounds" / "round_10.json").write_text("{}")
    assert status.of_run(folder) == "round 10, starting"
    held.release()
    ask(folder, ["one", "two"])
    why = f"round 3 waited for labels, and all labels are now in {file}"
    assert state.of(found[1], tmp_path) == ("waiting", why, None, 0.0)
    (folder / "job").mkdir(exist_ok=True)
    (folder / state.FAILURE).write_text('{"line": "error: no class three"}')
    assert state.of(found[1], tmp_path).why == "error: no class three"
    finish_rounds(found[1], tmp_path, [50.0])
    assert state.of(found[1], tmp_path).name == "finished"


def test_runner_ends_when_nothing_else_is_left_and_goes_on_once_all_labels_are_there(quick, found, tmp_path, capsys):
    folder = tmp_path / found[1].folder
    quick("active/", asks=2)
    why = f"2 of 2 labels of round 1 are missing in {folder}/rounds/round_1.csv"
    assert brought_to_an_end(found, tmp_path) == {"finished": [(found[0], "")], "waiting for labels": [(found[1], why)]}
    assert f"{found[1].title} is waiting for labels: {why}" in capsys.readouterr().err
    assert not (folder / state.FAILURE).exists()
    file = folder / "rounds" / "round_1.csv"
    file.write_text(file.read_text().replace("0,\n", "0,one\n"))
    assert "1 of 2 labels of round" in brought_to_an_end(found, tmp_path)["waiting for labels"][0][1]
    assert starts(folder) == 1  # half filled: not started
    fill(folder)
    assert list(brought_to_an_end(found, tmp_path)) == ["finished"]
    assert starts(folder) == 2


def test_run_that_asks_for_what_is_there_is_not_started_for_ever(quick, found, tmp_path):
    quick("active/", asks=1)
    folder = tmp_path / found[1].folder
    ask(folder, ["one"], number=1)  # by our count none is missing; by the program's, whose lines end so, there is
    file = folder / "rounds" / "round_1.csv"
    file.write_text("label,rank\none,\n")
    ((_, why),) = brought_to_an_end(found[1:], tmp_path)["failed"]
    assert why == f"round 1 waited for labels, and all labels are now in {file}"
    assert starts(folder) == 1


def test_command_status_and_dry_run_say_it(quick, found, tmp_path, capsys):
    words = [str(tmp_path / "small.yaml"), "--out", str(tmp_path / "out"), "--data", str(tmp_path / "data")]
    out = tmp_path / "out"
    finish(found[0], out, 50.0)
    file = ask(out / found[1].folder, ["", "one"])
    line = f"{found[1].title} is waiting for labels: 1 of 2 labels of round 3 is missing in {file}"
    assert run.main(words) == 3
    text = capsys.readouterr().out
    assert line in text
    assert "When all labels of a run are filled in, run the same command again to continue the run." in text
    assert starts(out / found[1].folder) == 0
    first, second, *_ = status.lines(found, out)
    assert first == "2 runs: 1 finished, 1 waiting for labels"
    assert second == f"{line}."
    assert run.main([*words, "--dry-run"]) == 0
    assert capsys.readouterr().out.endswith("# 0 of 2 runs would start. 1 is already finished, 1 waits for labels.\n")
