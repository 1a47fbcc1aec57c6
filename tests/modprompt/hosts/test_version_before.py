"""An installation of the version before this one: what it wrote is listed in version_before.json, contents are made up."""

import json
from pathlib import Path

import pytest

from modprompt.hosts import install
from modprompt.hosts.manifest import MANIFEST, digest
from modprompt.hosts.train_line import has_line, with_line
from tests.modprompt.hosts.stand_in import git, write_host

BEFORE = json.loads((Path(__file__).parent / "version_before.json").read_text())
SAME_PLACE = "modprompt/storage/lock.py"  # a file of both versions
GONE = "modprompt/plugin/settings.py"  # a file of the one before alone


def contents(folder):
    """All files of a codebase but git's own, by path."""
    paths = (path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def folders(folder):
    return {path for path in folder.rglob("*") if path.is_dir() and ".git" not in path.parts}


@pytest.fixture
def plain(tmp_path):
    """A codebase before any installation."""
    return write_host(tmp_path / "host", eurosat=False)  # configs/ is the installation's


@pytest.fixture
def untouched(plain):
    """What there is in it."""
    return contents(plain), folders(plain)


@pytest.fixture
def host(plain, untouched):
    """The codebase in which the version before was installed and has run."""
    digests = {}
    for name in BEFORE["files"]:
        path = plain / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name} as it was\n")
        digests[name] = digest(path.read_bytes())
        if name.endswith(".py"):
            (path.parent / "__pycache__").mkdir(exist_ok=True)
            (path.parent / "__pycache__" / f"{path.stem}.cpython-38.pyc").write_bytes(b"compiled")
    (plain / MANIFEST).write_text(json.dumps({"files": digests, "folders": BEFORE["folders"]}, indent=1))
    (plain / "train.py").write_bytes(with_line((plain / "train.py").read_bytes()))
    return plain


def run(host, *flags):
    return install.main([str(host), *flags])


def test_description_is_of_the_layout_before():
    assert {"modprompt/plugin/mends.py", "modprompt/backbone.py", "modprompt/host_scripts/run.sh"} <= {*BEFORE["files"]}
    assert "modprompt/plugin" in BEFORE["folders"]


def test_uninstalled_by_this_version_it_leaves_no_trace(host, untouched):
    assert run(host, "--uninstall") == 0
    assert (contents(host), folders(host)) == untouched


def test_updated_it_is_a_fresh_installation_and_uninstalled_then_leaves_no_trace(host, untouched, tmp_path, capsys):
    fresh = write_host(tmp_path / "fresh", eurosat=False)
    assert run(fresh) == 0
    assert run(host) == 0
    compiled = {path for path in contents(host) if path.endswith(".pyc")}
    assert {path: content for path, content in contents(host).items() if path not in compiled} == contents(fresh)
    assert not (host / "modprompt" / "plugin").exists()
    capsys.readouterr()
    assert run(host) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert run(host, "--uninstall") == 0
    assert (contents(host), folders(host)) == untouched


def test_dry_run_names_what_goes_and_changes_nothing(host, capsys):
    before = contents(host)
    (host / GONE).write_text("# mine\n")
    assert run(host, "--dry-run") == 0
    said = capsys.readouterr().out.splitlines()
    assert "remove modprompt/backbone.py" in said
    assert f"keep   {GONE} (it was changed)" in said
    assert contents(host) == {**before, GONE: b"# mine\n"}


def test_changed_file_that_is_no_longer_part_is_kept_and_told(host, untouched, capsys):
    (host / GONE).write_text("# mine\n")
    assert run(host) == 0
    told = f"kept, though no longer part of it, because they were changed: {GONE}\n"
    assert told in capsys.readouterr().out
    assert (host / GONE).read_text() == "# mine\n"
    assert not (host / "modprompt/plugin/mends.py").exists()
    assert run(host, "--uninstall") == 0
    assert contents(host) == {**untouched[0], GONE: b"# mine\n"}
    (host / GONE).unlink()
    assert git(host, "status", "--porcelain", "--ignored") == ""


def test_changed_file_that_would_be_written_over_stops_the_update(host, capsys):
    (host / SAME_PLACE).write_text("# mine\n")
    before = contents(host)
    assert run(host) == 2
    assert f"{host / SAME_PLACE} was changed since the installation" in capsys.readouterr().err
    assert contents(host) == before


def test_changed_file_is_kept_and_told_when_it_is_uninstalled_directly(host, untouched, capsys):
    (host / GONE).write_text("# mine\n")
    assert run(host, "--uninstall") == 2
    assert f"kept because they were changed: {GONE}" in capsys.readouterr().err
    assert contents(host) == {**untouched[0], GONE: b"# mine\n"}


@pytest.mark.parametrize("number", [2, 30, 80])
@pytest.mark.parametrize("then", [(), ("--uninstall",)])
def test_update_that_was_killed_is_finished_or_taken_out(host, untouched, monkeypatch, number, then):
    from modprompt.hosts import writing

    plain, count = writing._write, []

    def write(path, content):
        count.append(path)
        if len(count) == number:
            raise SystemExit
        plain(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(writing, "_write", write)
        with pytest.raises(SystemExit):
            run(host)
    assert run(host, *then) == 0
    assert (host / "modprompt").exists() == has_line((host / "train.py").read_bytes()) == (not then)
    assert not (host / GONE).exists()
    assert run(host, "--uninstall") == (2 if then else 0)
    assert (contents(host), folders(host)) == untouched


def test_lost_list_is_told_since_nobody_knows_the_rest(host, tmp_path, capsys):
    fresh = write_host(tmp_path / "fresh", eurosat=False)
    assert run(fresh) == 0
    for name in set(BEFORE["files"]) & set(contents(fresh)):
        (host / name).unlink()
    (host / MANIFEST).unlink()
    assert run(host, "--uninstall") == 2
    assert f"nobody knows whose the rest of {host / 'modprompt'} is" in capsys.readouterr().err
    assert (host / GONE).is_file()
