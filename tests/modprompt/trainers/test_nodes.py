from dassl.config import get_cfg_default
from yacs.config import CfgNode

import modprompt.trainers.mpl  # noqa: F401 - registers the defaults
from modprompt.trainers.nodes import add_defaults, add_missing

REFERENCE = {"N_CTX": 2, "N_ADD_OP": 2, "N_RM_OP": 1, "CTX_INIT": "a photo of a", "PREC": "fp16", "PROMPT_DEPTH": 9}


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


def test_defaults_are_copied():
    defaults = CfgNode({"A": {"B": 1}})
    one, two = CfgNode(), CfgNode()
    add_missing(one, defaults)
    add_missing(two, defaults)
    one.A.B = 2
    assert two.A.B == 1
