"""Records of rounds: which are this run's and whole, what is damaged is refused in a line, generators come back."""

import random

import numpy as np
import pytest
import torch
from dassl.config import get_cfg_default

import modprompt.trainers.run  # noqa: F401 - all trainers and readers
from modprompt.active import record
from modprompt.active.pool import Pool
from modprompt.active.record import CHOSEN, TESTED, Round
from modprompt.active.rounds import decisive
from modprompt.data.rounds import known
from modprompt.errors import UserError
from modprompt.trainers.training_state import generators_kept


@pytest.mark.parametrize("content", ["{", "[]", '{"number": 2, "settings": {}, "picks": [{"file": "x"}]}'])
def test_records_of_something_else_are_refused(tmp_path, content):
    (tmp_path / "round_2.json").write_text(content)
    with pytest.raises(
        UserError, match=r"round_2.json is damaged\. To select images again from round 2 on, move .*round_2\.\*"
    ):
        record.read(tmp_path, 2)


@pytest.fixture
def cfg():
    made = get_cfg_default()
    made.TRAINER.NAME = "MPL"
    return made


def test_other_settings_images_and_classes_are_told(cfg, dataset, tmp_path):
    before = decisive(cfg, Pool(dataset))
    assert "TRAINER.MPL.N_CTX" in before
    assert "TRAINER.COOP.N_CTX" not in before
    cfg.ACTIVE.ROUNDS, cfg.ACTIVE.MANUAL_LABELS = 9, True  # may be others
    assert decisive(cfg, Pool(dataset)) == before
    cfg.ACTIVE.GAMMA, cfg.TEST.NO_TEST = 0.5, True
    (tmp_path / "images" / "1.jpg").write_bytes(b"a test image, and one of the pool, of another size")
    dataset._classnames = ["cat", "dog", "frog"]
    after = decisive(cfg, Pool(dataset))
    assert {key for key in before if before[key] != after[key]} == {
        "ACTIVE.GAMMA",
        "whether TEST.NO_TEST",
        "the pool of images",
        "the validation and test images",
        "the class names",
    }


def test_rounds_are_taken_over_whole_or_not_at_all(tmp_path):
    mine, other, folder = {"OPTIM.LR": "0.1"}, tmp_path / "other", tmp_path / "out" / "rounds"
    folder.parent.mkdir()
    with pytest.raises(UserError, match="contains no active-learning rounds to resume from"):
        record.take_over(str(other), folder, mine)
    record.write(other / "rounds", Round(0, {"OPTIM.LR": "7"}, ()))
    record.write(other / "rounds", Round(2, mine, ()))
    with pytest.raises(
        UserError, match="contains a record of round 2, but the record of the earlier round 1 is missing"
    ):
        record.require_whole(other / "rounds")
    (other / "rounds" / "round_2.json").unlink()
    with pytest.raises(UserError, match=r"OPTIM.LR 7 -> 0.1.* Do not delete the files round_\*.csv"):
        record.take_over(str(other), folder, mine)
    assert not folder.exists()
    record.write(other / "rounds", Round(0, mine, ()))
    (other / "rounds" / "round_0" / "job").mkdir(parents=True)  # of a process that may still run
    folder.mkdir()
    (folder / "round_0.csv").write_text("labels of somebody")
    with pytest.raises(UserError, match="is not empty"):
        record.take_over(str(other), folder, mine)
    (folder / "round_0.csv").unlink()
    record.take_over(str(other), folder, mine)
    assert known(folder) == [0]
    assert not (folder / "round_0" / "job").exists()


def draws():
    return random.random(), random.gauss(0, 1), np.random.random_sample(), np.random.randn(), torch.rand(3).tolist()


def test_generators_go_on_where_they_were(tmp_path):
    random.gauss(0, 1), np.random.randn()  # both keep a second number for the next call
    record.keep_states(tmp_path, 0, CHOSEN)
    with generators_kept():
        assert draws()
    chosen = draws()
    record.keep_states(tmp_path, 0, TESTED)
    tested = draws()
    for after, wanted in ((CHOSEN, chosen), (TESTED, tested)):
        record.restore_states(tmp_path, 0, after)
        assert draws() == wanted


def test_states_that_are_gone_or_damaged_are_refused(tmp_path):
    said = r"cannot be restored \(The checkpoint .*round_0.pt does not exist\)\. To select images again from round 0 on"
    with pytest.raises(UserError, match=said):
        record.restore_states(tmp_path, 0, CHOSEN)
    record.keep_states(tmp_path, 0, CHOSEN)
    with pytest.raises(UserError, match=r"round_0.pt contains no state of round 0"):
        record.restore_states(tmp_path, 0, TESTED)
    path = tmp_path / "round_0.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"cannot be restored \(.*round_0.pt"):
        record.restore_states(tmp_path, 0, CHOSEN)
