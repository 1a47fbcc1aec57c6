"""Every config file there is can be loaded, and the reference's hold the reference's values."""

import pytest

from modprompt.cli.flags import parse_args, settings_of
from modprompt.trainers import run  # noqa: F401 - registers all
from modprompt.trainers.run_config import merged
from tests.conftest import ROOT

CONFIGS = sorted(
    path
    for path in (ROOT / "configs").rglob("*.yaml")
    if path.parent.name not in ("experiments", "trainers", "configs")
)


def load(path, *options):
    folder = path.parent.name
    trainer = "MPL" if folder == "datasets" else folder.partition("_KDPL")[0]
    dataset = str(path) if folder == "datasets" else str(ROOT / "configs/datasets/digits.yaml")
    config = ["--config-file", "glyph" if folder == "datasets" else str(path)]
    words = ["--trainer", trainer, "--dataset-config-file", dataset, *config, *options]
    return merged(settings_of(parse_args(words)))


KNOWN = {  # as users of the CoOp, MaPLe, PromptSRC and official MPL repositories know them
    "CoOp": "rn50 rn50_ctxv1 rn50_ep50 rn50_ep50_ctxv1 rn50_ep100 rn50_val rn101 rn101_ep50 vit_b16 vit_b16_ctxv1 vit_b16_ep50 "
    "vit_b16_ep50_ctxv1 vit_b16_ep100 vit_b16_ep100_ctxv1 vit_b32 vit_b32_ep50",
    "CoCoOp": "vit_b16_c4_ep10_batch1 vit_b16_c4_ep10_batch1_ctxv1 vit_b16_c8_ep10_batch1 vit_b16_c16_ep10_batch1",
    "MaPLe": "vit_b16_c2_ep5_batch4_2ctx vit_b16_c2_ep5_batch4_2ctx_cross_datasets",
    "IVLP": "vit_b16_c2_ep5_batch4_2+2ctx vit_b16_c2_ep5_batch4_4ctx_language_only vit_b16_c2_ep20_batch4_4+4ctx",
    "VPT": "vit_b16_c2_ep5_batch4_4",
    "PromptSRC": "vit_b16_c2_ep20_batch4_4+4ctx vit_b16_c2_ep20_batch4_4+4ctx_cross_datasets "
    "vit_b16_c2_ep50_batch4_4+4ctx_few_shot",
    "MPL": "vit_b4_c1_add2_rm1 vit_b4_c1_add2_rm1_cross_datasets",
    "ALVLM": "rn50 rn101 vit_b16 vit_b32",
    "KgCoOp": "vit_b16_ep100_ctxv1 rn50_ep100",
    "ProGrad": "rn50 rn50_ep50 rn50_ep100",
    "DPL": "vit_b16_ep40_batch4",
    "DPLSearch": "vit_b16_c6_ep80_batch4",
}


@pytest.mark.cover(6)
@pytest.mark.parametrize("trainer", KNOWN)
def test_known_names_are_there_and_say_the_truth(trainer):
    backbones = {"rn50": "RN50", "rn101": "RN101", "b16": "ViT-B/16", "b32": "ViT-B/32", "b4": "ViT-B/16"}
    for name in KNOWN[trainer].split():
        cfg = load(ROOT / "configs/trainers" / trainer / f"{name}.yaml")
        parts = name.removeprefix("vit_").split("_")
        assert backbones[parts[0]] == cfg.MODEL.BACKBONE.NAME, name
        for part in parts[1:]:
            if part.startswith("ep") and "cross_datasets" not in name:  # MaPLe's file is named after its sibling
                assert int(part[2:]) == cfg.OPTIM.MAX_EPOCH, name
            if part.startswith("batch"):
                assert int(part[5:]) == cfg.DATALOADER.TRAIN_X.BATCH_SIZE, name
            if part == "ctxv1":
                words = "True" if trainer == "KgCoOp" else "a photo of a"
                assert words == cfg.TRAINER[trainer.upper()].CTX_INIT, name
        if trainer == "CoOp" and "ep" not in name and "val" not in name:
            assert cfg.OPTIM.MAX_EPOCH == 200


