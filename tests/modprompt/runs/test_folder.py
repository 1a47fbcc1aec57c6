import errno
import fcntl
import os
import subprocess
import sys

import pytest

from modprompt.errors import UserError
from modprompt.runs import folder


def run_python(code, *words, **kwargs):
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60, **kwargs)


HOLD = "import sys; from modprompt.runs import folder\nwith folder.hold(sys.argv[1]): print('held')"


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


def test_child_goes_on_with_the_lock_that_it_is_handed(tmp_path):
    held = folder.take(tmp_path)
    environment = {**os.environ, **folder.handing_over(held)}
    assert run_python(HOLD, str(tmp_path), pass_fds=[held], env=environment).stdout == "held\n"
    other = run_python(HOLD, str(tmp_path / "other"), pass_fds=[held], env=environment)  # its lock is another one
    assert other.stdout == "held\n"
    assert run_python(HOLD, str(tmp_path), env=environment).returncode == 1  # says so, but has not got it
    os.close(held)


def test_leftovers_of_killed_writers_go_when_the_folder_is_taken(tmp_path):
    (tmp_path / "prompt_learner").mkdir()
    left = tmp_path / "prompt_learner" / ".model.pth.tar-1.0123456789abcdef.part"
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
