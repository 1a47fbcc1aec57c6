"""A program in a forked child behaves as `python -m` would have it, and leaves nothing to the next."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

DRIVER = """
import json, os, sys
from pathlib import Path
from modprompt.cli.fork import fork
codes = []
for number, words in enumerate(json.loads(sys.argv[1])):
    with Path(f"console{number}").open("wb") as console:
        codes.append(fork("program", words, {**os.environ, "GIVEN": "yes"}, console, b"said before\\n").wait())
print(json.dumps(codes))
"""
PROGRAM = """
import atexit, os, random, signal, sys, threading, time, warnings
import numpy
what = sys.argv[1]
atexit.register(print, "at the end")
print("in", __name__, sys.argv[0].endswith("program.py"), sys.argv[1:], os.environ["GIVEN"], repr(sys.stdin.read()))
print("signals", [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)])
sys.stdout.write("no end of line")
if what == "ends":
    threading.Thread(target=lambda: (time.sleep(0.2), print("a thread"))).start()
elif what == "exits":
    sys.exit(int(sys.argv[2]))
elif what == "says":
    sys.exit("one line")
elif what == "breaks":
    raise ValueError("what is wrong")
elif what == "is interrupted":
    signal.raise_signal(signal.SIGINT)
elif what == "is killed":
    os.kill(os.getpid(), int(sys.argv[2]))
elif what == "cannot say":
    sys.stdout.flush = lambda: (_ for _ in ()).throw(OSError("full"))
"""


@pytest.fixture
def forked(tmp_path):
    """Runs PROGRAM, or another text, once for each list of words; gives exit codes and consoles."""

    def run(*calls, program=PROGRAM, imported="numpy"):
        (tmp_path / "program.py").write_text(program)
        words = [sys.executable, "-c", f"import {imported}\n{DRIVER}", json.dumps(calls)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)]), "PYTHONUNBUFFERED": "1"}
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout), [(tmp_path / f"console{n}").read_text() for n in range(len(calls))]

    return run


def plain(tmp_path, words):
    """What a process of its own does: its exit code and console."""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "GIVEN": "yes", "PYTHONUNBUFFERED": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "program", *words],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout


def without_frames(console):
    """A console without the lines of a traceback, which name who ran the program."""
    return [line for line in console.splitlines() if not line.startswith("  ")]


CALLS = [
    ["ends"],
    ["exits", "0"],
    ["exits", "2"],
    ["exits", "130"],
    ["exits", "-1"],
    ["says"],
    ["breaks"],
    ["is interrupted"],
    ["is killed", "9"],
    ["is killed", "15"],
]


def test_program_ends_and_says_what_a_process_of_its_own_does(forked, tmp_path):
    codes, consoles = forked(*CALLS)
    for words, code, console in zip(CALLS, codes, consoles):
        assert console.startswith("said before\n"), words
        expected_code, expected = plain(tmp_path, words)
        assert (code, without_frames(console)[1:]) == (expected_code, without_frames(expected)), words
    assert codes == [0, 0, 2, 130, 255, 1, 1, -2, -9, -15]
    assert "a thread" in consoles[0]
    assert consoles[2].endswith("at the end\n")


def test_console_that_cannot_be_written_is_no_success(forked):
    assert forked(["cannot say"])[0] == [120]


LEAVING = """
import os, random, signal, sys, warnings
import json as registry
import numpy
print(json_was := getattr(registry, "registered", None), os.environ.get("LEFT"), os.path.basename(os.getcwd()) == "elsewhere",
      signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, len(warnings.filters), sys.path[0], "new_module" in sys.modules)
registry.registered = os.environ["LEFT"] = "by the one before"
os.makedirs("elsewhere", exist_ok=True)
os.chdir("elsewhere")
signal.signal(signal.SIGTERM, signal.SIG_IGN)
warnings.simplefilter("ignore")
sys.path.insert(0, "/left")
sys.modules["new_module"] = sys
"""


def test_programs_leave_nothing_to_the_next(forked):
    codes, (one, other) = forked([], [], program=LEAVING)
    assert codes == [0, 0]
    assert one == other


MAKING = """
import atexit, shutil, tempfile
folder, held = tempfile.mkdtemp(dir="."), tempfile.TemporaryDirectory(dir=".")
atexit.register(shutil.rmtree, folder)
log = open("log", "a")
log.write("once\\n")
"""
USING = """
import atexit, logging.handlers, multiprocessing.util, os, sys, tempfile, weakref
import made
print(os.path.isdir(made.folder), os.path.isdir(made.held.name))
class Own: pass
own, folder = Own(), tempfile.TemporaryDirectory(dir=".")
weakref.finalize(own, print, "a finalizer")
multiprocessing.util.Finalize(None, print, ["of multiprocessing"], exitpriority=1)
atexit.register(lambda: print("own folder", os.path.isdir(folder.name)))
handler = logging.handlers.MemoryHandler(9, target=logging.StreamHandler(sys.stdout))
logging.getLogger("x").addHandler(handler)
logging.getLogger("x").warning("a logged line")
"""


@pytest.mark.slow
def test_what_an_import_has_made_is_there_for_every_program(forked, tmp_path):
    (tmp_path / "made.py").write_text(MAKING)
    codes, consoles = forked([], [], program=USING, imported="made, torch.utils.data, multiprocessing.util, logging")
    assert codes == [0, 0]
    for console in consoles:
        said = console.splitlines()[1:]
        assert said[0] == "True True"
        assert sorted(said[1:]) == ["a finalizer", "a logged line", "of multiprocessing", "own folder True"]
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith("tmp")]  # each took its own
    assert (tmp_path / "log").read_text() == "once\n"


OPENING = """
import sys
sys.held = text, packed, both, closed = open("text", "w"), open("bytes", "wb"), open("both", "w+b"), open("closed", "w")
text.write("line"), packed.write(b"line"), both.write(b"line"), closed.write("line")
closed.close()
sys.full = open("/dev/full", "w")
sys.full.write("line")
"""


def test_files_left_open_are_written_out(forked, tmp_path):
    assert forked([], program=OPENING) == ([0], ["said before\n"])
    assert [(tmp_path / name).read_text() for name in ("text", "bytes", "both", "closed")] == ["line"] * 4


DRAWING = """
import os, random, signal
import numpy
numbers = [random.random(), float(numpy.random.rand())]
import torch
print(numbers + [float(torch.rand(1))])
"""


@pytest.mark.slow
def test_draws_without_a_seed_differ_from_program_to_program(forked):
    _, consoles = forked([], [], [], program=DRAWING, imported="torch")
    drawn = [json.loads(console.splitlines()[-1]) for console in consoles]
    assert all(len(set(numbers)) == 3 for numbers in zip(*drawn))


SIGNALLED = """
import os, signal
for number in (signal.SIGUSR1, signal.SIGUSR2):
    os.kill(os.getpid(), number)
print("goes on")
"""


def test_request_for_room_is_left_to_the_worker(forked):
    codes, consoles = forked([], program=SIGNALLED)
    assert (codes, consoles) == ([0], ["said before\ngoes on\n"])


def test_console_is_open_no_more_often_than_needed(forked):
    program = (
        "import os\nfor n in os.listdir('/proc/self/fd'):\n"
        "    try:\n        print(n, os.path.basename(os.readlink(f'/proc/self/fd/{n}')))\n    except OSError:\n        pass\n"
    )
    _, (console,) = forked([], program=program)
    opened = dict(line.split() for line in console.splitlines()[1:])
    assert {"0": "null", "1": "console0", "2": "console0"}.items() <= opened.items()
    assert list(opened.values()).count("console0") == 2
