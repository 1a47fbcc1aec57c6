import json
import os
import shutil
import subprocess
import sys

import pytest

from modprompt.hosts import install, train_line, writing
from modprompt.hosts.manifest import MANIFEST, digest
from modprompt.runs import folder as run_folder
from tests.conftest import ROOT, bare
from tests.modprompt.hosts.conftest import losses
from tests.modprompt.hosts.stand_in import git, run_in, write_host

pytestmark = pytest.mark.timeout(360)  # several programs one behind the other


@pytest.fixture
def host(tmp_path):
    return write_host(tmp_path / "host")


def run(host, *flags):
    return install.main([str(host), *flags])


@pytest.mark.slow
def test_installed_trainer_runs_without_this_project_and_leaves_no_trace(host, workshop):
    before = (host / "train.py").read_bytes()
    assert run(host) == 0
    program = (host / "train.py").read_text().splitlines()
    at = program.index(train_line.LINE)
    assert program[at - 1] == "import trainers.own"
    done = run_in(host, "train.py", *workshop.words("MPL", "output/run"), installed=True)
    assert done.returncode == 0, done.stderr
    assert losses(done.stdout) == pytest.approx(workshop.losses, abs=1e-4)
    own = run_in(host, "train.py", *workshop.words("OWN", "output/own"), installed=True)
    assert own.returncode == 0, own.stderr
    assert run(host, "--uninstall") == 0
    assert (host / "train.py").read_bytes() == before
    assert git(host, "status", "--porcelain", "--ignored").split() in ([], ["!!", "output/"]) or not [
        line for line in git(host, "status", "--porcelain", "--ignored").splitlines() if "modprompt" in line
    ]
    assert git(host, "status", "--porcelain") == ""


@pytest.mark.slow
def test_codebase_with_an_mpl_keeps_it(tmp_path, workshop):
    host = write_host(tmp_path / "host", own_mpl=True)
    before = (host / "trainers" / "mpl.py").read_bytes()
    assert run(host) == 0
    assert (host / "trainers" / "mpl.py").read_bytes() == before
    assert (host / "configs/trainers/ModMPL/vit_b4_c1_add2_rm1.yaml").is_file()
    own = run_in(host, "train.py", *workshop.words("MPL", "output/own"), installed=True)
    assert "own trainer MPL" in own.stdout
    ours = run_in(host, "train.py", *workshop.words("ModMPL", "output/run"), installed=True)
    assert losses(ours.stdout) == pytest.approx(workshop.losses, abs=1e-4)
    assert run(host, "--uninstall") == 0
    assert git(host, "status", "--porcelain") == ""


@pytest.mark.slow
def test_config_that_is_cleaned_first_gets_the_keys_back(tmp_path, workshop):
    host = write_host(tmp_path / "host", clean=True, clip="design")
    assert run(host) == 0
    done = run_in(host, "train.py", *workshop.words("MPL", "output/run"), installed=True)
    assert losses(done.stdout) == pytest.approx(workshop.losses, abs=1e-4)


def test_second_run_changes_nothing(host, capsys):
    assert run(host) == 0
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in host.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert run(host) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in host.rglob("*") if path.is_file()} == before


def test_dry_run_shows_the_diff_and_writes_nothing(host, capsys):
    assert run(host, "--dry-run") == 0
    out = capsys.readouterr().out
    assert f"+{train_line.LINE}" in out
    assert "modprompt/trainers/mpl.py" in out
    assert git(host, "status", "--porcelain", "--ignored") == ""


@pytest.mark.parametrize("eol", ["\n", "\r\n"])
@pytest.mark.parametrize("end", ["", "\n"])
def test_line_goes_in_and_out_byte_for_byte(eol, end):
    for tail in (end, f"{eol}def main():{eol}    pass{end}"):
        program = f"import a{eol}import trainers.b  # last{tail}".encode()
        changed = train_line.with_line(program)
        assert changed != program
        assert train_line.LINE.encode() in changed.splitlines()
        assert train_line.without_line(changed) == program


