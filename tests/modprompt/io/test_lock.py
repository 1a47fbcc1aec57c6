import errno
import fcntl
import os
import subprocess
import sys
import threading
import time

import pytest

from modprompt.errors import UserError
from modprompt.io import lock


def test_lock_is_one_processs_at_a_time(tmp_path):
    path = tmp_path / "job" / "lock"
    assert not lock.is_held(path)
    file = lock.take(path)
    assert lock.is_held(path)
    assert lock.take(path, patience_s=0.1) is None
    os.close(file)
    assert not lock.is_held(path)
    os.close(lock.take(path))


def test_lock_lives_as_long_as_a_child_that_inherited_it(tmp_path):
    path = tmp_path / "lock"
    file = lock.take(path)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[file]) as child:
        os.close(file)
        assert lock.is_held(path)
        child.kill()
    assert not lock.is_held(path)


def test_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(lock.NoLocks, match="has no file locks"):
        lock.take(tmp_path / "lock")
    assert not lock.is_held(tmp_path / "lock")


def test_link_is_no_lock(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="lock"):
        lock.take(tmp_path / "lock")
    assert not (tmp_path / "elsewhere").exists()


def test_lock_that_was_waited_for_is_of_the_file_that_is_there_then(tmp_path):
    """A folder that is renamed while its lock is held takes the lock with it."""
    path, waited = tmp_path / "run" / "lock", []
    held = lock.take(path)
    waiter = threading.Thread(target=lambda: waited.append(lock.take(path, 30.0)))
    waiter.start()
    time.sleep(0.2)
    (tmp_path / "run").rename(tmp_path / "aside")
    os.close(held)
    waiter.join(30)
    assert lock.is_of(waited[0], path)
    assert not lock.is_held(tmp_path / "aside" / "lock")
    assert not lock.is_of(waited[0], tmp_path / "none")
    os.close(waited[0])


def test_alone_is_one_processs_at_a_time_and_says_what_to_do(tmp_path):
    with lock.alone(tmp_path, "somebody is there: wait", folder=True) as locks:
        assert locks
        with (
            pytest.raises(UserError, match="somebody is there: wait"),
            lock.alone(tmp_path, "somebody is there: wait", folder=True, patience_s=0.1),
        ):
            raise AssertionError
    with lock.alone(tmp_path, "somebody is there: wait", folder=True, patience_s=0.1):
        pass
    with lock.alone(tmp_path / "new" / "lock", "taken"):
        assert lock.is_held(tmp_path / "new" / "lock")
    assert not lock.is_held(tmp_path / "new" / "lock")


def test_alone_goes_on_without_locks_and_tells_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "fcntl", None)
    told: list[str] = []
    with lock.alone(tmp_path, "taken", folder=True, without=told.append) as locks:
        assert not locks
    with lock.alone(tmp_path / "lock", "taken"):  # nobody asks
        pass
    assert told == ["this system has no file locks"]
