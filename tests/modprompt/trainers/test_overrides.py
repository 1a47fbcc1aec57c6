import argparse
import inspect
import pickle
import random
import sys
from pathlib import Path

import pytest
from dassl.config import get_cfg_default
from yacs.config import CfgNode

import modprompt.trainers.mpl  # noqa: F401 - the node of MPL
from modprompt.errors import UserError
from modprompt.trainers import merging, overrides
from modprompt.trainers.words import parsed

HERE = Path(__file__).resolve()  # longer, as seen from a test's folder


@pytest.fixture(autouse=True)
def watched(monkeypatch, tmp_path):
    monkeypatch.setenv(overrides.KEEPS, "")
    merging.watch(lambda: True)
    monkeypatch.chdir(tmp_path)
    yield
    merging.unwatch()


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
    """What a program of the family does with its words first."""
    parser = argparse.ArgumentParser()
    for flag in ("--root", "--trainer", "--config-file", "--dataset-config-file", "--model-dir", "--mode"):
        parser.add_argument(flag, default="")
    parser.add_argument("--seed", type=int, default=-1)
    parser.add_argument("--load-epoch", type=int)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--transforms", nargs="+")
    for flag in ("--fast", "--eval-only", "--no-cuda"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("opts", nargs=argparse.REMAINDER)
    return parser.parse_args(words)


def set_up(words):
    """What it does with them then."""
    args = parse(words)
    cfg = get_cfg_default()
    cfg.merge_from_file(args.dataset_config_file)
    cfg.merge_from_file(args.config_file)
    cfg.DATASET.ROOT, cfg.SEED, cfg.TRAINER.NAME = args.root, args.seed, args.trainer
    if args.transforms:
        cfg.INPUT.TRANSFORMS = args.transforms
    if args.no_cuda:
        cfg.USE_CUDA = False
    if args.epochs:
        cfg.OPTIM.MAX_EPOCH = args.epochs
    cfg.merge_from_list(args.opts)
    return cfg


def changes(cfg):
    return [str(one) for one in overrides.changed(cfg, parsed())]


def line():
    return inspect.currentframe().f_back.f_lineno


def test_program_that_takes_what_it_is_given_has_changed_nothing(words, tmp_path):
    cfg = set_up(words)
    cfg.DATASET.ROOT = f"{tmp_path}/./pictures"  # the same folder
    cfg.OPTIM.WARMUP_EPOCH = 3  # nobody has asked for another
    assert changes(cfg) == []


def test_each_setting_that_is_set_afterwards_is_told_with_its_place(words):
    cfg = set_up(words)
    cfg.OPTIM.MAX_EPOCH = 200
    cfg["SEED"] = 7
    at = line()
    assert changes(cfg) == [
        f"OPTIM.MAX_EPOCH: asked 5 (file mpl.yaml), got 200 (changed at {HERE}:{at - 2})",
        f"SEED: asked 1 (flag --seed), got 7 (changed at {HERE}:{at - 1})",
    ]


def test_place_is_seen_from_the_current_folder(words, monkeypatch):
    cfg = set_up(words)
    cfg.SEED = 7
    monkeypatch.chdir(HERE.parent)
    assert f"(changed at {HERE.name}:" in changes(cfg)[0]


def test_merges_behind_the_options_are_told_also_of_a_clone(words, tmp_path):
    (tmp_path / "more.yaml").write_text("OPTIM:\n  LR: 0.1\n")
    cfg = set_up(words)
    cfg.merge_from_list(["DATASET.NUM_SHOTS", 16])
    cfg.merge_from_file("more.yaml")
    cfg.OPTIM.merge_from_list(["MAX_EPOCH", 9])
    at = line()
    told = [
        f"OPTIM.MAX_EPOCH: asked 5 (file mpl.yaml), got 9 (changed at {HERE}:{at - 1})",
        f"OPTIM.LR: asked 0.5 (option), got 0.1 (changed at {HERE}:{at - 2})",
        f"DATASET.NUM_SHOTS: asked 4 (option), got 16 (changed at {HERE}:{at - 3})",
    ]
    assert changes(cfg) == told
    assert changes(cfg.clone()) == told


def test_notes_are_read_by_who_does_not_know_us(words):
    cfg = set_up(words)
    assert b"modprompt.trainers" not in pickle.dumps(cfg)
    assert pickle.loads(pickle.dumps(cfg)) == cfg


def test_program_that_never_merges_the_options_is_told(words):
    args = parse([*words, "NOWHERE.KEY", "1"])
    cfg = get_cfg_default()
    cfg.merge_from_file(args.dataset_config_file)
    cfg.DATASET.ROOT, cfg.SEED, cfg.TRAINER.NAME = args.root, args.seed, args.trainer
    told = {one.partition(":")[0]: one.partition(": ")[2] for one in changes(cfg)}
    assert told["OPTIM.LR"] == "asked 0.5 (option), got 0.0003 (nobody has set it)"
    assert told["INPUT.SIZE"].startswith("asked [32, 32] (file mpl.yaml), got [224, 224]")  # nor the file
    assert told["NOWHERE.KEY"] == "asked 1 (option), it is in no configuration (nobody has set it)"


@pytest.mark.parametrize(
    "more",
    [
        ["--epochs", "9"],
        ["--epoch", "9"],  # as much of it as argparse asks for
        ["--transforms", "random_flip", "normalize"],
        ["--transforms=random_flip"],
    ],
)
def test_what_the_program_sets_by_a_flag_that_was_given_is_the_users(more, words):
    cfg = set_up([*more, "--fast", *words])
    assert changes(cfg) == []


def test_flag_that_takes_no_value_is_the_users_too(words, tmp_path):
    (tmp_path / "data.yaml").write_text("USE_CUDA: True\n")
    cfg = set_up(["--no-cuda", *words])
    assert cfg.USE_CUDA is False
    assert changes(cfg) == []


def test_equal_numbers_are_no_reason(words):
    cfg = set_up(["--load-epoch", "50", "--mode", "200", *words])
    cfg.OPTIM.MAX_EPOCH = 50
    assert len(changes(cfg)) == 1
    cfg.OPTIM.MAX_EPOCH = 200
    assert len(changes(cfg)) == 1


def test_flags_may_be_cut_short_and_values_may_look_like_keys(words):
    words = [word.replace("--seed", "--se").replace("--config-file", "--con") for word in words]
    cfg = set_up(["--model-dir", "RUN.1", "--mode", "TEST", "--eval", *words])
    cfg.SEED, cfg.OPTIM.MAX_EPOCH = 7, 8
    assert [one.partition(":")[0] for one in changes(cfg)] == ["OPTIM.MAX_EPOCH", "SEED"]
    assert overrides.only_tests()
    assert overrides.model_to_test() == ("RUN.1", None)


def test_files_count_in_the_order_in_which_they_were_merged(words, tmp_path):
    (tmp_path / "data.yaml").write_text("DATASET:\n  NAME: EuroSAT\nOPTIM:\n  MAX_EPOCH: 3\n")
    assert changes(set_up(words)) == []
    args = parse(words)
    cfg = get_cfg_default()
    cfg.merge_from_file(args.config_file)
    cfg.merge_from_file(args.dataset_config_file)
    cfg.DATASET.ROOT, cfg.SEED, cfg.TRAINER.NAME = args.root, args.seed, args.trainer
    cfg.merge_from_list(args.opts)
    assert (cfg.OPTIM.MAX_EPOCH, changes(cfg)) == (3, [])


def test_files_are_not_read_again(words, tmp_path, monkeypatch):
    (tmp_path / "mpl.yaml").write_text("OPTIM: &one\n  MAX_EPOCH: 5\nTRAINER:\n  MPL:\n    N_CTX: 2\n")  # an anchor
    cfg = set_up(words)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    cfg.OPTIM.MAX_EPOCH = 6
    assert [one.partition(" (changed")[0] for one in changes(cfg)] == [
        "OPTIM.MAX_EPOCH: asked 5 (file mpl.yaml), got 6"
    ]


@pytest.mark.parametrize("keeps", ["", "0", "false", "1"])
def test_settle_tells_and_puts_back_if_asked(keeps, words, monkeypatch, capsys):
    monkeypatch.setenv(overrides.KEEPS, keeps)
    cfg = set_up(words)
    cfg.OPTIM.MAX_EPOCH, cfg.OPTIM.LR, cfg.SEED, cfg.INPUT.SIZE = 200, 3.0, None, [64, 64]
    cfg.freeze()
    overrides.settle(cfg)
    said = capsys.readouterr().out.splitlines()
    assert cfg.is_frozen()
    if keeps == "1":
        assert [one.split(":")[0] for one in said] == ["kept"] * 4
        assert (cfg.OPTIM.MAX_EPOCH, cfg.OPTIM.LR, cfg.SEED, cfg.INPUT.SIZE) == (5, 0.5, 1, [32, 32])
        assert changes(cfg) == []
    else:
        assert len(said) == 5
        assert said[-1] == "note: --keep-settings gives them the value that was asked for"
        assert cfg.OPTIM.MAX_EPOCH == 200


@pytest.mark.parametrize("place", ["first", "behind several values", "last"])
def test_flag_of_ours_is_known_to_the_parser_and_not_to_the_program(place, words):
    before = vars(parse(words))
    assert not overrides.keeps_settings()
    at = words.index("OPTIM.LR")
    if place == "behind several values":
        words = ["--seed", "1", *words[:at], "--transforms", "normalize", "--keep-settings", *words[at:]]
        before["transforms"] = ["normalize"]
    else:
        words = ["--keep-settings", *words] if place == "first" else [*words, "--keep-settings"]
    assert vars(parse(words)) == before
    assert overrides.keeps_settings()
    assert parsed().options == ("OPTIM.LR", "0.5", "DATASET.NUM_SHOTS", "4")


def test_seed_that_is_put_back_seeds_again(words, monkeypatch):
    cfg = set_up(words)
    cfg.SEED = -1
    monkeypatch.setenv(overrides.KEEPS, "1")
    wanted = random.Random(1).random()
    random.seed(5)
    overrides.settle(cfg)
    assert random.random() == wanted


def test_what_is_in_no_configuration_cannot_be_kept(words, monkeypatch):
    cfg = set_up(words)
    parse([*words, "NOWHERE.KEY", "1"])
    monkeypatch.setenv(overrides.KEEPS, "1")
    with pytest.raises(UserError, match="--keep-settings: NOWHERE.KEY: asked 1"):
        overrides.settle(cfg)


def test_nothing_is_said_in_a_program_that_is_not_watched(words, capsys):
    cfg = set_up(words)
    cfg.OPTIM.MAX_EPOCH = 200
    merging.unwatch()
    overrides.settle(cfg)
    assert capsys.readouterr().out == ""
    assert not overrides.only_tests()
    assert "__setitem__" not in vars(CfgNode)
    assert "watches" not in vars(argparse.ArgumentParser.parse_known_args)


def test_program_that_parses_otherwise_is_told(words, capsys):
    overrides.settle(get_cfg_default())
    assert "does not read its words by argparse" in capsys.readouterr().out


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
    assert overrides.only_tests() == only_tests
    assert overrides.model_to_test() == wanted


def test_another_parser_of_the_program_is_not_taken_for_its_words(words):
    parse(words)
    other = argparse.ArgumentParser()
    other.add_argument("--gpus", default=1)
    other.parse_args(["--gpus", "2"])
    assert parsed().trainer == "MPL"
    assert sys.argv != words


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
    monkeypatch.setenv(overrides.KEEPS, keeps)
    cfg = set_up(words)
    overrides.settle(cfg)
    said = capsys.readouterr().out.splitlines()
    told = "TEST.FINAL_MODEL: nobody gave it; this Dassl has best_val, Dassl 0.6.3 has last_step"
    assert said[0] == f"{'kept' if keeps else 'note'}: {told}"
    assert len(said) == (1 if keeps else 2)
    final = cfg.TEST.FINAL_MODEL
    assert final == ("last_step" if keeps else "best_val")


def test_what_its_program_sets_and_nobody_gave_is_told_with_its_place(words, capsys):
    cfg = set_up(words)
    cfg.defrost()
    cfg.TEST.FINAL_MODEL = "best_val"
    overrides.settle(cfg)
    said = capsys.readouterr().out.splitlines()[0]
    assert said.startswith("note: TEST.FINAL_MODEL: nobody gave it; ")
    assert said.endswith(f"{HERE.name}:{inspect.currentframe().f_lineno - 4} sets best_val, Dassl 0.6.3 has last_step")


@pytest.mark.usefixtures("other_dassl")
def test_what_its_user_gives_is_no_default_of_its_dassl(words, capsys):
    overrides.settle(set_up([*words, "TEST.FINAL_MODEL", "best_val"]))
    assert capsys.readouterr().out == ""
