"""By the launcher and by the import line MPL trains in codebases with this project's losses, whatever they have."""

import re

import pytest

from modprompt.hosts import install, launch
from modprompt.hosts.settings import with_our_config
from modprompt.io.checkpoint import read
from modprompt.io.settings import Settings, as_text
from tests.conftest import ROOT
from tests.modprompt.hosts.conftest import losses
from tests.modprompt.hosts.stand_in import git, run_in, write_host

pytestmark = pytest.mark.timeout(360)  # several programs one behind the other
LAUNCHER = ("-m", "modprompt.launch", "train.py")
TEST = ("--eval-only", "--model-dir", "output/run")


def started(host, way, *words):
    """A run of a codebase's program, by launcher, or as it is with the line in it."""
    if way == "launcher":
        return run_in(host, *LAUNCHER, *words)
    program = (host / "train.py").read_bytes()
    if not install.has_line(program):
        (host / "train.py").write_bytes(install.with_line(program))
    return run_in(host, "train.py", *words, installed=True)


def notes(done, beginning):
    return [line for line in done.stdout.splitlines() if line.startswith(beginning)]


def results(done):
    return re.findall(r"\* accuracy: .*|\* correct: .*", done.stdout)


def last_error(done):
    """Its last line on stderr, behind which there is no traceback."""
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
    return done.stderr.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["launcher", "line"])
@pytest.mark.parametrize("traits", [(), ("other clip", "own MPL"), ("loads otherwise", "asks for more")])
def test_mpl_trains_with_our_losses_and_tests_what_it_trained(traits, way, workshop, tmp_path):
    host, name = write_host(tmp_path / "host", *traits), "ModMPL" if "own MPL" in traits else "MPL"
    trained = started(host, way, *workshop.asked(host, "output/run", trainer=name))
    assert trained.returncode == 0, trained.stderr
    assert losses(trained.stdout) == workshop.losses
    assert len(workshop.losses) == 10
    evaluated = started(host, way, *workshop.asked(host, "output/test", *TEST, "--load-epoch", 2, trainer=name))
    assert evaluated.returncode == 0, evaluated.stderr
    assert results(evaluated) == results(trained) != []
    if way == "line":
        assert notes(trained, "clip: ")[0] == f"clip: {host / 'clip'}"
        assert install.main([str(host), "--uninstall"]) == 0
    assert git(host, "status", "--porcelain") == ""


@pytest.mark.slow
def test_settings_that_a_program_changes_and_a_clip_that_loses_are_told_and_settings_kept_if_asked(workshop, tmp_path):
    host, config = write_host(tmp_path / "host", "changes settings"), tmp_path / "mpl.yaml"
    (host / "clip/__init__.py").unlink()  # an installed package wins
    config.write_text((workshop.folder / "mpl.yaml").read_text() + 'MODEL:\n  BACKBONE:\n    NAME: "ViT-B/32"\n')
    words = workshop.words("MPL", "output/run")
    words[words.index("--config-file") + 1] = config
    changed = started(host, "line", *words)
    assert changed.returncode == 0, changed.stderr
    assert (
        f", not {host / 'clip'}. To use {host / 'clip'}, start the program with `modprompt launch`." in changed.stdout
    )
    told = {
        f"{key} was set to {asked} (file {config}), but the codebase's program or config changed the value to {got}."
        for key, asked, got in (
            ("OPTIM.MAX_EPOCH", 2, 3),
            ("OPTIM.LR", 0.0035, 0.5),
            ("MODEL.BACKBONE.NAME", "ViT-B/32", "RN50"),
        )
    }
    told.add(
        "TEST.FINAL_MODEL is best_val in this codebase's program or its Dassl, instead of the default last_step of "
        "Dassl 0.6.3."
    )
    assert {f"note: {text}" for text in told} <= {*notes(changed, "note: ")}
    assert losses(changed.stdout) != workshop.losses
    words[words.index("output/run")] = "output/kept"
    kept = started(host, "line", *words, "--keep-settings")
    assert {*notes(kept, "kept: ")} == {f"kept: {text} The requested value is restored." for text in told}, kept.stderr
    assert losses(kept.stdout) == workshop.losses


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "flag", "value", "told"),
    [
        ("launcher", "--config-file", "configs/trainers/MPL/vit_b4_c1_ad2_rm1.yaml", "vit_b4_c1_ad2_rm1.yaml"),
        ("line", "OPTIM.LRR", 1, "OPTIM.LRR"),
        ("launcher", "OPTIM.MAX_EPOCH", "many", "MAX_EPOCH"),
    ],
)
def test_what_a_user_got_wrong_is_one_line(flag, value, told, way, workshop, tmp_path):
    words = workshop.words("MPL", "output/run")
    if flag in words:
        words[words.index(flag) + 1] = value
    else:
        words += [flag, value]
    line = last_error(started(write_host(tmp_path / "host"), way, *words))
    assert line.startswith("error: ")
    assert told in line


