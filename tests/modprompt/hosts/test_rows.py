import pytest

from modprompt.hosts.rows import rows_of, with_rows

TASK = ("args.opts.index('TASK')", "--trainer MMRL TASK B2N TRAINER.NAME MPL")
FLAG, NOISE = "cfg.DATASET.NAME = args.dataset", "NOISE_LABEL = True"


@pytest.mark.parametrize(
    ("program", "words", "added", "whole"),
    [
        ("", "--trainer MPL", "", "--trainer MPL"),
        (TASK[0], "--trainer MPL A 1", TASK[1], "--trainer MMRL A 1 TASK B2N TRAINER.NAME MPL"),
        (TASK[0], "--trainer=MPL TASK FS", "--trainer MMRL TRAINER.NAME MPL", "--trainer=MMRL TASK FS TRAINER.NAME MPL"),
        (TASK[0], "--trainer MMRL TRAINER.NAME MPL TASK CD", "", "--trainer MMRL TRAINER.NAME MPL TASK CD"),
        (NOISE, "DATASET.NOISE_LABEL True", "", "DATASET.NOISE_LABEL True"),
        (FLAG, "--dataset-config-file a.yaml A 1", "--dataset EuroSAT", "--dataset EuroSAT --dataset-config-file a.yaml A 1"),
        (FLAG, "--dataset=DTD", "", "--dataset=DTD"),
        (TASK[0] + NOISE, "--trainer MPL", f"{TASK[1]} DATASET.NOISE_LABEL False", f"{TASK[1]} DATASET.NOISE_LABEL False"),
    ],
)  # fmt: skip
def test_what_a_program_asks_for_is_added_and_what_was_given_stays(program, words, added, whole, tmp_path):
    (tmp_path / "train.py").write_text(program)
    (tmp_path / "a.yaml").write_text("DATASET: {NAME: EuroSAT}\n")
    more = with_rows(words.split(), tmp_path / "train.py", "MPL")
    assert more[:2] == (whole.split(), added)
    assert more.why.count(", and the program ") == (program == TASK[0] + NOISE)


def test_programs_are_known_by_their_text():
    (plot,), (clap,) = rows_of(b"cfg.OPTIM.MAX_EPOCH=200"), rows_of(b'"--backbone", type=str, default="RN50"')
    assert (plot.flags, clap.flags) == ({"--keep-settings": None}, {"--backbone": ""})
    assert len(rows_of(b"OPTIM.VISION_MAX_EPOCH + cfg.OPTIM.TEXT_MAX_EPOCH")) == 1
