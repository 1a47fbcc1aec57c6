"""Protocol active for real: rounds of the small CLIP on the digits, alone and with somebody who labels."""

import csv

import pytest

from modprompt.experiments.plan import protocols, spec
from modprompt.experiments.running import run, state
from modprompt.io.result import read

FILE = """
protocol: active
datasets: [digits]
seeds: [1]
rounds: 2
gamma: 0.2
acquisitions: [random, badge+pcb]
options: {OPTIM.MAX_EPOCH: 1}
methods:
  CoOp: {trainer: CoOp, config: glyph}
"""


def command(tmp_path, text):
    """(Words of a runner's command, the runs with rounds, output folder)."""
    path = tmp_path / "small.yaml"
    path.write_text(text)
    jobs = [job for job in protocols.jobs(spec.read(path)) if job.column == "accuracy"]
    out = tmp_path / "out"
    return [str(path), "--out", str(out), "--data", str(tmp_path / "data"), "--jobs", "2"], jobs, out


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_rounds_are_run_recorded_and_reported(tmp_path, capsys):
    words, jobs, out = command(tmp_path, FILE)
    assert run.main([*words, "--report"]) == 0
    for job in jobs:
        active = read(out / job.folder).result["active"]
        rounds = active["rounds"]
        assert (active["method"], active["pcb"]) == (("badge", True) if "pcb" in job.folder else ("random", False))
        assert [one["labels"] for one in rounds] == [10, 20]
        assert [sum(one["counts"]) for one in rounds] == [10, 20]
        assert all(0 < one["balance"] <= 1 for one in rounds)
    text = capsys.readouterr().out
    assert "| CoOp badge+pcb |" in text
    assert "| CoOp few-shot |" in text
    report = out / "reports" / "small"
    assert len((report / "rounds.csv").read_text().splitlines()) == 1 + 2 * 2 + 2
    assert (report / "rounds.png").is_file()


def answer(file, most):
    """Fill in labels, at most so many, as the folders of the digits say them."""
    with file.open(newline="", encoding="utf-8-sig") as opened:
        rows = list(csv.DictReader(opened))
    for row in rows[:most]:
        row["label"] = row["label"] or row["file"].split("/")[-2]
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_run_that_asks_goes_on_with_whole_answers_alone(tmp_path):
    text = FILE.replace("random, badge+pcb", "random").replace("MAX_EPOCH: 1", "MAX_EPOCH: 1, ACTIVE.ASK: True")
    words, (job,), out = command(tmp_path, text + "few_shot: false\n")
    rounds = out / job.folder / "rounds"
    for number in range(2):
        assert run.main(words) == 3
        assert "lacks 10 of 10 labels" in state.of(job, out).why
        answer(rounds / f"round_{number}.csv", 4)
        assert run.main(words) == 3
        assert "lacks 6 of 10 labels" in state.of(job, out).why
        answer(rounds / f"round_{number}.csv", 10)
    assert run.main(words) == 0
    assert not (rounds / "waiting.json").exists()
    assert [one["labels"] for one in read(out / job.folder).result["active"]["rounds"]] == [10, 20]
