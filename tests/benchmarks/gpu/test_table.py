"""The table on recorded results: what holds, what does not, what is told, what was not run and why."""

import json
import zipfile
from pathlib import Path

import pytest

from benchmarks.gpu import send
from benchmarks.gpu.measures import checks
from benchmarks.gpu.records import Record, nameless
from benchmarks.gpu.rows import HELD, NOT_HELD, NOT_RUN, TOLD, Row, at_least, at_most, holds, not_run, told
from benchmarks.gpu.table import markdown
from benchmarks.gpu.task import Found, Task

FACTS = {"GPU": "a made-up one", "driver": "1", "sources": "abc"}


def record(name, *rows, error=""):
    return Record(Task(name), FACTS, None if error else Found(rows, {}), error, 1.0)


RECORDED = [
    record("losses", at_most("losses", 2e-4, 1e-3, "first step 1e-05")),
    record("step", at_least("eager / graph", 0.8, 1), told("step", "7.10 ms")),
    record("memory", not_run("ours / official", "no --reference"), at_most("not a number", float("nan"), 1)),
    record("resume", error="RuntimeError: bad | worse (exit code 1)"),
    record("round", error="not run: the package yacs is missing"),
]


def test_every_row_says_asked_measured_and_whether_it_holds():
    text = markdown(RECORDED, FACTS, ["test-MPL"], dry_run=False)
    assert [line for line in text.splitlines() if line.startswith("|")][2:] == [
        "| losses | <= 0.001 | 2.0e-04 | held | first step 1e-05 |",
        "| eager / graph | >= 1 | 0.80 | NOT held |  |",
        "| step |  | 7.10 ms | told |  |",
        "| ours / official |  | not run: no --reference | not run |  |",
        "| not a number | <= 1 | nan | NOT held |  |",
        "| resume | it ends well | failed | NOT held | RuntimeError: bad \\| worse (exit code 1) |",
        "| round |  | not run: the package yacs is missing | not run |  |",
    ]
    assert "7 rows of 5 cases: 1 held, 3 NOT held, 1 told, 2 not run; 1 cases are left." in text
    assert "NOT held: eager / graph; not a number; resume." in text
    assert "Left: test-MPL." in text
    assert "GPU a made-up one; driver 1; sources abc." in text


def test_what_means_nothing_in_a_dry_run_is_told_and_not_judged():
    assert holds("a ratio", "2", "1", False, judged=False).verdict == TOLD
    assert at_most("a ratio", 2, 1, judged=False) == Row("a ratio", "<= 1", "2.0e+00", TOLD, "")


def test_texts_name_neither_folders_nor_the_user(monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: Path("/home/jane"))
    said = {
        "error": "OSError: '/home/jane/code/modprompt/x.py', line 3; /data/jane/y z.txt and ~/.cache/clip/w.pt, jane's",
        "rows": [["ours / plain", "/tmp/a/found.json", r"C:\Users\jane\model.pt", "/home/jane"]],
        "n": 3,
    }
    assert nameless(said) == {
        "error": "OSError: 'x.py', line 3; y z.txt and w.pt, user's",
        "rows": [["ours / plain", "found.json", "model.pt", "~"]],
        "n": 3,
    }


def test_file_to_send_has_the_table_and_every_record(tmp_path):
    (tmp_path / "gpu.md").write_text("table")
    path = send.pack([record("resume", error=f"bad {Path.home()}/a/b.py"), *RECORDED], tmp_path)
    with zipfile.ZipFile(path) as archive:
        assert sorted(archive.namelist()) == ["gpu.md", "records.json"]
        records = json.loads(archive.read("records.json"))
    assert records[0]["error"] == "bad b.py"
    assert [one["facts"] for one in records] == [FACTS] * 6


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        (checks.driver(12040, "12.6"), HELD),  # the same major version
        (checks.driver(11080, "12.1"), NOT_HELD),
        (checks.driver(13000, "12.8"), HELD),
        (checks.kernels((9, 0), ["sm_80", "sm_90"]), HELD),
        (checks.kernels((8, 9), ["sm_80", "sm_86", "sm_90"]), HELD),  # those of 8.6 run there
        (checks.kernels((12, 0), ["sm_80", "sm_90", "sm_100"]), NOT_HELD),
        (checks.kernels((12, 0), ["sm_80", "compute_90"]), HELD),  # is compiled there
        (checks.kernels((7, 0), ["sm_75", "sm_80"]), NOT_HELD),
        (checks.kernels((9, 0), ["sm_90a"]), HELD),
        (checks.memory(70 * 2**30, 80 * 2**30), HELD),
        (checks.memory(2**30, 80 * 2**30), NOT_HELD),
        (checks.others(""), HELD),
        (checks.others("123\n77\n"), NOT_HELD),
    ],
)
def test_machine_is_judged_by_what_it_says(row, verdict):
    assert row.verdict == verdict


def test_dry_run_checks_no_machine():
    from benchmarks.gpu.task import Place

    assert {row.verdict for row in checks.measure(Task("ready"), Place(True)).rows} == {NOT_RUN}