@pytest.mark.slow
@pytest.mark.parametrize("traits", [{}, {"dataset_flag": True, "task": True, "noise": True}])
def test_bundled_script_trains_and_tests(traits, tmp_path, workshop):
    host = write_host(tmp_path / "host", **traits)
    assert run(host) == 0
    shutil.copy(workshop.folder / "squares.yaml", host / "configs" / "datasets")
    options = [*bare(workshop.weights), "INPUT.SIZE", "(32, 32)", "TRAINER.MPL.PROMPT_DEPTH", "3"]
    options += ["OPTIM.MAX_EPOCH", "1", "DATALOADER.NUM_WORKERS", "0"]
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": sys.executable, "DATA": str(workshop.data), "OUT": "output"}
    from tests.modprompt.hosts.stand_in import dassl_folder

    environment.update(PYTHONPATH=dassl_folder(), OMP_NUM_THREADS="1")
    for name in ("base2new_train", "base2new_test"):
        command = ["bash", f"scripts/mpl/{name}.sh", "squares", "1", *options]
        done = subprocess.run(command, cwd=host, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "* accuracy:" in done.stdout
    folder = "squares/shots_16/MPL/vit_b4_c1_add2_rm1/seed1"
    assert (host / "output/base2new/train_base" / folder / "MultiModalPromptLearner").is_dir()
    assert (host / "output/base2new/test_new" / folder / "log.txt").is_file()

    def refusal(*more):
        words = ["bash", "scripts/mpl/base2new_train.sh", "squares", "1", *options, *more]
        done = subprocess.run(words, cwd=host, env=environment, capture_output=True, text=True)
        assert done.returncode == 2, done.stdout + done.stderr
        return done.stderr.splitlines()[-1]

    trained = str(host / "output/base2new/train_base" / folder)
    assert refusal("OPTIM.LR", "0.5").startswith(
        f"error: {trained} holds a run with other settings (OPTIM.LR 0.0035 ->"
    )
    assert refusal("DATASET.NUM_SHOTS", "4").startswith(
        "error: DATASET.NUM_SHOTS is 4, but the output folder is for 16"
    )
    with run_folder.hold(host / trained):
        assert refusal() == (
            f"error: another run is at work in {trained}: wait for its end, or give another --output-dir"
        )


RECORDER = """#!/usr/bin/env bash
if [[ $1 = -m ]]; then exec {python} "$@"; fi
printf '%s\\n' "$@" > words
"""


@pytest.fixture
def script(tmp_path):
    """A script of an installation with another train.py; what that is given, and the finished process."""
    recorder = tmp_path / "recorder"
    recorder.write_text(RECORDER.format(python=sys.executable))
    recorder.chmod(0o755)

    def start(host, name, *words):
        command = ["bash", f"scripts/mpl/{name}.sh", *words]
        environment = {"PATH": "/usr/bin:/bin", "PYTHON": str(recorder)}
        done = subprocess.run(command, cwd=host, env=environment, capture_output=True, text=True)
        return (host / "words").read_text().splitlines() if done.returncode == 0 else [], done

    return start


@pytest.mark.parametrize(
    ("name", "task"), [("base2new_train", "B2N"), ("base2new_test", "B2N"), ("few_shot", "FS"), ("xd_test", "CD")]
)
def test_scripts_give_what_train_asks_for_by_protocol_and_the_users_options_last(name, task, tmp_path, script):
    host = write_host(tmp_path / "host", dataset_flag=True, task=True, noise=True, backbone="RN50")
    assert run(host) == 0
    shots = ["4"] if name == "few_shot" else []
    words, done = script(host, name, "eurosat", "1", *shots, "OPTIM.LR", "0.5 ", "--keep-settings")
    assert done.stderr == ""
    assert words[words.index("--trainer") + 1] == "OWN"
    assert words[words.index("--config-file") + 1].startswith("configs/trainers/MPL/")
    assert words[words.index("--dataset") + 1] == "EuroSAT"
    assert words[words.index("--backbone") + 1] == ""
    options = words[words.index("TASK") :]
    assert options[:6] == ["TASK", task, "TRAINER.NAME", "MPL", "DATASET.NOISE_LABEL", "False"]
    assert options[-3:] == ["OPTIM.LR", "0.5 ", "--keep-settings"]
    tests = name.endswith("test")
    assert ("--eval-only" in words, "--model-dir" in words) == (tests, tests)
    assert max(at for at, word in enumerate(words[:-1]) if word.startswith("--")) < words.index("TASK")


def test_scripts_in_a_codebase_that_asks_for_nothing_give_the_family_flags_alone(host, script):
    assert run(host) == 0
    words, _ = script(host, "few_shot", "eurosat", "2", "4")
    assert words == [
        *("train.py", "--root", "data", "--seed", "2", "--trainer", "MPL"),
        *("--output-dir", "output/eurosat/MPL/eval/vit_b4_c1_add2_rm1_4shots/seed2"),
        *("--dataset-config-file", "configs/datasets/eurosat.yaml"),
        *("--config-file", "configs/trainers/MPL/vit_b4_c1_add2_rm1.yaml", "DATASET.NUM_SHOTS", "4"),
    ]


def test_script_of_a_train_that_cannot_be_read_ends_with_one_line(host, script):
    assert run(host) == 0
    (host / "train.py").write_text("print 'old'\n")
    _, done = script(host, "base2new_train", "eurosat", "1")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1


def test_what_it_asks_for_is_told_with_the_command(tmp_path, capsys):
    host = write_host(tmp_path / "host", dataset_flag=True, task=True, unknown_flag=True)
    assert run(host) == 0
    lines = capsys.readouterr().out.splitlines()
    command = next(line for line in lines if line.startswith("Start with: "))
    assert "python train.py --trainer OWN --config-file configs/trainers/MPL/vit_b4_c1_add2_rm1.yaml" in command
    assert command.endswith("--dataset EuroSAT ... TASK B2N TRAINER.NAME MPL")
    assert any("lets --trainer OWN through; TRAINER.NAME MPL is what runs" in line for line in lines)
    assert lines[-1].startswith("  but give: --key-file")


def refused(capsys, host, *flags):
    assert run(host, *flags) == 2
    return capsys.readouterr().err


def test_file_that_is_not_its_own_is_named_and_kept(host, capsys):
    (host / "scripts" / "mpl").mkdir(parents=True)
    mine = host / "scripts" / "mpl" / "few_shot.sh"
    mine.write_text("mine\n")
    assert f"{mine} is there already and not this installer's" in refused(capsys, host)
    assert mine.read_text() == "mine\n"
    assert not (host / "modprompt").exists()


def test_folder_that_is_no_codebase_gets_the_list(tmp_path, capsys):
    assert "By hand:" in refused(capsys, tmp_path)
    (tmp_path / "train.py").write_text("print('something else')\n")
    assert "does not call dassl's build_trainer" in refused(capsys, tmp_path)
    assert "there is no such folder" in refused(capsys, tmp_path / "nothing")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.py"]


def test_this_project_itself_is_refused(capsys):
    assert "is modprompt itself" in refused(capsys, ROOT)


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


@pytest.mark.parametrize("after", [0, 1, 10, 60])
def test_installation_that_cannot_be_written_is_taken_back(host, capsys, monkeypatch, after):
    plain, count = writing._write, []

    def full(path, content):
        count.append(path)
        if len(count) == after + 1:
            raise OSError(28, "No space left on device", str(path))
        plain(path, content)

    monkeypatch.setattr(writing, "_write", full)
    assert "No space left on device" in refused(capsys, host)
    assert git(host, "status", "--porcelain", "--ignored") == ""


def test_installation_that_was_killed_is_finished_or_taken_out(host, monkeypatch):
    class Killed(BaseException):
        pass

    def kill_at(number):
        plain, count = writing._write, []

        def write(path, content):
            count.append(path)
            if len(count) == number:
                path.with_name(f".{path.name}.{number:016x}.part").write_bytes(content[:3])
                raise Killed
            plain(path, content)

        with monkeypatch.context() as patch:
            patch.setattr(writing, "_write", write)
            with pytest.raises(Killed):
                run(host)

    kill_at(20)
    assert git(host, "status", "--porcelain", "--", "train.py") == ""  # still usable
    assert run(host, "--uninstall") == 0
    assert git(host, "status", "--porcelain", "--ignored") == ""
    kill_at(20)
    assert run(host) == 0
    assert not list(host.rglob(".*.part"))
    assert run(host, "--uninstall") == 0
    assert git(host, "status", "--porcelain", "--ignored") == ""


def test_changed_files_of_the_installation_are_kept_and_named(host, capsys):
    assert run(host) == 0
    (host / "scripts/mpl/few_shot.sh").write_text("changed\n")
    assert "kept because they were changed: scripts/mpl/few_shot.sh" in refused(capsys, host, "--uninstall")
    assert (host / "scripts/mpl/few_shot.sh").read_text() == "changed\n"
    assert not (host / "modprompt").exists()
    assert git(host, "diff", "--stat") == ""


def test_uninstall_where_nothing_is_installed_and_damaged_list(host, capsys):
    assert "nothing is installed" in refused(capsys, host, "--uninstall")
    assert run(host) == 0
    (host / MANIFEST).write_text("{")
    assert "installed.json is damaged: --uninstall first" in refused(capsys, host)
    assert run(host, "--uninstall") == 0
    assert git(host, "status", "--porcelain", "--ignored") == ""


def test_engine_that_was_deleted_by_hand_can_be_put_back_or_taken_out(host):
    for repair in ((), ("--uninstall",)):
        assert run(host) == 0
        shutil.rmtree(host / "modprompt")
        assert run(host, *repair) == 0
        assert (host / "modprompt").exists() == (not repair)
    assert git(host, "status", "--porcelain", "--ignored") == ""


def test_files_that_the_user_changed_are_not_written_over(host, capsys):
    assert run(host) == 0
    config = host / "configs/trainers/MPL/vit_b4_c1_add2_rm1.yaml"
    config.write_text(config.read_text() + "SEED: 1\n")
    assert f"{config} was changed since the installation" in refused(capsys, host)
    assert config.read_text().endswith("SEED: 1\n")
    (host / "trainers" / "mpl.py").write_text("")  # from now on the files are called ModMPL
    assert run(host) == 0
    assert config.is_file()
    assert not (host / "scripts" / "mpl" / "few_shot.sh").exists()


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


@pytest.mark.parametrize("number", [1, 5, 40])
def test_uninstall_that_was_killed_is_finished(host, monkeypatch, number):
    from pathlib import Path

    assert run(host) == 0
    plain, count = Path.unlink, []

    def unlink(self, *args):
        count.append(self)
        if len(count) == number:
            raise SystemExit
        plain(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        with pytest.raises(SystemExit):
            run(host, "--uninstall")
    assert run(host, "--uninstall") == 0
    assert git(host, "status", "--porcelain", "--ignored") == ""


def test_copy_in_a_codebase_can_bring_itself_up_to_date_and_take_itself_out(host):
    assert run(host) == 0
    (host / "modprompt" / "notes.txt").write_text("mine\n")
    again = run_in(host, "-m", "modprompt.install", ".", installed=True)
    assert "nothing to do" in again.stdout, again.stderr
    out = run_in(host, "-m", "modprompt.install", ".", "--uninstall", installed=True)
    assert out.returncode == 0, out.stderr
    assert git(host, "status", "--porcelain") == "?? modprompt/\n"
    assert (host / "modprompt" / "notes.txt").read_text() == "mine\n"


def test_older_installation_is_brought_up_to_date(host):
    assert run(host) == 0
    manifest = json.loads((host / MANIFEST).read_text())
    (host / "modprompt" / "gone.py").write_text("old\n")
    manifest["files"]["modprompt/gone.py"] = digest(b"old\n")
    (host / MANIFEST).write_text(json.dumps(manifest))
    (host / "modprompt" / "engine" / "schedule.py").write_text("old\n")
    manifest["files"]["modprompt/engine/schedule.py"] = digest(b"old\n")
    (host / MANIFEST).write_text(json.dumps(manifest))
    assert run(host) == 0
    assert not (host / "modprompt" / "gone.py").exists()
    assert (host / "modprompt" / "engine" / "schedule.py").read_bytes() == (
        ROOT / "modprompt" / "engine" / "schedule.py"
    ).read_bytes()
    assert run(host, "--uninstall") == 0
    assert git(host, "status", "--porcelain") == ""


@pytest.mark.parametrize("name", ["../outside", "modprompt/../../outside", "{outside}", "data/mine.txt", "train.py", 5])
def test_list_that_names_what_no_installer_writes_is_not_followed(host, tmp_path, capsys, name):
    assert run(host) == 0
    outside, mine = tmp_path / "outside", host / "data" / "mine.txt"
    mine.parent.mkdir()
    for path in (outside, mine):
        path.write_bytes(b"mine")
    name = name.format(outside=outside) if isinstance(name, str) else name
    good = (host / MANIFEST).read_text()
    for part in ("files", "folders", "earlier"):
        manifest = {"earlier": {}, **json.loads(good)}
        if part == "folders":
            manifest[part].append(name)
        else:
            manifest[part][str(name)] = digest(b"mine")
        (host / MANIFEST).write_text(json.dumps(manifest))
        before = sorted(path for path in host.rglob("*"))
        for flags in (["--uninstall"], []):
            said = refused(capsys, host, *flags)
            assert "installed.json names" in said
            assert len(said.splitlines()) == 1
        assert sorted(path for path in host.rglob("*")) == before
        assert (outside.read_bytes(), mine.read_bytes()) == (b"mine", b"mine")
    (host / MANIFEST).unlink()  # as the line says
    assert run(host, "--uninstall") == 0
    assert git(host, "diff", "--stat") == ""


@pytest.mark.parametrize(
    "link", ["modprompt", "configs", "scripts/mpl", "modprompt/engine/schedule.py", "modprompt/trainers"]
)
def test_links_are_not_written_or_deleted_through(host, tmp_path, capsys, link):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.txt").write_text("mine")
    for installed in (False, True):
        if installed:
            assert run(host) == 0
            path = host / link
            moved = tmp_path / "moved"
            path.rename(moved)
        path = host / link
        if path.is_dir() and not installed:
            path.rename(tmp_path / "own")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(elsewhere)
        for flags in ([], ["--uninstall"]) if installed else ([],):
            said = refused(capsys, host, *flags)
            assert f"{path} is a link: nothing is written or deleted through it" in said
        assert [entry.name for entry in elsewhere.iterdir()] == ["mine.txt"]
        path.unlink()
        if not installed and (tmp_path / "own").exists():
            (tmp_path / "own").rename(path)
    moved.rename(path)
    assert run(host, "--uninstall") == 0
    assert git(host, "diff", "--stat") == ""


@pytest.mark.slow
def test_one_installer_at_a_time_and_only_it_removes_what_killed_ones_left(host, capsys):
    import os

    from modprompt.storage.lock import take_folder

    left = host / f".train.py.{7:016x}.part"
    left.write_text("half")
    mine = host / "configs" / f".mine.{7:016x}.part"
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("another program's")
    lock = take_folder(host)
    try:
        for flags in ([], ["--uninstall"]):
            assert "another installation is at work" in refused(capsys, host, *flags)
        assert left.exists()
    finally:
        os.close(lock)
    assert run(host) == 0
    assert not left.exists()
    assert mine.exists()
    assert run(host, "--uninstall") == 0
    mine.unlink()
    assert git(host, "status", "--porcelain", "--ignored") == ""


def test_pipe_in_the_place_of_an_installed_file_is_not_waited_for(host, capsys):
    assert run(host) == 0
    pipe = host / "modprompt" / "errors.py"
    pipe.unlink()
    os.mkfifo(pipe)
    assert f"{pipe} was changed since the installation" in refused(capsys, host)
