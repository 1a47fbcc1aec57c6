"""Runs as repositories of Dassl's family make them, on inputs that are made here, held to what those computed.

The numbers of golden_dept.json (Koorye/DePT, d4ff416), golden_kdpl.json (miccunifi/KDPL, 76da8da) and golden_mma.json
(ZjjConan/Multi-Modal-Adapter, 547ee34) are of each repository's own train.py with Dassl 0.6.3 on PyTorch 2.13, a CPU,
float32, on these inputs and options with USE_CUDA False, and with --eval-only --model-dir base --load-epoch 2 for `new`.
Losses are the values that backward() is called on. Edited in that process, not in its files: clip._download gives
clip.pt, `.half()` and `.cuda()` do nothing, torch.jit.load raises, torch.load has weights_only False, LRScheduler takes
`verbose`, modules `wilds`, `plotnine` and `open_clip` are empty; KDPL's teacher is clip.build_model's and draws nothing.
record_references.py makes those of LightRA and 2SFS.
"""

import json
from pathlib import Path

import pytest
import torch

from modprompt.cli import train
from modprompt.methods.table import counts_steps
from tests.conftest import EUROSAT_FOLDERS, ROOT, bare, bare_config, published, random_clip, write_eurosat
from tests.recorder import Recorder
from tests.test_runs import to


def write_split(root, train, val, test):
    """Images of EuroSAT's shape and a split by these numbers of each class's images; the folder."""
    from modprompt.data.readers.folders import EUROSAT

    parts = {"train": train, "val": val, "test": test}
    split = {
        part: [
            [f"{name}/{name}_{number}.jpg", label, EUROSAT[name]]
            for label, name in enumerate(EUROSAT_FOLDERS)
            for number in numbers
        ]
        for part, numbers in parts.items()
    }
    (write_eurosat(root) / "eurosat/split_zhou_EuroSAT.json").write_text(json.dumps(split))
    return root


def half(words, name, where, trained=None):
    """Words of a run on the base or new classes, into another folder; of a test of what another has trained."""
    test = [] if trained is None else ["--eval-only", "--model-dir", str(trained)]
    return [*test, *to(words, where), "DATASET.SUBSAMPLE_CLASSES", name]


def require_recorded(golden, case, base, trainer, config, options, folder, monkeypatch):
    """Two epochs on the base classes and a test of the new ones have a case's losses and counts of golden_GOLDEN.json.

    base: the method; MaPLe's CLIP is as wide as its repository has it written in.
    config: a file below configs/trainers; "" for conftest.BARE_CONFIG.
    """
    expected = json.loads(Path(__file__).with_name(f"golden_{golden}.json").read_text())[case]
    write_split(folder / "data", range(1, 9), range(9, 10), range(10, 13))
    (folder / "config.yaml").write_text(bare_config(trainer))
    length = () if counts_steps(trainer) else ("OPTIM.MAX_EPOCH", "2")
    widths = {"text_width": 512, "vision_width": 768} if base == "MaPLe" else {}
    torch.save(published(random_clip(1, text_layers=4, vision_layers=4, **widths)), folder / "clip.pt")
    seen, right = Recorder(monkeypatch), {}
    for classes, how in (("base", []), ("new", ["--eval-only", "--model-dir", str(folder / "base")])):
        words = [
            *("--root", str(folder / "data"), "--seed", "1"),
            *("--trainer", trainer, "--output-dir", str(folder / classes)),
            *("--config-file", str(ROOT / f"configs/trainers/{config}" if config else folder / "config.yaml")),
            *("--dataset-config-file", str(ROOT / "configs/datasets/eurosat.yaml"), *how),
            *bare(folder / "clip.pt", (8, 12) if widths else (1, 2)),
            *("INPUT.SIZE", "(32, 32)", "DATASET.NUM_SHOTS", "4", "DATALOADER.NUM_WORKERS", "0"),
            *(*length, "DATALOADER.TRAIN_X.BATCH_SIZE", "4", *options),
        ]
        assert train.main([*words, "DATASET.SUBSAMPLE_CLASSES", classes]) == 0
        right[classes] = json.loads((folder / classes / "result.json").read_text())["correct"]
    assert [loss for *_, loss in seen.batches] == pytest.approx(expected["losses"], abs=1e-4)
    assert right == {classes: expected[classes] for classes in right}
