"""An experiment file is read as it is meant."""

import sys
from pathlib import Path

import pytest

from modprompt.errors import UserError
from modprompt.experiments.plan import file as experiment_file
from modprompt.experiments.plan import protocols
from modprompt.experiments.plan.check import check
from modprompt.experiments.plan.commands import expected_settings, options
from modprompt.places import ROOT
from modprompt.trainers import run  # noqa: F401 - registers all
from tests.conftest import one_line
from tests.modprompt.experiments.conftest import FILE


def test_defaults_and_values(experiment):
    found = experiment()
    assert (found.name, found.protocol, found.datasets, found.shots) == ("small", "base2new", ("digits",), (16,))
    assert (found.seeds, found.highlight, found.source) == ((1, 2), "MPL", "")
    clip, mpl = found.methods
    assert (clip.trains, mpl.trains, mpl.folder) == (False, True, "glyph")
    assert mpl.config == ROOT / "configs/trainers/MPL/glyph.yaml"
    assert clip.config.parent.name == "CoOp"


def test_grid_is_every_combination_and_names_its_folders(experiment):
    found = experiment(
        FILE + "    \n  Grid:\n    trainer: MPL\n    config: glyph\n    options: {OPTIM.LR: 0.1, TRAIN.PRINT_FREQ: 5}\n"
        "    grid: {TRAINER.MPL.N_ADD_OP: [1, 2], TRAINER.MPL.N_RM_OP: [0, 1]}\n"
    )
    grid = found.methods[2:]
    labels = [f"Grid N_ADD_OP {add}, N_RM_OP {removed}" for add in (1, 2) for removed in (0, 1)]
    assert [method.label for method in grid] == labels
    assert grid[1].folder == "glyph-LR0.1-N_ADD_OP1-N_RM_OP1"
    assert found.grids == {"Grid": ("TRAINER.MPL.N_ADD_OP", "TRAINER.MPL.N_RM_OP")}


def test_options_of_the_method_win_over_those_of_the_file_and_the_command_line_over_both(tmp_path):
    path = tmp_path / "a.yaml"
    text = FILE.replace("config: glyph}", "config: glyph, options: {OPTIM.LR: 2}}")
    path.write_text(text + "options: {OPTIM.LR: 1, A.B: 7}\n")
    assert dict(experiment_file.read(path).methods[1].options) == {"OPTIM.LR": "2", "A.B": "7"}
    assert dict(experiment_file.read(path, {"OPTIM.LR": "3"}).methods[1].options) == {"OPTIM.LR": "3", "A.B": "7"}


def test_file_is_found_by_path_or_name(tmp_path):
    assert (
        experiment_file.find("digits") == experiment_file.FOLDER / "digits.yaml" == experiment_file.find("digits.yaml")
    )
    own = tmp_path / "digits.yaml"
    own.write_text(FILE)
    assert experiment_file.find(str(own)) == own
    with pytest.raises(UserError, match="Unknown experiment base2now. Did you mean 'base2new'"):
        experiment_file.find("base2now")


@pytest.mark.parametrize(
    ("trainer", "word", "path"),
    [
        ("MPL", "mine.yaml", "{here}/mine.yaml"),  # beside the file, from any folder
        ("MPL", "glyph", "{ours}/MPL/glyph.yaml"),
        ("OfAUser", "configs/trainers/VPT/glyph.yaml", "{ours}/VPT/glyph.yaml"),
    ],
)
def test_config_by_path_and_by_name(experiment, tmp_path, trainer, word, path):
    (tmp_path / "mine.yaml").write_text("OPTIM:\n  LR: 1\n")
    found = experiment(FILE.replace("{trainer: MPL, config: glyph}", f"{{trainer: {trainer}, config: {word}}}"))
    assert str(found.methods[1].config) == path.format(here=tmp_path, ours=ROOT / "configs/trainers")


READY = sorted(experiment_file.shipped(), key=lambda path: path.stem not in ("demo", "digits"))
FEW, MANY = READY[:2], [pytest.param(path, marks=pytest.mark.slow) for path in READY[2:]]


