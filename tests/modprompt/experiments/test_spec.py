"""An experiment file is read as it is meant, and every fault in it is named with its place."""

import pytest

from modprompt.errors import UserError
from modprompt.experiments.plan import protocols, spec
from modprompt.experiments.plan.experiment import short_names
from modprompt.experiments.plan.stages import trains
from modprompt.places import ROOT
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
    (
        FILE.replace("protocol: base2new", "protocol: base2now"),
        "protocol: there is no 'base2now'; did you mean 'base2new'",
    ),
    (FILE.replace("[digits]", "[digit]"), "datasets: there is no 'digit'; did you mean 'digits'"),
    (FILE.replace("[digits]", "[digits, digits]"), "datasets: a name occurs twice"),
    (FILE.replace("datasets", "dataset"), "there is no key 'dataset'; did you mean 'datasets'"),
    (
        FILE.replace("config: glyph}", "config: glyf}"),
        "methods: CLIP: no config file glyf; ZeroshotCLIP has .*, by name; did you mean 'glyph'",
    ),
    (FILE.replace("trainer: MPL", "trainr: MPL"), "methods: MPL: there is no key 'trainr'; did you mean 'trainer'"),
    (FILE.replace("trainer: MPL, ", ""), "methods: MPL: trainer is missing"),
    (FILE.replace("[1, 2]", "[1, -2]"), "seeds: different whole numbers from 0 up"),
    (FILE.replace("[1, 2]", "[1, 1]"), "seeds: different whole numbers"),
    (FILE + "shots: [1, 2]\n", "shots: protocol base2new accepts one number"),
    (FILE + "shots: many\n", "shots: different whole numbers from 1 up"),
    (FILE + "source: imagenet\n", "source: protocol base2new has none"),
    (FILE + "image_cache: folder\n", "image_cache: true or false is expected, got 'folder'"),
    (FILE + "image_cache:\n", "image_cache: true or false is expected, got None"),
    (FILE + "together: 1\n", "together: true or false is expected, got 1"),
    *(
        (FILE + line, f"{line[:4]}.*: protocol base2new has none; it belongs to protocol validation")
        for line in ("classes: all\n", "rule: no_collapse\n", "ties: config\n")
    ),
    *(
        (FILE.replace("base2new", f"validation\n{line}"), f"{line[:4]}.*: there is no")
        for line in ("classes: new", "rule: best", "ties: highest", "classes: [base]")
    ),
    (
        FILE.replace("base2new", "few_shot\ntogether: true"),
        "together: protocol few_shot has none; it belongs to protocol base2new",
    ),
    (FILE + "highlight: CoOp\n", "highlight: there is no method 'CoOp'"),
    (FILE + "options: {DATASET.NUM_SHOTS: 4}\n", "options: DATASET.NUM_SHOTS cannot be set here"),
    (FILE + "options: {OPTIM: {LR: 4}}\n", "options: OPTIM: a dotted key with one value"),
    (FILE.replace("config: glyph}", "config: glyph, grid: {OPTIM.LR: 0.1}}"), "grid: OPTIM.LR: a list of values"),
    (
        FILE.replace("config: glyph}", "config: glyph, grid: {OPTIM.LR: [1, 1.0]}}"),
        "grid: OPTIM.LR: a value occurs twice",
    ),
    (FILE.replace("protocol: base2new", "protocol: cross_dataset\nsource: digits"), "datasets: digits is the source"),
    (
        FILE + "  CLIP: {trainer: CoOp, config: glyph}\n",
        "is not usable YAML .the key 'CLIP' occurs twice, the second time in line 8",
    ),
    (FILE + "  1: {trainer: CoOp, config: glyph}\n  '1': {trainer: VPT, config: glyph}\n", "the key '1' occurs twice"),
    (FILE + "title: 2025-02-30\n", "is not usable YAML"),
    (FILE + "options: {RESUME: x}\n", "options: RESUME cannot be set here"),
    (
        FILE.replace("config: glyph}", "config: glyph, options: {OPTIM.LR: 3}, grid: {OPTIM.LR: [1, 2]}}"),
        "OPTIM.LR is an axis of the grid and set to 3 as an option too",
    ),
    ("methods: [", "is not usable YAML"),
    ("", "KEY: VALUE pairs are expected"),
    ("seeds: !!set {a}\n", "seeds: different whole numbers"),
    ("'protocol': \"\\ud800\"\n", "protocol: there is no"),
    ('"a\\nb\\e[2J": 1\n', "there is no key"),
    (FILE.replace("trainer: MPL, config: glyph", f"trainer: MPL, config: {'x' * 5000}"), "MPL: .*File name too long"),
    (FILE.replace("trainer: MPL", f"trainer: {'x' * 5000}"), "methods: MPL: .*File name too long"),
    ("- a", "KEY: VALUE pairs are expected"),
    (FILE.replace("methods:", "methods: {}\nnotes:"), "methods is missing"),
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
    ("word", "path"),
    [
        ("mine.yaml", "{here}/mine.yaml"),  # beside the file, from any folder
        ("glyph", "{ours}/MPL/glyph.yaml"),
        ("VPT/glyph", "{ours}/VPT/glyph.yaml"),
        ("configs/trainers/VPT/glyph.yaml", "{ours}/VPT/glyph.yaml"),
    ],
)
def test_config_by_path_and_by_name(experiment, tmp_path, word, path):
    (tmp_path / "mine.yaml").write_text("OPTIM:\n  LR: 1\n")
    found = experiment(FILE.replace("{trainer: MPL, config: glyph}", f"{{trainer: MPL, config: {word}}}"))
    assert str(found.methods[1].config) == path.format(here=tmp_path, ours=ROOT / "configs/trainers")


