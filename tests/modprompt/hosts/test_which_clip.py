"""A `clip` that would win over a codebase's own: the installer stops, the doctor says so, the launcher takes the folder."""

import os
from pathlib import Path

import clip
import pytest

from modprompt.errors import UserError
from modprompt.hosts import install
from modprompt.hosts.which_clip import require_own_clip
from tests.modprompt.hosts.conftest import losses
from tests.modprompt.hosts.stand_in import git, run_in, write_host

INSTALLED = Path(clip.__file__).parent
HOOK = """
import importlib.util, sys

class Hook:  # as some editable installs have one
    def find_spec(self, name, path=None, target=None):
        if name == "clip":
            file = {file!r}
            return importlib.util.spec_from_file_location(name, file, submodule_search_locations=[{folder!r}])

sys.meta_path.insert(0, Hook())
"""
PRELOADED = "import importlib.machinery, sys, types\nmodule = types.ModuleType('clip')\nmodule.__file__ = {file!r}\nsys.modules['clip'] = module\n"
FAILS = "import sys\n\nclass Hook:\n    def find_spec(self, *words):\n        raise RuntimeError('no finder')\n\nsys.meta_path.append(Hook())\n"


@pytest.fixture
def elsewhere(tmp_path):
    """Another `clip` package."""
    folder = tmp_path / "elsewhere" / "clip"
    folder.mkdir(parents=True)
    for name in ("__init__.py", "clip.py"):
        (folder / name).touch()
    return folder


def on_start(tmp_path, monkeypatch, code):
    """Have every Python that starts from now on run a program first."""
    folder = tmp_path / "on_start"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code)
    path = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *([path] if path else [])]))
    return folder


def stops(host, capsys):
    """What the installer says in its one line; it has changed nothing."""
    for flags in ([], ["--dry-run"]):
        assert install.main([str(host), *flags]) == 2
        out, said = capsys.readouterr()
        assert out == ""
        assert len(said.splitlines()) == 1
    assert git(host, "status", "--porcelain", "--ignored") == ""
    return said


@pytest.mark.parametrize("package", [True, False])
def test_own_folder_that_wins_is_well(tmp_path, monkeypatch, package):
    host = write_host(tmp_path / "host", package=package)
    if not package:  # nothing is installed: the folder is found even without its __init__.py
        hide = f"import sys\nsys.path[:] = [entry for entry in sys.path if entry != {str(INSTALLED.parent)!r}]\n"
        on_start(tmp_path, monkeypatch, hide)
    require_own_clip(host)


def test_codebase_without_such_a_folder_is_not_asked(tmp_path, monkeypatch):
    on_start(tmp_path, monkeypatch, FAILS)
    require_own_clip(tmp_path)


def test_installed_one_beside_a_folder_without_init_stops_the_installer(tmp_path, capsys):
    host = write_host(tmp_path / "host", package=False)
    said = stops(host, capsys)
    assert said.startswith(
        f"error: train.py would import {INSTALLED} in place of {host / 'clip'} (it has no __init__.py)"
    )
    assert "pip uninstall" in said
    assert "--no-deps" in said
    assert "modprompt launch" in said


@pytest.mark.parametrize("code", [HOOK, PRELOADED])
def test_hook_or_one_that_is_loaded_already_stops_the_installer(code, tmp_path, elsewhere, monkeypatch, capsys):
    host = write_host(tmp_path / "host")
    require_own_clip(host)
    code = code.format(file=str(elsewhere / "__init__.py"), folder=str(elsewhere))
    on_start(tmp_path, monkeypatch, f"print('hello')\n{code}")
    said = stops(host, capsys)
    assert said.startswith(f"error: train.py would import {elsewhere} in place of {host / 'clip'} (an import hook,")


def test_hook_that_a_pth_file_enters_stops_the_installer(tmp_path, elsewhere, monkeypatch, capsys):
    host = write_host(tmp_path / "host")
    site = on_start(tmp_path, monkeypatch, f"import site\nsite.addsitedir({str(tmp_path / 'on_start')!r})\n")
    (site / "editable.pth").write_text("import editable_hook\n")
    (site / "editable_hook.py").write_text(HOOK.format(file=str(elsewhere / "__init__.py"), folder=str(elsewhere)))
    assert f"would import {elsewhere} in place of {host / 'clip'}" in stops(host, capsys)


def test_module_beside_the_folder_is_named_as_a_file(tmp_path, capsys):
    host = write_host(tmp_path / "host", package=False)
    (host / "clip.py").touch()
    git(host, "add", "-A")
    git(host, "commit", "-qm", "a module")
    assert f"would import {host / 'clip.py'} in place of {host / 'clip'}" in stops(host, capsys)


def test_folder_on_pythonpath_does_not_win_over_one_with_init(tmp_path, elsewhere, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(elsewhere.parent))
    require_own_clip(write_host(tmp_path / "host"))
    with pytest.raises(UserError, match="would import .*elsewhere.clip in place of"):
        require_own_clip(write_host(tmp_path / "bare", package=False))


def test_link_to_the_codebases_own_folder_is_its_own(tmp_path, monkeypatch):
    host = write_host(tmp_path / "host")
    (tmp_path / "link").symlink_to(host)
    hook = HOOK.format(file=str(tmp_path / "link/clip/__init__.py"), folder=str(tmp_path / "link/clip"))
    on_start(tmp_path, monkeypatch, hook)
    require_own_clip(host)


def test_python_that_cannot_say_is_told(tmp_path, monkeypatch, capsys):
    host = write_host(tmp_path / "host", package=False)
    on_start(
        tmp_path, monkeypatch, FAILS.replace("append(", "insert(0, ").replace("raise", "if words[0] == 'clip': raise")
    )
    assert "does not say where `clip` is: RuntimeError: no finder" in stops(host, capsys)


def test_what_is_installed_can_be_taken_out_all_the_same(tmp_path, elsewhere, monkeypatch):
    host = write_host(tmp_path / "host")
    assert install.main([str(host)]) == 0
    on_start(tmp_path, monkeypatch, HOOK.format(file=str(elsewhere / "__init__.py"), folder=str(elsewhere)))
    assert install.main([str(host)]) == 2
    assert install.main([str(host), "--uninstall"]) == 0
    assert git(host, "status", "--porcelain", "--ignored") == ""


@pytest.mark.slow
@pytest.mark.timeout(360)
def test_launcher_takes_the_folder_and_the_doctor_names_the_other(tmp_path, elsewhere, workshop):
    host = write_host(tmp_path / "host")
    start = tmp_path / "start"
    start.mkdir()
    hook = HOOK.format(file=str(elsewhere / "__init__.py"), folder=str(elsewhere))
    (start / "sitecustomize.py").write_text(hook)
    doctor = run_in(host, "-m", "modprompt.doctor", more_path=start)
    assert doctor.returncode == 0, doctor.stderr
    assert f"train.py would import {elsewhere} in place of {host / 'clip'}" in doctor.stdout
    assert "launcher  MPL trains and tests" in doctor.stdout
    assert doctor.stdout.rstrip().endswith("MPL can run here")
    done = run_in(host, "-m", "modprompt.launch", "train.py", *workshop.words("MPL", "output/run"), more_path=start)
    assert done.returncode == 0, done.stderr
    assert losses(done.stdout) == pytest.approx(workshop.losses, abs=1e-4)
