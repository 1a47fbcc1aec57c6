import pytest

from modprompt.hosts.rows import rows_of, with_rows
from tests.modprompt.hosts.stand_in import write_host

CONFIG = "configs/datasets/eurosat.yaml"
TASK = "--trainer MMRL TASK B2N TRAINER.NAME MPL"


@pytest.mark.parametrize(
    ("traits", "words", "added", "whole"),
    [
        ((), "--trainer MPL", "", "--trainer MPL"),
        (("task",), "--trainer MPL A 1", TASK, "--trainer MMRL A 1 TASK B2N TRAINER.NAME MPL"),
        (("task",), "--trainer=MPL TASK FS", "--trainer MMRL TRAINER.NAME MPL", "--trainer=MMRL TASK FS TRAINER.NAME MPL"),
        (("task",), "--trainer MMRL TRAINER.NAME MPL TASK CD", "", "--trainer MMRL TRAINER.NAME MPL TASK CD"),
        (("wrong labels",), "DATASET.NOISE_LABEL True", "", "DATASET.NOISE_LABEL True"),
        (("data set by a flag",), f"--dataset-config-file {CONFIG} A 1", "--dataset EuroSAT", f"--dataset EuroSAT --dataset-config-file {CONFIG} A 1"),
        (("data set by a flag",), "--dataset=DTD", "", "--dataset=DTD"),
        (("task", "wrong labels"), "--trainer MPL", f"{TASK} DATASET.NOISE_LABEL False", f"{TASK} DATASET.NOISE_LABEL False"),
    ],
)  # fmt: skip
def test_what_a_program_asks_for_is_added_and_what_was_given_stays(traits, words, added, whole, tmp_path):
    host = write_host(tmp_path / "host", *traits)
    more = with_rows(words.split(), host / "train.py", "MPL")
    assert more[:2] == (whole.split(), added)
    assert more.why.count("; ") == max(0, len(traits) - 1)


def test_every_row_says_why():
    (plot,), (clap,) = rows_of(b"cfg.OPTIM.MAX_EPOCH=200"), rows_of(b'"--backbone", type=str, default="RN50"')
    assert (plot.flags, clap.flags) == ({"--keep-settings": None}, {"--backbone": ""})
    assert rows_of(b"OPTIM.VISION_MAX_EPOCH + cfg.OPTIM.TEXT_MAX_EPOCH")[0].why
