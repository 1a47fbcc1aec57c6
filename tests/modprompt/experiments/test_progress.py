import pytest

from modprompt.experiments.running import progress, state, status
from modprompt.io import folder as run_folder
from tests.modprompt.experiments.fakes import edit, finish


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "epoch [2/5] batch [20/40] time 0.1 (0.1) data 0.0 (0.0) loss 1.2500 (1.4000) lr 1.0000e-05 eta 0:01:02",
            "epoch [2/5] batch [20/40] loss 1.2500 (1.4000) eta 0:01:02",
        ),
        ("epoch [2/5][20/40]\ttime 0.1 (0.1)\tloss nan (nan)", "epoch [2/5][20/40] loss nan (nan)"),
        ("Loading CLIP (backbone: ViT-B/16)", "Loading CLIP (backbone: ViT-B/16)"),
    ],
)
def test_last_line_in_few_words(tmp_path, line, expected):
    assert progress.of_run(tmp_path) == "waiting to start"
    held = run_folder.take(tmp_path)
    (tmp_path / state.CONSOLE).write_text(f"before\n{line}\n")
    assert progress.of_run(tmp_path) == expected
    held.release()


def test_screen_without_a_terminal_tells_events_alone(capsys):
    screen = progress.Screen(3, 1)
    screen.event("failed: another")
    screen.finished(2, "a run", "50.00%")
    screen.close()
    out, err = capsys.readouterr()
    assert (out, err) == ("", "failed: another\nfinished: a run: 50.00%\n")


def test_screen_on_a_terminal_is_a_bar_that_ends_with_the_runs_at_work(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    screen = progress.Screen(30, 1)
    screen.show(["one run: epoch 1/2", "another: testing"])
    screen.finished(2, "a run", "50.00%")
    screen.close()
    err = capsys.readouterr().err
    assert "left, one run: epoch 1/2; another: testing" in err
    assert "finished: a run: 50.00%\n" in err
    assert "2/30 runs" in err


def test_status_is_told_from_the_files(jobs, tmp_path):
    finish(jobs[0], tmp_path, 50.0)
    edit(finish(jobs[1], tmp_path, 50.0), config_hash="other", settings={})
    held = run_folder.take(tmp_path / jobs[2].folder)
    (tmp_path / jobs[2].folder / state.CONSOLE).write_text("epoch [2/5] batch [20/40] loss 1.0 (1.0)\n")
    (tmp_path / jobs[3].folder / "job").mkdir(parents=True)
    (tmp_path / jobs[3].folder / state.FAILURE).write_text('{"line": "error: broken"}')
    first, *lines = status.lines(jobs, tmp_path)
    held.release()
    assert first == "1 finished, 1 running, 4 waiting, 1 failed, 1 stale, of 8 runs"
    assert lines[0].startswith(f"stale: {jobs[1].title}: made with other settings: ")
    assert lines[1] == f"running: {jobs[2].title}: epoch [2/5] batch [20/40] loss 1.0 (1.0)"
    assert lines[2] == f"failed: {jobs[3].title}: error: broken"


def test_one_line_for_all_runs_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    screen = progress.Screen(30, 1, one_line=True)
    screen.show(["MPL, digits base, seed 1 (train): epoch 1/2"])
    screen.finished(2, "MPL, digits new, seed 1 (test)", "91.50%")
    screen.event("failed: another")
    screen.close()
    err = capsys.readouterr().err
    assert "2/30 runs" in err
    assert "left, 91.50% MPL, digits new, seed 1 (test)" in err
    assert "failed: another" in err
    assert "epoch" not in err
    assert err.count("\n") <= 2  # that of the event, and the end


def test_one_line_for_all_runs_is_a_line_per_tenth_without_a_terminal(capsys):
    screen = progress.Screen(40, 3, one_line=True)
    for done in range(4, 41):
        screen.finished(done, f"run {done}", "50.00%")
    screen.event("failed: another")
    screen.close()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11
    assert lines[0].startswith("4 of 40 runs, ")
    assert lines[0].endswith("; run 4: 50.00%")
    assert lines[-2:] == [lines[-2], "failed: another"]
    assert lines[-2].startswith("40 of 40 runs")


def test_one_line_of_no_runs_and_of_finished_ones(capsys):
    for total in (0, 5):
        screen = progress.Screen(total, total, one_line=True)
        screen.close()
    assert capsys.readouterr().err == ""