@pytest.mark.slow
def test_launcher_adds_what_a_program_asks_for_and_takes_its_clip(workshop, tmp_path):
    host = write_host(tmp_path / "host", "asks for more")
    (host / "clip/__init__.py").unlink()  # an installed package would win
    launched = started(host, "launcher", *workshop.words("MPL", "output/run"))
    assert losses(launched.stdout) == workshop.losses, launched.stderr
    (note,) = notes(launched, "note: train.py: ")
    for added in ("--trainer MMRL TASK B2N", "--dataset Squares", "DATASET.NOISE_LABEL False"):
        assert added in note.partition(", so modprompt added these arguments: ")[2]


@pytest.mark.slow
def test_modules_that_a_program_lacks_are_left_out_or_brought_or_named_all_at_once(workshop, tmp_path):
    host = write_host(tmp_path / "host", "lacks modules")
    (host / "trainers" / "own.py").write_text("import no_package\n")
    done = started(host, "launcher", *workshop.words("MPL", "output/run"))
    assert losses(done.stdout) == workshop.losses, done.stderr
    for name in ("own", "not_shipped"):
        assert done.stdout.count(f"This codebase imports the module trainers.{name}, ") == 1
    own = started(host, "launcher", *workshop.words("OWN", "output/own"))
    assert own.returncode != 0
    assert "No module named 'no_package'" in own.stderr
    with (host / "datasets" / "squares.py").open("a") as file:
        file.write("import not_there\n")
    (host / "datasets" / "eurosat.py").write_text("import skimage_not\nfrom .squares import pictures\n")
    line = last_error(started(host, "launcher", *workshop.words("MPL", "output/run")))
    assert line == "error: No module named 'skimage_not'. Run `pip install not_there skimage_not`."


@pytest.mark.slow
def test_what_a_program_asks_its_own_trainers_for_is_one_line_that_names_the_other_way(workshop, tmp_path):
    host = write_host(tmp_path / "host")
    program = (host / "train.py").read_text()
    (host / "train.py").write_text(program.replace("trainer.test()", "trainer.test_withlabel()"))
    test = ("--eval-only", "--model-dir", workshop.folder / "ours")
    line = last_error(started(host, "line", *workshop.words("MPL", "output/test", *test)))
    said = "error: 'MPL' object has no attribute 'test_withlabel', but this program needs the attribute. "
    assert line == f"{said}Use `modprompt train --host .` instead."


@pytest.mark.slow
def test_own_trainers_keep_their_names(workshop, tmp_path):
    host = write_host(tmp_path / "host", "own MPL")
    done = started(host, "launcher", *workshop.words("MPL", "output/run"))
    assert "own trainer MPL" in done.stdout, done.stderr
    assert "To use the trainer of modprompt, set --trainer ModMPL." in done.stdout


@pytest.mark.slow
def test_our_config_is_found_by_name_and_merged_whole_with_its_base(workshop, tmp_path):
    host, words = write_host(tmp_path / "host"), workshop.words("MPL", "output/run")
    words[words.index("--config-file") + 1] = "glyph"
    small = ["INPUT.SIZE", "(32, 32)", "TRAINER.MPL.PROMPT_DEPTH", "3", "OPTIM.MAX_EPOCH", "1"]
    done = started(host, "launcher", *words, *small)
    assert done.returncode == 0, done.stderr
    assert "The codebase has no config file glyph, so modprompt uses its own config file " in done.stdout
    used = read(host / "output/run/MultiModalPromptLearner/model.pth.tar-1").record["run"]["settings"]
    mine = Settings.read([str(ROOT / "configs/trainers/MPL/glyph.yaml")], options=small).texts()
    assert mine["INPUT.RRCROP_SCALE"] == "[0.6, 1]"
    assert {key: as_text(used[key]) for key in mine} == mine


