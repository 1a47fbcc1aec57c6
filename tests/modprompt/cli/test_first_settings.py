import pytest
import yaml

from modprompt.cli import first_settings, flags
from modprompt.cli.defaults import configs_by_clip
from modprompt.methods.table import METHODS, ZERO_SHOT
from tests.conftest import ROOT


@pytest.mark.parametrize("row", METHODS, ids=lambda row: row.name)
def test_values_are_those_of_the_config_that_is_taken(row):
    config, values, _ = first_settings.given(row.name)
    if row.kind == ZERO_SHOT or first_settings.CLIP not in configs_by_clip(row.name):
        assert (config, values) == ("", {})
        return
    content = yaml.safe_load((ROOT / config).read_text())
    lr = None if "OPTIM.LR" in row.unread else content.get("OPTIM", {}).get("LR")
    assert values.get("OPTIM.LR") == lr
    assert not set(values) & set(row.unread)
    assert values.get("DATALOADER.TRAIN_X.BATCH_SIZE") == content["DATALOADER"].get("TRAIN_X", {}).get("BATCH_SIZE")
    assert None not in values.values()


def test_help_of_a_trainer_shows_them_above_its_own(capsys):
    with pytest.raises(SystemExit):
        flags.parse_args(["--trainer", "CoOp", "--help"])
    out = capsys.readouterr().out
    files = "for ViT-B/16: configs/trainers/CoOp/vit_b16_ctxv1.yaml, with TRAINER.COOP: CTX_INIT 'a photo of a'"
    values = "  OPTIM.MAX_EPOCH                 10              200  "
    places = [out.index(part) for part in ("for glyph-clip", values, files, "settings of CoOp, as")]
    assert places == sorted(places)
    assert "  DATASET.NUM_SHOTS " in out
