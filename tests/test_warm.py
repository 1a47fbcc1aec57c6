"""Programs of tests/warm.py are as those that an interpreter of their own would run."""

import os
import subprocess
import sys

import pytest

from tests.warm import run_python

SAYS = """
import os, sys
print(sys.argv, __name__, os.getcwd(), sys.path[:2], os.environ.get("OF_THE_TEST"), "modprompt" in sys.modules)
print("wrong", file=sys.stderr)
sys.exit(3)
"""


@pytest.mark.parametrize("words", [["-c", SAYS], ["-m", "inner.says"], ["inner/says.py"]], ids=["-c", "-m", "a file"])
def test_program_is_what_an_interpreter_makes_of_it(words, tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "says.py").write_text(SAYS)
    environment = {**os.environ, "OF_THE_TEST": "yes", "PYTHONPATH": str(tmp_path / "first")}
    ours = run_python(*words, "a", 1, folder=tmp_path, environment=environment)
    plain = subprocess.run(
        [sys.executable, *words, "a", "1"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (ours.returncode, ours.stdout, ours.stderr) == (3, plain.stdout, plain.stderr)


def test_program_that_takes_too_long_is_killed(tmp_path):
    with pytest.raises(subprocess.TimeoutExpired):
        run_python("-c", "import time; time.sleep(60)", folder=tmp_path, seconds=0.2)
    assert run_python("-c", "1 / 0", folder=tmp_path).stderr.endswith("ZeroDivisionError: division by zero\n")
