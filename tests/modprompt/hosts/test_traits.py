"""What real codebases have beside the usual: by launcher and by the import line MPL trains there with this project's losses."""

import re

import pytest

from modprompt.hosts import install
from modprompt.hosts.train_line import has_line
from tests.modprompt.hosts.conftest import losses
from tests.modprompt.hosts.stand_in import git, run_in, write_host

pytestmark = pytest.mark.timeout(360)  # several programs one behind the other

TRAINED = {
    "loads before training": {"load": "note"},
    "hands load_model more": {"load": "extra"},
    "builds the model late": {"late_model": True},
    "builder wants IVLP": {"clip": "ivlp"},
    "builder wants VPT": {"clip": "vpt"},
    "data set by a flag": {"dataset_flag": True},
    "TASK and own trainer names": {"task": True},
    "wrong labels": {"noise": True},
    "backbone by a flag": {"backbone": "RN50"},
    "many": {"load": "note", "late_model": True, "clip": "ivlp", "dataset_flag": True, "task": True, "noise": True},
}
LAUNCHER = ("-m", "modprompt.launch", "train.py")


def started(host, way, *words):
    """A run of a codebase's program, by launcher, or as it is with the line in it."""
    if way == "launcher":
        return run_in(host, *LAUNCHER, *words)
    if not has_line((host / "train.py").read_bytes()):
        assert install.main([str(host)]) == 0
    return run_in(host, "train.py", *words, installed=True)


def notes(done, beginning):
    return [line for line in done.stdout.splitlines() if line.startswith(beginning)]


def results(done):
    return re.findall(r"\* accuracy: .*|\* correct: .*", done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["launcher", "line"])
@pytest.mark.parametrize("trait", TRAINED)
def test_mpl_trains_with_our_losses_and_tests_what_it_trained(trait, way, workshop, tmp_path):
    host = write_host(tmp_path / "host", **TRAINED[trait])
    trained = started(host, way, *workshop.asked(host, "output/run"))
    assert trained.returncode == 0, trained.stderr
    assert losses(trained.stdout) == workshop.losses
    assert not [line for line in notes(trained, "note: ") if "asked" in line]
    where = ("--eval-only", "--model-dir", "output/run", "--load-epoch", 2)
    evaluated = started(host, way, *workshop.asked(host, "output/test", *where))
    assert evaluated.returncode == 0, evaluated.stderr
    assert results(evaluated) == results(trained) != []
    if way == "line":
        assert install.main([str(host), "--uninstall"]) == 0
    assert git(host, "status", "--porcelain") == ""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["launcher", "line"])
@pytest.mark.parametrize(
    ("trait", "told"),
    [
        ({"epochs": 3}, "OPTIM.MAX_EPOCH: asked 2 (file {config}), got 3"),
        ({"override": "OPTIM.LR 0.5"}, "OPTIM.LR: asked 0.0035 (file {config}), got 0.5"),
        ({"backbone": "RN50"}, "MODEL.BACKBONE.NAME: asked ViT-B/32 (file {config}), got RN50"),
    ],
)
def test_settings_that_a_program_changes_are_told_and_kept_if_asked(trait, told, way, workshop, tmp_path):
    host = write_host(tmp_path / "host", **trait)
    config = tmp_path / "mpl.yaml"
    config.write_text((workshop.folder / "mpl.yaml").read_text() + 'MODEL:\n  BACKBONE:\n    NAME: "ViT-B/32"\n')
    words = workshop.words("MPL", "output/run")
    words[words.index("--config-file") + 1] = config
    changed = started(host, way, *words)
    assert changed.returncode == 0, changed.stderr
    told = f"{told.format(config=config)}: the codebase's program or config sets it"
    assert f"note: {told}" in notes(changed, "note: ")
    assert (losses(changed.stdout) == workshop.losses) == ("backbone" in trait)  # the weights are of a file
    words[words.index("output/run")] = "output/kept"
    kept = started(host, way, *words, "--keep-settings")
    assert kept.returncode == 0, kept.stderr
    assert notes(kept, "kept: ") == [f"kept: {told}"]
    assert losses(kept.stdout) == workshop.losses


