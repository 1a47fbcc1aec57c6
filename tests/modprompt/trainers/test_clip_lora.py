"""The trainer CLIPLoRA: its steps against the public program's, how many there are, resuming, files."""

import json

import pytest
import torch

from modprompt.cli import train
from tests.conftest import ROOT, bare
from tests.modprompt.methods.record_clip_lora import BATCH, ITERS, SHOTS, inputs
from tests.modprompt.trainers.test_methods import Recorder

# Of the public program: PYTHONPATH=. python tests/modprompt/methods/record_clip_lora.py CHECKOUT OUT.json
REFERENCE = json.loads((ROOT / "tests/modprompt/methods/clip_lora.json").read_text())
SETTINGS = {  # of record_clip_lora.CASES
    "published": {},
    "vision": {"ENCODER": "vision", "POSITION": "up", "PARAMS": "q v o", "R": 4, "ALPHA": 2, "LR": 0.01},
    "text": {"ENCODER": "text", "POSITION": "half-bottom", "PARAMS": "v k", "LR": 0.01},
    "no dropout": {"DROPOUT": 0, "GRADIENT": "reference", "LR": 0.01},
}
CONFIG = """
DATALOADER:
  TRAIN_X:
    BATCH_SIZE: 8
  TEST:
    BATCH_SIZE: 256
  NUM_WORKERS: 0
INPUT:
  SIZE: (224, 224)
  INTERPOLATION: "bicubic"
  PIXEL_MEAN: [0.48145466, 0.4578275, 0.40821073]
  PIXEL_STD: [0.26862954, 0.26130258, 0.27577711]
  TRANSFORMS: ["random_resized_crop", "random_flip", "normalize"]
OPTIM:
  NAME: "adamw"
  LR: 2e-4
  WEIGHT_DECAY: 0.01
TRAIN:
  PRINT_FREQ: 1
"""


@pytest.fixture(scope="session")
def recorded_inputs(tmp_path_factory):
    return inputs(tmp_path_factory.mktemp("clip_lora"))


@pytest.fixture
def words(recorded_inputs, tmp_path):
    """Words of a run on the inputs of the recording, with settings of the node; LR is OPTIM's."""
    weights, root = recorded_inputs
    (tmp_path / "lora.yaml").write_text(CONFIG)

    def of(*more, **settings):
        rate = settings.pop("LR", 2e-4)
        node = {"PREC": "fp32", "N_ITERS": ITERS, "LITERAL_SCALE": 100, **settings}
        return [
            *("--root", str(root), "--seed", "1", "--trainer", "CLIPLoRA", "--output-dir", str(tmp_path / "out")),
            *("--config-file", str(tmp_path / "lora.yaml")),
            *("--dataset-config-file", str(ROOT / "configs/datasets/eurosat.yaml")),
            *bare(weights, (1, 2)),
            *("DATASET.NUM_SHOTS", str(SHOTS), "DATASET.VAL_FIRST", "True", "OPTIM.LR", str(rate)),
            *(word for key, value in node.items() for word in (f"TRAINER.CLIPLORA.{key}", str(value))),
            *map(str, more),
        ]

    return of


def result(folder):
    return json.loads((folder / "result.json").read_text())


@pytest.mark.parametrize("case", SETTINGS)
def test_steps_and_test_are_the_references(case, words, tmp_path, monkeypatch):
    """Every loss of two passes and a part of a third, the test, and the sums of what was learned."""
    seen, theirs = Recorder(monkeypatch), REFERENCE[case]
    assert train.main(words(**SETTINGS[case])) == 0
    assert [float(loss) for *_, loss in seen.batches] == pytest.approx(theirs["losses"], abs=1e-4)
    assert [len(labels) for _, labels, _ in seen.batches] == [BATCH, BATCH, 4, BATCH, BATCH, 4, BATCH, BATCH]
    assert result(tmp_path / "out")["correct"] == theirs["correct"]
    learned = dict(seen.trainer.model.prompt_learner.named_parameters())
    for name in "AB":
        total = sum(float(one.detach().double().abs().sum()) for key, one in learned.items() if key.endswith(name.lower()))
        assert total == pytest.approx(theirs[f"sum of {name}"], rel=1e-5)
    assert sum(one.numel() for one in learned.values()) == theirs["parameters"]
