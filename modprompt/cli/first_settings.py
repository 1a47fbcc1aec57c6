"""The settings that people change first, with the values of a trainer's config: for --help and the docs."""

from __future__ import annotations

from typing import Any, NamedTuple

from modprompt.cli.defaults import configs_by_clip
from modprompt.io import yaml_text
from modprompt.methods.table import ZERO_SHOT, config_of, kind_of

CLIP = "ViT-B/16"  # its config is shown: most papers use it
FIRST = {  # key: what it is
    "OPTIM.LR": "learning rate",
    "OPTIM.MAX_EPOCH": "epochs",
    "DATALOADER.TRAIN_X.BATCH_SIZE": "images in a training step",
    "OPTIM.WARMUP_EPOCH": "epochs of warm-up, counted among the epochs",
    "OPTIM.WARMUP_CONS_LR": "learning rate of the warm-up",
}
SHOTS = "DATASET.NUM_SHOTS"
OF_SHOTS = "training images of each class; -1 for all. Papers use 16, or 1, 2, 4, 8, 16"


class Given(NamedTuple):
    """The config that a trainer uses for ViT-B/16: its path below configs/, and its values by key."""

    config: str
    values: dict[str, Any]


def given(trainer: str) -> Given:
    """The values of one of our trainers, for the keys that its config sets; none if it trains nothing."""
    name = configs_by_clip(trainer).get(CLIP, "")
    path = config_of(trainer, name)
    if not name or not path.is_file() or kind_of(trainer) == ZERO_SHOT:
        return Given("", {})
    found: dict[str, Any] = {}
    for key in FIRST:
        value: Any = yaml_text.read(path)
        for word in key.split("."):
            value = value.get(word) if isinstance(value, dict) else None
        if value is not None:
            found[key] = value
    return Given(f"configs/trainers/{path.parent.name}/{path.name}", found)


def help_text(trainer: str) -> str:
    """The text for --help; empty for a trainer whose config sets none of them."""
    config, values = given(trainer)
    if not values:
        return ""
    lines = [f"  {key:<32}{value!s:<16}{FIRST[key]}" for key, value in values.items()]
    lines.append(f"  {SHOTS:<32}{-1!s:<16}{OF_SHOTS}")
    return "\n".join([f"settings that people change first, as KEY VALUE (values of {config}):", *lines, ""])
