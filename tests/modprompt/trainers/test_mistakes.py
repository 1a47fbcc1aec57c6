import pytest
from dassl.config import get_cfg_default

import modprompt.data.readers.all  # noqa: F401 - EuroSAT
from modprompt.errors import UserError
from modprompt.trainers import mistakes


def test_data_set_that_nobody_has_and_files_that_are_not_there_are_mistakes(tmp_path):
    cfg = get_cfg_default()
    cfg.DATASET.NAME, cfg.DATASET.ROOT = "EuroSta", str(tmp_path)
    line = "DATASET.NAME: unknown name 'EuroSta'. Did you mean 'EuroSAT'"
    with pytest.raises(UserError, match=line), mistakes.of_reader(cfg.DATASET.NAME, cfg.DATASET.ROOT):
        raise ValueError("The requested one is expected to belong to [...]")
    cfg.DATASET.NAME = "EuroSAT"
    with (
        pytest.raises(ValueError, match="a fault of a reader") as raised,
        mistakes.of_reader(cfg.DATASET.NAME, cfg.DATASET.ROOT),
    ):
        raise ValueError("a fault of a reader")
    assert not isinstance(raised.value, UserError)
    missing = tmp_path / "eurosat"
    with pytest.raises(UserError) as raised, mistakes.of_reader(cfg.DATASET.NAME, cfg.DATASET.ROOT):
        missing.iterdir().__next__()
    line = f"Cannot read the data set EuroSAT: No such file or directory: {missing} (DATASET.ROOT is {tmp_path}). Check DATASET.ROOT."
    assert str(raised.value) == line
    assert raised.value.filename == str(missing)


def test_names_that_dassl_does_not_have_are_mistakes():
    with pytest.raises(UserError, match="OPTIM: optim must be one of"), mistakes.of_settings("OPTIM"):
        raise ValueError("optim must be one of [...], but got sgdd")
