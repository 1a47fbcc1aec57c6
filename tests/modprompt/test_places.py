import os
import subprocess
import sys

import pytest

from modprompt import places
from tests.conftest import ROOT


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The package's place as if it lay among installed packages."""
    package = tmp_path / "site-packages" / "modprompt"
    (package / "configs" / "trainers").mkdir(parents=True)
    for name, value in (("PACKAGE", package), ("ROOT", package.parent), ("_INSIDE", package / "configs")):
        monkeypatch.setattr(places, name, value)
    return package


def test_checkout():
    assert places.is_checkout()
    assert places.configs() == ROOT / "configs"
    assert places.home() == ROOT
    assert places.constraints().is_file()


def test_installed(installed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not places.is_checkout()
    assert places.configs() == installed / "configs"
    assert places.constraints() == installed / "constraints.txt"
    assert places.home() == tmp_path
    assert "PYTHONPATH" not in places.environment()  # site-packages in front of the standard library would be wrong


@pytest.mark.parametrize(
    ("path", "found"),
    [("", [str(ROOT)]), ("/x", [str(ROOT), "/x"]), (f"{ROOT}:/x", None), (f"/x:{ROOT}", [str(ROOT), "/x", str(ROOT)])],
)
def test_checkout_is_put_in_front_once(path, found, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", path)
    assert places.environment().get("PYTHONPATH") == (found and os.pathsep.join(found))


def test_child_imports_this_package_in_a_folder_with_another(tmp_path):
    (tmp_path / "modprompt").mkdir()
    (tmp_path / "modprompt" / "__init__.py").write_text("raise SystemExit('not this one')")
    environment = {**os.environ, **places.environment()}
    words = [*places.program("--version")]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("modprompt "), done.stderr
    assert (words[0], words[-2]) == (sys.executable, "modprompt")
