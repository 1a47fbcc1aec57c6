import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys

import pytest

from modprompt.errors import UserError
from modprompt.io import folder


def run_python(code, *words, **kwargs):
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60, **kwargs)


HOLD = "import sys; from modprompt.io import folder\nwith folder.hold(sys.argv[1]): print('held')"


@pytest.mark.slow
def test_folder_is_one_processs_at_a_time(tmp_path):
    with folder.hold(tmp_path):
        assert folder.is_held(tmp_path)
        other = run_python(HOLD, str(tmp_path))
        assert other.returncode == 1
        assert f"another run is at work in {tmp_path}: wait for its end" in other.stderr
    assert not folder.is_held(tmp_path)
    assert run_python(HOLD, str(tmp_path)).stdout == "held\n"


def test_block_within_a_block_does_not_give_the_folder_free(tmp_path):
    with folder.hold(tmp_path):
        folder.keep(tmp_path / ".")
        with folder.hold(tmp_path):
            pass
        assert folder.is_held(tmp_path)
    assert not folder.is_held(tmp_path)


@pytest.mark.slow
def test_child_goes_on_with_the_lock_that_it_is_handed(tmp_path):
    held = folder.take(tmp_path)
    environment = {**os.environ, **folder.handing_over(held)}
    assert run_python(HOLD, str(tmp_path), pass_fds=[held], env=environment).stdout == "held\n"
    other = run_python(HOLD, str(tmp_path / "other"), pass_fds=[held], env=environment)  # its lock is another one
    assert other.stdout == "held\n"
    assert run_python(HOLD, str(tmp_path), env=environment).returncode == 1  # says so, but has not got it
    os.close(held)


@pytest.mark.parametrize("name", ["prompt_learner/.model.pth.tar-1", "test/.test.npz", "test/.wrong.csv", ".steps.csv"])
def test_leftovers_of_killed_writers_go_when_the_folder_is_taken(name, tmp_path):
    left = tmp_path / f"{name}.0123456789abcdef.part"
    left.parent.mkdir(exist_ok=True)
    left.write_text("left")
    with folder.hold(tmp_path):
        assert not left.exists()


def test_no_folder_is_no_lock():
    with folder.hold(""):
        assert not folder._held


def test_file_system_without_locks_gives_a_warning_and_the_run_goes_on(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.warns(UserWarning, match="no file locks, so nothing keeps two runs apart"), folder.hold(tmp_path):
        assert not folder.is_held(tmp_path)


def test_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="--output-dir: cannot write into .*file"), folder.hold(tmp_path / "file"):
        pass


def test_parts_of_runs_in_inner_folders_are_theirs(tmp_path):
    inner = tmp_path / "run"
    features = tmp_path / "features" / ".Digits_test.npz.0123456789abcdef.part"
    with folder.hold(inner):
        left = [inner / ".training_state.pth.tar.0123456789abcdef.part", features]
        for path in left:
            path.parent.mkdir(exist_ok=True)
            path.write_text("being written")
        with folder.hold(tmp_path):
            assert all(path.exists() for path in left)


def test_forked_child_does_not_keep_the_lock(tmp_path):
    """Workers of data loaders outlive a run that was killed by seconds; it can be started again at once."""
    here, there = os.pipe()
    with folder.hold(tmp_path):
        child = os.fork()
        if not child:
            os.write(there, b".")
            signal.pause()
    try:
        os.read(here, 1)  # else it may not have come so far
        assert not folder.is_held(tmp_path)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(here)
        os.close(there)


@pytest.mark.slow
def test_open_lock_file_that_somebody_else_has_locked_is_no_lock(tmp_path):
    with folder.hold(tmp_path):
        opened = os.open(folder.path_of(tmp_path), os.O_RDWR)
        environment = {**os.environ, **folder.handing_over(opened)}
        assert run_python(HOLD, str(tmp_path), pass_fds=[opened], env=environment).returncode == 1
        os.close(opened)


def test_lock_that_is_a_link_is_named(tmp_path):
    folder.path_of(tmp_path).parent.mkdir()
    folder.path_of(tmp_path).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="job/lock is a link: remove it"):
        folder.take(tmp_path)
    with pytest.raises(UserError, match="job/lock is a link: remove it"):
        folder.is_held(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_lock_that_is_a_pipe_is_not_waited_for(tmp_path):
    folder.path_of(tmp_path).parent.mkdir()
    os.mkfifo(folder.path_of(tmp_path))
    assert not folder.is_held(tmp_path)


@pytest.mark.parametrize("has_locks", [True, False])
def test_folder_that_was_deleted_is_noticed_and_one_that_is_not_kept_is_nobodys(tmp_path, monkeypatch, has_locks):
    if not has_locks:
        monkeypatch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOLCK, "none")))
        monkeypatch.setattr(folder.warnings, "warn", lambda *_, **__: None)
    run = tmp_path / "run"
    folder.require_still(run)
    folder.require_still("")
    with folder.hold(run):
        folder.require_still(run)
        shutil.rmtree(run)
        with pytest.raises(UserError, match=f"the output folder {run} was deleted or replaced while"):
            folder.require_still(run)
    assert not run.exists()


def test_folder_in_the_place_of_another_is_noticed(tmp_path):
    with folder.hold(tmp_path / "run"):
        (tmp_path / "run").rename(tmp_path / "elsewhere")
        other = folder.take(tmp_path / "run")
        with pytest.raises(UserError, match="was deleted or replaced while"):
            folder.require_still(tmp_path / "run")
        os.close(other)


def test_folder_of_a_lock_that_was_handed_over_is_noticed_too(tmp_path):
    held = folder.take(tmp_path / "run")
    environment = {**os.environ, **folder.handing_over(held)}
    code = HOLD + "\nimport shutil; folder.require_still(sys.argv[1]); shutil.rmtree(sys.argv[1])"
    code += "\ntry: folder.require_still(sys.argv[1])\nexcept folder.UserError as error: print(error)"
    done = run_python(code, str(tmp_path / "run"), pass_fds=[held], env=environment)
    assert "was deleted" in done.stdout
    os.close(held)
