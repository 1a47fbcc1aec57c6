import pytest

from modprompt.io.checkpoint import read
from modprompt.io.settings import Settings, as_text
from modprompt.trainers.overrides import with_our_config
from tests.conftest import ROOT
from tests.modprompt.hosts.conftest import SMALL, losses
from tests.modprompt.hosts.stand_in import git, run_in, write_host, write_open_clip

pytestmark = pytest.mark.timeout(360)  # several programs one behind the other

KINDS = {
    "plain": {},
    "design": {"clip": "design"},
    "odd block": {"clip": "odd_block"},
    "cleaned config": {"clean": True},
    "shadowed clip": {"package": False},
    "old clip": {"old_clip": True},
    "own MPL": {"own_mpl": True},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_mpl_trains_in_an_untouched_codebase_with_our_losses(kind, workshop, tmp_path):
    host = write_host(tmp_path / "host", **KINDS[kind])
    name = "ModMPL" if kind == "own MPL" else "MPL"
    done = run_in(host, "-m", "modprompt.launch", "train.py", *workshop.words(name, "output/run"))
    assert done.returncode == 0, done.stderr
    assert losses(done.stdout) == pytest.approx(workshop.losses, abs=1e-4)
    assert len(workshop.losses) == 10
    assert "* accuracy:" in done.stdout
    assert git(host, "status", "--porcelain") == ""


@pytest.mark.slow
def test_checkpoint_is_evaluated_and_a_finished_run_only_tested(workshop, tmp_path):
    host = write_host(tmp_path / "host", clip="design")
    start = ("-m", "modprompt.launch", "train.py")
    trained = run_in(host, *start, *workshop.words("MPL", "output/run"))
    evaluated = run_in(host, *start, *workshop.words("MPL", "output/eval", "--eval-only", "--model-dir", "output/run"))
    again = run_in(host, *start, *workshop.words("MPL", "output/run"))
    lines = [[line for line in done.stdout.splitlines() if "correct" in line] for done in (trained, evaluated, again)]
    assert lines[0] == lines[1] == lines[2] != []
    assert "nothing to train, testing again" in again.stdout


@pytest.mark.slow
def test_own_trainers_keep_their_names(workshop, tmp_path):
    host = write_host(tmp_path / "host", own_mpl=True)
    for name in ("OWN", "MPL"):
        done = run_in(host, "-m", "modprompt.launch", "train.py", *workshop.words(name, f"output/{name}"))
        assert done.returncode == 0, done.stderr
        assert f"own trainer {name}" in done.stdout
    assert "modprompt's is --trainer ModMPL" in done.stdout


@pytest.mark.slow
def test_config_file_that_the_codebase_lacks_comes_from_the_package(workshop, tmp_path):
    host = write_host(tmp_path / "host")
    words = workshop.words("MPL", "output/run")
    for name in ("configs/trainers/MPL/vit_b4_c1_add2_rm1.yaml", "vit_b4_c1_add2_rm1"):
        words[words.index("--config-file") + 1] = name
        done = run_in(host, "-m", "modprompt.launch", "train.py", *words, *SMALL)
        assert done.returncode == 0, done.stderr
        assert f"{name} is not in this codebase; using modprompt's: " in done.stdout


def test_config_with_a_base_is_merged_whole_by_a_codebase(workshop, tmp_path):
    """configs/trainers/MPL/glyph.yaml, with what it shares with other methods'."""
    host = write_host(tmp_path / "host")
    words = workshop.words("MPL", "output/run")
    words[words.index("--config-file") + 1] = "glyph"
    done = run_in(host, "-m", "modprompt.launch", "train.py", *words, *SMALL)
    assert done.returncode == 0, done.stderr
    used = read(host / "output/run/MultiModalPromptLearner/model.pth.tar-1").record["run"]["settings"]
    mine = Settings.read([str(ROOT / "configs/trainers/MPL/glyph.yaml")], options=list(map(str, SMALL))).texts()
    assert (mine["OPTIM.LR"], mine["INPUT.RRCROP_SCALE"]) == ("0.02", "[0.6, 1]")
    assert {key: as_text(used[key]) for key in mine} == mine


@pytest.mark.slow
def test_weights_that_a_build_model_loses_are_loaded(workshop, tmp_path):
    host = write_host(tmp_path / "host", clip="loses_weights")
    done = run_in(host, "-m", "modprompt.launch", "train.py", *workshop.words("MPL", "output/run"))
    assert done.returncode == 0, done.stderr
    assert losses(done.stdout) == workshop.losses


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "Run a codebase's own train.py"),
        (["nothing.py"], "error: there is no "),
    ],
)
def test_wrong_use_is_one_line(words, line, tmp_path):
    done = run_in(tmp_path, "-m", "modprompt.launch", *words)
    assert done.returncode == 2
    assert done.stderr.startswith(line)


@pytest.mark.slow
def test_unfinished_run_goes_on_after_its_last_epoch(workshop, tmp_path):
    host = write_host(tmp_path / "host")
    start = ("-m", "modprompt.launch", "train.py")
    stop = "raise KeyboardInterrupt  # as Ctrl-C would\n"
    plain = (host / "datasets" / "squares.py").read_text()
    (host / "datasets" / "squares.py").write_text(
        plain
        + "\nfrom dassl.engine import TrainerX\n\ndef stop(self):\n    if self.epoch == 1:\n        "
        + stop
        + "\nTrainerX.before_epoch = stop\n"
    )
    killed = run_in(host, *start, *workshop.words("MPL", "output/run"))
    assert killed.returncode == 130
    (host / "datasets" / "squares.py").write_text(plain)
    rest = run_in(host, *start, *workshop.words("MPL", "output/run"))
    assert "resuming after epoch 1" in rest.stdout
    assert losses(killed.stdout) + losses(rest.stdout) == pytest.approx(workshop.losses, abs=1e-4)


