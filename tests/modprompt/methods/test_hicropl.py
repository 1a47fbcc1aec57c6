"""HiCroPL: the reference's own numbers, both ways of the flow, frozen features and sentences, and what is refused."""

import csv
import json

import pytest
import torch

from modprompt.cli import train
from modprompt.methods import hicropl
from tests.conftest import ROOT, bare, published, random_clip
from tests.test_runs import to

NODE = "TRAINER.HICROPL."
EUROSAT = [
    *("Annual Crop Land", "Forest", "Herbaceous Vegetation Land", "Highway or Road", "Industrial Buildings"),
    *("Pasture Land", "Permanent Crop Land", "Residential Buildings", "River", "Sea or Lake"),
]

# What the repository (zzeoZheng/HiCroPL at 2c2b2f2) says of two epochs in fp32 on a CPU, and its counts on base and on
# new classes. Its literals 768 and 512 became the model's widths, its .cuda() and .half() did nothing, clip._download
# gave a file with `published(random_clip(1, text_layers=4, vision_layers=4))`, gpt_file/eurosat_prompt.json was
# `sentences()`. Its prompts and proxies share their memory on a CPU, which a GPU parts: but for the third case each
# parameter had its own (`.data = .data.clone()` behind the model's `.to`).
#   python train.py --root DATA --seed 1 --trainer HiCroPL --output-dir OUT
#     --config-file configs/trainers/HiCroPL/vit_b16_c2_ep50_batch32_16ctx.yaml
#     --dataset-config-file configs/datasets/eurosat.yaml USE_CUDA False TRAINER.HICROPL.PREC fp32 INPUT.SIZE "(32, 32)"
#     DATASET.NUM_SHOTS 4 DATALOADER.NUM_WORKERS 0 OPTIM.MAX_EPOCH 2 DATALOADER.TRAIN_X.BATCH_SIZE 4
#     DATALOADER.TEST.BATCH_SIZE 7 TRAINER.HICROPL.N_CTX 4 .PROMPT_DEPTH 4 .CROSS_LAYER 2 TEST.FINAL_MODEL best_val
#     DATASET.SUBSAMPLE_CLASSES base        and with --eval-only --model-dir OUT and SUBSAMPLE_CLASSES new
# DATA is write_eurosat's, with a split that a run of ours has made; losses are the values that backward() is called on.
RECORDED = {
    "words, best_val": (
        (4, 4, 2, "best_val"),
        [3.155769, 2.635231, 2.873138, 3.089952, 2.472037, 2.429352, 2.705148, 1.99627, 2.27278, 2.093095],
        (4, 4),
    ),
    "random, the last step": (
        (6, 3, 1, "last_step"),
        [3.185339, 3.109602, 3.585805, 3.966414, 4.02653, 3.851187, 2.989184, 2.665732, 2.529684, 2.18098],
        (4, 7),
    ),
}

SHARED = (
    (4, 4, 2, "best_val"),
    [3.499098, 2.975875, 3.228192, 3.362781, 2.636493, 2.661564, 3.182728, 2.212265, 2.778711, 2.710344],
    (4, 4),
)


def sentences(names=EUROSAT):
    """By class: three of an odd length of name, else two."""
    each = ("a satellite picture that shows {}.", "{}, seen from far above.", "the colours of {}.")
    return {name: [text.replace("{}", name) for text in each[: 2 + len(name) % 2]] for name in names}


@pytest.fixture
def words(eurosat_root, tmp_path):
    """Words of a run as the repository's are; its tests write."""

    def of(n_ctx, depth, cross, final_model, *more):
        weights, file = tmp_path / "weights.pt", tmp_path / "sentences.json"
        if not weights.exists():
            torch.save(published(random_clip(1, text_layers=4, vision_layers=4)), weights)
            file.write_text(json.dumps(sentences()))
        own = {"PREC": "fp32", "N_CTX": n_ctx, "PROMPT_DEPTH": depth, "CROSS_LAYER": cross, "TEACHER_NAME": ""}
        own = {**own, "SENTENCES": file, "TESTS_WRITE": True, **({"CTX_INIT": ""} if n_ctx > 4 else {})}
        return [
            *(
                "--root",
                str(eurosat_root),
                "--seed",
                "1",
                "--trainer",
                "HiCroPL",
                "--output-dir",
                str(tmp_path / "out"),
            ),
            *("--config-file", str(ROOT / "configs/trainers/HiCroPL/vit_b16_c2_ep50_batch32_16ctx.yaml")),
            *("--dataset-config-file", str(ROOT / "configs/datasets/eurosat.yaml"), *more, *bare(weights)),
            *(
                "INPUT.SIZE",
                "(32, 32)",
                "DATASET.NUM_SHOTS",
                "4",
                "DATALOADER.NUM_WORKERS",
                "0",
                "OPTIM.MAX_EPOCH",
                "2",
            ),
            *("DATALOADER.TRAIN_X.BATCH_SIZE", "4", "DATALOADER.TEST.BATCH_SIZE", "7", "TEST.FINAL_MODEL", final_model),
            *(word for key, value in own.items() for word in (NODE + key, str(value))),
        ]

    return of


def half(words, name, where, trained=None):
    test = [] if trained is None else ["--eval-only", "--model-dir", str(trained)]
    return [*test, *to(words, where), "DATASET.SUBSAMPLE_CLASSES", name]


def result(folder):
    return json.loads((folder / "result.json").read_text())


def require_recorded(words, run, losses, counts, tmp_path):
    assert train.main(half(words(*run), "base", tmp_path / "out")) == 0
    rows = list(csv.DictReader((tmp_path / "out" / "steps.csv").read_text().splitlines()))
    assert [float(row["loss"]) for row in rows] == pytest.approx(losses, abs=1e-4)
    assert train.main(half(words(*run), "new", tmp_path / "new", tmp_path / "out")) == 0
    assert tuple(result(tmp_path / name)["correct"] for name in ("out", "new")) == counts


@pytest.mark.parametrize("case", RECORDED)
def test_losses_and_counts_are_the_references(case, words, tmp_path):
    require_recorded(words, *RECORDED[case], tmp_path)


def test_prompts_that_share_their_memory_are_the_references_on_a_cpu(words, tmp_path, monkeypatch):
    """There all vision prompts are one piece of memory, and so are all proxies of a side: another method than a GPU's."""
    plain = hicropl.FlowLearner.__init__

    def sharing(self, *args):
        plain(self, *args)
        for same in (self.cross_prompts_visual, self.text_proxy_token, self.visual_proxy_token):
            for one in same:
                one.data = same[0].data

    monkeypatch.setattr(hicropl.FlowLearner, "__init__", sharing)
    require_recorded(words, *SHARED, tmp_path)