def test_settings_of_linear_probes():
    """As CLAP's repository and that of LP++ have them."""
    cfg = load(ROOT / "configs/trainers/ADAPTER/SGD_lr1e-1_B256_ep300.yaml")
    assert (cfg.OPTIM.LR, cfg.OPTIM.MOMENTUM, cfg.OPTIM.WEIGHT_DECAY, cfg.OPTIM.MAX_EPOCH) == (0.1, 0.9, 0, 300)
    assert (cfg.OPTIM.WARMUP_EPOCH, cfg.OPTIM.WARMUP_CONS_LR, cfg.DATALOADER.TRAIN_X.BATCH_SIZE) == (1, 1e-5, 256)
    assert (cfg.TRAINER.ADAPTER.INIT, cfg.TRAINER.ADAPTER.CONSTRAINT, cfg.TRAINER.ADAPTER.VIEWS) == ("ZS", "l2", 20)
    cfg = load(ROOT / "configs/trainers/LPPlusPlus/vit_b16_ep300.yaml")
    assert (cfg.TRAINER.LPPLUSPLUS.TRAIN_EPOCH, cfg.DATALOADER.TRAIN_X.BATCH_SIZE) == (300, 256)
    assert tuple(cfg.INPUT.RRCROP_SCALE) == (0.5, 1.0)


def test_settings_of_the_neighbours():
    """The figures that the papers' repositories run with."""

    def node(trainer, name):
        cfg = load(ROOT / "configs/trainers" / trainer / f"{name}.yaml")
        return cfg.OPTIM.LR, cfg.TRAINER[trainer.upper()]

    rate, maple = node("MaPLe", "vit_b16_c2_ep5_batch4_2ctx")
    assert (rate, maple.N_CTX, maple.PROMPT_DEPTH) == (0.0035, 2, 9)
    rate, maple = node("MaPLe", "vit_b16_c2_ep5_batch4_2ctx_cross_datasets")
    assert (rate, maple.PROMPT_DEPTH) == (0.0026, 3)
    rate, ivlp = node("IVLP", "vit_b16_c2_ep5_batch4_2+2ctx")
    assert (rate, ivlp.PROMPT_DEPTH_VISION, ivlp.PROMPT_DEPTH_TEXT) == (0.0035, 12, 12)
    rate, words = node("IVLP", "vit_b16_c2_ep5_batch4_4ctx_language_only")
    assert (rate, words.N_CTX_VISION, words.PROMPT_DEPTH_VISION, words.N_CTX_TEXT) == (0.0025, 0, 0, 4)
    rate, vpt = node("VPT", "vit_b16_c2_ep5_batch4_4")
    assert (rate, vpt.N_CTX_VISION, vpt.PROMPT_DEPTH_VISION) == (0.0025, 8, 12)
    rate, src = node("PromptSRC", "vit_b16_c2_ep20_batch4_4+4ctx")
    assert (rate, src.N_CTX_TEXT, src.PROMPT_DEPTH_TEXT, src.GPA_MEAN, src.GPA_STD) == (0.0025, 4, 9, 15, 1)
    assert (src.TEXT_LOSS_WEIGHT, src.IMAGE_LOSS_WEIGHT, src.LOGITS_LOSS_WEIGHT) == (25, 10, 1)
    rate, kg = node("KgCoOp", "vit_b16_ep100_ctxv1")
    assert (rate, kg.W, kg.CTX_INIT) == (0.002, 8.0, "True")
    rate, prograd = node("ProGrad", "rn50_ep100")
    assert (rate, prograd.LAMBDA, prograd.T, prograd.N_CTX, prograd.CTX_INIT) == (0.002, 1.0, 1.0, 16, "True")
    rate, tcp = node("TCP", "vit_b16_ep100_ctxv1")
    assert (rate, tcp.W, tcp.EPS, tcp.LAYER, tcp.N_CTX, tcp.N_CLASS, tcp.CTX_INIT) == (
        0.002,
        8.0,
        1e-3,
        8,
        4,
        4,
        "",
    )
    _, both = node("MPL", "vit_b4_c1_add2_rm1_selfreg_ep20")
    assert (both.N_ADD_OP, both.TEXT_LOSS_WEIGHT, both.IMAGE_LOSS_WEIGHT, both.LOGITS_LOSS_WEIGHT) == (2, 25, 10, 1)


