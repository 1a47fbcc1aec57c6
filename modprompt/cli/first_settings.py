"""The settings that people change first, with the values of a trainer's config: for --help and the docs."""

from __future__ import annotations

from typing import Any, NamedTuple

from modprompt.cli.defaults import configs_by_clip
from modprompt.io.settings import read_settings
from modprompt.methods.table import ZERO_SHOT, config_of, kind_of, unread_of

CLIP = "ViT-B/16"  # its config is shown: most papers use it
AT_HAND = "glyph-clip"  # and that of the CLIP that comes along
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
    """The config that a trainer uses for a CLIP: its path below configs/, what it sets of FIRST, and all it sets."""

    config: str
    values: dict[str, Any]
    settings: dict[str, Any]


def given(trainer: str, clip: str = CLIP) -> Given:
    """The config of one of our trainers, without what it does not read; nothing if it trains nothing."""
    path = config_of(trainer, configs_by_clip(trainer).get(clip, ""))
    if not path.is_file() or kind_of(trainer) == ZERO_SHOT:
        return Given("", {}, {})
    settings, unread = read_settings(str(path)), unread_of(trainer)
    values = {key: settings[key] for key in FIRST if key in settings and key not in unread}
    return Given(f"configs/trainers/{path.parent.name}/{path.name}", values, settings)


def help_text(trainer: str, node: str) -> str:
    """The text for --help; empty for a trainer whose configs set none of them.

    Args:
        trainer: its name.
        node: where its own settings are, TRAINER.NAME: those that configs give a value are listed too.
    """
    configs = {clip: config for clip in (AT_HAND, CLIP) if (config := given(trainer, clip)).values}
    if not configs:
        return ""
    rows = [("", [f"for {clip}" for clip in configs], "")]
    for key, what in FIRST.items():
        if any(key in config.values for config in configs.values()):
            rows.append((key, [str(config.values.get(key, "")) for config in configs.values()], what))
    rows.append((SHOTS, ["-1"] * len(configs), OF_SHOTS))
    lines = [f"  {key:<32}{''.join(f'{value:<16}' for value in values)}{what}".rstrip() for key, values, what in rows]
    for clip, config in configs.items():
        own = {key: value for key, value in config.settings.items() if key.startswith(f"{node}.")}
        said = ", ".join(f"{key.removeprefix(f'{node}.')} {value!r}" for key, value in own.items())
        lines.append(f"for {clip}: {config.config}{f', with {node}: {said}' if own else ''}")
    return "\n".join(["settings that people change first, as KEY VALUE, with the values of configs:", *lines, ""])
