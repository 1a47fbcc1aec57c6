import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from modprompt.errors import UserError
from modprompt.io import lock


def no_locks(monkeypatch, number=errno.ENOLCK):
    """Have file systems without locks."""

    def refuse(*args):
        raise OSError(number, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_lock_is_one_processs_at_a_time(tmp_path):
    path = tmp_path / "job" / "lock"
    assert not lock.is_held(path)
    held = lock.take(path, "taken")
    assert lock.is_held(path)
    with pytest.raises(lock.Busy, match="somebody is there: wait"):
        lock.take(path, "somebody is there: wait", patience_s=0.1)
    held.release()
    assert not lock.is_held(path)
    path.chmod(0o444)  # another user's
    assert not lock.is_held(path)


def test_killed_process_has_no_lock_and_forked_children_never_had_it(tmp_path):
    """Workers of data loaders outlive a killed run by seconds; it can be started again at once."""
    code = "import os, signal, sys; from modprompt.io import lock\nheld = lock.take(sys.argv[1], str())\n"
    code += "os.write(1, b'%d\\n' % os.fork())\nsignal.pause()"
    words = [sys.executable, "-c", code, str(tmp_path / "lock")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as run:
        worker = max(int(run.stdout.readline()), int(run.stdout.readline()))
        assert lock.is_held(tmp_path / "lock")
        run.kill()
        run.wait()
        assert not lock.is_held(tmp_path / "lock")
        os.kill(worker, signal.SIGKILL)  # it was there


@pytest.mark.filterwarnings("always:.*no file locks:UserWarning")
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_file_system_without_locks_is_told(tmp_path, monkeypatch, number):
    no_locks(monkeypatch, number)
    with pytest.warns(UserWarning, match="has no file locks, so two processes could write to the same folder"):
        held = lock.take(tmp_path / "lock", "taken")
    assert not held.works
    assert not lock.is_held(tmp_path / "lock")


def test_link_is_no_lock(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        lock.take(tmp_path / "lock", "taken")
    assert not (tmp_path / "elsewhere").exists()


def test_lock_that_was_waited_for_is_of_the_file_that_is_there_then(tmp_path):
    """A folder that is renamed while its lock is held takes the lock with it."""
    path, waited = tmp_path / "run" / "lock", []
    held = lock.take(path, "taken")
    waiter = threading.Thread(target=lambda: waited.append(lock.take(path, "taken", 30.0)))
    waiter.start()
    time.sleep(0.2)
    (tmp_path / "run").rename(tmp_path / "aside")
    held.release()
    waiter.join(30)
    assert waited[0].is_there()
    assert not lock.is_held(tmp_path / "aside" / "lock")
    (tmp_path / "run").rename(tmp_path / "gone")
    assert not waited[0].is_there()
    waited[0].release()


@pytest.mark.parametrize("removes", [False, True])
def test_alone_is_one_processs_at_a_time_and_says_what_to_do(tmp_path, removes):
    path = tmp_path / "new" / "lock"
    with lock.alone(path, "taken", removes=removes) as locks:
        assert locks
        waiting = lock.alone(path, "somebody is there: wait", patience_s=0.1)
        with pytest.raises(UserError, match="somebody is there: wait"), waiting:
            raise AssertionError
    assert path.exists() is not removes
    with lock.alone(path, "taken", patience_s=float("inf")):
        assert lock.is_held(path)
