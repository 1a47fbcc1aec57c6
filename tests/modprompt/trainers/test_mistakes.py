import argparse
import sys

import pytest
from dassl.config import get_cfg_default

import modprompt.data.readers.all  # noqa: F401 - EuroSAT
import modprompt.trainers.mpl  # noqa: F401 - the node of MPL
from modprompt.errors import UserError
from modprompt.hosts import foreign
from modprompt.trainers import mistakes


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])


def parse(*words):
    sys.argv[1:] = [str(word) for word in words]
    parser = argparse.ArgumentParser()
    parser.add_argument("--config-file", default="")
    parser.add_argument("--trainer", default="")
    parser.add_argument("opts", nargs=argparse.REMAINDER)
    return parser.parse_args()


def merged(cfg, *words):
    """The error of a program that merges what it was given."""
    args = parse("--trainer", "MPL", *words)
    try:
        if args.config_file:
            cfg.merge_from_file(args.config_file)
        cfg.merge_from_list(args.opts)
    except Exception as error:
        return error
    raise AssertionError("it was merged")


@pytest.mark.parametrize(
    ("options", "line", "kind"),
    [
        (["TRAINER.MPL.N_CTXX", "2"], "TRAINER.MPL.N_CTXX; did you mean TRAINER.MPL.N_CTX?", AssertionError),
        (["TRAINER.MPL.N_CTX", "many"], "for config key: TRAINER.MPL.N_CTX", ValueError),
        (["OPTIM.LR"], "Override list has odd length", AssertionError),
        (["OPTIM.LR.X", "1"], "options: ", TypeError),
    ],
)
def test_options_that_do_not_fit_stay_what_they_are_and_have_their_line(options, line, kind):
    error = merged(get_cfg_default(), *options)
    assert type(error) is kind
    told = mistakes.of_merge(error)
    assert told.startswith("options: ")
    assert line in told
    assert "\n" not in told
    assert foreign.mistake_of(error) == told
    sys.argv[sys.argv.index("MPL")] = "NobodysTrainer"
    assert foreign.mistake_of(error) == ""


def test_what_the_program_merges_by_itself_is_no_mistake_of_its_user():
    parse("--trainer", "MPL", "OPTIM.LR", "0.1")
    cfg = get_cfg_default()
    with pytest.raises(FileNotFoundError) as raised:
        cfg.merge_from_file("configs/local.yaml")
    assert mistakes.of_merge(raised.value) == ""
    with pytest.raises(AssertionError) as raised:
        cfg.merge_from_list(["TRAINER.HOSTKEY.X", 1])
    assert mistakes.of_merge(raised.value) == ""


@pytest.mark.parametrize("folder", ["configs/trainers/MPL", "configs/trainers/ModMPL"])
@pytest.mark.parametrize("is_there", [False, True])
def test_misspelt_config_of_mpl_names_the_near_ones(folder, is_there, tmp_path):
    if is_there:
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "vit_mine.yaml").touch()
    error = merged(get_cfg_default(), "--config-file", f"{folder}/vit_b4_c1_ad2_rm1.yaml")
    assert type(error) is FileNotFoundError
    told = mistakes.of_merge(error)
    assert told.startswith(f"there is no config file {folder}/vit_b4_c1_ad2_rm1.yaml; did you mean ")
    assert "vit_b4_c1_add2_rm1.yaml" in told


def test_other_files_that_are_not_there_name_their_neighbours(tmp_path):
    words = ("--config-file", "data/eurosta.yaml")
    line = "there is no config file data/eurosta.yaml; its folder has: nothing"
    assert mistakes.of_merge(merged(get_cfg_default(), *words)) == line
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "eurosat.yaml").touch()
    assert mistakes.of_merge(merged(get_cfg_default(), *words)).endswith("did you mean eurosat.yaml?")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("OPTIM:\n  MAX_EPOCHS: 3\n", "OPTIM.MAX_EPOCHS; did you mean OPTIM.MAX_EPOCH?"),
        ("OPTIM:\n\tLR: 1\n", "mine.yaml: it is not valid YAML ("),
        ("- a\n- b\n", "mine.yaml: "),
    ],
)
def test_file_that_does_not_fit_is_named(content, line, tmp_path):
    (tmp_path / "mine.yaml").write_text(content)
    told = mistakes.of_merge(merged(get_cfg_default(), "--config-file", "mine.yaml"))
    assert told.startswith("mine.yaml: ")
    assert line in told
    assert "\n" not in told


def test_data_set_that_nobody_has_and_files_that_are_not_there_are_mistakes(tmp_path):
    cfg = get_cfg_default()
    cfg.DATASET.NAME, cfg.DATASET.ROOT = "EuroSta", str(tmp_path)
    line = "DATASET.NAME: there is no 'EuroSta'; did you mean 'EuroSAT'"
    with pytest.raises(UserError, match=line), mistakes.of_reader(cfg):
        raise ValueError("The requested one is expected to belong to [...]")
    cfg.DATASET.NAME = "EuroSAT"
    with pytest.raises(ValueError, match="a fault of a reader") as raised, mistakes.of_reader(cfg):
        raise ValueError("a fault of a reader")
    assert not isinstance(raised.value, UserError)
    missing = tmp_path / "eurosat"
    with pytest.raises(UserError) as raised, mistakes.of_reader(cfg):
        missing.iterdir().__next__()
    line = f"data set EuroSAT: No such file or directory: {missing} (DATASET.ROOT is {tmp_path})"
    assert str(raised.value) == line
    assert raised.value.filename == str(missing)


def test_names_that_dassl_does_not_have_are_mistakes():
    with pytest.raises(UserError, match="OPTIM: optim must be one of"), mistakes.of_settings("OPTIM"):
        raise ValueError("optim must be one of [...], but got sgdd")
