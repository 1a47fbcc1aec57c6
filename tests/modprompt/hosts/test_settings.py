"""yacs and Dassl are changed only for the programs of other codebases."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

OWN_PROGRAM = """
import sys, types
from modprompt.compat import find
find.add_to_path()
import yacs.config, dassl.config, dassl.data, dassl.engine, dassl.evaluation, dassl.optim, dassl.utils

def functions():
    found = {}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("dassl", "yacs"):
            classes = [one for one in vars(module).values() if isinstance(one, type) and one.__module__ == name]
            for owner in (module, *classes):
                found |= {
                    (name, owner.__name__, key): value
                    for key, value in vars(owner).items() if isinstance(value, types.FunctionType)
                }
    return found

before = functions()
from modprompt.cli import train
code = train.main(["--trainer", "MPL", "--backbone", "glyph-clip", "--dataset-config-file", "digits", "--no-train", "--output-dir", "out"])
after = functions()
print("changed:", sorted(map(str, (key for key, value in before.items() if after.get(key) is not value))))
print("number:", len(before), "registry:", "register" in vars(dassl.engine.TRAINER_REGISTRY), "code:", code)
"""


def run(code, folder):
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_own_program_leaves_yacs_and_dassl_unchanged(tmp_path):
    lines = run(OWN_PROGRAM, tmp_path).splitlines()
    assert "changed: []" in lines
    number = next(line for line in lines if line.startswith("number:")).split()
    assert int(number[1]) > 50
    assert number[2:] == ["registry:", "False", "code:", "0"]


@pytest.mark.parametrize(
    ("module", "is_patched"), [("modprompt.trainers.all", False), ("modprompt.trainers.mpl", True)]
)
def test_only_the_module_for_codebases_patches_yacs(module, is_patched, tmp_path):
    code = "from modprompt.compat import find; find.add_to_path()\n"
    code += f"import {module}\nfrom modprompt.hosts import settings\n"
    code += "print({settings.is_patched(name) for name in settings.MERGES})"
    assert run(code, tmp_path).splitlines()[-1] == str({is_patched})
