"""A method of one's own needs nothing but its file: the guide's, in every command."""

import re

import pytest

from modprompt.cli import predict, train
from modprompt.errors import UserError
from modprompt.experiments.plan import spec
from tests.conftest import ROOT, bare
from tests.registered import forget

GUIDE = (ROOT / "docs" / "own_trainer.md").read_text()


@pytest.fixture
def growing(tmp_path, monkeypatch):
    """The guide's method in the current folder."""
    (tmp_path / "growing.py").write_text(re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL)[0])
    monkeypatch.chdir(tmp_path)
    yield
    forget("Growing", "growing")


def test_it_runs_as_mpls_would_and_is_known_by_its_module(growing, clip_file, eurosat_root, tmp_path, capsys, recwarn):
    words = ["--import", "growing", "--trainer", "Growing", "--root", str(eurosat_root)]
    small = [
        "INPUT.SIZE",
        "(32, 32)",
        "OPTIM.MAX_EPOCH",
        "1",
        "DATASET.NUM_SHOTS",
        "2",
        "TRAINER.GROWING.PROMPT_DEPTH",
        "2",
    ]
    small += ["DATALOADER.NUM_WORKERS", "0"]
    assert train.main([*words, "--dataset-config-file", "eurosat", *bare(clip_file), *small]) == 0
    said = capsys.readouterr().out
    assert "Growing uses" in said
    assert "configs/trainers/MPL/vit_b4_c1_add2_rm1.yaml" in said
    assert "batches of 4, sgd, learning rate 0.0035" in said
    assert "seed 1 **" in said
    assert "--import growing" in said  # the next command
    assert not [one for one in recwarn if "TRAINER.MPL" in str(one.message)]
    (run,) = (tmp_path / "output").glob("eurosat/shots_2/Growing/*/seed1")
    image = next(eurosat_root.rglob("*.jpg"))
    assert predict.main([str(run), str(image), "--import", "growing"]) == 0
    forget("Growing", "growing")
    with pytest.raises(UserError, match="belongs to Growing of the module growing.* --import growing"):
        predict.main([str(run), str(image)])


def test_help_lists_its_settings_and_experiments_find_configs_by_name(growing, tmp_path, capsys):
    with pytest.raises(SystemExit):
        train.main(["--import", "growing", "--trainer", "Growing", "--help"])
    assert re.search(r"TRAINER.GROWING.PROMPT_DEPTH +6 ", capsys.readouterr().out)
    methods = re.search(r"```yaml\n(.*?)```", GUIDE, flags=re.DOTALL)[1]
    (tmp_path / "own.yaml").write_text(f"protocol: base2new\ndatasets: [digits]\n{methods}")
    (method,) = spec.read(tmp_path / "own.yaml").methods
    assert (method.imports, method.config) == (("growing",), ROOT / "configs/trainers/MPL/glyph.yaml")
