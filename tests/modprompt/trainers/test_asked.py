import inspect
import os
import sys

import pytest
import torch
from dassl.config import get_cfg_default
from dassl.utils import set_random_seed

import modprompt.trainers.mpl  # noqa: F401 - the node of MPL
from modprompt.errors import UserError
from modprompt.trainers import asked, merging


@pytest.fixture(autouse=True)
def watched(monkeypatch, tmp_path):
    monkeypatch.setenv(asked.KEEPS, "")
    monkeypatch.chdir(tmp_path)
    merging.watch(lambda: True)
    yield
    merging.unwatch()


@pytest.fixture
def words(tmp_path):
    (tmp_path / "data.yaml").write_text("DATASET:\n  NAME: EuroSAT\n")
    (tmp_path / "mpl.yaml").write_text(
        "OPTIM:\n  MAX_EPOCH: 5\n  LR: 1.0\nINPUT:\n  SIZE: (32, 32)\nTRAINER:\n  MPL:\n    N_CTX: 2\n"
    )
    flags = ["--root", "pictures", "--seed", "1", "--trainer", "MPL", "--config-file", "mpl.yaml"]
    return [*flags, "--dataset-config-file=data.yaml", "--fast", "OPTIM.LR", "0.5", "DATASET.NUM_SHOTS", "4"]


def set_up(words):
    """What a program of the family does with its words."""
    cfg = get_cfg_default()
    cfg.merge_from_file("data.yaml")
    cfg.merge_from_file("mpl.yaml")
    cfg.DATASET.ROOT, cfg.SEED, cfg.TRAINER.NAME = "pictures", 1, "MPL"
    cfg.merge_from_list(words[words.index("OPTIM.LR") :])
    return cfg


def changes(cfg, words):
    return [str(one) for one in asked.changed(cfg, words)]


def line():
    return inspect.currentframe().f_back.f_lineno


def test_program_that_takes_what_it_is_given_has_changed_nothing(words):
    cfg = set_up(words)
    cfg.DATASET.ROOT = f"{sys.path and '.'}/pictures"  # the same folder
    cfg.OPTIM.WARMUP_EPOCH = 3  # nobody has asked for another
    assert changes(cfg, words) == []


def test_each_setting_that_is_set_afterwards_is_told_with_its_place(words):
    cfg = set_up(words)
    cfg.OPTIM.MAX_EPOCH = 200
    at = line() - 1
    cfg.SEED = 7
    assert changes(cfg, words) == [
        f"OPTIM.MAX_EPOCH: asked 5 (file mpl.yaml), got 200 (changed at {_here()}:{at})",
        f"SEED: asked 1 (flag --seed), got 7 (changed at {_here()}:{at + 2})",
    ]


def test_merges_behind_the_options_are_told_also_of_a_clone(words, tmp_path):
    cfg = set_up(words)
    cfg.merge_from_list(["DATASET.NUM_SHOTS", 16])
    at = line() - 1
    (tmp_path / "more.yaml").write_text("OPTIM:\n  LR: 0.1\n")
    cfg.merge_from_file("more.yaml")
    cfg = cfg.clone()
    assert changes(cfg, words) == [
        f"OPTIM.LR: asked 0.5 (option), got 0.1 (changed at {_here()}:{at + 3})",
        f"DATASET.NUM_SHOTS: asked 4 (option), got 16 (changed at {_here()}:{at})",
    ]


def test_program_that_never_merges_the_options_is_told(words):
    cfg = get_cfg_default()
    cfg.merge_from_file("data.yaml")
    cfg.merge_from_file("mpl.yaml")
    cfg.DATASET.ROOT, cfg.SEED, cfg.TRAINER.NAME = "pictures", 1, "MPL"
    told = changes(cfg, [*words, "NOWHERE.KEY", "1"])
    assert told[0].startswith("OPTIM.LR: asked 0.5 (option), got 1 (changed at ")
    assert told[1] == "DATASET.NUM_SHOTS: asked 4 (option), got -1 (nobody has merged it)"
    assert told[2] == "NOWHERE.KEY: asked 1 (option), it is in no configuration (nobody has merged it)"


def test_what_a_flag_of_the_programs_own_says_is_the_users_too(words):
    cfg = set_up(words)
    cfg.OPTIM.MAX_EPOCH = 9
    assert len(changes(cfg, words)) == 1
    assert changes(cfg, ["--epochs", "9", *words]) == []
    assert len(changes(cfg, ["--load-epoch", "1", *words])) == 1


