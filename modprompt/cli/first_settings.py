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
    """The config that a trainer uses for a CLIP: its path below configs/, and values by key."""

    config: str
    values: dict[str, Any]


def given(trainer: str, clip: str = CLIP) -> Given:
    """The values of one of our trainers, for the keys that its config sets; none if it trains nothing."""
    return _first(trainer, _config(trainer, clip))


def _config(trainer: str, clip: str) -> Given:
    """The config with all that it sets."""
    name = configs_by_clip(trainer).get(clip, "")
    path = config_of(trainer, name)
    if not name or not path.is_file() or kind_of(trainer) == ZERO_SHOT:
        return Given("", {})
    return Given(f"configs/trainers/{path.parent.name}/{path.name}", read_settings(str(path)))


def _first(trainer: str, found: Given) -> Given:
    """The same with those settings alone that people change first, and that the trainer reads."""
    unread = unread_of(trainer) if found.values else {}
    return found._replace(values={key: found.values[key] for key in FIRST if key in found.values and key not in unread})


def help_text(trainer: str, node: str = "") -> str:
    """The text for --help; empty for a trainer whose configs set none of them.

    Args:
        trainer: its name.
        node: where its own settings are, TRAINER.NAME: those that configs give a value are listed too.
    """
    configs = {clip: _config(trainer, clip) for clip in (AT_HAND, CLIP)}
    first = {clip: found for clip, config in configs.items() if (found := _first(trainer, config).values)}
    if not first:
        return ""
    rows = [("", [f"for {clip}" for clip in first], "")]
    rows += [
        (key, [str(values.get(key, "")) for values in first.values()], what)
        for key, what in FIRST.items()
        if any(key in values for values in first.values())
    ]
    rows.append((SHOTS, ["-1"] * len(first), OF_SHOTS))
    lines = [f"  {key:<32}{''.join(f'{value:<16}' for value in values)}{what}".rstrip() for key, values, what in rows]
    lines += [f"for {clip}: {configs[clip].config}{_own(configs[clip], node)}" for clip in first]
    return "\n".join(["settings that people change first, as KEY VALUE, with the values of configs:", *lines, ""])


def _own(config: Given, node: str) -> str:
    start = f"{node}."
    own = [f"{key[len(start) :]} {value!r}" for key, value in config.values.items() if node and key.startswith(start)]
    return f", with {node}: {', '.join(own)}" if own else ""