@pytest.mark.parametrize("path", [*FEW, *MANY], ids=[path.stem for path in READY])
def test_ready_file_is_whole_and_accepted_by_train(path, tmp_path):
    jobs = protocols.jobs(*experiment_file.read_plan(path).parts)
    assert len({job.folder for job in jobs}) == len(jobs)
    check(jobs, tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("key", "text", "placed"),
    [
        ("TRAINER.MPL.SCHEDULE_TEXT", "@../c.json", "@{above}/c.json"),
        ("TRAINER.DPL.IMG_ALPHA_PATH", "c.npz", "{here}/c.npz"),
        ("OPTIM.NAME", "@c", "@c"),
    ],
)
def test_a_file_that_an_option_names_is_found_from_the_experiments(experiment, tmp_path, key, text, placed):
    found = experiment(FILE + f"options: {{{key}: '{text}'}}\n")
    assert dict(found.methods[1].options) == {key: placed.format(here=tmp_path, above=tmp_path.parent)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["{out}/image_cache"]),
        ("image_cache: false\n", []),
        ("options: {TEST.IMAGE_CACHE: /mine}\n", ["{out}/image_cache", "/mine"]),
    ],
)
def test_test_images_are_kept_unless_the_file_says_otherwise(experiment, tmp_path, text, words):
    job, plain = (protocols.jobs(experiment(FILE + more))[0] for more in (text, ""))
    found = options(job, tmp_path)
    given = [value for key, value in zip(found[::2], found[1::2]) if key == "TEST.IMAGE_CACHE"]
    assert given == [word.format(out=tmp_path) for word in words]  # the last one counts
    assert expected_settings(job, tmp_path) == expected_settings(plain, tmp_path)
    assert job.folder == plain.folder


def test_all_methods_train_on_validation_images_or_none_does(experiment):
    option = "DATASET.TRAIN_ON_VAL: true"
    methods = FILE + "  CoOp: {trainer: CoOp, config: glyph}\n"
    with one_line(f"methods: MPL would train on validation images, but other methods would not. Set {option[:20]}"):
        experiment(methods.replace("{trainer: MPL,", f"{{options: {{{option}}}, trainer: MPL,"))
    with one_line("DATASET.NUM_SHOTS 16 trains on few images of each class"):
        check(protocols.jobs(experiment(methods + f"options: {{{option}}}\n")), Path("out"), Path("data"))


@pytest.mark.parametrize(
    ("given", "folder"),
    [
        ({"DATALOADER.TRAIN_X.BATCH_SIZE": 8, "DATALOADER.TEST.BATCH_SIZE": 9}, "BATCH_SIZE8"),
        ({"TRAINER.DEPT.ON": True}, "DEPT.ONTrue"),  # what stands beside prompts
        ({"A.X": 1, "B.X": 2, "C.Y": 3}, "A.X1-B.X2-Y3"),
    ],
)
def test_options_that_decide_something_name_the_folder(experiment, given, folder):
    assert experiment(FILE + f"options: {given}\n").methods[1].folder == f"glyph-{folder}"


def test_all_mistakes_of_a_file_are_named_at_once(experiment):
    text = FILE.replace("base2new", "base2nwe").replace("[digits]", "[digts]").replace("[1, 2]", "[-1]")
    text = (
        text.replace("MPL: {trainer: MPL, config: glyph}", "MPL: {trainer: MPL, config: nosuch}")
        + "titel: a\nslrum: {}\n"
    )
    with pytest.raises(UserError) as raised:
        experiment(text)
    message = str(raised.value)
    for fault in (
        "unknown key 'titel'. Did you mean 'title'?",
        "unknown key 'slrum'. Did you mean 'slurm'?",
        "seeds: different whole numbers from 0",
        "protocol: unknown value 'base2nwe'. Did you mean 'base2new'?",
        "datasets: unknown name 'digts'. Did you mean 'digits'?",
        "methods: MPL: ",
    ):
        assert message.count(fault) == 1, fault


def test_import_is_looked_for_next_to_the_file_first(tmp_path, monkeypatch, experiment):
    def imports(name):
        (method, *_) = experiment(FILE + f"import: {name}\n").methods
        return method.imports

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "growing_h.py").write_text("")
    (tmp_path / "elsewhere" / "shrinking_h.py").write_text("")
    assert imports("growing_h") == (str(tmp_path / "growing_h"),)
    assert imports("shrinking_h") == (str(tmp_path / "elsewhere" / "shrinking_h"),)
    assert imports("yaml") == ("yaml",)
    (tmp_path / "elsewhere" / "growing_h.py").write_text("")
    assert imports("growing_h") == (str(tmp_path / "growing_h"),), "equal modules are no two"
    (tmp_path / "elsewhere" / "growing_h.py").write_text("x = 1")
    with pytest.raises(UserError, match="import: different modules have the name 'growing_h'"):
        imports("growing_h")


def test_dry_run_shows_an_import_that_works_in_any_folder(tmp_path, monkeypatch, capsys):
    from modprompt.cli.main import main
    from modprompt.programs import import_modules

    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "small.yaml").write_text(FILE + "import: growing_d\n")
    (tmp_path / "there" / "growing_d.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    assert main(["experiment", "run", "there/small.yaml", "--dry-run", "--out", "out", "--data", "data"]) == 0
    word = str(tmp_path / "there" / "growing_d")
    assert f"--import {word} " in capsys.readouterr().out
    assert sys.modules["growing_d"].__file__ == f"{word}.py"
    (tmp_path / "growing_d.py").write_text("")
    with pytest.raises(UserError, match="another module with this name is already imported"):
        import_modules([str(tmp_path / "growing_d")])
    del sys.modules["growing_d"]
