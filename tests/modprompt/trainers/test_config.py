import math

import pytest
from dassl.config import get_cfg_default

from modprompt.errors import UserError
from modprompt.io.settings import Settings
from modprompt.trainers import config, run  # noqa: F401 - registers trainers and readers

RUN = {"TRAINER.NAME": "MPL"}
DIGITS = ["DATASET.NAME", "Digits"]


def build(*options, files=(), **flags):
    return config.of_settings(Settings.read(files, {**RUN, **flags}, [*DIGITS, *options]))


def refusal(*options, files=(), **flags):
    with pytest.raises(UserError) as raised:
        build(*options, files=files, **flags)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.fixture
def file(tmp_path):
    def write(text, name="c.yaml"):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


def test_options_lie_over_flags_over_files_over_defaults(file):
    one, other = file("SEED: 1\nOPTIM: {LR: 0.1, MAX_EPOCH: 7}\n"), file("OPTIM: {LR: 0.2}\n", "d.yaml")
    settings = Settings.read([one, other], {**RUN, "SEED": 2}, [*DIGITS, "SEED", "3"])
    cfg = config.of_settings(settings)
    assert (cfg.SEED, cfg.OPTIM.LR, cfg.OPTIM.MAX_EPOCH) == (3, 0.2, 7)
    assert cfg.OPTIM.NAME == get_cfg_default().OPTIM.NAME


def test_configuration_is_frozen_and_shares_nothing_with_the_settings(file):
    settings = Settings.read([file("INPUT: {PIXEL_MEAN: [0.1, 0.2, 0.3]}\n")], RUN, DIGITS)
    cfg = config.of_settings(settings)
    with pytest.raises(AttributeError):
        cfg.SEED = 5
    cfg.INPUT.PIXEL_MEAN.append(0.4)
    assert config.of_settings(settings).INPUT.PIXEL_MEAN == [0.1, 0.2, 0.3]


def test_flag_is_no_text_that_stands_for_a_value():
    cfg = build(OUTPUT_DIR="1", RESUME="(2,)", **{"INPUT.TRANSFORMS": ["normalize"]})
    assert (cfg.OUTPUT_DIR, cfg.RESUME, cfg.INPUT.TRANSFORMS) == ("1", "(2,)", ("normalize",))


def test_data_are_in_the_environments_folder_unless_somebody_says_where(monkeypatch):
    monkeypatch.delenv("DATA", raising=False)
    assert build().DATASET.ROOT == "data"
    monkeypatch.setenv("DATA", "/of/the/environment")
    assert build().DATASET.ROOT == "/of/the/environment"
    assert build("DATASET.ROOT", "/x").DATASET.ROOT == "/x"


def test_trainer_that_learns_nothing_only_tests():
    assert config.of_settings(Settings.read((), {"TRAINER.NAME": "ZeroshotCLIP"}, DIGITS)).TEST.ONLY
    assert not build("TEST.ONLY", "True").TEST.ONLY  # --eval-only says it, and no option
    assert config.of_settings(Settings.read((), RUN, DIGITS), tests=True).TEST.ONLY


@pytest.mark.parametrize(
    ("default", "value", "fits"),
    [
        (0.1, "1", 1.0),
        (0.1, "1e-3", 0.001),
        (25, 10.0, 10),
        (25, "2.5", 2.5),
        (25, "9007199254740993", 9007199254740993),
        (25, "many", "many"),
        (25, None, None),
        (25, True, True),
        (0.1, 10**400, 10**400),
        (True, 1, 1),
        ((1, 2), "(3, 4)", "(3, 4)"),
    ],
)
def test_number_gets_the_type_of_the_default(default, value, fits):
    found = config.fitting(default, value)
    assert (found, type(found)) == (fits, type(fits))


def test_number_that_is_not_finite_stays_what_it_is():
    assert config.fitting(25, "inf") == math.inf
    assert math.isnan(config.fitting(0.1, "nan"))


def test_whole_default_of_a_method_takes_any_number_and_one_of_dassl_does_not(file):
    path = file("TRAINER: {PROMPTSRC: {TEXT_LOSS_WEIGHT: 2.5, GPA_MEAN: 15.0, GPA_STD: 1}}\n")
    cfg = get_cfg_default()
    config.merge(cfg, Settings.read([path]))
    config.merge(cfg, Settings.read(options=["TRAINER.PROMPTSRC.IMAGE_LOSS_WEIGHT", "0.5", "OPTIM.LR", "1"]))
    node = cfg.TRAINER.PROMPTSRC
    assert (node.TEXT_LOSS_WEIGHT, node.IMAGE_LOSS_WEIGHT, node.GPA_MEAN) == (2.5, 0.5, 15)
    assert (type(node.GPA_MEAN), type(cfg.OPTIM.LR)) == (int, float)
    with pytest.raises(UserError, match="command line, OPTIM.MAX_EPOCH: the value must be a whole number, got '2.5'"):
        config.merge(cfg, Settings.read(options=["OPTIM.MAX_EPOCH", "2.5"]))


