"""The settings that people change first, with the values of a trainer's config: for --help and the docs."""

from __future__ import annotations

from typing import Any, NamedTuple

from modprompt.cli.defaults import configs_by_clip
from modprompt.io import yaml_text
from modprompt.methods.table import BY_NAME, ZERO_SHOT, config_of, kind_of

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
    found = _config(trainer, clip)
    unread = BY_NAME[trainer].method.instead if found.values else {}
    values = {key: value for key in FIRST if key not in unread and (value := _value(found.values, key)) is not None}
    return found._replace(values=values)


def _config(trainer: str, clip: str) -> Given:
    """The config with all that it sets, as nested mappings."""
    name = configs_by_clip(trainer).get(clip, "")
    path = config_of(trainer, name)
    if not name or not path.is_file() or kind_of(trainer) == ZERO_SHOT:
        return Given("", {})
    return Given(f"configs/trainers/{path.parent.name}/{path.name}", yaml_text.read(path))


def _value(content: Any, key: str) -> Any:
    """The value of a dotted key; None without one."""
    for word in key.split("."):
        content = content.get(word) if isinstance(content, dict) else None
    return content


def help_text(trainer: str, node: str = "") -> str:
    """The text for --help; empty for a trainer whose configs set none of them.

    Args:
        trainer: its name.
        node: where its own settings are, TRAINER.NAME: those that configs give a value are listed too.
    """
    found = {clip: given(trainer, clip) for clip in (AT_HAND, CLIP)}
    found = {clip: one for clip, one in found.items() if one.values}
    if not found:
        return ""
    rows = [("", [f"for {clip}" for clip in found], "")]
    rows += [
        (key, [str(one.values.get(key, "")) for one in found.values()], what)
        for key, what in FIRST.items()
        if any(key in one.values for one in found.values())
    ]
    rows.append((SHOTS, ["-1"] * len(found), OF_SHOTS))
    lines = [f"  {key:<32}{''.join(f'{value:<16}' for value in values)}{what}".rstrip() for key, values, what in rows]
    lines += [f"for {clip}: {one.config}" + _own(trainer, clip, node) for clip, one in found.items()]
    return "\n".join(["settings that people change first, as KEY VALUE, with the values of configs:", *lines, ""])


def _own(trainer: str, clip: str, node: str) -> str:
    own = _value(_config(trainer, clip).values, node) if node else None
    return f", with {node}: {', '.join(f'{key} {value!r}' for key, value in own.items())}" if own else ""
