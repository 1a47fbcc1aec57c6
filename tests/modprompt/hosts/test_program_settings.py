import argparse
import random
import sys

import pytest
from dassl.config import get_cfg_default

import modprompt.trainers.mpl  # noqa: F401 - the node of MPL
from modprompt.errors import UserError
from modprompt.hosts import foreign
from modprompt.hosts import settings as host_settings
from modprompt.io import program_words
from modprompt.trainers.config import RunConfig

BY = ", but the codebase's program or config changed the value to"


@pytest.fixture(autouse=True)
def entered(monkeypatch, tmp_path):
    monkeypatch.setenv(program_words.KEEPS, "")
    monkeypatch.chdir(tmp_path)
    yield
    program_words.leave()


@pytest.fixture
def words(tmp_path):
    (tmp_path / "data.yaml").write_text("DATASET:\n  NAME: EuroSAT\n")
    (tmp_path / "mpl.yaml").write_text(
        "OPTIM:\n  MAX_EPOCH: 5\n  LR: 1.0\nINPUT:\n  SIZE: (32, 32)\n  TRANSFORMS: [normalize]\n"
        "TRAINER:\n  MPL:\n    N_CTX: 2\n"
    )
    flags = ["--root", "pictures", "--seed", "1", "--trainer", "MPL", "--config-file", "mpl.yaml"]
    return [*flags, "--dataset-config-file=data.yaml", "--fast", "OPTIM.LR", "0.5", "DATASET.NUM_SHOTS", "4"]