def test_unknown_key_gets_the_nearest_and_its_place(file):
    path = file("TRAINER:\n  MPL:\n    N_CONTEXT: 3\n")
    line = f"{path}: unknown setting 'TRAINER.MPL.N_CONTEXT'. Did you mean 'TRAINER.MPL.N_CTX'?"
    assert refusal(files=[path]) == line
    assert refusal("OPTIM.LRR", "1") == "command line: unknown setting 'OPTIM.LRR'. Did you mean 'OPTIM.LR'?"
    assert "unknown setting 'TRAINER.MPL'" in refusal("TRAINER.MPL", "{}")


@pytest.mark.parametrize("value", ["many", "True", "(1, 2)"])
def test_wrong_type_names_the_key_and_its_place(file, value):
    said = f"OPTIM.MAX_EPOCH: the value must be a whole number, got {value!r}."
    assert refusal("OPTIM.MAX_EPOCH", value) == f"command line, {said}"
    path = file(f"OPTIM: {{MAX_EPOCH: '{value}'}}\n")
    assert refusal(files=[path]) == f"{path}, {said}"


def test_all_faults_are_told_at_once_each_with_its_place(file):
    one = file("OPTIM: {LRR: 1, MAX_EPOCH: many}\nTEST: {SPLIT: train}\n")
    line = refusal("TRAIN.PRINT", "5", "TRAIN.PRINT_FREQ", "0", files=[one], **{"TRAINER.NAME": "MLP"})
    assert line.count(one) == 3
    for part in (
        f"{one}: unknown setting 'OPTIM.LRR'",
        f"{one}, OPTIM.MAX_EPOCH: the value must be a whole number, got 'many'",
        f"{one}: TEST.SPLIT must be test or val, got 'train'",
    ):
        assert f"{part}." in line or f"{part}. Did you mean" in line
    for part in ("command line: unknown setting 'TRAIN.PRINT'", "--trainer: unknown name 'MLP'"):
        assert part in line
    assert "TRAIN.PRINT_FREQ must be at least 1, got 0" in line


def test_fault_is_not_told_twice_by_what_it_leaves_at_its_default():
    with pytest.raises(UserError) as raised:
        config.of_settings(Settings.read((), RUN, ["DATASET.NAM", "Digits", "OPTIM.LRR", "1", "OPTIM.LRR", "1"]))
    assert str(raised.value).count("unknown setting") == 2
    with pytest.raises(UserError, match="DATASET.NAME: the name is missing"):
        config.of_settings(Settings.read((), RUN))


def test_unknown_trainer_alone_is_told_where_nothing_else_is_given():
    with pytest.raises(UserError, match="unknown name 'MLP'. Did you mean 'MPL'") as raised:
        config.of_settings(Settings.read((), {"TRAINER.NAME": "MLP"}))
    assert "DATASET.NAME" not in str(raised.value)


def test_value_that_a_later_source_takes_the_place_of_is_checked_too(file):
    path = file("OPTIM: {MAX_EPOCH: many}\n")
    assert path in refusal("OPTIM.MAX_EPOCH", "5", files=[path])


def test_flag_among_the_options_ends_them():
    line = refusal("OPTIM.LR", "0.1", "--eval-only", "OPTIM.NAME", "sgd", "X")
    assert line == "The flag --eval-only must come before the KEY VALUE options."


def test_settings_of_another_method_are_warned_of():
    with pytest.warns(UserWarning, match="TRAINER.COOP are ignored because MPL reads only TRAINER.MPL"):
        build("TRAINER.COOP.N_CTX", "4")


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("OPTIM.MAX_EPOCH", "a whole number"),
        ("INPUT.SIZE", "a list"),
        ("OUTPUT_DIR", "a string"),
        ("TRAINER.MPL.N_CTX", "a whole number"),
    ],
)
def test_null_is_no_value_of_any_setting(key, what, file):
    assert f"command line, {key}: the value must be {what}, got 'None'" in refusal(key, "None")
    *path, leaf = key.split(".")
    text = "".join(f"{name}: {{" for name in path) + f"{leaf}: null" + "}" * len(path)
    assert f"{key}: the value must be {what}, got None" in refusal(files=[file(text)])
    assert build(OUTPUT_DIR="None").OUTPUT_DIR == "None"  # a flag's is a name


@pytest.mark.parametrize(
    ("trainer", "key", "own"),
    [
        ("TipAdapterF", "OPTIM.LR", "TRAINER.TIPADAPTER.LR"),
        ("TipAdapterF", "OPTIM.MAX_EPOCH", "TRAINER.TIPADAPTER.TRAIN_EPOCH"),
        ("LPPlusPlus", "OPTIM.LR", "learning rates computed from features"),
    ],
)
def test_a_setting_that_a_method_has_its_own_of_is_warned_of(trainer, key, own):
    with pytest.warns(UserWarning, match=f"{key} has no effect because {trainer} uses {own} instead"):
        build("TRAINER.NAME", trainer, key, "7")
