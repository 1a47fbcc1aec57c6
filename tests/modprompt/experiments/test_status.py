"""What a runner shows of its runs, and what is told of them from any shell."""

import pytest

from modprompt.experiments.running import state, status
from modprompt.io import folder as run_folder
from tests.modprompt.experiments.fakes import edit, finish


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "epoch [2/5] batch [20/40] time 0.1 (0.1) data 0.0 (0.0) loss 1.2500 (1.4000) lr 1.0000e-05 eta 0:01:02",
            "epoch [2/5] batch [20/40] loss 1.2500 (1.4000) eta 0:01:02",
        ),
        ("  0%|    | 0/9\r 50%|##  | 4/9\r\n", "50%|## | 4/9"),
        ("x" * 20_000 + "\n\udcff end", "\ufffd end"),
    ],
)
def test_last_line_in_few_words(tmp_path, line, expected):
    assert status.of_run(tmp_path) == "waiting to start"
    held = run_folder.take(tmp_path)
    assert status.of_run(tmp_path) == "starting"
    (tmp_path / state.CONSOLE).write_text(f"before\n{line}\n", errors="surrogateescape", newline="")
    assert status.of_run(tmp_path) == expected
    held.release()


def test_status_is_told_from_the_files(jobs, tmp_path):
    finish(jobs[0], tmp_path, 50.0)
    edit(finish(jobs[1], tmp_path, 50.0), config_hash="other", settings={})
    held = run_folder.take(tmp_path / jobs[2].folder)
    (tmp_path / jobs[2].folder / state.CONSOLE).write_text("epoch [2/5] batch [20/40] loss 1.0 (1.0)\n")
    (tmp_path / jobs[3].folder / "job").mkdir(parents=True)
    (tmp_path / jobs[3].folder / state.FAILURE).write_text('{"line": "error: broken"}')
    first, *lines = status.lines(jobs, tmp_path)
    held.release()
    assert first == "8 runs: 1 finished, 1 running, 4 waiting, 1 failed, 1 stale"
    assert lines[0].startswith(f"{jobs[1].title} is stale: the result was made with different settings (")
    assert lines[1] == f"{jobs[2].title} is running: epoch [2/5] batch [20/40] loss 1.0 (1.0)."
    assert lines[2] == f"{jobs[3].title} has failed: error: broken."
