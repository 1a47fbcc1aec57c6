"""The suite itself, on small suites: what it leaves out and says, what it does to a case that hangs or leaks."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

HOOKS = """
from tests.conftest import _process_is_kept, pytest_addoption, pytest_collection_modifyitems
from tests.conftest import pytest_terminal_summary, pytest_testnodedown
"""
CASES = """
import os, signal, threading
import pytest

def test_quick(): pass

@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
def test_slow(number): pass

@pytest.mark.skip(reason="no such machine")
def test_skipped(): pass

@pytest.mark.timeout(1)
def test_hanging():
    threading.Thread(target=threading.Event().wait, args=(20,), name="one that waits", daemon=True).start()
    threading.Event().wait()

def test_that_leaves_a_variable(): os.environ["LEFT_BEHIND"] = "1"

def test_that_leaves_a_handler(): signal.signal(signal.SIGTERM, lambda *_: None)
"""


@pytest.fixture
def suite(tmp_path):
    """Runs cases under the hooks and settings of this suite; its output."""
    (tmp_path / "conftest.py").write_text(HOOKS)
    (tmp_path / "test_cases.py").write_text(CASES)
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())

    def run(*words, **more):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
        environment.update(PYTHONPATH=str(ROOT), **more)
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        ).stdout

    return run


@pytest.mark.slow
def test_end_of_a_run_says_what_was_left_out_skipped_hanging_and_leaking(suite):
    out = suite("-n", "2", "test_cases.py")
    assert "1 failed, 3 passed, 1 skipped, 1 error in " in out
    assert "left out: 3 slow cases" in out
    assert "skipped: 1, no such machine" in out
    assert "order and draws of --randomly-seed=" in out
    assert "Timeout (>1.0s)" in out
    assert "Stack of one that waits" in out
    assert "LEFT_BEHIND" not in out
    assert "signal handlers: {'SIGTERM': <Handlers.SIG_DFL: 0>} -> {'SIGTERM': <function " in out


@pytest.mark.slow
def test_slow_case_that_is_named_runs(suite):
    out = suite("test_cases.py::test_slow")
    assert "3 passed in " in out
    assert "left out" not in out


GPUS = """
import os, subprocess, sys
SAID = [sys.executable, "-c", "import os; print(os.environ.get('CUDA_VISIBLE_DEVICES'))"]

def test_gpus():
    here, below = os.environ.get("CUDA_VISIBLE_DEVICES"), subprocess.run(SAID, capture_output=True, text=True).stdout
    assert (here, below) == ("{0}", "{0}\\n")
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["here", "in a worker"])
def test_gpus_are_hidden(suite, tmp_path, workers):
    (tmp_path / "test_gpus.py").write_text(GPUS.format(""))
    assert "1 passed" in suite(*workers, "test_gpus.py", CUDA_VISIBLE_DEVICES="0,3")