def parse(words):
    """What a program of the family does with its words first, with our trainers in it."""
    sys.argv[1:] = words
    foreign.enter()
    parser = argparse.ArgumentParser()
    for flag in ("--root", "--trainer", "--config-file", "--dataset-config-file", "--model-dir", "--mode"):
        parser.add_argument(flag, default="")
    parser.add_argument("--seed", type=int, default=-1)
    parser.add_argument("--load-epoch", type=int)
    parser.add_argument("--transforms", nargs="+")
    for flag in ("--fast", "--eval-only"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("opts", nargs=argparse.REMAINDER)
    return parser.parse_args()


@pytest.fixture(autouse=True)
def argv(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py"])


def set_up(words, files=("dataset_config_file", "config_file")):
    """What it does with them then."""
    args = parse(words)
    cfg = get_cfg_default()
    for file in files:
        cfg.merge_from_file(vars(args)[file])
    cfg.DATASET.ROOT, cfg.SEED, cfg.TRAINER.NAME = args.root, args.seed, args.trainer
    if args.transforms:
        cfg.INPUT.TRANSFORMS = args.transforms
    cfg.merge_from_list(args.opts)
    return cfg


def changes(cfg):
    return [str(one) for one in host_settings.changed(cfg, program_words.user_words().settings())]


def test_program_that_takes_what_it_is_given_has_changed_nothing(words, tmp_path):
    cfg = set_up(["--transforms", "random_flip", "normalize", *words])
    cfg.DATASET.ROOT = f"{tmp_path}/./pictures"  # the same folder
    cfg.TRAIN.PRINT_FREQ = 3  # nobody has asked for another, and it decides no number
    assert changes(cfg) == []


def test_each_setting_that_is_set_afterwards_is_told(words, tmp_path):
    (tmp_path / "more.yaml").write_text("OPTIM:\n  LR: 0.1\n")
    cfg = set_up(words)
    cfg.OPTIM.MAX_EPOCH = 200
    cfg["SEED"] = 7
    cfg.merge_from_file("more.yaml")
    cfg.merge_from_list(["DATASET.NUM_SHOTS", 16])
    told = {
        f"OPTIM.MAX_EPOCH was set to 5 (file mpl.yaml){BY} 200.",
        f"SEED was set to 1 (flag --seed){BY} 7.",
        f"OPTIM.LR was set to 0.5 (option){BY} 0.1.",
        f"DATASET.NUM_SHOTS was set to 4 (option){BY} 16.",
    }
    assert {*changes(cfg)} == {*changes(cfg.clone())} == told


def test_program_that_never_merges_the_options_is_told(words):
    args = parse([*words, "NOWHERE.KEY", "1"])
    cfg = get_cfg_default()
    cfg.merge_from_file(args.dataset_config_file)
    cfg.DATASET.ROOT, cfg.SEED, cfg.TRAINER.NAME = args.root, args.seed, args.trainer
    told = {one.partition(" ")[0]: one.partition(" ")[2] for one in changes(cfg)}
    assert told["OPTIM.LR"] == f"was set to 0.5 (option){BY} 0.0003."
    assert told["INPUT.SIZE"].startswith(f"was set to [32, 32] (file mpl.yaml){BY} [224, 224]")  # nor the file
    assert told["NOWHERE.KEY"] == "1 (option) has no effect because the configuration has no such setting."


def test_values_of_flags_may_look_like_keys_and_numbers_may_be_equal(words):
    cfg = set_up(["--load-epoch", "200", "--model-dir", "RUN.1", "--mode", "TEST", "--eval-only", *words])
    cfg.OPTIM.MAX_EPOCH = 200
    assert [one.partition(" ")[0] for one in changes(cfg)] == ["OPTIM.MAX_EPOCH"]
    assert program_words.only_tests()
    assert program_words.user_words().model_to_test() == ("RUN.1", 200)


def test_files_count_in_either_order(words, tmp_path):
    (tmp_path / "data.yaml").write_text("DATASET:\n  NAME: EuroSAT\nOPTIM:\n  MAX_EPOCH: 3\n")
    assert changes(set_up(words)) == []
    cfg = set_up(words, files=("config_file", "dataset_config_file"))
    assert (cfg.OPTIM.MAX_EPOCH, changes(cfg)) == (3, [])
    cfg.OPTIM.MAX_EPOCH = 6
    assert changes(cfg) == [f"OPTIM.MAX_EPOCH was set to 5 (file mpl.yaml){BY} 6."]


def test_file_that_we_do_not_read_ends_nothing_but_what_hangs_on_it(words, tmp_path, monkeypatch, capsys):
    (tmp_path / "mpl.yaml").write_text("OPTIM: [\n")
    parse(words)
    host_settings.settings_to_restore(get_cfg_default())
    said = capsys.readouterr().out
    assert said.startswith("note: modprompt cannot check whether this program changes the requested settings: mpl.yaml")
    monkeypatch.setenv(program_words.KEEPS, "1")
    with pytest.raises(
        UserError,
        match="The settings from the command line cannot be kept .--keep-settings.: mpl.yaml is not a valid YAML config",
    ):
        host_settings.settings_to_restore(get_cfg_default())


@pytest.mark.parametrize("keeps", ["", "0", "false", "1"])
def test_settle_tells_and_puts_back_if_asked(keeps, words, monkeypatch, capsys):
    monkeypatch.setenv(program_words.KEEPS, keeps)
    cfg = set_up(words)
    cfg.OPTIM.MAX_EPOCH, cfg.OPTIM.LR, cfg.SEED, cfg.INPUT.SIZE = 200, 3.0, None, [64, 64]
    cfg.DATASET.ROOT = "1"
    mine = RunConfig.of(cfg)
    mine = mine.changed(host_settings.settings_to_restore(mine))
    said = capsys.readouterr().out.splitlines()
    assert mine.is_frozen()
    assert cfg.OPTIM.MAX_EPOCH == 200  # the program's own stays
    cfg = mine
    if keeps == "1":
        assert [one.split(":")[0] for one in said] == ["kept"] * 5
        assert (cfg.OPTIM.MAX_EPOCH, cfg.OPTIM.LR, cfg.SEED, cfg.INPUT.SIZE) == (5, 0.5, 1, [32, 32])
        assert cfg.DATASET.ROOT == "pictures"
        assert changes(cfg) == []
    else:
        assert len(said) == 6
        assert said[-1] == "note: to keep your own values instead, use --keep-settings."
        assert cfg.OPTIM.MAX_EPOCH == 200


@pytest.mark.parametrize("place", ["first", "behind several values", "last"])
def test_flag_of_ours_does_not_reach_the_program(place, words):
    before = vars(parse(words))
    assert not program_words.keeps_settings()
    at = words.index("OPTIM.LR")
    if place == "behind several values":
        words = [*words[:at], "--transforms", "normalize", "--keep-settings", "--fast", *words[at:]]
        before["transforms"] = ["normalize"]
    else:
        words = ["--keep-settings", *words] if place == "first" else [*words, "--keep-settings"]
    assert program_words.words_of(words).options == ["OPTIM.LR", "0.5", "DATASET.NUM_SHOTS", "4"]
    assert vars(parse(words)) == before
    assert program_words.keeps_settings()


def test_seed_that_is_put_back_seeds_again(words, monkeypatch):
    cfg = set_up(words)
    cfg.SEED = -1
    monkeypatch.setenv(program_words.KEEPS, "1")
    wanted = random.Random(1).random()
    random.seed(5)
    host_settings.settings_to_restore(cfg)
    assert random.random() == wanted


def test_what_is_in_no_configuration_cannot_be_kept(words, monkeypatch):
    cfg = set_up(words)
    parse([*words, "NOWHERE.KEY", "1"])
    monkeypatch.setenv(program_words.KEEPS, "1")
    with pytest.raises(UserError, match="--keep-settings cannot keep a setting: NOWHERE.KEY 1"):
        host_settings.settings_to_restore(cfg)


def test_nothing_is_said_in_a_program_of_ours(words, capsys):
    cfg = set_up(["--eval-only", *words])
    cfg.OPTIM.MAX_EPOCH = 200
    program_words.leave()
    cfg.MODEL.BACKBONE.NAME = "glyph-clip"
    host_settings.of_program(cfg)
    assert "OPTIM.MAX_EPOCH" not in capsys.readouterr().out
    assert not program_words.only_tests()


@pytest.mark.parametrize(
    ("words", "only_tests", "wanted"),
    [
        (["--eval-only", "--model-dir", "run", "--load-epoch", "2"], True, ("run", 2)),
        (["--model-dir=run", "--eval-only", "DATASET.NUM_SHOTS", "4"], True, ("run", None)),
        (["--model-dir", "run"], False, ("run", None)),
        (["--eval-only"], True, ("", None)),
    ],
)
def test_model_that_is_to_be_tested(words, only_tests, wanted):
    parse(words)
    assert program_words.only_tests() == only_tests
    assert program_words.user_words().model_to_test() == wanted


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["--trainer", "MPL"], "MPL"),
        (["--trainer=CoOp", "--seed", "1"], "CoOp"),
        (["--trainer", "MMRL", "TASK", "B2N", "TRAINER.NAME", "MPL"], "MPL"),
        (["--trainer", "MMRL", "TASK", "B2N", "TRAINER.NAME", "MPL", "--keep-settings"], "MPL"),
        (["--config-file", "mine.yaml"], "TCP"),
        (["--config-file", "nowhere.yaml", "--trainer", ""], ""),
        (["--seed", "1"], ""),
        (["TRAINER.NAME", "MPL", "OPTIM.NAME", "--trainer"], "MPL"),
    ],
)
def test_trainer_that_words_ask_for(words, name, tmp_path):
    (tmp_path / "mine.yaml").write_text("TRAINER:\n  NAME: TCP\n")
    assert program_words.words_of(words).trainer() == name


