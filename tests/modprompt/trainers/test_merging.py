import pytest
from dassl.config import get_cfg_default
from yacs.config import CfgNode

import modprompt.data.readers.all  # noqa: F401 - EuroSAT
import modprompt.trainers.mpl  # noqa: F401 - the node of MPL
from modprompt.errors import UserError
from modprompt.trainers import merging
from modprompt.trainers.mistakes import of_reader


@pytest.fixture
def ours(monkeypatch, tmp_path):
    """A switch: whether the program is asked for one of our trainers."""
    asked = {"ours": True}
    monkeypatch.chdir(tmp_path)
    merging.watch(lambda: asked["ours"])
    yield asked
    merging.unwatch()


def test_unwatch_gives_yacs_back_its_own():
    before = {name: getattr(CfgNode, name) for name in ("__setattr__", "merge_from_file", "merge_from_list")}
    merging.watch(lambda: True)
    merging.watch(lambda: True)
    assert merging.is_watched()
    merging.unwatch()
    assert not merging.is_watched()
    assert {name: getattr(CfgNode, name) for name in before} == before


def test_notes_change_no_value_and_stand_in_no_dump(ours):
    cfg, plain = get_cfg_default(), get_cfg_default()
    cfg.OPTIM.LR = cfg.OPTIM.LR
    assert cfg == plain
    assert cfg.dump() == plain.dump()
    cfg.freeze()
    with pytest.raises(AttributeError):
        cfg.OPTIM.LR = 3.0
    assert merging.place_of(cfg, "OPTIM.LR").startswith(__file__.rpartition("/")[2]) or ":" in merging.place_of(
        cfg, "OPTIM.LR"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["TRAINER.MPL.N_CTXX", 2], "options: .*TRAINER.MPL.N_CTXX; did you mean TRAINER.MPL.N_CTX"),
        (["TRAINER.MPL.N_CTX", "many"], "options: Type mismatch .*TRAINER.MPL.N_CTX"),
        (["OPTIM.LR"], "options: Override list has odd length"),
    ],
)
def test_options_that_do_not_fit_are_one_line_for_our_trainers_alone(options, message, ours):
    with pytest.raises(UserError, match=message) as raised:
        get_cfg_default().merge_from_list(options)
    assert "\n" not in str(raised.value)
    ours["ours"] = False
    with pytest.raises((AssertionError, ValueError)) as raised:
        get_cfg_default().merge_from_list(options)
    assert not isinstance(raised.value, UserError)


@pytest.mark.parametrize("folder", ["configs/trainers/MPL", "configs/trainers/ModMPL"])
@pytest.mark.parametrize("is_there", [False, True])
def test_misspelt_config_of_mpl_names_the_near_ones(folder, is_there, ours, tmp_path):
    if is_there:
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "vit_mine.yaml").touch()
    with pytest.raises(UserError) as raised:
        get_cfg_default().merge_from_file(f"{folder}/vit_b4_c1_ad2_rm1.yaml")
    message = str(raised.value)
    assert message.startswith(f"there is no config file {folder}/vit_b4_c1_ad2_rm1.yaml; did you mean ")
    assert "vit_b4_c1_add2_rm1.yaml" in message
    ours["ours"] = False
    with pytest.raises(FileNotFoundError):
        get_cfg_default().merge_from_file(f"{folder}/vit_b4_c1_ad2_rm1.yaml")


def test_other_files_that_are_not_there_name_their_neighbours(ours, tmp_path):
    with pytest.raises(UserError, match="there is no config file data/eurosta.yaml; beside it there is: nothing"):
        get_cfg_default().merge_from_file("data/eurosta.yaml")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "eurosat.yaml").touch()
    with pytest.raises(UserError, match="did you mean eurosat.yaml"):
        get_cfg_default().merge_from_file("data/eurosta.yaml")


def test_file_with_an_unknown_key_is_named(ours, tmp_path):
    (tmp_path / "mine.yaml").write_text("OPTIM:\n  MAX_EPOCHS: 3\n")
    with pytest.raises(UserError, match=r"mine.yaml: .*OPTIM.MAX_EPOCHS; did you mean OPTIM.MAX_EPOCH\?"):
        get_cfg_default().merge_from_file("mine.yaml")


def test_data_set_that_nobody_has_and_files_that_are_not_there_are_mistakes(tmp_path):
    cfg = get_cfg_default()
    cfg.DATASET.NAME, cfg.DATASET.ROOT = "EuroSta", str(tmp_path)
    with pytest.raises(UserError, match="DATASET.NAME: there is no 'EuroSta'; did you mean 'EuroSAT'"), of_reader(cfg):
        raise ValueError("The requested one is expected to belong to [...]")
    cfg.DATASET.NAME = "EuroSAT"
    with pytest.raises(ValueError, match="a fault of a reader") as raised, of_reader(cfg):
        raise ValueError("a fault of a reader")
    assert not isinstance(raised.value, UserError)
    missing = tmp_path / "eurosat"
    with pytest.raises(UserError) as raised, of_reader(cfg):
        missing.iterdir().__next__()
    line = f"data set EuroSAT: No such file or directory: {missing} (DATASET.ROOT is {tmp_path})"
    assert str(raised.value) == line
    assert raised.value.filename == str(missing)
