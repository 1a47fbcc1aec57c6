"""The GPU path without a GPU: every trainer in every precision on fake CUDA tensors.

No operation may mix devices or types, a step may not launch more than its ceiling, and it waits as often as is written
here. What is launched at ViT-B/16's size is counted as `python -m benchmarks.launches` does.
"""

import functools

import pytest
import torch

from benchmarks import launches
from modprompt.engine.precision import CHOICES
from modprompt.methods.table import HEADS, PROMPTS, row_of
from modprompt.methods.table import METHODS as TABLE
from tests.conftest import BARE_CONFIG, RESNET_HEADS, ROOT, bare, bare_config, random_clip, write_eurosat
from tests.fake_cuda import child
from tests.fake_cuda.needed import needs_fake_cuda
from tests.methods import LAUNCHES, SEARCHES
from tests.methods import METHODS as LEARNING

METHODS = {**LEARNING, **SEARCHES}

pytestmark = [needs_fake_cuda, pytest.mark.slow, pytest.mark.timeout(600)]

# Launches of a step, fp16, batch 4, ViT-B/16, at any number of classes.
CEILINGS = {"MPL": 862, "MaPLe": 847, "CoOp": 561}  # 0.64 of the official code or less
SEARCHED = {"DPLSearch": 5059, "MPL": 2762}  # of an alternation, a step of the alphas and one of the prompts
CLASSES = (5, 50, 200, 1000)
KEPT = 0.1  # of what the official code keeps for the backward pass at 1000 classes
WAITS_OF_A_STEP, WAITS_OF_A_TEST_BATCH = 0, 0  # one that prints nothing; but the last of a test

ON_RESNETS = {  # with options of their own: the text side has two layers
    **{row: [] for row in ("coop_end", "cocoop", "alvlm", "kgcoop", "prograd", "ZeroshotCLIP")},
    "tcp": ["TRAINER.TCP.LAYER", "1"],
    "clip_lora": ["TRAINER.CLIPLORA.ENCODER", "text"],
    "language_prompting": ["TRAINER.IVLP.PROMPT_DEPTH_TEXT", "2"],
}
ZERO_SHOT = [row.name for row in TABLE if row.kind not in (PROMPTS, HEADS)]
# launches of a step, its share of encoding images in it; most in amp and bf16
TRAINED_HEADS = {"TipAdapterF": 125, "CLIP_Adapter": 126, "TaskRes": 116, "LPPlusPlus": 112, "ADAPTER": 129}


