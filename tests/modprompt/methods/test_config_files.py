"""Configs by path and by name, from any folder."""

from pathlib import Path

import pytest

from modprompt import places
from modprompt.data.names import path_of
from modprompt.errors import UserError
from modprompt.methods.table import config_file
from tests.conftest import ROOT

MPL = ROOT / "configs/trainers/MPL/vit_b4_c1_add2_rm1.yaml"
EUROSAT = ROOT / "configs/datasets/eurosat.yaml"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=["checkout", "installed"])
def shipped(request, tmp_path, monkeypatch):
    """The folder of the configs that come along."""
    if request.param == "checkout":
        return ROOT / "configs"
    (tmp_path / "package").mkdir()
    inside = tmp_path / "package" / "configs"
    inside.symlink_to(ROOT / "configs")
    monkeypatch.setattr(places, "_INSIDE", inside)
    return inside


@pytest.mark.parametrize("word", [MPL.stem, "configs/trainers/MPL/vit_b4_c1_add2_rm1.yaml"])
def test_methods_config_is_found_by_name_and_by_the_path_of_a_checkout(word, shipped):
    assert config_file(word, "MPL") == shipped / MPL.relative_to(ROOT / "configs")


@pytest.mark.parametrize("word", ["eurosat", "EuroSAT", "configs/datasets/eurosat.yaml"])
def test_data_sets_config_too(word, shipped):
    assert path_of(word) == shipped / EUROSAT.relative_to(ROOT / "configs")


def test_name_is_looked_for_where_the_trainers_are():
    assert config_file("glyph", "ZeroshotCLIP") == ROOT / "configs/trainers/CoOp/glyph.yaml"
    for trainer in ("ZeroshotCLIP", "OfAUser"):
        assert config_file("MPL/glyph", trainer) == MPL.with_name("glyph.yaml")
    assert config_file("ZeroshotCLIP/glyph", "MPL") == ROOT / "configs/trainers/CoOp/glyph.yaml"


def test_path_that_exists_wins_over_a_name_and_a_folder_does_not(tmp_path):
    (tmp_path / "glyph").write_text("SEED: 1\n")
    (tmp_path / "eurosat").mkdir()
    assert config_file("glyph", "MPL") == Path("glyph")
    assert path_of("eurosat") == EUROSAT
    (tmp_path / "configs/datasets").mkdir(parents=True)
    own = tmp_path / "configs/datasets/eurosat.yaml"
    own.write_text("DATASET: {NAME: Mine}\n")
    assert path_of("configs/datasets/eurosat.yaml") == Path("configs/datasets/eurosat.yaml")


@pytest.mark.parametrize("word", ["nope.yaml", "glyf", "configs/trainers/MPL/nope.yaml", "MPL/glyf"])
def test_missing_config_of_a_method_names_the_trainers_and_no_neighbours(word, tmp_path):
    (tmp_path / ".pre-commit-config.yaml").write_text("repos: []\n")
    with pytest.raises(
        UserError, match=f"^Unknown config file {word}.* The config files of MPL are glyph, glyph_selfreg, "
    ) as raised:
        config_file(word, "MPL")
    assert "pre-commit" not in str(raised.value)
    assert ("Did you mean 'glyph'?" in str(raised.value)) == word.endswith("glyf")


def test_missing_config_without_a_known_trainer_and_of_a_data_set():
    with pytest.raises(UserError, match="^Unknown config file nope. Use a path, or the name of a trainer"):
        config_file("nope", "")
    assert config_file("glyph", "OfAUser") == ROOT / "configs/trainers/MPL/glyph.yaml"  # a user's, not imported yet
    with pytest.raises(UserError, match="^Unknown config file OfAUser/glyph"):
        config_file("OfAUser/glyph", "OfAUser")
    with pytest.raises(UserError, match="^The config file own/eurosatt.yaml does not exist. Did you mean 'eurosat'"):
        path_of("own/eurosatt.yaml")
    with pytest.raises(UserError, match="^Unknown data set 'eurosatt'. Did you mean 'EuroSAT'"):
        path_of("eurosatt")


def test_folder_of_images_in_place_of_a_config_is_told(tmp_path):
    (tmp_path / "photos").mkdir()
    for find in (path_of, lambda word: config_file(word, "MPL")):
        with pytest.raises(UserError, match="^photos is a folder, not a config file. .* as --root"):
            find("photos")
