"""benchmarks.gpu as a whole on a card that is not there: its processes, records, table, exit code and file to send.

What needs values is told there and not judged: a row that holds was measured.
"""

import json
import os
import subprocess
import zipfile

import pytest

from benchmarks.gpu.plan import quick
from benchmarks.gpu.rows import HELD, NOT_HELD, NOT_RUN, TOLD
from modprompt.places import ROOT
from tests.benchmarks.gpu.on_fake_card import NO_VALUES, WHOLE_RUNS, WITHOUT_VALUES, script
from tests.fake_cuda import child
from tests.fake_cuda.needed import needs_fake_cuda

pytestmark = needs_fake_cuda
SMALLEST = (  # the beginnings of their names; kinds of one case have it
    *("losses-TipAdapterF", "start-MPL-5-fp16"),
    *("counts-CoOp", "step-CoOp-5-", "memory-CoOp", "test-CoOp"),
)
EVERY = list(dict.fromkeys(task.kind for group in quick() for task in group))
OF_HOPPER = ("cudnn_attention", "flash_attention")
HALVES = [EVERY[: EVERY.index("start")], EVERY[EVERY.index("start") :]]


def records_of(folder):
    with zipfile.ZipFile(folder / "gpu.zip") as archive:
        assert "gpu.md" in archive.namelist()
        return json.loads(archive.read("records.json"))


def rows_of(records, *kinds):
    return [row for record in records if record["task"]["kind"] in kinds for row in record["found"]["rows"]]


def verdicts(records, *kinds):
    return {row[3] for row in rows_of(records, *kinds)}


@pytest.mark.slow
def test_cases_come_into_the_table_and_none_holds_that_was_not_measured(tmp_path):
    words = ["--only", "ready", "attention", "resume", "--out", str(tmp_path)]
    assert child.run("tests.benchmarks.gpu.on_fake_card:harness", words, False) == 0
    records = records_of(tmp_path)
    assert [record["task"]["kind"] for record in records] == ["ready", "resume", "attention"]
    assert verdicts(records, "ready", "attention") <= {TOLD, NOT_RUN}
    text = (tmp_path / "gpu.md").read_text()
    assert "DRY RUN" not in text
    assert "| free memory | >= 8 | 70.0 | told | of 70.0 GiB |" in text
    assert f"| resume-MPL-4-fp16 |  | not run: {NO_VALUES} | not run |  |" in text
    assert "0 held, 0 NOT held" in text


@pytest.mark.slow
def test_step_that_waits_is_a_row_that_does_not_hold_and_the_exit_code(tmp_path):
    words = ["--only", "counts-CoOp", "--out", str(tmp_path)]
    assert child.run("tests.benchmarks.gpu.on_fake_card:harness", words, True) == 1
    wrong = [row for row in rows_of(records_of(tmp_path), "counts") if row[3] == NOT_HELD]
    assert [row[:3] for row in wrong] == [["waits of a step, CoOp, 50 classes, fp16: ours", "0", "1"]]
    assert "NOT held: waits of a step, CoOp, 50 classes, fp16: ours." in (tmp_path / "gpu.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("kinds", HALVES, ids=["runs and losses", "steps"])
def test_quick_plan_runs_process_by_process(kinds, tmp_path):
    only = [next((name for name in SMALLEST if name.startswith(f"{kind}-")), kind) for kind in kinds]
    python = script(tmp_path / "python")
    words = ["-m", "benchmarks.gpu", "--quick", "--minutes", "30", "--out", str(tmp_path / "out"), "--only", *only]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "0"}
    done = subprocess.run([python, *words], capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    records = records_of(tmp_path / "out")
    assert {record["task"]["kind"] for record in records} == set(kinds)
    assert [record["error"] for record in records if record["error"]] == []
    of_values = set(kinds) - {*WHOLE_RUNS, *WITHOUT_VALUES}
    assert {TOLD} <= verdicts(records, *of_values) <= {TOLD, NOT_RUN}
    assert verdicts(records, *WHOLE_RUNS) <= {NOT_RUN}
    assert verdicts(records, *WITHOUT_VALUES) <= {HELD, TOLD, NOT_RUN}
    why = {row[0] for row in rows_of(records, *of_values) if row[3] == NOT_RUN and "official" not in row[0]}
    assert why <= {"other processes"}  # there is no nvidia-smi
    facts = records[0]["facts"]
    assert facts["GPU"].startswith("a card that is not there")
    assert (facts["PyTorch's own choice of attention"], facts["our attention"]) == OF_HOPPER
    for record in records:
        name = "-".join(str(one) for one in record["task"].values() if one)
        assert json.loads((tmp_path / "out" / f"{name}.json").read_text()) == record
