"""Every config file can be loaded, and those of the papers (tests/configs.yaml) have their repositories' settings."""

import pytest
import yaml

from modprompt.cli.flags import parse_args, settings_of
from modprompt.methods.table import row_of
from modprompt.trainers import run  # noqa: F401 - registers all
from modprompt.trainers.config import of_settings
from tests.conftest import ROOT

NO_RUNS = ("experiments", "trainers", "configs")  # folders of files of other kinds
PATHS = sorted(path for path in (ROOT / "configs").rglob("*.yaml") if path.parent.name not in NO_RUNS)
EXPECTED = yaml.safe_load((ROOT / "tests" / "configs.yaml").read_text())
BACKBONES = {"rn50": "RN50", "rn101": "RN101", "b16": "ViT-B/16", "b32": "ViT-B/32", "b4": "ViT-B/16"}


def load(path, *options):
    folder = path.parent.name
    trainer = "MPL" if folder == "datasets" else folder.partition("_KDPL")[0]
    dataset = str(path) if folder == "datasets" else "digits"
    config = "glyph" if folder == "datasets" else str(path)
    words = ["--trainer", trainer, "--dataset-config-file", dataset, "--config-file", config, *options]
    return of_settings(settings_of(parse_args(words)))


def value(cfg, key, trainer):
    """The value of a key, in which NODE is the trainer's own node; lists for tuples."""
    for part in key.replace("NODE", row_of(trainer).node).split("."):
        cfg = cfg[part]
    return list(cfg) if isinstance(cfg, tuple) else cfg


@pytest.fixture(scope="module")
def loaded():
    """All configs, by folder and name; of one that cannot be loaded the error."""

    def attempt(path):
        try:
            return load(path)
        except Exception as error:
            return error

    return {f"{path.parent.name}/{path.stem}": attempt(path) for path in PATHS}


def test_every_config_is_loaded(loaded):
    assert len(loaded) > 100
    assert {name: cfg for name, cfg in loaded.items() if isinstance(cfg, Exception)} == {}


def test_settings_are_those_of_the_papers_repositories(loaded):
    wrong = {
        (name, key): found
        for name, values in EXPECTED["configs"].items()
        for key, wanted in values.items()
        if (found := value(loaded[name], key, name.partition("/")[0])) != wanted
    }
    assert wrong == {}


@pytest.mark.parametrize("trainer", EXPECTED["names"])
def test_known_names_say_the_truth(trainer, loaded):
    wanted, found = {}, {}
    for name in EXPECTED["names"][trainer].split():
        cfg, (backbone, *parts) = loaded[f"{trainer}/{name}"], name.removeprefix("vit_").split("_")
        wanted[name] = says = {"MODEL.BACKBONE.NAME": BACKBONES[backbone]}
        for part in parts:
            if part.startswith("ep") and "cross_datasets" not in name:  # MaPLe's file is named after its sibling
                says["OPTIM.MAX_EPOCH"] = int(part[2:])
            if part.startswith("batch"):
                says["DATALOADER.TRAIN_X.BATCH_SIZE"] = int(part[5:])
            if part == "ctxv1":
                says["NODE.CTX_INIT"] = "True" if trainer == "KgCoOp" else "a photo of a"
        if trainer == "CoOp" and "ep" not in name and "val" not in name:
            says["OPTIM.MAX_EPOCH"] = 200
        found[name] = {key: value(cfg, key, trainer) for key in says}
    assert found == wanted


def test_those_of_kdpl_have_its_teacher(loaded):
    nodes = {name: cfg.TRAINER.KDPL for name, cfg in loaded.items() if "_KDPL/" in name}
    found = {name: (node.ON, node.TEACHER, node.TEACHER_CKPT) for name, node in nodes.items()}
    teachers = {name: "glyph-clip" if name.endswith("/glyph") else "ViT-H-14/dfn5b" for name in nodes}
    assert found == {name: (True, teacher, "none") for name, teacher in teachers.items()}


def test_options_win_over_flags_and_flags_over_files():
    path = ROOT / "configs/trainers/MPL/vit_b4_c1_add2_rm1.yaml"
    assert load(path, "--backbone", "ViT-B/32").MODEL.BACKBONE.NAME == "ViT-B/32"
    assert load(path, "--backbone", "ViT-B/32", "MODEL.BACKBONE.NAME", "ViT-L/14").MODEL.BACKBONE.NAME == "ViT-L/14"
    assert load(path, "--transforms", "normalize").INPUT.TRANSFORMS == ("normalize",)
    assert [load(path, "--seed", seed).SEED for seed in ("0", "-1")] == [0, -1]
