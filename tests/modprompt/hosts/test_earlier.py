"""An installation of 0.2.0, which is taken out: its list is as that version wrote it, contents are made up."""

import hashlib
import json

import pytest

from modprompt.hosts import install
from modprompt.hosts.train_line import STATEMENT, has_line
from tests.modprompt.hosts.stand_in import git, write_host

LIST = "modprompt/installed.json"
FILES = (
    "modprompt/__init__.py",
    "modprompt/hosts/scripts/run.sh",
    "modprompt/trainers/mpl.py",
    "configs/trainers/MPL/vit_b4_c1_add2_rm1.yaml",
    "scripts/mpl/base2new_train.sh",
)
FOLDERS = ["configs", "configs/trainers", "configs/trainers/MPL", "modprompt", "modprompt/hosts"]
FOLDERS += ["modprompt/hosts/scripts", "modprompt/trainers", "scripts", "scripts/mpl"]
LINE = f"{STATEMENT}  # MPL; `python -m modprompt.install . --uninstall` takes this line out\n"


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def state(folder):
    """All that there is in a codebase but git's own."""
    paths = [path for path in folder.rglob("*") if ".git" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.is_file() and path.read_bytes() for path in paths}


def listed(host, **changes):
    content = json.loads((host / LIST).read_text())
    (host / LIST).write_text(json.dumps({**content, **changes}))


@pytest.fixture
def plain(tmp_path):
    return write_host(tmp_path / "host", eurosat=False)  # configs/ is the installation's


@pytest.fixture
def untouched(plain):
    return state(plain)


@pytest.fixture
def host(plain, untouched):
    """The codebase in which 0.2.0 was installed and has run."""
    digests = {}
    for name in FILES:
        path = plain / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name} as it was\n")
        digests[name] = digest(path)
    (plain / "modprompt/trainers/__pycache__").mkdir()
    (plain / "modprompt/trainers/__pycache__/mpl.cpython-38.pyc").write_bytes(b"compiled")
    (plain / LIST).write_text(json.dumps({"files": digests, "folders": FOLDERS}, indent=1))
    program = plain / "train.py"
    program.write_text(program.read_text().replace("import trainers.own\n", f"import trainers.own\n{LINE}"))
    return plain


def run(host, *flags):
    return install.main([str(host), *flags])


def test_uninstalled_it_leaves_no_trace(host, untouched):
    assert has_line((host / "train.py").read_bytes())
    assert run(host, "--uninstall") == 0
    assert state(host) == untouched


def test_it_is_taken_out_before_the_line_is_written(host, capsys):
    before = state(host)
    assert run(host) == 2
    assert f"modprompt install {host} --uninstall first" in capsys.readouterr().err
    assert state(host) == before


def test_changed_file_is_kept_and_told(host, untouched, capsys):
    changed = host / "modprompt/trainers/mpl.py"
    changed.write_text("# mine\n")
    assert run(host, "--uninstall") == 2
    assert "kept because they were changed: modprompt/trainers/mpl.py" in capsys.readouterr().err
    assert not (host / LIST).exists()
    changed.unlink()
    assert git(host, "status", "--porcelain", "--ignored") == ""


def test_file_of_an_update_that_was_cut_off_is_ours_by_either_digest(host, untouched):
    files = json.loads((host / LIST).read_text())["files"]
    listed(host, files={**files, FILES[0]: "0" * 64}, earlier={FILES[0]: files[FILES[0]]})
    assert run(host, "--uninstall") == 0
    assert state(host) == untouched


@pytest.mark.parametrize(
    "name", ["../outside", "modprompt/../../outside", "/outside", "data/mine.txt", "train.py", "configs", 5]
)
def test_list_that_names_what_no_installation_wrote_is_not_followed(name, host, tmp_path, capsys):
    (tmp_path / "outside").write_text("mine")
    files = json.loads((host / LIST).read_text())["files"]
    listed(host, files={**files, name: "x"})
    before = state(host)
    assert run(host, "--uninstall") == 2
    assert "which no installation wrote" in capsys.readouterr().err
    assert state(host) == before
    assert (tmp_path / "outside").read_text() == "mine"


def test_links_are_not_followed(host, tmp_path, capsys):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "base2new_train.sh").write_text(f"# {FILES[-1]} as it was\n")
    (host / FILES[-1]).unlink()
    (host / "scripts/mpl").rmdir()
    (host / "scripts/mpl").symlink_to(tmp_path / "elsewhere")
    assert run(host, "--uninstall") == 2
    assert (tmp_path / "elsewhere" / "base2new_train.sh").is_file()
    assert (host / FILES[0]).is_file()
