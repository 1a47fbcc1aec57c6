import pytest
from dassl.config import get_cfg_default
from dassl.engine import TRAINER_REGISTRY
from yacs.config import CfgNode

import modprompt.trainers.all  # noqa: F401 - registers the defaults
from modprompt.errors import SettingError, UserError
from modprompt.hosts import settings
from modprompt.io.settings import as_text, flat, read_settings
from modprompt.methods.table import METHODS
from modprompt.trainers.config import add_defaults, method_of, node_of
from modprompt.trainers.prompt_trainer import PromptTrainer
from tests.conftest import ROOT

WITH_NODES = [row.method for row in METHODS if row.method.node]

REFERENCE = {"N_CTX": 2, "N_ADD_OP": 2, "N_RM_OP": 1, "CTX_INIT": "a photo of a", "PREC": "fp16", "PROMPT_DEPTH": 9}


@pytest.fixture
def patched_yacs(monkeypatch):
    """yacs as other codebases use it."""
    for name in settings.MERGES:
        monkeypatch.setattr(CfgNode, name, getattr(CfgNode, name))  # the end of the test restores it
    settings.patch_yacs()


def test_defaults_are_known_as_soon_as_the_trainer_is_imported():
    cfg = get_cfg_default()
    assert {key: cfg.TRAINER.MPL[key] for key in REFERENCE} == REFERENCE
    assert cfg.DATASET.SUBSAMPLE_CLASSES == "all"
    assert cfg.MODEL.BACKBONE.PATH == ""


def test_only_missing_keys_are_added():
    cfg = CfgNode({"DATASET": {}, "MODEL": {"BACKBONE": {}}, "TRAINER": {"MPL": {"N_CTX": 7}}})
    cfg.freeze()
    add_defaults(cfg)
    assert cfg.TRAINER.MPL.N_CTX == 7
    assert cfg.TRAINER.MPL.PROMPT_DEPTH == 9
    assert cfg.TRAINER.is_frozen()


@pytest.mark.parametrize("cls", WITH_NODES, ids=lambda cls: cls.__name__)
def test_every_node_is_its_dataclass(cls):
    """There is one list of defaults: a node has the fields' keys and defaults, and PREC, and makes the same method."""
    node = get_cfg_default().TRAINER[cls.node_name()]
    assert dict(node) == {**cls().as_config(), "PREC": cls.prec}
    assert node == node_of(cls)
    assert method_of(cls, node) == cls()
    trainer = TRAINER_REGISTRY.get(cls.__name__)
    assert trainer.method_class is cls
    assert not {name for name in vars(trainer) if not name.startswith("__")} - {"method_class", "node_name", "parts"}


def test_every_registered_row_is_known_by_name():
    assert [row.name for row in METHODS] == [row.method.__name__ for row in METHODS]
    assert {row.name for row in METHODS} <= set(TRAINER_REGISTRY.registered_names())


@pytest.mark.usefixtures("patched_yacs")
@pytest.mark.parametrize("value", [0.5, "0.5", 3, "3", "-0.0", 1e-3])
@pytest.mark.parametrize("way", ["options", "file", "other"])
def test_a_weight_may_be_any_number_however_it_is_merged(value, way, tmp_path):
    cfg = get_cfg_default()
    if way == "options":
        cfg.merge_from_list(["TRAINER.MPL.TEXT_LOSS_WEIGHT", value])
    elif way == "file":
        (tmp_path / "a.yaml").write_text(f"TRAINER:\n  MPL:\n    TEXT_LOSS_WEIGHT: {float(value)!r}\n")
        cfg.merge_from_file(str(tmp_path / "a.yaml"))
    else:
        cfg.merge_from_other_cfg(CfgNode({"TRAINER": {"MPL": {"TEXT_LOSS_WEIGHT": float(value)}}}))
    cls = TRAINER_REGISTRY.get("MPL").method_class
    assert method_of(cls, cfg.TRAINER.MPL).text_loss_weight == float(value)


@pytest.mark.usefixtures("patched_yacs")
def test_a_file_with_a_base_is_merged_whole():
    """yacs knows no bases."""
    cfg = get_cfg_default()
    path = str(ROOT / "configs/trainers/MPL/glyph_selfreg.yaml")
    cfg.merge_from_file(path)
    given, values = read_settings(path), flat(cfg)
    assert {key: as_text(values[key]) for key in given} == {key: as_text(value) for key, value in given.items()}


@pytest.mark.usefixtures("patched_yacs")
@pytest.mark.filterwarnings("ignore:TRAINER.KGCOOP.CTX_INIT")  # words that its repository does not read
@pytest.mark.parametrize("way", ["options", "file", "other"])
def test_true_and_words_are_merged_where_both_mean_something(way, tmp_path):
    cfg, cls = get_cfg_default(), TRAINER_REGISTRY.get("KgCoOp").method_class
    for given, words in ((True, "a photo of a"), ("True", "a photo of a"), ("one two", "one two"), (False, "")):
        if way == "options":
            cfg.merge_from_list(["TRAINER.KGCOOP.CTX_INIT", given])
        elif way == "file":
            (tmp_path / "a.yaml").write_text(f"TRAINER: {{KGCOOP: {{CTX_INIT: {given!r}}}}}\n")
            cfg.merge_from_file(str(tmp_path / "a.yaml"))
        else:
            cfg.merge_from_other_cfg(CfgNode({"TRAINER": {"KGCOOP": {"CTX_INIT": given}}}))
        assert method_of(cls, cfg.TRAINER.KGCOOP).words() == words


def test_what_is_no_number_is_refused():
    with pytest.raises(ValueError, match="TEXT_LOSS_WEIGHT|Type mismatch"):
        get_cfg_default().merge_from_list(["TRAINER.MPL.TEXT_LOSS_WEIGHT", "much"])
    cfg = get_cfg_default()
    cfg.TRAINER.MPL.N_CTX = "2"
    with pytest.raises(SettingError, match="N_CTX must be a whole number, got '2'"):
        method_of(TRAINER_REGISTRY.get("MPL").method_class, cfg.TRAINER.MPL)


def test_trainer_without_a_method_is_one_line():
    class Old(PromptTrainer):
        pass

    with pytest.raises(UserError, match="Old has no method_class. Set method_class as docs/own_trainer.md"):
        Old.make_method(get_cfg_default())
