"""Every config file there is can be loaded, and the reference's hold the reference's values."""

import pytest

import train
from tests.conftest import ROOT

CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))


def load(path, *options):
    folder = path.parent.name
    trainer = "MPL" if folder == "datasets" else folder
    dataset = str(path) if folder == "datasets" else str(ROOT / "configs/datasets/digits.yaml")
    config = [] if folder == "datasets" else ["--config-file", str(path)]
    return train.setup_cfg(
        train.parse_args(["--trainer", trainer, "--dataset-config-file", dataset, *config, *options])
    )


def test_there_are_configs():
    assert len(CONFIGS) >= 7


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_config_is_loaded(path):
    assert load(path).is_frozen()


@pytest.mark.parametrize(
    ("name", "rate", "epochs", "depth"),
    [("vit_b4_c1_add2_rm1", 0.0035, 5, 9), ("vit_b4_c1_add2_rm1_cross_datasets", 0.0026, 2, 3)],
)
def test_reference_values(name, rate, epochs, depth):
    cfg = load(ROOT / "configs/trainers/MPL" / f"{name}.yaml")
    node = cfg.TRAINER.MPL
    assert (1, 2, 1, depth) == (node.N_CTX, node.N_ADD_OP, node.N_RM_OP, node.PROMPT_DEPTH)
    assert (node.CTX_INIT, node.PREC, cfg.MODEL.BACKBONE.NAME) == ("a photo of a", "fp16", "ViT-B/16")
    assert ("sgd", rate, epochs) == (cfg.OPTIM.NAME, cfg.OPTIM.LR, cfg.OPTIM.MAX_EPOCH)
    assert (cfg.OPTIM.WARMUP_EPOCH, cfg.OPTIM.WARMUP_TYPE, cfg.OPTIM.WARMUP_CONS_LR) == (1, "constant", 1e-5)
    assert (cfg.DATALOADER.TRAIN_X.BATCH_SIZE, cfg.DATALOADER.TEST.BATCH_SIZE, cfg.DATALOADER.NUM_WORKERS) == (
        4,
        100,
        8,
    )
    assert list(cfg.INPUT.TRANSFORMS) == ["random_resized_crop", "random_flip", "normalize"]
    assert (cfg.INPUT.SIZE, cfg.INPUT.INTERPOLATION, cfg.TRAIN.PRINT_FREQ) == ((224, 224), "bicubic", 20)


def test_options_win_over_flags_and_flags_over_files():
    path = ROOT / "configs/trainers/MPL/vit_b4_c1_add2_rm1.yaml"
    assert load(path, "--backbone", "ViT-B/32").MODEL.BACKBONE.NAME == "ViT-B/32"
    assert load(path, "--backbone", "ViT-B/32", "MODEL.BACKBONE.NAME", "ViT-L/14").MODEL.BACKBONE.NAME == "ViT-L/14"
    assert load(path, "--transforms", "normalize").INPUT.TRANSFORMS == ("normalize",)
    assert load(path, "--seed", "0").SEED == 0
    assert load(path).SEED == -1
