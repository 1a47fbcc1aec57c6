"""Nodes as repositories have them: TRAINER.COOPAL as what it stands for, shared nodes as a method's own settings."""

import re

import pytest
from dassl.config import get_cfg_default
from dassl.engine import TRAINER_REGISTRY

from modprompt.cli.flags import parse_args, settings_of
from modprompt.errors import UserError
from modprompt.trainers import run  # noqa: F401 - registers all
from modprompt.trainers.config import of_settings
from tests.conftest import one_line
from tests.test_train import refusal


def built(*options, trainer="ALVLM"):
    return of_settings(settings_of(parse_args(["--trainer", trainer, *map(str, options)])))


def test_repositorys_set_up_is_what_nothing_given_means(capsys):
    active = built().ACTIVE
    assert (active.ROUNDS, active.METHOD, active.PCB, active.GIVE_UP, active.GAMMA) == (8, "none", True, True, 0.1)
    assert (active.BUDGET, active.MANUAL_LABELS, active.BADGE_ROWS) == (0, False, "right")
    assert (
        "ALVLM: the settings in TRAINER.COOPAL change ACTIVE.ROUNDS to 8, ACTIVE.METHOD to none, ACTIVE.PCB to True, "
        "ACTIVE.GIVE_UP to True, ACTIVE.GAMMA to 0.1.\n" in capsys.readouterr().out
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
    assert (
        ". Explicit settings take precedence: ACTIVE.ROUNDS, ACTIVE.METHOD, ACTIVE.PCB, ACTIVE.GAMMA.\n"
        in capsys.readouterr().out
    )


def test_without_rounds_it_is_coop_and_nothing_is_said_of_choosing():
    active = built("ACTIVE.ROUNDS", 0, "TRAINER.COOPAL.METHOD", "badge").ACTIVE
    assert (active.ROUNDS, active.METHOD, active.PCB) == (0, "", False)
    assert built("ACTIVE.ROUNDS", 0, "TRAINER.COOPAL.ASPATH", "dtd.json").TRAINER.COOP.ASPATH == "dtd.json"


def test_a_config_in_which_nobody_has_read_it_is_refused():
    cfg = get_cfg_default()
    cfg.TRAINER.NAME, cfg.TRAINER.COOPAL.METHOD = "ALVLM", "badge"
    trainer = TRAINER_REGISTRY.get("ALVLM")
    with pytest.raises(
        UserError,
        match="TRAINER.COOPAL are not supported by this program. Use modprompt's own train.py or `modprompt active`",
    ):
        trainer(cfg)
    trainer.make_method(built().clone())


def test_other_trainers_have_no_rounds_and_do_not_read_it():
    with pytest.warns(UserWarning, match=r"TRAINER.COOPAL are ignored because CoOp reads only TRAINER.COOP"):
        cfg = built("TRAINER.COOPAL.METHOD", "badge", trainer="CoOp")
    assert (cfg.ACTIVE.ROUNDS, cfg.ACTIVE.METHOD, cfg.ACTIVE.GIVE_UP) == (0, "", False)


@pytest.mark.parametrize("trainer", ["ALVLM", "CoOp"])
def test_key_that_nothing_reads_is_taken_and_told(trainer, capsys):
    built("TRAINER.COOP.TRAIN_TYPE", "freeze", trainer=trainer)
    assert "TRAINER.COOP.TRAIN_TYPE freeze (command line) is ignored." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["TRAINER.COOPAL.GAMMA", "-1"], r"TRAINER.COOPAL.GAMMA must be a number from 0 up, got -1"),
        (["TRAINER.COOPAL.ASPATH", "a", "TRAINER.COOPAL.AEPATH", "b"], r"TRAINER.COOPAL.ASPATH and AEPATH are both set"),
        (["TRAINER.COOPAL.METHODS", "a"], r"unknown setting 'TRAINER.COOPAL.METHODS'. Did you mean 'TRAINER.COOPAL.METHOD'"),
        (["TRAINER.COOPAL.PCB", "True"], r"unknown setting 'TRAINER.COOPAL.PCB'"),
    ],
)  # fmt: skip
def test_faults_have_its_names(words, message):
    with pytest.raises(UserError, match=message):
        built(*words)


def test_one_of_each_node_is_refused(command, capsys):
    words = command("ALVLM", "TRAINER.COOPAL.ASPATH", "a.json", "TRAINER.COOP.AEPATH", "b.json")
    assert "TRAINER.COOP.ASPATH and AEPATH are both set" in refusal(capsys, *words)


