"""A data set has two names, and is found by either."""

import pytest

from modprompt.data import names
from modprompt.data.prepare.recipes import RECIPES
from modprompt.errors import UserError


@pytest.mark.parametrize("name", ["dtd", "DescribableTextures", "DTD"])
def test_both_names_are_found(name):
    assert names.find(name) == ("dtd", "DescribableTextures")


def test_every_download_has_a_config():
    assert set(RECIPES) <= set(names.registered_names().values())


def test_near_name_is_proposed():
    with pytest.raises(UserError, match="Did you mean 'DescribableTextures'"):
        names.find("describabletexture")


@pytest.mark.parametrize(("name", "expected"), [("EuroSAT", (0, "eurosat\n", 0)), ("nothing", (2, "", 1))])
def test_program_prints_the_config_name_or_one_line(name, expected, capsys):
    code = names.main([name])
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == expected