@pytest.mark.slow
def test_out_of_memory_is_one_line(workshop, tmp_path):
    host = write_host(tmp_path / "host")
    with (host / "datasets" / "squares.py").open("a") as file:
        file.write(
            "\nfrom modprompt.engine.encoders import TextEncoder\n\ndef full(*inputs):\n"
            "    raise RuntimeError('CUDA out of memory. Tried to allocate 20.00 MiB.')\n\nTextEncoder.forward = full\n"
        )
    done = run_in(host, "-m", "modprompt.launch", "train.py", *workshop.words("MPL", "output/run"))
    assert done.returncode == 2
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith(
        "error: out of memory (CUDA out of memory. Tried to allocate 20.00 MiB.): give a smaller MODEL"
    )


def test_installed_package_keeps_its_neighbours_on_the_path(tmp_path, monkeypatch):
    from modprompt.hosts import launch

    (tmp_path / "site").mkdir()
    monkeypatch.setattr("sys.path", [str(tmp_path / "site"), str(tmp_path / "other")])
    monkeypatch.setattr(launch, "_ROOT", tmp_path / "site")
    launch.put_host_first(tmp_path / "host")
    assert launch.sys.path == [str(tmp_path / name) for name in ("host", "site", "other")]
    (tmp_path / "site" / "train.py").touch()  # a checkout: its trainers and datasets are not the codebase's
    launch.put_host_first(tmp_path / "host")
    assert launch.sys.path == [str(tmp_path / name) for name in ("host", "other")]


@pytest.mark.parametrize(
    ("trainer", "named", "is_replaced"),
    [
        ("MPL", "configs/trainers/MPL/vit_b4_c1_add2_rm1.yaml", True),
        ("ModMPL", "configs/trainers/ModMPL/vit_b4_c1_add2_rm1.yaml", True),
        ("MPL", "vit_b4_c1_add2_rm1", True),
        ("MPL", "configs/trainers/CoOp/vit_b4_c1_add2_rm1.yaml", False),
        ("MPL", "vit_b4_c1_add2_rm2", False),
        ("CoOp", "vit_b4_c1_add2_rm1", False),
    ],
)
def test_our_config_stands_in_for_one_that_is_not_there_by_its_name(trainer, named, is_replaced, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in (["--config-file", named], [f"--config-file={named}"]):
        found = with_our_config(["--trainer", trainer, *words])[2:]
        ours = str(ROOT / "configs/trainers/MPL/vit_b4_c1_add2_rm1.yaml")
        assert found == ([word.replace(named, ours) for word in words] if is_replaced else words)
    (tmp_path / named).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / named).touch()
    assert with_our_config(["--trainer", trainer, "--config-file", named])[3] == named


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "design"])
def test_weights_that_its_clip_cannot_build_run_in_a_codebase(kind, workshop, tmp_path):
    """GELU and heads of width 32, from open_clip's files; images made as these say, other than the config file does."""
    weights = write_open_clip(tmp_path / "weights")
    words = workshop.words("MPL", "out")
    words = [*words[: words.index("MODEL.BACKBONE.PATH")], "MODEL.BACKBONE.PATH", weights]
    ours = run_in(workshop.folder, "ours.py", *words, "OUTPUT_DIR", tmp_path / "ours")
    host = write_host(tmp_path / "host", **KINDS[kind])
    done = run_in(host, "-m", "modprompt.launch", "train.py", *words)
    for run in (ours, done):
        assert run.returncode == 0, run.stderr
        assert "CLIP: open_clip weights, gelu, 2 and 4 heads (text, image)" in run.stdout
        assert run.stdout.count("RESIZE_MODE shortest -> squash") == 1
    assert losses(done.stdout) == pytest.approx(losses(ours.stdout), abs=1e-4)
    assert losses(done.stdout) != pytest.approx(workshop.losses, abs=1e-4)
    accuracy = [[line for line in run.stdout.splitlines() if "* accuracy:" in line] for run in (ours, done)]
    assert accuracy[0] == accuracy[1] != []


@pytest.mark.slow
def test_weights_that_a_program_deletes_are_tested_all_the_same_and_not_across_a_new_training(workshop, tmp_path):
    host = write_host(tmp_path / "host")
    program = host / "train.py"
    deletes = "\n    __import__('shutil').rmtree(cfg.OUTPUT_DIR + '/MultiModalPromptLearner')\n"
    program.write_text(program.read_text().replace("\n    trainer.train()\n", f"\n    trainer.train(){deletes}"))
    start = ("-m", "modprompt.launch", "train.py")
    trained = run_in(host, *start, *workshop.words("MPL", "output/run"))
    assert trained.returncode == 0, trained.stderr
    assert not (host / "output" / "run" / "MultiModalPromptLearner").exists()
    evaluated = run_in(host, *start, *workshop.words("MPL", "output/eval", "--eval-only", "--model-dir", "output/run"))
    lines = [[line for line in done.stdout.splitlines() if "* correct" in line] for done in (trained, evaluated)]
    assert lines[0] == lines[1] != [], evaluated.stderr
    assert "MultiModalPromptLearner is gone: " in evaluated.stdout
    again = run_in(host, *start, *workshop.words("MPL", "output/run"))
    assert losses(again.stdout) == losses(trained.stdout) != [], again.stderr
