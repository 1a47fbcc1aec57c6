"""What runs have in common is imported once, and runs are forked from it only where they may be."""

import json
import os
import subprocess
import sys

import pytest

from modprompt.cli import imported
from tests.conftest import ROOT

DRIVER = """
import json, os, sys, threading, types
from modprompt.cli import imported
imported.ALSO = ("there_is_no_such_module", "later")
imported._of_package = lambda: iter([imported.Path("mine.py")])
def import_all():
    sys.modules.setdefault("torch", types.SimpleNamespace(cuda=types.SimpleNamespace(is_initialized=lambda: False)))
    import mine
imported.train.import_all = import_all
one = imported.Imported()
"""


@pytest.fixture
def driven(tmp_path):
    """Runs code in a process that has made an Imported, `one`, of the module mine; gives what it prints as JSON."""
    (tmp_path / "later.py").write_text("")

    def run(code, mine="print('hello')"):
        (tmp_path / "mine.py").write_text(mine)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
        words = [sys.executable, "-u", "-c", DRIVER + code]
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    return run


def test_imports_are_made_when_they_are_asked_for_and_what_they_say_is_kept(driven):
    code = """
before = "mine" in sys.modules, one.changed()
print(json.dumps([before, one.why_not(), one.why_not(), "later" in sys.modules, one.said.decode()]))
"""
    said = "import os, sys; print('hello'); print('warned', file=sys.stderr); os.system('echo a program')"
    assert driven(code, said) == [[False, ""], "", "", True, "hello\nwarned\na program\n"]


@pytest.mark.parametrize("mine", ["import nothing_like_this", "raise SystemExit('no')", "1 / 0"])
def test_imports_that_fail_are_a_reason_and_are_not_tried_again(driven, mine):
    code = "print(json.dumps([one.why_not() == one.why_not(), one.why_not()]))"
    same, why = driven(code, mine)
    assert same
    assert why.startswith("what they import cannot be imported (")


def test_threads_are_a_reason(driven):
    sleeping = "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()"
    assert driven("print(json.dumps(one.why_not()))", sleeping) == "what they import starts threads"


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="the system does not tell of threads")  # noqa: PTH112
def test_threads_of_blas_are_none(driven, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    code = "print(json.dumps([one.why_not(), imported._threads()]))"
    assert driven(code, "import numpy") == ["", 1]


def test_card_that_was_asked_for_is_a_reason(driven):
    code = """
found = [one.why_not()]
sys.modules["torch"].cuda.is_initialized = lambda: True
found.append(one.why_not())
sys.modules["torch"].cuda.is_initialized = lambda: False
imported.Path.readlink = lambda self: imported.Path("/dev/nvidiactl")
print(json.dumps([*found, one.why_not()]))
"""
    assert driven(code) == ["", *["what they import uses a GPU"] * 2]


def test_system_without_a_safe_fork_is_a_reason_and_nothing_is_imported(driven):
    code = """
sys.platform = "darwin"
print(json.dumps([one.why_not(), "mine" in sys.modules]))
"""
    assert driven(code) == ["this system has no safe fork", False]


@pytest.mark.parametrize("change", ["import mine; os.utime(mine.__file__, (1, 1))", "os.remove('mine.py')"])
def test_changed_file_is_named(driven, tmp_path, change):
    code = f"one.why_not()\nfound = [one.changed()]\n{change}\nprint(json.dumps([*found, one.changed()]))"
    before, after = driven(code)
    assert before == ""
    assert after.partition(" has changed (")[0].endswith("mine.py")


def test_file_that_changes_while_it_is_imported_has_changed(driven):
    code = "one.why_not()\nprint(json.dumps(one.changed()))"
    assert "mine.py has changed (" in driven(code, "import os; os.utime(__file__, (1, 1))")


def test_package_is_watched_and_its_compiled_files_are_not():
    files = {path.relative_to(imported.places.PACKAGE).as_posix() for path in imported._of_package()}
    assert {"cli/train.py", "clip/load.py", "engine/model.py"} <= files
    assert not any(path.endswith(".pyc") for path in files)


@pytest.mark.slow
def test_importing_all_that_runs_need_touches_no_card_and_starts_no_thread():
    code = """
import sys
from modprompt.cli.imported import Imported
import torch
def refuse(*_):
    raise AssertionError("a card was asked for")
torch.cuda.is_available = torch.cuda.device_count = torch.cuda.init = torch.cuda._lazy_init = refuse
one = Imported()
print(one.why_not() or "may be forked", sorted({"dassl", "sklearn.metrics", "modprompt.trainers.run"} - set(sys.modules)))
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "may be forked []\n"), done.stderr  # some PyTorch says goodbye there
