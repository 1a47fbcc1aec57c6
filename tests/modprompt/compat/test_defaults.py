"""Every wrong value of a setting is one line that names it, before any work."""

import math

import pytest
import yaml
from dassl.config import get_cfg_default
from dassl.data.transforms import build_transform
from PIL import Image

from modprompt.errors import UserError
from modprompt.io.settings import Settings
from modprompt.trainers import config, run  # noqa: F401 - registers trainers and readers

WRONG: dict[str, list] = {
    "SEED": [2**32, 10**12],
    "INPUT.SIZE": [(0, 32), (32,), (32, 32, 32), (-1, 32), (1.5, 32), ("a", 32), (10**9, 10**9), (True, "b")],
    "INPUT.PIXEL_MEAN": [["a", "b", "c"], [1, 2], [math.nan, 0, 0], [math.inf, 0, 0], [[1], 2, 3]],
    "INPUT.PIXEL_STD": [[0, 1, 1], [1, 1, 0.0], [-1, 1, 1], [math.nan, 1, 1], [1, 2], ["a", 1, 1], [math.inf, 1, 1]],
    "INPUT.RRCROP_SCALE": [(5, 1), (-1, 1), (0, 1), (0.5, 2), ("a", "b"), (1,), (), (0.1, math.nan), (0.1, 0.5, 1)],
    "INPUT.INTERPOLATION": ["cubic", ""],
    "INPUT.NO_TRANSFORM": [True],
    "INPUT.TRANSFORMS": [["normalise"], [1], [["normalize"]]],
    "INPUT.CROP_PADDING": [-1, 10**12],
    "INPUT.CUTOUT_N": [-1, 10**12],
    "INPUT.CUTOUT_LEN": [-1, 0],
    "INPUT.GN_MEAN": [math.nan],
    "INPUT.GN_STD": [-1.0, math.inf],
    "INPUT.COLORJITTER_B": [-0.1, math.nan],
    "INPUT.COLORJITTER_H": [0.6, -0.1],
    "INPUT.RGS_P": [1.1, -0.1, math.nan],
    "INPUT.GB_P": [2.0],
    "INPUT.GB_K": [0, 2, -1, 10**6 + 1],
    "INPUT.RANDAUGMENT_N": [-1, 10**9],
    "DATALOADER.NUM_WORKERS": [-1, 10**9],
    "DATALOADER.K_TRANSFORMS": [2],
    "DATALOADER.TRAIN_X.BATCH_SIZE": [0, -1, 10**12],
    "DATALOADER.TEST.BATCH_SIZE": [0, 10**12],
    "MODEL.TEXT_CHUNK": [-1],
    "OPTIM.LR": [-1.0, math.nan, math.inf],
    "OPTIM.WEIGHT_DECAY": [-1.0, math.nan],
    "OPTIM.MOMENTUM": [-0.1, 1.1, math.nan],
    "OPTIM.SGD_DAMPNING": [-1, 3, 10**30],
    "OPTIM.RMSPROP_ALPHA": [-1.0, 2.0],
    "OPTIM.ADAM_BETA1": [1.0, -0.1, math.nan],
    "OPTIM.ADAM_BETA2": [1.0],
    "OPTIM.STEPSIZE": [("a",), (1.5,)],
    "OPTIM.GAMMA": [-1.0, math.nan],
    "OPTIM.MAX_EPOCH": [0, -1, 10**12, 10**30],
    "OPTIM.WARMUP_EPOCH": [10**12],
    "OPTIM.WARMUP_CONS_LR": [-1.0, math.inf],
    "OPTIM.WARMUP_MIN_LR": [-1.0, math.nan],
    "TRAIN.PRINT_FREQ": [0, -1],
    "TEST.SPLIT": ["train", ""],
    "TEST.FINAL_MODEL": ["best"],
}


@pytest.fixture
def refusal(tmp_path):
    """What is said of a config file with these values by key; an empty text if nothing is."""

    def of(values):
        content = {"DATASET": {"NAME": "Digits"}}
        for key, value in values.items():
            *path, leaf = key.split(".")
            node = content
            for part in path:
                node = node.setdefault(part, {})
            node[leaf] = value
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(content))
        try:
            config.of_settings(Settings.read([str(tmp_path / "c.yaml")], {"TRAINER.NAME": "MPL"}))
        except UserError as error:
            return str(error)
        return ""

    return of


@pytest.mark.parametrize("number", range(max(len(values) for values in WRONG.values())))
def test_all_wrong_values_are_named_in_one_line(number, refusal):
    """The first of each key at once, then the second, and so on."""
    wrong = {key: values[number] for key, values in WRONG.items() if number < len(values)}
    said = refusal(wrong)
    assert [key for key in wrong if f"c.yaml: {key}" not in said] == []
    assert "\n" not in said


def test_blur_that_is_larger_than_the_image_is_told(refusal):
    values = {"INPUT.SIZE": (10, 10), "INPUT.TRANSFORMS": ("gaussian_blur",)}
    assert "INPUT.GB_K" in refusal(values)
    assert refusal({**values, "INPUT.GB_K": 19}) == ""
    cfg = get_cfg_default()
    cfg.INPUT.SIZE, cfg.INPUT.TRANSFORMS, cfg.INPUT.GB_K, cfg.INPUT.GB_P = (10, 10), ("gaussian_blur",), 19, 1.0
    assert build_transform(cfg)(Image.new("RGB", (30, 20))).shape == (3, 10, 10)
