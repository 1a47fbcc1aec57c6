import sys

import pytest

from modprompt.errors import UserError
from modprompt.hosts.program import PROTOCOLS, Asks, asks_of, main

PARSER = """
import argparse
from dassl.config import get_cfg_default


def reset_cfg(cfg, args):
    if args.root:
        cfg.DATASET.ROOT = args.root
    if args.trainer:
        cfg.TRAINER.NAME = args.trainer
    if args.backbone:
        cfg.MODEL.BACKBONE.NAME = args.backbone


def setup_cfg(args):
    cfg = get_cfg_default()
    {before}
    cfg.merge_from_file(args.config_file)
    reset_cfg(cfg, args)
    {between}
    cfg.merge_from_list(args.opts)
    {after}
    return cfg


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", default="")
    parser.add_argument("--trainer", default="" {trainer})
    parser.add_argument("--backbone", type=str, default={backbone!r})
    parser.add_argument("--config-file", required=True)
    {flags}
    parser.add_argument("opts", default=None, nargs=argparse.REMAINDER)
    args = parser.parse_args()
    cfg = setup_cfg(args)
"""
LOOKS_UP = "cfg.merge_from_list(overrides(cfg.DATASET.NAME, trainer=cfg.TRAINER.NAME, task=args.opts[args.opts.index('TASK') + 1]))"
OVERRIDES = """
TASKS = ["B2N", "FS", "CD"]


def overrides(dataset, trainer, task):
    assert task in TASKS, "one of these"
    assert trainer in ["FIRST", "SECOND"]
    return []
"""


def write(folder, before="pass", between="pass", after="pass", trainer="", backbone="", flags=""):
    source = PARSER.format(before=before, between=between, after=after, trainer=trainer, backbone=backbone, flags=flags)
    (folder / "train.py").write_text(source)
    return folder


def test_plain_one_asks_for_nothing(tmp_path):
    write(tmp_path, flags='parser.add_argument("--alpha", type=float, default=0.2)')
    assert asks_of(tmp_path, "MPL") == Asks((), (), "MPL")


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("imported", ["from trainers.config import overrides", "import trainers.config as own"])
def test_option_that_is_looked_up_and_trainer_names_that_are_asserted(protocol, imported, tmp_path):
    (tmp_path / "trainers").mkdir()
    (tmp_path / "trainers" / "config.py").write_text(OVERRIDES)
    call = LOOKS_UP if imported.startswith("from") else LOOKS_UP.replace("overrides(", "own.overrides(")
    write(tmp_path, between=f"{imported}; {call}")
    task = {"base2new": "B2N", "few_shot": "FS", "cross_dataset": "CD"}[protocol]
    asks = asks_of(tmp_path, "MPL", protocol)
    assert asks == Asks((), ("TASK", task, "TRAINER.NAME", "MPL"), "FIRST")
    assert asks_of(tmp_path, "SECOND", protocol).options == ("TASK", task)


def test_function_of_train_itself_and_other_names_for_the_words(tmp_path):
    write(tmp_path, between=LOOKS_UP.replace("overrides(", "overrides(*[], "))
    program = (tmp_path / "train.py").read_text().replace("def reset_cfg", OVERRIDES + "\n\ndef reset_cfg")
    program = program.replace("(cfg, args)", "(config, words)").replace("if args.", "if words.")
    (tmp_path / "train.py").write_text(program)
    assert asks_of(tmp_path, "MPL").options[:2] == ("TASK", "B2N")


@pytest.mark.parametrize(
    "refusal",
    [
        "assert cfg.TRAINER.NAME in ('ONE', 'TWO')",
        "assert cfg.TRAINER.NAME == 'ONE' or cfg.TRAINER.NAME == 'TWO'",
        "assert args.trainer in {'ONE', 'TWO'} and cfg.DATASET.NAME",
        "if args.trainer not in ['ONE', 'TWO']:\n        raise ValueError(args.trainer)",
        "if args.trainer != 'ONE' and args.trainer != 'TWO':\n        raise ValueError(args.trainer)",
        "if not (args.trainer == 'ONE'):\n        raise ValueError(args.trainer)",
    ],
)
def test_trainer_names_in_all_forms_of_refusing(refusal, tmp_path):
    write(tmp_path, between=refusal)
    assert asks_of(tmp_path, "MPL") == Asks((), ("TRAINER.NAME", "MPL"), "ONE")
    assert asks_of(tmp_path, "ONE") == Asks((), (), "ONE")


def test_trainer_that_the_parser_limits(tmp_path):
    write(tmp_path, trainer=", choices=['ONE', 'TWO']")
    assert asks_of(tmp_path, "MPL") == Asks((), ("TRAINER.NAME", "MPL"), "ONE")


@pytest.mark.parametrize(
    "harmless",
    [
        "if cfg.TRAINER.NAME == 'ONE':\n        raise ValueError('not this one')",
        "assert cfg.TRAINER.NAME != 'ONE'",
        "assert cfg.TRAINER.NAME",
        "if 'TASK' in args.opts:\n        task = args.opts[args.opts.index('TASK') + 1]",
        "task = args.opts[args.opts.index('TASK') + 1] if 'TASK' in args.opts else ''",
        "try:\n        task = args.opts.index('TASK')\n    except ValueError:\n        task = None",
        "import nowhere.at_all as there; there.overrides(args)",
        "setup_cfg(args)",  # calls itself
    ],
)
def test_what_only_looks_like_it_asks_for_nothing(harmless, tmp_path):
    write(tmp_path, between=harmless)
    assert asks_of(tmp_path, "MPL") == Asks((), (), "MPL")