@pytest.mark.slow
@pytest.mark.parametrize("way", ["launcher", "line"])
@pytest.mark.parametrize(
    ("flag", "value", "options", "told"),
    [
        ("--config-file", "configs/trainers/MPL/vit_b4_c1_ad2_rm1.yaml", (), "vit_b4_c1_ad2_rm1.yaml"),
        ("--dataset-config-file", "configs/datasets/eurosta.yaml", (), "eurosta.yaml"),
        ("", "", ("OPTIM.LRR", 1), "OPTIM.LRR"),
        ("", "", ("OPTIM.MAX_EPOCH", "many"), "MAX_EPOCH"),
        ("", "", ("TRAINER.MPL.N_CTXX", 1), "TRAINER.MPL.N_CTXX"),
    ],
)
def test_what_a_user_got_wrong_is_one_line(flag, value, options, told, way, workshop, tmp_path):
    host = write_host(tmp_path / "host")
    words = [*workshop.words("MPL", "output/run"), *options]
    if flag:
        words[words.index(flag) + 1] = value
    done = started(host, way, *words)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert told in last


@pytest.mark.slow
@pytest.mark.parametrize(
    "trait",
    ["data set by a flag", "TASK and own trainer names", "wrong labels"],
)
def test_launcher_adds_what_it_asks_for_and_the_line_cannot(trait, workshop, tmp_path):
    host = write_host(tmp_path / "host", **TRAINED[trait])
    launched = started(host, "launcher", *workshop.words("MPL", "output/run"))
    assert launched.returncode == 0, launched.stderr
    assert losses(launched.stdout) == workshop.losses
    assert len([line for line in notes(launched, "note: train.py: ") if "; added: " in line]) == 1
    assert started(host, "line", *workshop.words("MPL", "output/line")).returncode != 0


@pytest.mark.slow
def test_builder_that_wants_a_word_nobody_knows_is_told_with_what_was_tried(workshop, tmp_path):
    host = write_host(tmp_path / "host", clip="own word")
    done = run_in(host, *LAUNCHER, *workshop.words("MPL", "output/run"))
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(
        f"error: these weights do not make up a CLIP that the `clip` package at {host / 'clip'} builds ("
    )
    assert all(f"with design_details of trainer {word}: no design {word}" in last for word in ("CoOp", "IVLP", "VPT"))


@pytest.mark.slow
def test_package_that_is_missing(workshop, tmp_path):
    """The launcher brings an empty wilds; nobody else does, and a program's own imports are its own."""
    host = write_host(tmp_path / "host", first=("wilds",))
    launched = started(host, "launcher", *workshop.words("MPL", "output/run"))
    assert launched.returncode == 0, launched.stderr
    installed = started(host, "line", *workshop.words("MPL", "output/line"))
    assert installed.returncode == 1
    assert "ModuleNotFoundError" in installed.stderr


@pytest.mark.slow
def test_what_a_program_asks_its_own_trainers_for_is_one_line_that_names_the_other_way(workshop, tmp_path):
    host = write_host(tmp_path / "host")
    program = host / "train.py"
    program.write_text(program.read_text().replace("        trainer.test()\n", "        trainer.test_withlabel()\n"))
    git(host, "commit", "-qam", "of its own")
    assert started(host, "launcher", *workshop.words("MPL", "output/run")).returncode == 0
    where = ("--eval-only", "--model-dir", "output/run")
    for way in ("launcher", "line"):
        done = started(host, way, *workshop.words("MPL", "output/test", *where))
        assert done.returncode == 2, done.stderr
        line = "error: 'MPL' object has no attribute 'test_withlabel', which this program expects of trainers: "
        assert done.stderr.strip().splitlines()[-1] == f"{line}modprompt train --host . runs ours without it"
