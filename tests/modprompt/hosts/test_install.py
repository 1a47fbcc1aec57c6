import os

import pytest

from modprompt.hosts import install, train_line
from modprompt.hosts.scripts import CONFIG
from modprompt.places import PACKAGE
from tests.conftest import ROOT
from tests.modprompt.hosts.conftest import SMALL, losses
from tests.modprompt.hosts.stand_in import git, run_in, write_host


@pytest.fixture
def host(tmp_path):
    return write_host(tmp_path / "host")


def run(host, *flags):
    return install.main([str(host), *flags])


def refused(capsys, host, *flags):
    """What it says in its one line; it has changed nothing."""
    before = git(host, "status", "--porcelain", "--ignored") if (host / ".git").is_dir() else ""
    assert run(host, *flags) == 2
    assert before == (git(host, "status", "--porcelain", "--ignored") if (host / ".git").is_dir() else "")
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.slow
@pytest.mark.timeout(360)
@pytest.mark.parametrize("traits", [{}, {"own_mpl": True}, {"clean": True, "clip": "design"}])
def test_program_with_the_line_trains_with_our_losses_beside_its_own_trainers_and_no_trace_is_left(
    traits, tmp_path, workshop
):
    host = write_host(tmp_path / "host", **traits)
    before = (host / "train.py").read_bytes()
    assert run(host) == 0
    lines = (host / "train.py").read_text().splitlines()
    assert lines[lines.index(train_line.LINE) - 1].startswith("import trainers.")
    name = "ModMPL" if "own_mpl" in traits else "MPL"
    done = run_in(host, "train.py", *workshop.words(name, "output/run"), installed=True)
    assert done.returncode == 0, done.stderr
    assert losses(done.stdout) == pytest.approx(workshop.losses, abs=1e-4)
    own = run_in(host, "train.py", *workshop.words("OWN", "output/own"), installed=True)
    assert own.returncode == 0, own.stderr
    assert run(host, "--uninstall") == 0
    assert (host / "train.py").read_bytes() == before
    assert git(host, "status", "--porcelain") == ""


@pytest.mark.slow
@pytest.mark.timeout(360)
def test_line_finds_our_config_by_name(host, workshop):
    assert run(host) == 0
    words = workshop.words("MPL", "output/run")
    words[words.index("--config-file") + 1] = CONFIG
    words += SMALL
    done = run_in(host, "train.py", *words, installed=True)
    assert done.returncode == 0, done.stderr
    assert f"{CONFIG} is not in this codebase; using modprompt's: " in done.stdout


def test_second_run_changes_nothing(host, capsys):
    assert run(host) == 0
    before = (host / "train.py").read_bytes(), (host / "train.py").stat().st_mtime_ns
    capsys.readouterr()
    assert run(host) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert ((host / "train.py").read_bytes(), (host / "train.py").stat().st_mtime_ns) == before


def test_only_train_is_written_and_its_rights_stay(host):
    (host / "train.py").chmod(0o755)
    git(host, "commit", "-qam", "rights")
    assert run(host) == 0
    assert git(host, "status", "--porcelain", "--ignored") == " M train.py\n"
    assert (host / "train.py").stat().st_mode & 0o777 == 0o755
    assert run(host, "--uninstall") == 0
    assert git(host, "status", "--porcelain", "--ignored") == ""


def test_dry_run_shows_the_line_and_writes_nothing(host, capsys):
    assert run(host, "--dry-run") == 0
    assert f"+{train_line.LINE}" in capsys.readouterr().out
    assert git(host, "status", "--porcelain", "--ignored") == ""


def test_codebase_below_is_found(tmp_path):
    host = write_host(tmp_path / "repo" / "src")
    assert run(tmp_path / "repo") == 0
    assert train_line.has_line((host / "train.py").read_bytes())


