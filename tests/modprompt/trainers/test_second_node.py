"""TRAINER.COOPAL of PCB's repository as the settings that it stands for."""

import pytest
from dassl.config import get_cfg_default
from dassl.engine import TRAINER_REGISTRY

from modprompt.cli.flags import parse_args, settings_of
from modprompt.errors import UserError
from modprompt.trainers import run  # noqa: F401 - registers all
from modprompt.trainers.config import build
from tests.test_train import refusal


def built(*options, trainer="ALVLM"):
    return build(settings_of(parse_args(["--trainer", trainer, *map(str, options)])))


def test_repositorys_set_up_is_what_nothing_given_means(capsys):
    active = built().ACTIVE
    assert (active.ROUNDS, active.METHOD, active.PCB, active.GIVE_UP, active.GAMMA) == (8, "none", True, True, 0.1)
    assert (active.BUDGET, active.ASK, active.BADGE_ROWS) == (0, False, "right")
    assert (
        "ALVLM: TRAINER.COOPAL stands for ACTIVE.ROUNDS 8, ACTIVE.METHOD none, ACTIVE.PCB True, ACTIVE.GIVE_UP True, "
        "ACTIVE.GAMMA 0.1\n" in capsys.readouterr().out
    )


def test_its_settings_stand_for_others():
    cfg = built("TRAINER.COOPAL.METHOD", "badge", "TRAINER.COOPAL.GAMMA", "1", "TRAINER.COOPAL.AEPATH", "dtd.json")
    assert (cfg.ACTIVE.METHOD, cfg.ACTIVE.GAMMA) == ("badge", 1.0)
    assert (cfg.TRAINER.COOP.ASPATH, cfg.TRAINER.COOP.AEPATH) == ("", "dtd.json")
    assert cfg.is_frozen()


def test_what_is_given_under_its_own_name_stays(capsys):
    given = {"ROUNDS": 3, "PCB": False, "METHOD": "entropy", "GAMMA": 0.5}
    words = [word for key, value in given.items() for word in (f"ACTIVE.{key}", value)]
    cfg = built("TRAINER.COOPAL.METHOD", "badge", *words)
    assert {key: cfg.ACTIVE[key] for key in given} == given
    assert cfg.ACTIVE.GIVE_UP
    assert "; given itself: ACTIVE.ROUNDS, ACTIVE.METHOD, ACTIVE.PCB, ACTIVE.GAMMA\n" in capsys.readouterr().out


def test_without_rounds_it_is_coop_and_nothing_is_said_of_choosing():
    active = built("ACTIVE.ROUNDS", 0, "TRAINER.COOPAL.METHOD", "badge").ACTIVE
    assert (active.ROUNDS, active.METHOD, active.PCB) == (0, "", False)
    assert built("ACTIVE.ROUNDS", 0, "TRAINER.COOPAL.ASPATH", "dtd.json").TRAINER.COOP.ASPATH == "dtd.json"


def test_a_config_in_which_nobody_has_read_it_is_refused():
    cfg = get_cfg_default()
    cfg.TRAINER.NAME, cfg.TRAINER.COOPAL.METHOD = "ALVLM", "badge"
    trainer = TRAINER_REGISTRY.get("ALVLM")
    with pytest.raises(UserError, match="TRAINER.COOPAL: its settings are read by train.py and `modprompt active`"):
        trainer.check_cfg(trainer.__new__(trainer), cfg)
    trainer.check_cfg(trainer.__new__(trainer), built().clone())


def test_other_trainers_have_no_rounds_and_do_not_read_it():
    with pytest.warns(UserWarning, match=r"TRAINER.COOPAL is set, but CoOp reads TRAINER.COOP alone"):
        cfg = built("TRAINER.COOPAL.METHOD", "badge", trainer="CoOp")
    assert (cfg.ACTIVE.ROUNDS, cfg.ACTIVE.METHOD, cfg.ACTIVE.GIVE_UP) == (0, "", False)


def test_nodes_of_others_are_warned_of_beside_both():
    with pytest.warns(
        UserWarning, match=r"TRAINER.MAPLE is set, but ALVLM reads TRAINER.COOP and TRAINER.COOPAL alone"
    ):
        built("TRAINER.MAPLE.N_CTX", 3, "TRAINER.COOP.N_CTX", 3, "TRAINER.COOPAL.METHOD", "random")


@pytest.mark.parametrize("trainer", ["ALVLM", "CoOp"])
def test_key_that_nothing_reads_is_taken_and_told(trainer, capsys):
    built("TRAINER.COOP.TRAIN_TYPE", "freeze", trainer=trainer)
    assert "TRAINER.COOP.TRAIN_TYPE freeze (command line): nothing reads it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["TRAINER.COOPAL.GAMMA", "-1"], r"TRAINER.COOPAL.GAMMA must be a number from 0 up, got -1"),
        (
            ["TRAINER.COOPAL.ASPATH", "a", "TRAINER.COOPAL.AEPATH", "b"],
            r"TRAINER.COOPAL.ASPATH and AEPATH are both set",
        ),
        (
            ["TRAINER.COOPAL.METHODS", "a"],
            r"no config key 'TRAINER.COOPAL.METHODS'; did you mean 'TRAINER.COOPAL.METHOD'",
        ),
        (["TRAINER.COOPAL.PCB", "True"], r"there is no config key 'TRAINER.COOPAL.PCB'"),
    ],
)
def test_faults_have_its_names(words, message):
    with pytest.raises(UserError, match=message):
        built(*words)


def test_one_of_each_node_is_refused(command, capsys):
    words = command("ALVLM", "TRAINER.COOPAL.ASPATH", "a.json", "TRAINER.COOP.AEPATH", "b.json")
    assert "TRAINER.COOP.ASPATH and AEPATH are both set" in refusal(capsys, *words)


def test_help_lists_both_nodes(capsys):
    with pytest.raises(SystemExit):
        parse_args(["--trainer", "ALVLM", "--help"])
    text = capsys.readouterr().out
    assert "TRAINER.COOP.N_CTX" in text
    assert "TRAINER.COOPAL.GAMMA" in text
    assert "SEARCH.ON" not in text