@pytest.mark.parametrize(
    ("name", "batch", "rate", "epochs", "warm_up", "weight"),
    [
        ("MMRL/vit_b16", 4, 0.001, 10, 1, 1.0),
        ("MMRL/vit_b16_imagenet", 32, 0.001, 5, 1, 1.0),
        ("MMRL/vit_b16_few_shot", 32, 0.001, 50, 1, 0.5),
        ("MMRL/vit_b16_cross_datasets", 32, 0.001, 1, 0, 0.2),
        ("MMRLpp/vit_b16", 4, 0.001, 10, 1, 1.0),
        ("MMRLpp/vit_b16_imagenet", 32, 0.001, 5, 1, 1.0),
        ("MMRLpp/vit_b16_few_shot", 32, 0.002, 100, 1, 1.0),
        ("MMRLpp/vit_b16_cross_datasets", 32, 0.001, 1, 0, 0.2),
    ],
)
def test_values_of_mmrls_reference(name, batch, rate, epochs, warm_up, weight):
    cfg = load(ROOT / "configs/trainers" / f"{name}.yaml")
    node = cfg.TRAINER[name.partition("/")[0]]
    optim = cfg.OPTIM
    assert ("adamw", rate, epochs, warm_up) == (optim.NAME, optim.LR, optim.MAX_EPOCH, optim.WARMUP_EPOCH)
    assert (batch, 250) == (cfg.DATALOADER.TRAIN_X.BATCH_SIZE, cfg.DATALOADER.TEST.BATCH_SIZE)
    assert (tuple(cfg.INPUT.RRCROP_SCALE), cfg.MODEL.BACKBONE.NAME, node.PREC) == ((0.5, 1), "ViT-B/16", "amp")
    assert (0.7, weight, 5, 512) == (node.ALPHA, node.REG_WEIGHT, node.N_REP_TOKENS, node.REP_DIM)
    assert (list(node.REP_LAYERS), node.LITERAL_SCALE) == ([6, 7, 8, 9, 10, 11, 12], 100)
    assert (node.LOGITS, node.TASK, node.PER_DATASET) == ("auto", "", "")
    if "BETA" in node:
        assert (node.BETA, node.PROJ_LORA_DIM, node.RES_LORA_DIM) == (0.9, 64, 4)


@pytest.mark.parametrize(
    ("name", "batch", "epochs", "tokens", "depth", "cross"),
    [
        ("vit_b16_c2_ep50_batch32_16ctx", 32, 50, 16, 12, 6),
        ("vit_b16_c2_ep50_batch32_16ctx_few_shot", 32, 50, 16, 12, 6),
        ("vit_b16_c2_ep40_batch128_16ctx", 128, 40, 16, 12, 6),
        ("vit_b16_c2_ep5_batch32_2ctx_cross_datasets", 32, 5, 2, 6, 5),
    ],
)
def test_values_of_hicropls_reference(name, batch, epochs, tokens, depth, cross):
    cfg = load(ROOT / f"configs/trainers/HiCroPL/{name}.yaml")
    node, optim = cfg.TRAINER.HICROPL, cfg.OPTIM
    assert ("adam", 0.0025, epochs, 1, 1e-5) == (
        *(optim.NAME, optim.LR, optim.MAX_EPOCH, optim.WARMUP_EPOCH, optim.WARMUP_CONS_LR),
    )
    assert (batch, 500) == (cfg.DATALOADER.TRAIN_X.BATCH_SIZE, cfg.DATALOADER.TEST.BATCH_SIZE)
    assert (tokens, depth, cross) == (node.N_CTX, node.PROMPT_DEPTH, node.CROSS_LAYER)
    assert (node.CTX_INIT, node.PREC, node.TEACHER_NAME, node.LAMBD) == ("a photo of a", "fp16", "ViT-B/16", 12)
    assert (node.EPS, node.FLOW, node.TESTS_WRITE, cfg.TEST.FINAL_MODEL) == (1e-3, "written", False, "best_val")


