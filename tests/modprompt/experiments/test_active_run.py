"""Protocol active for real: rounds of the small CLIP on the digits, alone and with somebody who labels."""

import pytest

from modprompt.experiments.plan import file as experiment_file
from modprompt.experiments.plan import protocols
from modprompt.experiments.running import run
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


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_rounds_are_run_recorded_and_reported(tmp_path, capsys):
    path, out = tmp_path / "small.yaml", tmp_path / "out"
    path.write_text(FILE)
    jobs = [job for job in protocols.jobs(experiment_file.read(path)) if job.column == "accuracy"]
    words = [str(path), "--out", str(out), "--data", str(tmp_path / "data"), "--jobs", "2", "--report"]
    assert run.main(words) == 0
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
