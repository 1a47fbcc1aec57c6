"""What must be the same for rounds to go on, and whose folder it is."""

import pytest
from dassl.config import get_cfg_default

import modprompt.trainers.run  # noqa: F401 - all trainers and readers
from modprompt.active import record, same_run
from modprompt.active.pool import Pool
from modprompt.active.record import Round
from modprompt.data.rounds import known
from modprompt.errors import UserError


@pytest.fixture
def cfg():
    made = get_cfg_default()
    made.TRAINER.NAME = "MPL"
    return made


def test_other_settings_images_and_classes_are_told(cfg, dataset, tmp_path):
    before = same_run.decisive(cfg, Pool(dataset))
    assert "TRAINER.MPL.N_CTX" in before
    assert "TRAINER.COOP.N_CTX" not in before
    cfg.ACTIVE.ROUNDS, cfg.ACTIVE.ASK = 9, True  # may be others
    assert same_run.decisive(cfg, Pool(dataset)) == before
    cfg.ACTIVE.GAMMA, cfg.TEST.NO_TEST = 0.5, True
    (tmp_path / "images" / "1.jpg").write_bytes(b"a test image, and one of the pool, of another size")
    dataset._classnames = ["cat", "dog", "frog"]
    after = same_run.decisive(cfg, Pool(dataset))
    assert {key for key in before if before[key] != after[key]} == {
        "ACTIVE.GAMMA",
        "whether TEST.NO_TEST",
        "the pool of images",
        "the validation and test images",
        "the class names",
    }


def test_rounds_are_taken_over_whole_or_not_at_all(cfg, dataset, tmp_path):
    mine, other, folder = same_run.decisive(cfg, Pool(dataset)), tmp_path / "other", tmp_path / "out" / "rounds"
    folder.parent.mkdir()
    with pytest.raises(UserError, match="there are no rounds to resume from"):
        same_run.take_over(str(other), folder, mine)
    record.write(other / "rounds", Round(0, {**mine, "OPTIM.LR": "7"}, ()))
    record.write(other / "rounds", Round(2, mine, ()))
    with pytest.raises(UserError, match="has round 2 but no record of round 1"):
        same_run.require_whole(other / "rounds")
    (other / "rounds" / "round_2.json").unlink()
    with pytest.raises(UserError, match="OPTIM.LR 7 -> "):
        same_run.take_over(str(other), folder, mine)
    assert not folder.exists()
    record.write(other / "rounds", Round(0, mine, ()))
    (other / "rounds" / "round_0" / "job").mkdir(parents=True)  # of a process that may still run
    folder.mkdir()
    (folder / "round_0.csv").write_text("labels of somebody")
    with pytest.raises(UserError, match="is not empty"):
        same_run.take_over(str(other), folder, mine)
    (folder / "round_0.csv").unlink()
    same_run.take_over(str(other), folder, mine)
    assert known(folder) == [0]
    assert not (folder / "round_0" / "job").exists()