@pytest.mark.parametrize(
    ("path", "epochs", "test_batch", "workers", "values"),
    [
        ("TrainerSupernet/fewshot", 80, 16, 0, {"N_CTX_VISION": 6, "N_CTX_TEXT": 6, "CTX_INIT": "a photo of a"}),
        ("TrainerSupernet/nas_supernet", 80, 16, 0, {"N_CTX_VISION": 6, "N_CTX_TEXT": 6, "CTX_INIT": "a photo of a"}),
        ("DPLSearch/vit_b16_c6_ep80_batch4", 80, 16, 0, {"N_CTX_VISION": 6, "N_CTX_TEXT": 6, "ALPHA_LR": 0.0035}),
        ("TrainerSubnet/fewshot", 40, 100, 8, {"CTX_INIT": "ensemble"}),
        ("TrainerSubnet/base2new", 40, 100, 8, {"CTX_INIT": "ensemble"}),
        ("DPL/vit_b16_ep40_batch4", 40, 100, 8, {"CTX_INIT": "ensemble"}),
    ],
)
def test_values_of_dpls_reference(path, epochs, test_batch, workers, values):
    cfg = load(ROOT / "configs/trainers" / f"{path}.yaml")
    node = cfg.TRAINER[path.partition("/")[0].upper()]
    assert {key: node[key] for key in values} == values
    assert node.PREC == "fp32"
    assert (
        "ViT-B/16",
        "sgd",
        0.0035,
        epochs,
    ) == (cfg.MODEL.BACKBONE.NAME, cfg.OPTIM.NAME, cfg.OPTIM.LR, cfg.OPTIM.MAX_EPOCH)
    assert (cfg.OPTIM.LR_SCHEDULER, cfg.OPTIM.MOMENTUM, cfg.OPTIM.WEIGHT_DECAY) == ("cosine", 0.9, 5e-4)
    assert (cfg.OPTIM.WARMUP_EPOCH, cfg.OPTIM.WARMUP_TYPE, cfg.OPTIM.WARMUP_CONS_LR) == (1, "constant", 1e-5)
    loader = cfg.DATALOADER
    assert (4, test_batch, workers) == (loader.TRAIN_X.BATCH_SIZE, loader.TEST.BATCH_SIZE, loader.NUM_WORKERS)
    assert list(cfg.INPUT.TRANSFORMS) == ["random_resized_crop", "random_flip", "normalize"]


@pytest.mark.parametrize(
    ("name", "backbone"), [("rn50", "RN50"), ("rn101", "RN101"), ("vit_b16", "ViT-B/16"), ("vit_b32", "ViT-B/32")]
)
def test_values_of_pcbs_reference(name, backbone):
    cfg = load(ROOT / "configs/trainers/ALVLM" / f"{name}.yaml")
    loader, coop = cfg.DATALOADER, cfg.TRAINER.COOP
    assert (backbone, "sgd", 0.002, 200) == (cfg.MODEL.BACKBONE.NAME, cfg.OPTIM.NAME, cfg.OPTIM.LR, cfg.OPTIM.MAX_EPOCH)
    assert (cfg.OPTIM.LR_SCHEDULER, cfg.OPTIM.WARMUP_EPOCH, cfg.OPTIM.WARMUP_TYPE) == ("cosine", 1, "constant")
    assert (cfg.OPTIM.WARMUP_CONS_LR, cfg.TRAIN.PRINT_FREQ, loader.NUM_WORKERS) == (1e-5, 5, 8)
    assert (loader.TRAIN_X.BATCH_SIZE, loader.TEST.BATCH_SIZE) == (32, 100)
    assert (coop.N_CTX, coop.CSC, coop.CTX_INIT, coop.PREC, coop.CLASS_TOKEN_POSITION) == (16, False, "", "fp16", "end")
    assert list(cfg.INPUT.TRANSFORMS) == ["random_resized_crop", "random_flip", "normalize"]
    own = cfg.TRAINER.COOPAL
    assert (own.METHOD, own.ASPATH, own.AEPATH, own.GAMMA, cfg.ACTIVE.ROUNDS) == ("", "", "", 0.1, 8)


def test_there_are_configs():
    assert len(CONFIGS) >= 7


@pytest.mark.cover(40)
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_config_is_loaded(path):
    assert load(path).is_frozen()


@pytest.mark.parametrize(
    "path", [path for path in CONFIGS if path.parent.name.endswith("_KDPL")], ids=lambda path: path.stem
)
def test_those_of_kdpl_have_its_teacher(path):
    node = load(path).TRAINER.KDPL
    teacher = "glyph-clip" if path.stem == "glyph" else "ViT-H-14/dfn5b"
    assert (True, teacher, "none") == (node.ON, node.TEACHER, node.TEACHER_CKPT)


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
    assert load(path, "--seed", "-1").SEED == -1
