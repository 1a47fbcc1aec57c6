import numpy as np
import pytest
import torch
from dassl.config import get_cfg_default
from dassl.data.transforms import build_transform
from PIL import Image

from modprompt.errors import UserError
from modprompt.methods.preprocess import transform_of_run
from modprompt.trainers.backbone import squash
from tests.modprompt.use.made import INPUT, glyph


def of_dassl(settings, image):
    """What a run's own test transform makes of it."""
    cfg = get_cfg_default()
    cfg.VERBOSE = False
    cfg.merge_from_list([word for key, text in settings.items() if key != "INPUT.RESIZE_MODE" for word in (key, text)])
    transform = build_transform(cfg, is_train=False)
    if settings["INPUT.RESIZE_MODE"] == "squash":
        holder = type("Loader", (), {"dataset": type("Set", (), {"transform": transform})})
        squash([holder], (32, 32))
        transform = holder.dataset.transform
    return transform(image)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"INPUT.TRANSFORMS": "['random_flip']"},
        {"INPUT.INTERPOLATION": "bilinear"},
        {"INPUT.RESIZE_MODE": "squash"},
        {"INPUT.PIXEL_MEAN": "[0, 0.5, 1]", "INPUT.PIXEL_STD": "[1, 2, 0.01]"},
    ],
    ids=str,
)
def test_equals_the_transform_of_the_run_to_the_bit(changed):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    settings = {**INPUT, **changed}
    assert torch.equal(transform_of_run(settings, glyph(), "a")(image), of_dassl(settings, image))


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("TRANSFORMS", "['normalize', 'instance_norm']"),
        ("TRANSFORMS", "normalize"),
        ("NO_TRANSFORM", "True"),
        ("SIZE", "[224, 224]"),
        ("INTERPOLATION", "lanczos"),
        ("PIXEL_MEAN", "[1, 1]"),
        ("PIXEL_STD", "[1, 0, 1]"),
        ("PIXEL_STD", "[1, x, 1]"),
        ("RESIZE_MODE", "longest"),
        ("DECODING", "cats"),
        ("SIZE", "[32, 32"),
    ],
)
def test_what_cannot_be_done_is_refused(key, text):
    with pytest.raises(UserError) as refused:
        transform_of_run({**INPUT, f"INPUT.{key}": text}, glyph(), "run.pth")
    start = "run.pth: the run used "
    assert str(refused.value).startswith(start)
    assert f"INPUT.{key} {text}" in str(refused.value) or text == "[32, 32"
