import pytest

from modprompt.hosts.rows import rows_of, with_rows
from tests.modprompt.hosts.stand_in import write_host

CONFIG = "configs/datasets/eurosat.yaml"


def test_a_program_that_asks_for_nothing_has_no_row(tmp_path):
    host = write_host(tmp_path / "host")
    assert rows_of((host / "train.py").read_bytes()) == []
    assert with_rows(["--trainer", "MPL"], host / "train.py", "MPL") == (["--trainer", "MPL"], "", "")


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
def test_what_a_program_asks_for_is_added_and_what_was_given_stays(traits, words, added, whole, tmp_path):
    host = write_host(tmp_path / "host", **traits)
    assert with_rows(words, host / "train.py", "MPL")[:2] == (whole, added)


def test_a_program_may_have_several_rows_and_each_says_why(tmp_path):
    host = write_host(tmp_path / "host", task=True, noise=True)
    more = with_rows(["--trainer", "MPL"], host / "train.py", "MPL")
    assert more.added == "--trainer MMRL TASK B2N TRAINER.NAME MPL DATASET.NOISE_LABEL False"
    assert more.why.count("; ") == 1


def test_every_row_says_why():
    (plot,), (clap,) = rows_of(b"cfg.OPTIM.MAX_EPOCH=200"), rows_of(b'"--backbone", type=str, default="RN50"')
    assert (plot.flags, clap.flags) == ({"--keep-settings": None}, {"--backbone": ""})
    assert rows_of(b"OPTIM.VISION_MAX_EPOCH + cfg.OPTIM.TEXT_MAX_EPOCH")[0].why
