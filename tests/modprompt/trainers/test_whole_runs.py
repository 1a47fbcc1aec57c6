"""Runs with a joint head, a teacher or prompts that flow: stopped and gone on with, tested, asked, looked at, exported."""

import json

import pytest
import torch
from PIL import Image

import modprompt
from modprompt.cli import export, predict, train
from modprompt.trainers.prompt_trainer import PromptTrainer
from modprompt.use.page import look
from modprompt.use.trained import open_trained
from tests.methods import METHODS, TAUGHT, teacher_folder
from tests.stopping import stopped_before
from tests.test_runs import to

HEAD, FLOW = ("TRAINER.DEPT.ON", "True"), "TRAINER.HICROPL.FLOW"
RUNS = {
    "a head on CoOp": (METHODS["coop_end"], HEAD),
    "a head on MPL": (METHODS["mpl"], HEAD),
    "a teacher of CoOp": (METHODS["coop_end"], ("TRAINER.KDPL.ON", "True", "TRAINER.KDPL.TEACHER", teacher_folder)),
    "a teacher and its class features": (TAUGHT["promptkd"], ()),
    "a written flow": (METHODS["hicropl"], (FLOW, "written")),
    "a learned flow": (METHODS["hicropl"], (FLOW, "learned")),
}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:nothing says how images of"),  # of a random CLIP
]


@pytest.fixture(params=RUNS)
def words(request, command):
    """Words of a run of two epochs."""
    method, more = RUNS[request.param]
    more = [one() if callable(one) else one for one in more]
    return command(method, "OPTIM.MAX_EPOCH", 2, *more)


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


def clip_of(words):
    return words[words.index("MODEL.BACKBONE.PATH") + 1]


@pytest.mark.timeout(600)
def test_a_run_from_its_stop_to_its_files(words, tmp_path, capsys):
    assert train.main(to(words, tmp_path / "whole")) == 0

    with stopped_before(PromptTrainer, 1):
        assert train.main(words) == 130
    assert train.main(words) == 0
    assert "resuming after epoch 1" in capsys.readouterr().out
    whole, resumed = (result_of(tmp_path / name) for name in ("whole", "out"))
    assert (whole["prompts_hash"], whole["correct"]) == (resumed["prompts_hash"], resumed["correct"])

    out = str(tmp_path / "out")
    assert train.main(["--eval-only", "--model-dir", out, *to(words, tmp_path / "test")]) == 0
    assert result_of(tmp_path / "test")["correct"] == resumed["correct"]

    Image.new("RGB", (40, 50), "olive").save(tmp_path / "a.png")
    assert predict.main([out, str(tmp_path / "a.png"), "--clip", clip_of(words)]) == 0
    found = open_trained(out, clip=clip_of(words))
    names = found.model.classes.names
    seen = look(found, str(tmp_path / "a.png"), "\n".join(names))
    assert {name for name, _ in seen.shares} == set(names)

    for form in ("onnx", "safetensors"):
        file = str(tmp_path / f"a.{form}")
        assert export.main([out, "--to", form, "--out", file, "--clip", clip_of(words)]) == 0  # which compares it
    again = modprompt.load(tmp_path / "a.safetensors", found.model.clip_model)
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(again.eval()(images), found.model(images))


@pytest.mark.parametrize("name", ["a head on CoOp", "a written flow"])
def test_a_head_behind_it(name, command, tmp_path):
    method, more = RUNS[name]
    assert train.main(command(method, "OPTIM.MAX_EPOCH", 1, *more)) == 0
    behind = command("TaskRes", "TRAINER.TaskRes.PROMPTS_FROM", tmp_path / "out", "OPTIM.MAX_EPOCH", 1)
    assert train.main(to(behind, tmp_path / "behind")) == 0
    assert result_of(tmp_path / "behind")["images"] == result_of(tmp_path / "out")["images"]
