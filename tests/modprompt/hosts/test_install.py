import os

import pytest

from modprompt.hosts import install
from modprompt.places import PACKAGE
from tests.conftest import ROOT
from tests.modprompt.hosts.stand_in import dassl_folder, git, site, write_host

STATEMENT, LINE = install.STATEMENT, install.LINE


@pytest.fixture(autouse=True)
def pip(monkeypatch):
    """modprompt and Dassl are found from everywhere."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([site(), dassl_folder()]))


@pytest.fixture
def host(tmp_path):
    return write_host(tmp_path / "host")


def refused(capsys, folder, *flags):
    """What it says in its one line; it has changed nothing."""
    before = {path: path.read_bytes() for path in folder.glob("*.py")}
    assert install.main([str(folder), *flags]) == 2
    assert before == {path: path.read_bytes() for path in folder.glob("*.py")}
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_line_is_tried_and_written_once_and_every_byte_restored_in_a_linked_executable_file(tmp_path, capsys):
    host = write_host(tmp_path / "repo" / "src", "asks for more", eol="\r\n")
    (host / "train.py").rename(host / "real.py")
    (host / "real.py").chmod(0o755)
    (host / "train.py").symlink_to("real.py")
    git(host, "add", "-A")
    git(host, "commit", "-qm", "link")
    assert install.main([str(host.parent)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"clip: {host / 'clip'}\n")
    assert "python train.py --dataset EuroSAT --trainer MMRL --config-file vit_b4_c1_add2_rm1 " in said
    lines = (host / "train.py").read_bytes().splitlines(keepends=True)
    assert lines[lines.index(f"{LINE}\r\n".encode()) + 1].startswith(b"from dassl.")  # which it mends
    assert git(host, "status", "--porcelain", "--ignored") == " M real.py\n"
    assert ((host / "train.py").stat().st_mode & 0o777, (host / "train.py").is_symlink()) == (0o755, True)
    assert install.main([str(host)]) == 0
    assert "Nothing was changed, because" in capsys.readouterr().out
    assert install.main([str(host), "--uninstall"]) == 0
    assert git(host, "status", "--porcelain", "--ignored") == ""


@pytest.mark.slow
def test_line_whose_imports_fail_is_not_written_and_all_that_is_missing_is_named(host, tmp_path, monkeypatch, capsys):
    (host / "train.py").write_text("import datasets.eurosat\nimport trainers.own\n# dassl build_trainer\n")
    (host / "trainers" / "own.py").write_text("import no_package, os\n")
    (host / "datasets" / "eurosat.py").write_text("import skimage.io\nfrom .squares import pictures\n")
    assert refused(capsys, host).endswith(
        "Run `pip install no_package scikit-image` first."
    )  # the launcher, too, needs one
    (host / "datasets" / "eurosat.py").write_text("")
    assert "Run `pip install no_package` first, or use `modprompt launch`" in refused(capsys, host)
    (host / "datasets" / "eurosat.py").write_text("1 / 0\n")
    said = refused(capsys, host)
    assert (
        "because the program could no longer import its modules with this line (ZeroDivisionError: division by zero)"
        in said
    )
    (host / "datasets" / "eurosat.py").write_text("")
    (host / "trainers" / "own.py").write_text("")
    monkeypatch.delenv("PYTHONPATH")
    assert f"Run `pip install --no-deps {PACKAGE.parent}` first." in refused(capsys, host)


@pytest.mark.parametrize("eol", ["\n", "\r\n"])
@pytest.mark.parametrize("end", ["", "\n"])
def test_line_goes_in_and_out_byte_for_byte(eol, end):
    for tail in (end, f"{eol}def main():{eol}    pass{end}"):
        program = f"import a{eol}import trainers.b  # last{tail}".encode()
        changed = install.with_line(program)
        assert LINE.encode() in changed.splitlines()
        assert install.without_line(changed) == program


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("import trainers.own\n# {line}\nx = 1\n", "import trainers.own\n# {line}\nx = 1\n"),
        ("import a\n\ndef main():\n    {line}\n    x = 1\n", "import a\n\ndef main():\n    x = 1\n"),
        ("import a\nimport modprompt.trainers.mpl\nx = 1\n", "import a\nx = 1\n"),
    ],
)
def test_line_that_was_moved_or_shortened_is_taken_out_as_a_line(before, after):
    before, after = (text.format(line=LINE) for text in (before, after))
    assert install.without_line(before.encode()).decode() == after


def test_line_stands_before_a_statement_that_shares_the_imports_line():
    changed = install.with_line(b"import a\nx = (1,\n 2); import trainers.own\ny = 3\n")
    compile(changed, "train.py", "exec")
    assert changed.splitlines()[1] == LINE.encode()


def test_what_is_no_codebase_or_cannot_be_done_is_one_line(host, tmp_path, capsys, monkeypatch):
    (tmp_path / "empty").mkdir()
    assert "the folder contains no train.py that calls Dassl's build_trainer" in refused(capsys, tmp_path / "empty")
    assert "the folder does not exist" in refused(capsys, tmp_path / "nothing")
    assert "the folder is modprompt itself" in refused(capsys, ROOT)
    assert "There is nothing to uninstall in" in refused(capsys, host, "--uninstall")
    plain = (host / "train.py").read_bytes()
    (host / "train.py").write_bytes(plain + b"print 'old'\n")
    assert "train.py is not a valid Python program" in refused(capsys, host)
    (host / "train.py").write_bytes(install.with_line(plain))

    def full(*paths, **named):
        raise OSError(28, "No space left on device", str(paths[0]))

    monkeypatch.setattr(os, "replace", full)
    assert "No space left" in refused(capsys, host, "--uninstall")
