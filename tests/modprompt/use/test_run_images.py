import numpy as np
import pytest
import torch
from dassl.config import get_cfg_default
from dassl.data.transforms import build_transform
from PIL import Image

from modprompt.errors import UserError
from modprompt.trainers.backbone import squash
from modprompt.use.run_images import transform_of_run
from tests.modprompt.use.made import INPUT, glyph


@pytest.fixture
def image():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))


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
def test_equals_the_transform_of_the_run_to_the_bit(changed, image):
    settings = {**INPUT, **changed}
    assert torch.equal(transform_of_run(settings, glyph(), "a")(image), of_dassl(settings, image))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"INPUT.TRANSFORMS": "['normalize', 'instance_norm']"}, "INPUT.TRANSFORMS normalize, instance_norm"),
        ({"INPUT.NO_TRANSFORM": "True"}, "INPUT.NO_TRANSFORM True"),
        ({"INPUT.SIZE": "[224, 224]"}, "INPUT.SIZE .224, 224., its CLIP needs 32 x 32"),
        ({"INPUT.INTERPOLATION": "lanczos"}, "INPUT.INTERPOLATION lanczos"),
        ({"INPUT.PIXEL_STD": "[1, 0, 1]"}, "INPUT.PIXEL_STD .1.0, 0.0, 1.0."),
        ({"INPUT.PIXEL_STD": "[1, x, 1]"}, "INPUT.PIXEL_STD .1, x, 1., not a list of numbers"),
        ({"INPUT.TRANSFORMS": "normalize"}, "INPUT.TRANSFORMS normalize, not a list"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_refused(changed, message):
    with pytest.raises(UserError, match=f"run.pth: its run made images in an unsupported way .*{message}"):
        transform_of_run({**INPUT, **changed}, glyph(), "run.pth")
