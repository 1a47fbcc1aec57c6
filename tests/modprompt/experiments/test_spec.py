"""An experiment file is read as it is meant, and every fault in it is named with its place."""

import pytest

from modprompt.cli.flags import parse_args, settings_of
from modprompt.errors import UserError
from modprompt.experiments.plan import protocols, spec
from modprompt.experiments.plan.check import check
from modprompt.experiments.plan.commands import expected, flags, options
from modprompt.places import ROOT
from modprompt.trainers import run  # noqa: F401 - registers all
from modprompt.trainers.run_config import merged
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
    assert [method.label for method in grid] == [
        "Grid N_ADD_OP 1, N_RM_OP 0",
        "Grid N_ADD_OP 1, N_RM_OP 1",
        "Grid N_ADD_OP 2, N_RM_OP 0",
        "Grid N_ADD_OP 2, N_RM_OP 1",
    ]
    assert grid[1].folder == "glyph-LR0.1-N_ADD_OP1-N_RM_OP1"
    assert found.grids == {"Grid": ("TRAINER.MPL.N_ADD_OP", "TRAINER.MPL.N_RM_OP")}


def test_options_of_the_method_win_over_those_of_the_file_and_the_command_line_over_both(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(
        FILE.replace("config: glyph}", "config: glyph, options: {OPTIM.LR: 2}}") + "options: {OPTIM.LR: 1, A.B: 7}\n"
    )
    assert dict(spec.read(path).methods[1].options) == {"OPTIM.LR": "2", "A.B": "7"}
    assert dict(spec.read(path, {"OPTIM.LR": "3"}).methods[1].options) == {"OPTIM.LR": "3", "A.B": "7"}


FAULTS = [
    *(
        (FILE.replace(old, new), message)
        for old, new, message in (
            ("base2new", "base2now", "protocol: there is no 'base2now'; did you mean 'base2new'"),
            ("[digits]", "[digit]", "datasets: there is no 'digit'; did you mean 'digits'"),
            ("datasets", "dataset", "there is no key 'dataset'; did you mean 'datasets'"),
            ("glyph}", "glyf}", "CLIP: no config file glyf; ZeroshotCLIP has .*, by name; did you mean 'glyph'"),
            ("trainer: MPL", "trainr: MPL", "methods: MPL: there is no key 'trainr'; did you mean 'trainer'"),
            ("trainer: MPL, ", "", "methods: MPL: trainer is missing"),
            ("[1, 2]", "[1, -2]", "seeds: different whole numbers from 0 up"),
            ("glyph}", "glyph, grid: {OPTIM.LR: [1, 1.0]}}", "grid: OPTIM.LR: a value occurs twice"),
            ("glyph}", "glyph, options: {A.B: 3}, grid: {A.B: [1, 2]}}", "A.B is an axis of the grid and set to 3 as"),
            ("base2new", "cross_dataset\nsource: digits", "datasets: digits is the source"),
            ("base2new", "validation\nclasses: new", "classes: there is no"),
            ("base2new", "few_shot\ntogether: true", "protocol few_shot has none; it belongs to protocol base2new"),
            ("config: glyph", f"config: {'x' * 5000}", "CLIP: .*File name too long"),
        )
    ),
    *(
        (FILE + line, message)
        for line, message in (
            ("shots: [1, 2]\n", "shots: protocol base2new accepts one number"),
            ("image_cache:\n", "image_cache: true or false is expected, got None"),
            ("ties: config\n", "ties: protocol base2new has none; it belongs to protocol validation"),
            ("options: {DATASET.NUM_SHOTS: 4}\n", "options: DATASET.NUM_SHOTS cannot be set here"),
            ("options: {OPTIM: {LR: 4}}\n", "options: OPTIM: a dotted key with one value"),
            ("  CLIP: {}\n", "is not usable YAML .the key 'CLIP' occurs twice, the second time in line 8"),
            ("title: 2025-02-30\n", "is not usable YAML"),
        )
    ),
    ("methods: [", "is not usable YAML"),
    ("", "KEY: VALUE pairs are expected"),
    ("seeds: !!set {a}\n", "seeds: different whole numbers"),
    ("'protocol': \"\\ud800\"\n", "protocol: there is no"),
    ('"a\\nb\\e[2J": 1\n', "there is no key"),
]


@pytest.mark.parametrize(("text", "message"), FAULTS, ids=[message[:30] for _, message in FAULTS])
def test_fault_is_named_with_file_and_place(experiment, tmp_path, text, message):
    with pytest.raises(UserError, match=message) as caught:
        experiment(text)
    assert str(caught.value).startswith(str(tmp_path / "small.yaml"))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 3000


def test_file_is_found_by_path_or_name(tmp_path):
    assert spec.find("digits") == spec.FILES / "digits.yaml" == spec.find("digits.yaml")
    own = tmp_path / "digits.yaml"
    own.write_text(FILE)
    assert spec.find(str(own)) == own
    with pytest.raises(UserError, match="no experiment file base2now; did you mean 'base2new'"):
        spec.find("base2now")


@pytest.mark.parametrize(
    ("trainer", "word", "path"),
    [
        ("MPL", "mine.yaml", "{here}/mine.yaml"),  # beside the file, from any folder
        ("MPL", "glyph", "{ours}/MPL/glyph.yaml"),
        ("OfAUser", "MPL/glyph", "{ours}/MPL/glyph.yaml"),
        ("OfAUser", "configs/trainers/VPT/glyph.yaml", "{ours}/VPT/glyph.yaml"),
    ],
)
def test_config_by_path_and_by_name(experiment, tmp_path, trainer, word, path):
    (tmp_path / "mine.yaml").write_text("OPTIM:\n  LR: 1\n")
    found = experiment(FILE.replace("{trainer: MPL, config: glyph}", f"{{trainer: {trainer}, config: {word}}}"))
    assert str(found.methods[1].config) == path.format(here=tmp_path, ours=ROOT / "configs/trainers")


READY = sorted(spec.FILES.glob("*.yaml"))
QUICK = ("demo", "digits")  # the others are many runs


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[] if path.stem in QUICK else pytest.mark.slow) for path in READY],
    ids=lambda path: path.stem,
)
def test_ready_file_is_whole_and_accepted_by_train(path, tmp_path):
    jobs = protocols.jobs(*spec.read_plan(path).parts)
    assert len({job.folder for job in jobs}) == len(jobs)
    check(jobs, tmp_path, tmp_path)


def test_list_of_words_is_an_option_as_train_reads_it(experiment, tmp_path):
    found = experiment(FILE + "options: {INPUT.TRANSFORMS: [random_flip, normalize], TRAIN.PRINT_FREQ: 3}\n")
    job = protocols.jobs(found)[0]
    settings = settings_of(parse_args(flags(job, tmp_path, tmp_path)))
    assert merged(settings).INPUT.TRANSFORMS == ("random_flip", "normalize")
    assert settings.texts() == expected(job, tmp_path)
    assert expected(job, tmp_path)["INPUT.TRANSFORMS"] == "[random_flip, normalize]"


@pytest.mark.parametrize(
    ("key", "text", "placed"),
    [
        ("TRAINER.MPL.SCHEDULE_TEXT", "@../c.json", "@{above}/c.json"),
        ("TRAINER.MPL.SCHEDULE_TEXT", "@/c.json", "@/c.json"),
        ("TRAINER.DPL.IMG_ALPHA_PATH", "c.npz", "{here}/c.npz"),
        ("TRAINER.DPL.IMG_ALPHA_PATH", "None", "None"),
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
    assert expected(job, tmp_path) == expected(plain, tmp_path)
    assert job.folder == plain.folder


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
