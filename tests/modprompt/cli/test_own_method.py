"""A method of one's own needs nothing but its file: the guide's, in every command."""

import re
import sys

import pytest

from modprompt.cli import predict, train
from modprompt.errors import UserError
from modprompt.experiments.plan import file as experiment_file
from modprompt.trainers.prompt_trainer import PromptTrainer
from tests.conftest import ROOT, bare
from tests.registered import forget
from tests.stopping import stopped_before
from tests.test_train import refusal

GUIDE = (ROOT / "docs" / "own_trainer.md").read_text()


@pytest.fixture
def growing(tmp_path, monkeypatch):
    """The guide's method in the current folder."""
    (tmp_path / "growing.py").write_text(re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL)[0])
    monkeypatch.chdir(tmp_path)
    yield
    forget("Growing", "growing")
    sys.modules.pop("opening_gates", None)


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
    assert "batch size 4, optimizer sgd, learning rate 0.0035" in said
    assert "seed 1 **" in said
    assert "--import growing" in said  # the next command
    assert not [one for one in recwarn if "TRAINER.MPL" in str(one.message)]
    (run,) = (tmp_path / "output").glob("eurosat/shots_2/Growing/*/seed1")
    image = next(eurosat_root.rglob("*.jpg"))
    assert predict.main([str(run), str(image), "--import", "growing"]) == 0
    forget("Growing", "growing")
    with pytest.raises(UserError, match="belongs to the method Growing of the module growing.* --import growing"):
        predict.main([str(run), str(image)])


def small_run(root, clip_file, out, epochs):
    """Words of a run of the guide's method on small images."""
    words = ["--import", "growing", "--trainer", "Growing", "--root", root, "--dataset-config-file", "eurosat"]
    small = {"INPUT.SIZE": "(32, 32)", "OPTIM.MAX_EPOCH": epochs, "DATASET.NUM_SHOTS": 2, "DATALOADER.NUM_WORKERS": 0}
    small |= {"TRAINER.GROWING.PROMPT_DEPTH": 2}
    options = [*bare(clip_file), *(word for pair in small.items() for word in pair)]
    return [str(word) for word in (*words, "--seed", 1, "--output-dir", out, *options)]


def edit(file, old, new):
    """Change a module's source, which the next command imports anew."""
    file.write_text(file.read_text().replace(old, new))
    forget("Growing", "growing")


@pytest.mark.filterwarnings("ignore:.*was created with a different version")
def test_a_run_after_an_edit_of_the_source_is_another(growing, clip_file, eurosat_root, tmp_path, capsys):
    file, out = tmp_path / "growing.py", tmp_path / "out"
    (tmp_path / "opening_gates.py").write_text(
        "import torch\n\n\ndef opened(gates):\n    return torch.sigmoid(gates)\n"
    )
    edit(file, "torch.sigmoid(self.gates)", "opening_gates.opened(self.gates)")
    edit(file, "import torch\n", "import opening_gates\nimport torch\n")
    run = small_run(eurosat_root, clip_file, out, 2)
    with stopped_before(PromptTrainer, 1):
        assert train.main(run) == 130
    edit(tmp_path / "opening_gates.py", "sigmoid", "tanh")
    assert "contains a run with other settings (the source of growing " in refusal(capsys, *run)
    edit(tmp_path / "opening_gates.py", "tanh", "sigmoid")
    assert train.main(run) == 0
    assert "Resuming after epoch 1" in capsys.readouterr().out
    assert train.main(["--once", *run]) == 0
    assert "This run is already finished: " in capsys.readouterr().out
    edit(file, "Growing prompts in the image", "Prompts in the image")
    line = refusal(capsys, "--once", *run)
    assert f"a different finished run ({file}, or a module next to it that it imports, has changed)" in line
    assert "(the source of growing " in refusal(capsys, *run)
    with pytest.warns(
        UserWarning, match="was created with a different version of the module growing, so predictions may differ"
    ):
        predict.main([str(out), str(next(eurosat_root.rglob("*.jpg"))), "--import", "growing"])


def test_help_lists_its_settings_and_experiments_find_configs_by_name(growing, tmp_path, capsys):
    with pytest.raises(SystemExit):
        train.main(["--import", "growing", "--trainer", "Growing", "--help"])
    assert re.search(r"TRAINER.GROWING.PROMPT_DEPTH +6 ", capsys.readouterr().out)
    methods = re.search(r"```yaml\n(.*?)```", GUIDE, flags=re.DOTALL)[1]
    (tmp_path / "own.yaml").write_text(f"protocol: base2new\ndatasets: [digits]\n{methods}")
    (method,) = experiment_file.read(tmp_path / "own.yaml").methods
    assert (method.modules, method.config) == (["growing"], ROOT / "configs/trainers/MPL/glyph.yaml")