def test_a_trainer_of_ones_own_takes_anothers_config(experiment):
    found = experiment(FILE.replace("{trainer: MPL, config: glyph}", "{trainer: OfAUser, config: MPL/glyph}"))
    assert found.methods[1].config == ROOT / "configs/trainers/MPL/glyph.yaml"


READY = sorted(spec.FILES.glob("*.yaml"))
QUICK = ("demo", "digits")  # the others are many runs


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[] if path.stem in QUICK else pytest.mark.slow) for path in READY],
    ids=lambda path: path.stem,
)
def test_ready_file_is_whole_and_accepted_by_train(path, tmp_path):
    from modprompt.experiments.plan.check import check

    jobs = protocols.jobs(*spec.read_plan(path).parts)
    assert len({job.folder for job in jobs}) == len(jobs)
    check(jobs, tmp_path, tmp_path)


def test_ready_files_cover_the_paper():
    names = {path.stem for path in READY}
    assert {"base2new", "cross_dataset", "domain_generalisation", "few_shot", "digits"} <= names
    assert {"ablation_operations", "ablation_depth", "ablation_context"} <= names
    base2new = spec.read(spec.FILES / "base2new.yaml")
    assert (len(base2new.datasets), base2new.seeds, base2new.shots) == (11, (1, 2, 3), (16,))
    assert spec.read(spec.FILES / "few_shot.yaml").shots == (1, 2, 4, 8, 16)
    assert len(spec.read(spec.FILES / "cross_dataset.yaml").datasets) == 10


def test_keys_without_a_value_have_their_defaults(experiment):
    found = experiment(FILE + "title:\nnotes:\noptions:\nslurm:\n")
    assert (found.title, found.notes) == ("small", "")


def test_list_of_words_is_an_option_as_train_reads_it(experiment, tmp_path):
    from modprompt.cli.flags import parse_args, settings_of
    from modprompt.experiments.plan.commands import expected, flags
    from modprompt.trainers import run  # noqa: F401 - registers all
    from modprompt.trainers.run_config import merged

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
        ("TRAINER.MPL.SCHEDULE_TEXT", "[[0, 1]]", "[[0, 1]]"),
        ("TRAINER.DPL.IMG_ALPHA_PATH", "c.npz", "{here}/c.npz"),
        ("TRAINER.DPL.IMG_ALPHA_PATH", "None", "None"),
        ("TRAINER.DPL.ALPHAS_SWAPPED", "True", "True"),
        ("OPTIM.NAME", "@c", "@c"),
    ],
)
def test_a_file_that_an_option_names_is_found_from_the_experiments(experiment, tmp_path, key, text, placed):
    found = experiment(FILE + f"options: {{{key}: '{text}'}}\n")
    assert dict(found.methods[1].options) == {key: placed.format(here=tmp_path, above=tmp_path.parent)}


def test_option_that_decides_nothing_names_no_folder(experiment):
    options = {"DATALOADER.TRAIN_X.BATCH_SIZE": 8, "DATALOADER.TEST.BATCH_SIZE": 9, "MODEL.BACKBONE.PATH": "x.pt"}
    found = experiment(FILE + f"options: {options}\n")
    assert found.methods[1].folder == "glyph-BATCH_SIZE8"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["{out}/image_cache"]),
        ("image_cache: true\n", ["{out}/image_cache"]),
        ("image_cache: false\n", []),
        ("options: {TEST.IMAGE_CACHE: /mine}\n", ["{out}/image_cache", "/mine"]),
        ("options: {TEST.IMAGE_CACHE: ''}\n", ["{out}/image_cache", ""]),
    ],
)
def test_test_images_are_kept_unless_the_file_says_otherwise(experiment, tmp_path, text, words):
    from modprompt.experiments.plan.commands import expected, options

    job, plain = (protocols.jobs(experiment(FILE + more))[0] for more in (text, ""))
    found = options(job, tmp_path)
    given = [value for key, value in zip(found[::2], found[1::2]) if key == "TEST.IMAGE_CACHE"]
    assert given == [word.format(out=tmp_path) for word in words]  # the last one counts
    assert expected(job, tmp_path) == expected(plain, tmp_path)
    assert job.folder == plain.folder


def test_keys_with_one_last_part_are_written_whole():
    assert short_names(["A.X", "B.X", "C.Y"]) == {"A.X": "A.X", "B.X": "B.X", "C.Y": "Y"}


def test_what_stands_beside_prompts_names_its_runs(experiment):
    more = "".join(
        f"  {name}: {{trainer: MPL, config: glyph, options: {{TRAINER.{name}.ON: True}}}}\n"
        for name in ("DEPT", "CLIPLORA")
    )
    folders = [method.folder for method in experiment(FILE + more).methods[2:]]
    assert folders == ["glyph-DEPT.ONTrue", "glyph-CLIPLORA.ONTrue"]


@pytest.mark.parametrize(("trainer", "does"), [("ZeroshotCLIP2", False), ("MPL", True), ("SomebodysOwn", True)])
def test_who_trains(trainer, does):
    assert trains(trainer) is does
