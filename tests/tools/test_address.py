"""The repository's address is one value: where it is empty nothing names a repository, and with it all places do."""

import shutil

import pytest
import yaml

from tests.conftest import ROOT
from tools import address

tomllib = pytest.importorskip("tomllib")  # of Python 3.11
HERE = "https://github.com/someone/modprompt"


@pytest.fixture
def tree(tmp_path):
    for name in address.PLACES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def texts(tree):
    return {name: (tree / name).read_text() for name in address.PLACES}


def test_files_are_what_the_value_makes_of_them():
    for name in address.PLACES:
        text = (ROOT / name).read_text()
        assert address.rendered(name, text, address.stated()) == text, f"run python -m tools.address ({name})"


def test_with_an_address_every_place_names_it(tree):
    address.write(HERE, tree)
    found = texts(tree)
    project = tomllib.loads(found["pyproject.toml"])
    assert project["project"]["urls"]["Repository"] == HERE
    assert project["tool"]["modprompt"]["repository"] == HERE
    assert yaml.safe_load(found["CITATION.cff"])["repository-code"] == HERE
    assert yaml.safe_load(found["mkdocs.yml"])["repo_url"] == HERE
    assert all(f"git clone {HERE}.git\ncd modprompt\n" in found[name] for name in ("README.md", "docs/INSTALL.md"))
    assert f"({HERE}/actions/workflows/ci.yml/badge.svg)" in found["README.md"]


def test_without_one_nothing_does(tree):
    address.write(HERE, tree)
    address.write("", tree)
    found = texts(tree)
    assert HERE not in "".join(found.values())
    assert not [name for name, text in found.items() if "git clone" in text or "badge.svg" in text]
    assert "urls" not in tomllib.loads(found["pyproject.toml"])["project"]
    assert "repository-code" not in yaml.safe_load(found["CITATION.cff"])
    assert "repo_url" not in yaml.safe_load(found["mkdocs.yml"])


def test_workflows_of_the_badges_exist():
    named = [word for word in address.badges(HERE).replace(")", " ").split("/") if word.endswith(".yml")]
    assert named
    assert all((ROOT / ".github" / "workflows" / name).is_file() for name in named)


@pytest.mark.parametrize("given", ["github.com/a/b", "https://example.org/a", "https://github.com/a", "TODO"])
def test_what_is_no_address_is_refused_and_nothing_is_written(given, tree, monkeypatch, capsys):
    monkeypatch.setattr(address, "write", lambda value, write=address.write: write(value, tree))
    before = texts(tree)
    assert address.main([given]) == 2
    assert capsys.readouterr().err == f"error: {given}: an address like https://github.com/owner/name is expected\n"
    assert texts(tree) == before


def test_lost_place_is_named(tree):
    (tree / "CITATION.cff").write_text("title: x\n")
    with pytest.raises(address.UserError, match="CITATION.cff: the lines '# address: code'"):
        address.write(HERE, tree)
    assert HERE not in (tree / "README.md").read_text()