def test_no_trainer_is_forgotten():
    """But of names for a method with a head beside it (coop_dept), and PromptKD, whose teacher is another CLIP."""
    others = {row.name for row in TABLE if row.kind == HEADS or row.beside} | {"PromptKD"}
    assert {row.name for row in TABLE} - others == {*(row.trainer for row in METHODS.values()), *ZERO_SHOT}
    assert set(LAUNCHES) == set(METHODS)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A folder with images, a config and weights."""
    folder = tmp_path_factory.mktemp("gpu_path")
    write_eurosat(folder / "data", images_per_class=4)
    for trainer in {row.trainer for row in METHODS.values()}:
        (folder / f"{trainer}.yaml").write_text(bare_config(trainer))
    (folder / "bare.yaml").write_text(BARE_CONFIG)
    torch.save(random_clip(1, text_layers=4, vision_layers=4).state_dict(), folder / "clip.pt")
    return folder


def runs_of(row, weights, size=(), last=()):
    """Options and number of steps of every run of a row of METHODS, or of a zero-shot trainer, by its name."""
    method = METHODS.get(row)
    options = [*weights, "DATASET.NUM_SHOTS", "1", "DATASET.SUBSAMPLE_CLASSES", "base", *size]
    last = [*last, *(["TRAINER.CLIPLORA.N_ITERS", "9"] if row == "clip_lora" else [])]  # more steps than are run
    runs = {}
    for prec in CHOICES if method else ("",):
        own = [*options, *method.words, f"TRAINER.{method.node}.PREC", prec, *last] if method else options
        runs[f"{prec} whole"] = [own, 3]
        runs[f"{prec} chunks"] = [[*own, "MODEL.TEXT_CHUNK", "2"], 1]
    return runs


def counts_of(row, inputs, folder, runs):
    """What each of the runs has done; all of them must have come to their end."""
    method = METHODS.get(row)
    trainer = method.trainer if method else row
    config = inputs / f"{trainer if method else 'bare'}.yaml"
    files = [str(config), str(ROOT / "configs/datasets/eurosat.yaml")]
    flags = {"DATASET.ROOT": str(inputs / "data"), "SEED": 1, "OUTPUT_DIR": str(folder), "TRAINER.NAME": trainer}
    found = child.run("tests.fake_cuda.runs:epochs", files, flags, runs)
    assert not [f"{name}: {counts['error']}" for name, counts in found.items() if "error" in counts]
    return found


@pytest.mark.parametrize("row", [*METHODS, *ZERO_SHOT])
def test_types_and_devices_fit_and_nothing_waits(row, inputs, tmp_path):
    found = counts_of(row, inputs, tmp_path, runs_of(row, bare(inputs / "clip.pt")))
    assert len(found) == (8 if row in METHODS else 2)
    for name, counts in found.items():
        if not name.endswith("whole"):
            continue  # its only step prints
        for test in counts.keys() - {"step"}:
            assert counts[test]["waits"] <= WAITS_OF_A_TEST_BATCH, (name, test, counts[test]["waits_by_name"])
        assert ("test of a path" in counts) == (row in SEARCHES)
        if row in METHODS:
            assert counts["step"]["waits"] <= WAITS_OF_A_STEP, (name, counts["step"]["waits_by_name"])
            assert counts["step"]["launches"] > 100, name  # it did something on the card
    if row in METHODS:
        assert found["fp16 whole"]["step"]["launches"] <= LAUNCHES[row]


@pytest.mark.parametrize("trainer", TRAINED_HEADS)
def test_a_step_of_a_head_fits_and_does_not_wait(trainer, inputs, tmp_path):
    node = row_of(trainer).node
    options = [*bare(inputs / "clip.pt"), "DATASET.NUM_SHOTS", "1", "DATASET.SUBSAMPLE_CLASSES", "base"]
    files = [str(inputs / "bare.yaml"), str(ROOT / "configs/datasets/eurosat.yaml")]
    flags = {"DATASET.ROOT": str(inputs / "data"), "SEED": 1, "OUTPUT_DIR": str(tmp_path), "TRAINER.NAME": trainer}
    each = {prec: [*options, f"{node}.PREC", prec] for prec in CHOICES}
    for prec, counts in child.run("tests.fake_cuda.heads:epochs", files, flags, each).items():
        assert counts["waits"] <= WAITS_OF_A_STEP, (prec, counts["waits_by_name"])
        assert 50 < counts["launches"] <= TRAINED_HEADS[trainer], prec


@pytest.mark.parametrize("row", ON_RESNETS)
def test_types_and_devices_fit_on_a_resnet(row, inputs, resnet_file, tmp_path):
    size = ["INPUT.SIZE", "(64, 64)"]
    runs = runs_of(row, bare(resnet_file, RESNET_HEADS), size, ON_RESNETS[row])
    whole = {name: run for name, run in runs.items() if name.endswith("whole")}
    assert counts_of(row, inputs, tmp_path, whole)


@functools.cache
def counted(method, classes):
    return launches.counted(method, classes)


@pytest.mark.parametrize("method", CEILINGS)
def test_a_step_launches_no_more_than_its_ceiling(method):
    most = max(counted(method, classes).launches for classes in CLASSES)
    assert most <= CEILINGS[method]


@pytest.mark.parametrize("method", SEARCHED)
def test_an_alternation_launches_no_more_than_its_ceiling_and_does_not_wait(method):
    found = launches.searched(method, 1000)
    assert found.waits == {}
    assert sum(found.alphas.values()) + sum(found.prompts.values()) <= SEARCHED[method]


def test_a_step_keeps_little_for_the_backward_pass():
    assert counted("MPL", 1000).kept_mib < KEPT * launches.OFFICIAL_KEPT_MIB["MPL", 1000]