@pytest.fixture
def other_dassl(monkeypatch):
    """A Dassl with other defaults: a key that decides numbers, one that the words give, one that decides none."""
    defaults = get_cfg_default()
    for node, key, value in (("TEST", "FINAL_MODEL", "best_val"), ("OPTIM", "LR", 9.0), ("TRAIN", "PRINT_FREQ", 99)):
        dict.__setitem__(defaults[node], key, value)
    monkeypatch.setattr(sys.modules[__name__], "get_cfg_default", defaults.clone)


@pytest.mark.parametrize("keeps", ["", "1"])
@pytest.mark.usefixtures("other_dassl")
def test_default_of_another_dassl_that_nobody_gave_is_told_or_put_back(keeps, words, monkeypatch, capsys):
    monkeypatch.setenv(program_words.KEEPS, keeps)
    cfg = RunConfig.of(set_up(words))
    cfg = cfg.changed(host_settings.settings_to_restore(cfg))
    said = capsys.readouterr().out.splitlines()
    told = "is best_val in this codebase's program or its Dassl, instead of the default last_step of Dassl 0.6.3."
    end = " The requested value is restored." if keeps else ""
    assert said[0] == f"{'kept' if keeps else 'note'}: TEST.FINAL_MODEL {told}{end}"
    assert len(said) == (1 if keeps else 2)
    final = cfg.TEST.FINAL_MODEL
    assert final == ("last_step" if keeps else "best_val")


@pytest.mark.usefixtures("other_dassl")
def test_what_its_user_gives_is_no_default_of_its_dassl(words, capsys):
    host_settings.settings_to_restore(set_up([*words, "TEST.FINAL_MODEL", "best_val"]))
    assert capsys.readouterr().out == ""