def test_files_count_in_the_order_in_which_they_were_merged(words, tmp_path):
    (tmp_path / "data.yaml").write_text("DATASET:\n  NAME: EuroSAT\nOPTIM:\n  MAX_EPOCH: 3\n")
    cfg = set_up(words)
    assert changes(cfg, words) == []
    cfg = get_cfg_default()
    cfg.merge_from_file("mpl.yaml")
    cfg.merge_from_file("data.yaml")
    cfg.DATASET.ROOT, cfg.SEED, cfg.TRAINER.NAME = "pictures", 1, "MPL"
    cfg.merge_from_list(words[words.index("OPTIM.LR") :])
    assert (cfg.OPTIM.MAX_EPOCH, changes(cfg, words)) == (3, [])


@pytest.mark.parametrize("keeps", [False, True])
def test_settle_tells_and_puts_back_if_asked(keeps, words, monkeypatch, capsys):
    cfg = set_up(words)
    cfg.OPTIM.MAX_EPOCH, cfg.OPTIM.LR, cfg.SEED, cfg.INPUT.SIZE = 200, 3.0, 7, (64, 64)
    cfg.freeze()
    program = ["train.py", *words, *(["--keep-settings"] if keeps else [])]
    asked.take_flag(program)
    assert program == ["train.py", *words]
    monkeypatch.setattr(sys, "argv", program)
    asked.settle(cfg)
    said = capsys.readouterr().out.splitlines()
    assert cfg.is_frozen()
    if keeps:
        assert [one.split(":")[0] for one in said] == ["kept"] * 4
        assert (cfg.OPTIM.MAX_EPOCH, cfg.OPTIM.LR, cfg.SEED, cfg.INPUT.SIZE) == (5, 0.5, 1, (32, 32))
        assert changes(cfg, words) == []
    else:
        assert len(said) == 5
        assert said[-1] == "note: --keep-settings gives them the value that was asked for"
        assert cfg.OPTIM.MAX_EPOCH == 200


def test_seed_that_is_put_back_seeds_again(words, monkeypatch):
    cfg = set_up(words)
    cfg.SEED = -1
    monkeypatch.setattr(sys, "argv", ["train.py", *words])
    monkeypatch.setenv(asked.KEEPS, "1")
    set_random_seed(1)
    wanted = torch.rand(3)
    set_random_seed(5)
    asked.settle(cfg)
    assert torch.equal(torch.rand(3), wanted)


def test_what_is_in_no_configuration_cannot_be_kept(words, monkeypatch):
    cfg = set_up(words)
    monkeypatch.setattr(sys, "argv", ["train.py", *words, "NOWHERE.KEY", "1"])
    monkeypatch.setenv(asked.KEEPS, "1")
    with pytest.raises(UserError, match="--keep-settings: NOWHERE.KEY: asked 1"):
        asked.settle(cfg)


def test_nothing_is_said_in_a_program_that_is_not_watched(words, monkeypatch, capsys):
    cfg = set_up(words)
    cfg.OPTIM.MAX_EPOCH = 200
    merging.unwatch()
    monkeypatch.setattr(sys, "argv", ["train.py", *words])
    asked.settle(cfg)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--eval-only", "--model-dir", "run", "--load-epoch", "2"], ("run", 2)),
        (["--model-dir=run", "--eval-only", "DATASET.NUM_SHOTS", "4"], ("run", None)),
        (["--model-dir", "run", "--eval-only"], ("run", None)),
        (["--eval-only"], ("", None)),
    ],
)
def test_model_that_is_to_be_tested(words, wanted):
    assert asked.model_to_test(words) == wanted


def test_only_a_watched_program_only_tests():
    assert asked.only_tests(["--eval-only"])
    assert not asked.only_tests(["--model-dir", "run"])
    merging.unwatch()
    assert not asked.only_tests(["--eval-only"])


def test_epoch_that_is_no_number_is_refused():
    with pytest.raises(UserError, match="--load-epoch must be the number of an epoch, got 'last'"):
        asked.model_to_test(["--eval-only", "--model-dir", "run", "--load-epoch", "last"])


def _here():
    return min(__file__, os.path.relpath(__file__), key=len)
