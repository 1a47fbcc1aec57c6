"""The settings that people change first, and what a trainer's config gives for them: for --help and the pages."""

from __future__ import annotations

from typing import Any, NamedTuple

from modprompt.cli.defaults import configs_by_clip
from modprompt.io import yaml_text
from modprompt.methods.table import ZERO_SHOT, config_of, kind_of

CLIP = "ViT-B/16"  # whose config is shown: the one that most papers use
FIRST = {  # key: what it is
    "OPTIM.LR": "learning rate",
    "OPTIM.MAX_EPOCH": "epochs",
    "DATALOADER.TRAIN_X.BATCH_SIZE": "images in a training step",
    "OPTIM.WARMUP_EPOCH": "epochs of warm-up, counted among the epochs",
    "OPTIM.WARMUP_CONS_LR": "learning rate of the warm-up",
}
SHOTS = "DATASET.NUM_SHOTS"
OF_SHOTS = "training images of each class; -1 takes all. Papers use 16, or 1, 2, 4, 8, 16"


class Given(NamedTuple):
    """What the config that a trainer takes for ViT-B/16 gives: its path below configs/, and {key: value}."""

    config: str
    values: dict[str, Any]


def given(trainer: str) -> Given:
    """The values of one of our trainers, without keys that its config does not set; none where it trains nothing."""
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
    """For --help; empty for a trainer whose config sets none of them."""
    config, values = given(trainer)
    if not values:
        return ""
    lines = [f"  {key:<32}{value!s:<16}{FIRST[key]}" for key, value in values.items()]
    lines.append(f"  {SHOTS:<32}{-1!s:<16}{OF_SHOTS}")
    return "\n".join([f"settings that people change first, as KEY VALUE (values of {config}):", *lines, ""])
