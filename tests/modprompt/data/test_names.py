"""A data set has two names, and is found by either."""

import subprocess
import sys

import pytest

from modprompt.data import names
from modprompt.data.prepare.recipes import RECIPES
from modprompt.errors import UserError
from tests.conftest import ROOT


@pytest.mark.parametrize("name", ["dtd", "DescribableTextures", "DTD", "describabletextures"])
def test_both_names_are_found(name):
    assert names.find(name) == ("dtd", "DescribableTextures")


def test_every_download_has_a_config():
    assert set(RECIPES) <= set(names.registered_names().values())


@pytest.mark.parametrize(
    ("name", "near"), [("oxford_pet", "'oxford_pets'"), ("describabletexture", "'DescribableTextures'")]
)
def test_near_name_is_proposed(name, near):
    with pytest.raises(UserError, match=f"did you mean {near}"):
        names.find(name)


CODE = """
import sys
from modprompt.data.names import main
code = main(sys.argv[1:])
assert "torch" not in sys.modules
sys.exit(code)
"""


@pytest.mark.parametrize(("name", "expected"), [("EuroSAT", (0, "eurosat\n", 0)), ("nothing", (2, "", 1))])
def test_program_brings_no_torch_and_ends_in_one_line(name, expected):
    done = subprocess.run([sys.executable, "-c", CODE, name], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == expected
