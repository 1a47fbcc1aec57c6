"""A data set that is there stands for its reader, for a while."""

import pytest
from dassl.data.datasets import DATASET_REGISTRY, build_dataset
from yacs.config import CfgNode

import modprompt.data.readers.digits  # noqa: F401
from modprompt.active.given import given


def test_whoever_builds_it_gets_the_given_one():
    reader, mine = DATASET_REGISTRY.get("Digits"), object()
    cfg = CfgNode({"DATASET": {"NAME": "Digits"}, "VERBOSE": False})
    with given("Digits", mine):
        assert build_dataset(cfg) is mine
    with pytest.raises(ZeroDivisionError), given("Digits", mine):
        1 / 0  # noqa: B018
    assert DATASET_REGISTRY.get("Digits") is reader
