"""The trainer CLIPLoRA: its steps against the public program's, how many there are, resuming, files."""

import json
import math

import pytest
import torch

from modprompt.cli import export, train
from modprompt.data.readers.folders import EUROSAT
from tests import plain_lora
from tests.conftest import ROOT, bare, random_clip, slow_but
from tests.methods import METHODS
from tests.modprompt.methods.reference_runs import write_split
from tests.recorder import Recorder
from tests.test_runs import result, to
from tests.test_train import refusal

# Of the public program (MaxZanella/CLIP-LoRA at 358f0d7) on a CPU: its main.py on the inputs below with --n_iters 4
# --batch_size 8, the dropout and the seed of its own, and a case's settings. In that process clip._download gave clip.pt,
# `.half()` and `.cuda()` did nothing, torch.jit.load raised, loaders had no workers, and cls_acc counted the right ones.
REFERENCE = json.loads((ROOT / "tests/modprompt/methods/clip_lora.json").read_text())
MASK = [0, 1, 1, 0, 1, 0, 1, 1]  # of draws_as_recorded, where the recording was made
SHOTS, BATCH, ITERS = 2, 8, 4  # 20 training images of ten classes: 3 batches a pass, and of the third pass two
SETTINGS = {
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
    """(path of weights, root of a data tree)."""
    folder = tmp_path_factory.mktemp("clip_lora")
    numbers = {"input_resolution": 224, "context_length": 77, "vocab_size": 49408}
    model = random_clip(1, text_layers=12, vision_layers=12, resolution=224, patch=32)
    numbers = {key: torch.tensor(value) for key, value in numbers.items()}
    torch.save({**model.state_dict(), **numbers}, folder / "clip.pt")
    return folder / "clip.pt", write_split(folder / "data", range(1, 5), range(5, 8), range(8, 13))


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


def draws_as_recorded():
    """Whether dropout has the masks of the recording: builds of PyTorch differ."""
    return torch.empty(8).bernoulli_(0.75, generator=torch.Generator().manual_seed(0)).tolist() == MASK


@pytest.mark.parametrize("case", slow_but(SETTINGS, "published"))
def test_steps_and_test_are_the_references(case, words, tmp_path, monkeypatch):
    """Every loss of two passes and a part of a third, the test, and the sums of what was learned."""
    if case != "no dropout" and not draws_as_recorded():
        pytest.skip("this build of PyTorch draws other masks from a seed than the recording's (with MKL or without)")
    seen, theirs = Recorder(monkeypatch), REFERENCE[case]
    assert train.main(words(**SETTINGS[case])) == 0
    assert [float(loss) for *_, loss in seen.batches] == pytest.approx(theirs["losses"], abs=1e-4)
    assert [len(labels) for _, labels, _ in seen.batches] == [BATCH, BATCH, 4, BATCH, BATCH, 4, BATCH, BATCH]
    assert result(tmp_path / "out")["correct"] == theirs["correct"]
    learned = dict(seen.trainer.model.prompt_learner.named_parameters())
    for name in "AB":
        own = [one.detach().double() for key, one in learned.items() if key.endswith(name.lower())]
        total = sum(float(one.abs().sum()) for one in own)
        assert total == pytest.approx(theirs[f"sum of {name}"], rel=1e-5)
    assert sum(one.numel() for one in learned.values()) == theirs["parameters"]


LORA = METHODS["clip_lora"]


def test_steps_passes_and_additions_are_told(command, capsys):
    assert train.main(["--no-train", *command(LORA, "DATALOADER.TRAIN_X.BATCH_SIZE", 8)]) == 0
    out = capsys.readouterr().out
    assert (
        "CLIPLoRA trains for 8 steps, that is, 3 epochs of up to 3 batches. The number of steps is 2 x 4 shots per class."
        in out
    )
    assert "Training: steps, batch size 8, optimizer sgd, learning rate 0.0035" in out
    assert "Low-rank matrices: q v o with rank 2 and scale 0.7071, in text layers 2 3, vision layers 2 3" in out


@pytest.mark.parametrize(("shots", "counted"), [(4, 4), (-1, 6)])
def test_without_shots_the_images_of_a_class_are_counted(shots, counted, command, capsys):
    assert train.main(["--no-train", *command(LORA, "DATASET.NUM_SHOTS", shots)]) == 0
    out = capsys.readouterr().out
    assert f"CLIPLoRA trains for {2 * counted} steps, that is, " in out
    assert f"The number of steps is 2 x {counted} shots per class." in out


def test_steps_of_unequal_shots_are_those_of_their_mean(command, tmp_path, capsys):
    rows = zip(EUROSAT.values(), (1, 5, 2, 2, 4, *[6] * 5))  # half of them are trained on
    (tmp_path / "shots.csv").write_text("class,shots\n" + "".join(f"{name},{number}\n" for name, number in rows))
    few = ("DATASET.NUM_SHOTS", -1, "DATASET.SHOTS_BY_CLASS", tmp_path / "shots.csv", "TRAINER.CLIPLORA.N_ITERS", 10)
    assert train.main(["--no-train", *command(LORA, *few)]) == 0
    out = capsys.readouterr().out
    assert "CLIPLoRA trains for 28 steps, that is, " in out
    assert "The number of steps is 10 x 2.8 shots per class." in out
    assert f"EuroSAT: shots per class from {tmp_path / 'shots.csv'}" in out


@pytest.mark.slow
def test_the_repositorys_file_is_written_and_begins_a_training(command, tmp_path, capsys):
    assert train.main(command(LORA, "OPTIM.MAX_EPOCH", 1)) == 0
    file = tmp_path / "lora_weights.pt"
    assert export.main([str(tmp_path / "out"), "--to", "lora", "--out", str(file), "--clip", clip_of(command)]) == 0
    assert "the low-rank matrices in the format of the CLIP-LoRA repository." in capsys.readouterr().out
    words = to(command(LORA, "MODEL.INIT_WEIGHTS", file), tmp_path / "second")
    assert train.main(["--no-train", *words]) == 0
    assert f"Loaded the initial weights from {file}" in capsys.readouterr().out
    assert "r is 2 in the file, but 3 in this model" in refusal(capsys, *words, "TRAINER.CLIPLORA.R", "3")


def clip_of(command):
    words = command(LORA)
    return words[words.index("MODEL.BACKBONE.PATH") + 1]


def test_steps_are_those_of_a_plain_loop(words, monkeypatch):
    """Without dropout, with the true gradient; AdamW and the cosine written out."""
    seen = Recorder(monkeypatch)
    few = {"POSITION": "half-up", "R": 1, "PARAMS": "v o", "LR": 0.01}
    assert train.main(words(DROPOUT=0, **few)) == 0
    clip_model, tokens, _, _ = seen.facts()
    params = {key: value.clone().requires_grad_(True) for key, value in seen.start.items()}
    means = {key: (torch.zeros_like(one), torch.zeros_like(one)) for key, one in params.items()}
    for number, (images, labels, said) in enumerate(seen.batches):
        logits = plain_lora.logits(clip_model, params, tokens, images, "vo", 1, 100)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        assert float(said) == pytest.approx(loss.item(), abs=1e-4), number
        rate = 1e-6 + (0.01 - 1e-6) * (1 + math.cos(math.pi * number / 8)) / 2
        gradients = torch.autograd.grad(loss, list(params.values()))
        for (key, value), gradient in zip(params.items(), gradients):
            first, second = means[key]
            first.mul_(0.9).add_(0.1 * gradient)
            second.mul_(0.999).add_(0.001 * gradient**2)
            mean, square = first / (1 - 0.9 ** (number + 1)), second / (1 - 0.999 ** (number + 1))
            with torch.no_grad():
                value.mul_(1 - 0.01 * rate).sub_(rate * mean / (square.sqrt() + 1e-8))
    for key, value in seen.trainer.model.prompt_learner.named_parameters():
        torch.testing.assert_close(value, params[key.removeprefix("adapters.")], atol=1e-4, rtol=1e-3)