@pytest.mark.slow
def test_method_of_ones_own_trains_by_all_ways_with_a_config_by_name(workshop, tmp_path):
    host, runs = write_host(tmp_path / "host"), {}
    (host / "trainers" / "tied.py").write_text(
        "from modprompt import MPL, register_own\n\n\n@register_own\nclass Tied(MPL):\n    node = 'TRAINER.TIED'\n"
    )
    for way, start in (
        ("launcher", ("-m", "modprompt.launch", "--import", "trainers.tied", "train.py")),
        ("--host", ("-m", "modprompt", "train", "--host", ".", "--import", "trainers.tied")),
        ("line", ("train.py",)),
    ):
        if way == "line":
            program = (host / "train.py").read_bytes().replace(b"trainers.own\n", b"trainers.own, trainers.tied\n")
            (host / "train.py").write_bytes(install.with_line(program))
        words = workshop.words("Tied", f"output/{way}")
        words[words.index("--config-file") + 1] = "glyph"
        words += ["INPUT.SIZE", "(32, 32)", "TRAINER.TIED.PROMPT_DEPTH", "3", "OPTIM.MAX_EPOCH", "1"]
        runs[way] = run_in(host, *start, *words)
    assert {way: done.returncode for way, done in runs.items()} == dict.fromkeys(runs, 0), runs
    learned = [losses(done.stdout) for done in runs.values()]
    assert learned == [learned[0]] * 3 != [[]] * 3
    assert notes(runs["line"], "clip: ") == [f"clip: {host / 'clip'}"]


@pytest.mark.parametrize(
    ("trainer", "named", "is_replaced"),
    [
        ("ModMPL", "configs/trainers/ModMPL/vit_b4_c1_add2_rm1.yaml", True),
        ("MPL", "vit_b4_c1_add2_rm1", True),
        ("MPL", "vit_b4_c1_add2_rm2", False),
        ("CoOp", "vit_b4_c1_add2_rm1", False),
    ],
)
def test_our_config_stands_in_for_one_that_is_not_there(trainer, named, is_replaced, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in (["--config-file", named], [f"--config-file={named}"]):
        ours = str(ROOT / "configs/trainers/MPL/vit_b4_c1_add2_rm1.yaml")
        expected = [word.replace(named, ours) for word in words] if is_replaced else words
        assert with_our_config(["--trainer", trainer, *words])[2:] == expected
    (tmp_path / named).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / named).touch()
    assert with_our_config(["--trainer", trainer, "--config-file", named])[3] == named


def test_program_that_is_not_there_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert launch.main(["nothing.py"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / 'nothing.py'} does not exist. ")


@pytest.mark.slow
def test_unfinished_run_goes_on_after_its_last_epoch_and_a_finished_one_is_tested_again(workshop, tmp_path):
    host = write_host(tmp_path / "host")
    reader, words = host / "datasets" / "squares.py", workshop.words("MPL", "output/run")
    plain = reader.read_text()
    stop = "def stop(self):\n    if self.epoch == 1:\n        raise KeyboardInterrupt  # as Ctrl-C would\n"
    reader.write_text(f"{plain}\nfrom dassl.engine import TrainerX\n\n{stop}\nTrainerX.before_epoch = stop\n")
    killed = started(host, "launcher", *words)
    assert killed.returncode == 130
    reader.write_text(plain)
    rest = started(host, "launcher", *words)
    assert "Resuming after epoch 1" in rest.stdout
    assert losses(killed.stdout) + losses(rest.stdout) == workshop.losses
    again = started(host, "launcher", *words)
    assert "Only the test is repeated." in again.stdout
    assert results(again) == results(rest) != []


@pytest.mark.slow
def test_weights_that_a_program_deletes_are_tested_all_the_same_and_not_across_a_new_training(workshop, tmp_path):
    host = write_host(tmp_path / "host", "loads otherwise")
    trained = started(host, "launcher", *workshop.words("MPL", "output/run"))
    assert not (host / "output" / "run" / "MultiModalPromptLearner").exists()
    evaluated = started(host, "launcher", *workshop.words("MPL", "output/eval", *TEST))
    assert results(trained) == results(evaluated) != [], evaluated.stderr
    assert "MultiModalPromptLearner was deleted. The copy of its checkpoint, " in evaluated.stdout
    again = started(host, "launcher", *workshop.words("MPL", "output/run"))
    assert losses(again.stdout) == losses(trained.stdout) != [], again.stderr
