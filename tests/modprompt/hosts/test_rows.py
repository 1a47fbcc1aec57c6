import pytest

from modprompt.hosts.rows import row_of, with_row
from tests.modprompt.hosts.stand_in import write_host

CONFIG = "configs/datasets/eurosat.yaml"


@pytest.fixture
def asking(tmp_path):
    def row(**traits):
        host = write_host(tmp_path / "host", **traits)
        return host, row_of((host / "train.py").read_bytes())

    return row


def test_a_program_that_asks_for_nothing_has_no_row(asking):
    assert asking()[1] is None


@pytest.mark.parametrize(
    ("traits", "words", "added", "whole"),
    [
        (
            {"task": True},
            ["--trainer", "MPL", "A", "1"],
            "--trainer MMRL TASK B2N TRAINER.NAME MPL",
            ["--trainer", "MMRL", "A", "1", "TASK", "B2N", "TRAINER.NAME", "MPL"],
        ),
        ({"task": True}, ["--trainer=MPL", "TASK", "FS"], "--trainer MMRL TRAINER.NAME MPL", ["--trainer=MMRL", "TASK", "FS", "TRAINER.NAME", "MPL"]),
        ({"task": True}, ["--trainer", "MMRL", "TRAINER.NAME", "MPL", "TASK", "CD"], "", ["--trainer", "MMRL", "TRAINER.NAME", "MPL", "TASK", "CD"]),
        ({"noise": True}, ["--trainer", "MPL"], "DATASET.NOISE_LABEL False", ["--trainer", "MPL", "DATASET.NOISE_LABEL", "False"]),
        ({"noise": True}, ["DATASET.NOISE_LABEL", "True"], "", ["DATASET.NOISE_LABEL", "True"]),
        (
            {"dataset_flag": True},
            ["--dataset-config-file", CONFIG, "A", "1"],
            "--dataset EuroSAT",
            ["--dataset", "EuroSAT", "--dataset-config-file", CONFIG, "A", "1"],
        ),
        ({"dataset_flag": True}, ["--dataset=DTD"], "", ["--dataset=DTD"]),
    ],
)  # fmt: skip
def test_what_a_program_asks_for_is_added_and_what_was_given_stays(traits, words, added, whole, asking):
    host, row = asking(**traits)
    assert with_row(words, row, "MPL", host) == (whole, added)


def test_every_row_says_why():
    assert row_of(b"cfg.OPTIM.MAX_EPOCH=200").flags == {"--keep-settings": None}
    assert row_of(b'"--backbone", type=str, default="RN50"').flags == {"--backbone": ""}
    assert row_of(b"OPTIM.VISION_MAX_EPOCH + cfg.OPTIM.TEXT_MAX_EPOCH").why