def test_flag_that_decides_the_data_set(tmp_path):
    flag = 'parser.add_argument("--dataset", type=str, default=None)'
    write(tmp_path, after="cfg.DATASET.NAME = args.dataset", flags=flag)
    assert asks_of(tmp_path, "MPL", dataset="Food101") == Asks(("--dataset", "Food101"), (), "MPL")
    write(tmp_path, after="if args.dataset:\n        cfg.DATASET.NAME = args.dataset", flags=flag)
    assert asks_of(tmp_path, "MPL").flags == ()
    write(tmp_path, after="cfg.DATASET.NAME = args.dataset", flags=flag.replace("None", "'EuroSAT'"))
    assert asks_of(tmp_path, "MPL").flags == ()


def test_required_flags_get_a_value_or_are_named(tmp_path):
    flags = """parser.add_argument("--task", required=True, choices=["base2novel", "fewshot"])
    parser.add_argument("--dataset", required=True, choices=["eurosat", "dtd"])
    parser.add_argument("-k", "--knowledge-file", dest="known", required=True)"""
    write(tmp_path, flags=flags)
    asks = asks_of(tmp_path, "MPL", "few_shot")
    assert asks == Asks(("--task", "fewshot", "--dataset", "eurosat"), (), "MPL", ("--knowledge-file",))
    assert asks_of(tmp_path, "MPL", "few_shot", "Food101").unknown == ("--dataset", "--knowledge-file")
    assert asks_of(tmp_path, "MPL", "cross_dataset").unknown == ("--task", "--knowledge-file")


def test_backbone_that_a_flag_decides_over_the_config_file_is_emptied(tmp_path):
    write(tmp_path, backbone="RN50")
    assert asks_of(tmp_path, "MPL").flags == ("--backbone", "")


def test_labels_that_are_made_wrong_are_left_right(tmp_path):
    write(tmp_path, before="cfg.DATASET.NOISE_LABEL = True")
    assert asks_of(tmp_path, "MPL").options == ("DATASET.NOISE_LABEL", "False")
    write(tmp_path, before="cfg.DATASET.NOISE_LABEL = False")
    assert asks_of(tmp_path, "MPL").options == ()


def test_program_may_have_another_name(tmp_path):
    write(tmp_path, before="cfg.DATASET.NOISE_LABEL = True")
    (tmp_path / "train.py").rename(tmp_path / "main.py")
    assert asks_of(tmp_path, "MPL", program="main.py").options == ("DATASET.NOISE_LABEL", "False")


def test_nothing_of_it_is_run(tmp_path):
    (tmp_path / "trainers").mkdir()
    (tmp_path / "trainers" / "config.py").write_text(f"raise SystemExit\n{OVERRIDES}")
    write(tmp_path, between=f"from trainers.config import overrides; {LOOKS_UP}", before="raise SystemExit")
    assert asks_of(tmp_path, "MPL").trainer == "FIRST"
    assert "trainers.config" not in sys.modules


def test_program_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(UserError, match="cannot read .*train.py"):
        asks_of(tmp_path, "MPL")
    (tmp_path / "train.py").write_bytes(b"print 'old'\n")
    with pytest.raises(UserError, match="train.py is not a Python program"):
        asks_of(tmp_path, "MPL")
    (tmp_path / "train.py").write_bytes(b"\xff\x00")
    with pytest.raises(UserError, match="train.py is not a Python program"):
        asks_of(tmp_path, "MPL")
    write(tmp_path)
    with pytest.raises(UserError, match="no protocol 'active': base2new, few_shot, cross_dataset"):
        asks_of(tmp_path, "MPL", "active")


def test_module_of_the_codebase_that_is_no_python_is_passed_over(tmp_path):
    (tmp_path / "trainers").mkdir()
    (tmp_path / "trainers" / "config.py").write_text("def overrides(:\n")
    write(tmp_path, between=f"from trainers.config import overrides; {LOOKS_UP}")
    assert asks_of(tmp_path, "MPL") == Asks((), (), "MPL", ("TASK",))


def test_printed_a_word_a_line(tmp_path, capsys):
    flag = 'parser.add_argument("--dataset")'
    write(tmp_path, before="cfg.DATASET.NOISE_LABEL = True", after="cfg.DATASET.NAME = args.dataset", flags=flag)
    (tmp_path / "dtd.yaml").write_text('OTHER:\n  NAME: x\nDATASET:\n  # NAME: y\n  NAME: "Textures"  # of things\n')
    assert main([str(tmp_path), "MPL", "few_shot", "dtd.yaml"]) == 0
    lines = ["trainer MPL", "flag --dataset", "flag Textures", "option DATASET.NOISE_LABEL", "option False"]
    assert capsys.readouterr().out.splitlines() == lines
    assert main([str(tmp_path), "MPL", "few_shot", "configs/food101.yaml"]) == 0
    assert "flag food101" in capsys.readouterr().out.splitlines()
    assert main([str(tmp_path / "nowhere"), "MPL", "few_shot", "dtd.yaml"]) == 2
    assert capsys.readouterr().err.startswith("error: cannot read ")
    assert main([]) == 2