def test_settings_of_a_shared_node_are_the_methods_own_and_one_line_says_so(tmp_path, capsys):
    file = tmp_path / "vit_b16_ep100_ctxv1.yaml"  # as KgCoOp's repository has it
    file.write_text("TRAINER:\n  COOP:\n    CTX_INIT: True\n")
    given = [
        *("DATASET.NAME", "Digits", "TRAINER.COOP.N_CTX", 4, "TRAINER.COOP.W", 8.0),
        *("TRAINER.COOP.ALPHA", 1.0, "TRAINER.COCOOP.PREC", "fp32"),
    ]
    cfg = built("--config-file", file, *given, "TRAINER.COOP.PREC", "fp32", trainer="KgCoOp")
    node = cfg.TRAINER.KGCOOP
    assert (node.CTX_INIT, node.N_CTX, node.W, node.PREC) == ("True", 4, 8.0, "fp32")
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("KgCoOp: ")]
    assert said == [
        "KgCoOp: TRAINER.COOP.CTX_INIT sets TRAINER.KGCOOP.CTX_INIT to True, TRAINER.COOP.N_CTX sets TRAINER.KGCOOP.N_CTX to 4, "
        "TRAINER.COOP.W sets TRAINER.KGCOOP.W to 8, TRAINER.COOP.PREC sets TRAINER.KGCOOP.PREC to fp32. "
        "Ignored, as in the upstream repository: TRAINER.COOP.ALPHA, TRAINER.COCOOP.PREC."
    ]


def test_the_later_of_file_and_option_wins_under_whichever_name(tmp_path, capsys):
    file = tmp_path / "own.yaml"
    file.write_text("TRAINER:\n  KGCOOP:\n    W: 8.0\n    CTX_INIT: True\n  COOP:\n    N_CTX: 7\n")
    given = [
        "DATASET.NAME",
        "Digits",
        "TRAINER.COOP.W",
        5.0,
        "TRAINER.COOP.CTX_INIT",
        "False",
        "TRAINER.KGCOOP.N_CTX",
        3,
    ]
    node = built("--config-file", file, *given, trainer="KgCoOp").TRAINER.KGCOOP
    assert (node.W, node.CTX_INIT, node.N_CTX) == (5.0, "False", 3)
    assert ". Explicit settings take precedence: TRAINER.KGCOOP.N_CTX." in capsys.readouterr().out


def test_a_loss_node_is_read_and_what_is_given_itself_stays(tmp_path, capsys):
    file = tmp_path / "rn50.yaml"
    file.write_text("LOSS:\n  NAME: prograd\n  T: 2.0\n  GM: False\nTRAINER:\n  COOP:\n    CTX_INIT: True\n")
    given = ["DATASET.NAME", "Digits", "LOSS.LAMBDA", 0.8, "TRAINER.PROGRAD.T", 1.5]
    node = built("--config-file", file, *given, trainer="ProGrad").TRAINER.PROGRAD
    assert (node.CTX_INIT, node.LAMBDA, node.T) == ("True", 0.8, 1.5)
    out = capsys.readouterr().out
    assert (
        ". Explicit settings take precedence: TRAINER.PROGRAD.T. Ignored, as in the upstream repository: LOSS.GM.\n"
        in out
    )
    assert "LOSS.NAME" not in out


@pytest.mark.parametrize(
    ("trainer", "words", "message"),
    [
        ("ProGrad", ["LOSS.NAME", "kd"], "command line: LOSS.NAME must be prograd for ProGrad, got 'kd'"),
        ("CoOp", ["LOSS.NAME", "prograd"], "command line: unknown setting 'LOSS.NAME'"),
        ("CoOp", ["TRAINER.COOP.CTX_INIT", "True"], "TRAINER.COOP.CTX_INIT: the value must be a string, got 'True'"),
        ("CoOp", ["TRAINER.COOP.W", "8"], "unknown setting 'TRAINER.COOP.W'"),
        (
            "KgCoOp",
            ["TRAINER.COOP.N_CTX", "four"],
            "TRAINER.KGCOOP.N_CTX: the value must be a whole number, got 'four'",
        ),
    ],
)
def test_faults_of_shared_nodes_are_one_line(trainer, words, message):
    with one_line(re.escape(message)):
        built(*words, trainer=trainer)