@pytest.mark.parametrize("eol", ["\n", "\r\n"])
@pytest.mark.parametrize("end", ["", "\n"])
def test_line_goes_in_and_out_byte_for_byte(eol, end):
    for tail in (end, f"{eol}def main():{eol}    pass{end}"):
        program = f"import a{eol}import trainers.b  # last{tail}".encode()
        changed = train_line.with_line(program)
        assert changed != program
        assert train_line.LINE.encode() in changed.splitlines()
        assert train_line.without_line(changed) == program


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("import trainers.own\n{line}\nx = 1\n", "import trainers.own\nx = 1\n"),
        ("import trainers.own\n# {line}\nx = 1\n", "import trainers.own\n# {line}\nx = 1\n"),
        (
            "import trainers.own\n\ndef main():\n    {line}\n    x = 1\n",
            "import trainers.own\n\ndef main():\n    x = 1\n",
        ),
        ("import trainers.own\nimport modprompt.trainers.mpl\nx = 1\n", "import trainers.own\nx = 1\n"),
    ],
)
def test_line_that_was_moved_or_shortened_is_taken_out_as_a_line(before, after):
    before, after = (text.format(line=train_line.LINE) for text in (before, after))
    assert train_line.without_line(before.encode()).decode() == after


def test_line_stands_behind_a_statement_that_shares_the_imports_line():
    program = b"import trainers.own; x = (1,\n 2)\ny = 3\n"
    changed = train_line.with_line(program)
    compile(changed, "train.py", "exec")
    assert changed.splitlines()[2] == train_line.LINE.encode()


def test_what_it_asks_for_is_told_with_the_command(tmp_path, capsys):
    assert run(write_host(tmp_path / "host", task=True, dataset_flag=True)) == 0
    said = capsys.readouterr().out
    assert "python train.py --dataset EuroSAT --trainer MMRL --config-file vit_b4_c1_add2_rm1 " in said
    assert "TASK B2N TRAINER.NAME MPL" in said
    assert f"modprompt scripts {tmp_path / 'host'} > base2new.sh" in said


def test_folder_that_is_no_codebase_is_told(tmp_path, capsys):
    assert "there is no train.py that calls Dassl's build_trainer" in refused(capsys, tmp_path)
    assert "there is no such folder" in refused(capsys, tmp_path / "nothing")
    assert "it is modprompt itself" in refused(capsys, ROOT)


def test_program_that_would_not_find_modprompt_gets_no_line(host, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("PYTHONPATH")
    assert f"would not find modprompt: pip install --no-deps {PACKAGE.parent} first" in refused(capsys, host)
    (tmp_path / "other" / "modprompt").mkdir(parents=True)
    (tmp_path / "other" / "modprompt" / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "other"))
    assert f"would import {tmp_path / 'other' / 'modprompt'}, not {PACKAGE}" in refused(capsys, host)


def test_uncommitted_changes_are_asked_about(host, capsys):
    with (host / "train.py").open("a") as file:
        file.write("# mine\n")
    before = (host / "train.py").read_bytes()
    assert "changes that are not committed" in refused(capsys, host)
    assert (host / "train.py").read_bytes() == before
    assert run(host, "--even-if-changed") == 0
    assert run(host, "--uninstall") == 0
    assert (host / "train.py").read_bytes() == before


def test_train_that_is_no_python_is_told(host, capsys):
    (host / "train.py").write_text("from dassl import build_trainer\nprint 'old'\n")
    assert "train.py is not a Python program" in refused(capsys, host, "--even-if-changed")


def test_line_that_cannot_be_written_is_told_and_train_is_whole(host, capsys, monkeypatch):
    before = (host / "train.py").read_bytes()
    monkeypatch.setattr(os, "replace", _full)
    assert run(host) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert (host / "train.py").read_bytes() == before


def _full(*paths, **named):
    raise OSError(28, "No space left on device", str(paths[0]))


def test_uninstall_where_nothing_is_installed_is_told(host, capsys):
    assert "nothing is installed in" in refused(capsys, host, "--uninstall")


def test_line_that_stands_within_a_statement_is_told(host, capsys):
    with (host / "train.py").open("a") as file:
        file.write(f"if True: {train_line.STATEMENT}\n")
    assert run(host, "--even-if-changed") == 0
    assert run(host, "--uninstall") == 2
    assert "still names modprompt.trainers.mpl" in capsys.readouterr().err


def test_train_that_is_a_link_stays_one(host):
    (host / "train.py").rename(host / "real.py")
    (host / "train.py").symlink_to("real.py")
    git(host, "add", "-A")
    git(host, "commit", "-qm", "link")
    assert run(host) == 0
    assert (host / "train.py").is_symlink()
    assert run(host, "--uninstall") == 0
    assert (host / "train.py").is_symlink()
    assert git(host, "status", "--porcelain", "--ignored") == ""
