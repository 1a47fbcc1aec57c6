"""The beginning of a run's log: what matters, on one screen, and config.yaml with all settings."""

import os
from collections.abc import Iterator
from typing import Any

from dassl.utils import collect_env_info

from modprompt.io import folder as run_folder
from modprompt.io.files import write_whole
from modprompt.io.settings import Settings
from modprompt.io.text import one_line, writable
from modprompt.methods.table import counts_steps

_IN_HEAD = (
    "TRAINER.NAME", "DATASET.NAME", "DATASET.NUM_SHOTS", "DATASET.SUBSAMPLE_CLASSES", "DATASET.ROOT", "SEED",
    "OUTPUT_DIR", "MODEL.BACKBONE.PATH", "MODEL.BACKBONE.NAME",
)  # fmt: skip
_MOST, _MOST_WORDS = 160, 14  # characters of a line; flags and options that are shown


def tell(cfg: Any, settings: Settings, trains: bool) -> None:
    """Print what runs, on what, and which settings were given besides files; one screen at most."""
    for line in (*_head(cfg), *([_training(cfg)] if trains else []), *_given(settings), *_end(cfg)):
        print(line if len(line) <= _MOST else f"{line[: _MOST - 3]}...")


def _head(cfg: Any) -> Iterator[str]:
    data = cfg.DATASET
    shots = f"{data.NUM_SHOTS} shots" if data.NUM_SHOTS >= 1 else "all training images"
    seed = f"seed {cfg.SEED}" if cfg.SEED >= 0 else "seed none (numbers will differ from run to run)"
    yield one_line(f"** {cfg.TRAINER.NAME} on {data.NAME}: {shots}, {data.SUBSAMPLE_CLASSES} classes, {seed} **")
    yield one_line(f"CLIP: {cfg.MODEL.BACKBONE.PATH or cfg.MODEL.BACKBONE.NAME}; data below {data.ROOT or '.'}")


def _training(cfg: Any) -> str:
    optim, batch = cfg.OPTIM, cfg.DATALOADER.TRAIN_X.BATCH_SIZE
    length = "steps" if counts_steps(cfg.TRAINER.NAME) else f"{optim.MAX_EPOCH} epochs"
    return f"Training: {length} of batches of {batch}, {optim.NAME}, learning rate {optim.LR}"


def _is_word(source: str) -> bool:
    return not source.startswith("file ")


def _given(settings: Settings) -> list[str]:
    """The files, and each flag and option."""
    files = dict.fromkeys(given.source for given in settings.values() if not _is_word(given.source))
    told = [key for key, given in settings.items() if _is_word(given.source) and key not in _IN_HEAD]
    words = [f"  {one_line(f'{key} {settings[key].value} ({settings[key].source})')}" for key in told]
    more = len(words) - _MOST_WORDS
    lines = [one_line(f"Settings: {', '.join(files)}")] if files else []
    return [*lines, *words[:_MOST_WORDS], *([f"  and {more} more"] if more > 0 else [])]


def _end(cfg: Any) -> Iterator[str]:
    where = (
        os.path.join(cfg.OUTPUT_DIR, run_folder.CONFIG)
        if cfg.OUTPUT_DIR
        else "not kept, since there is no --output-dir"
    )
    yield one_line(f"All settings, and the system: {where}")


def keep_config(cfg: Any, begins: bool) -> bool:
    """Write all settings, and facts of the system, into the output folder.

    Args:
        cfg: the configuration.
        begins: the run only begins: a folder that already holds a run, which may refuse these settings, is left alone.

    Returns:
        Whether they are written.
    """
    folder = cfg.OUTPUT_DIR
    if not folder or (begins and not run_folder.read(folder).is_free):
        return False
    system = "".join(f"# {one_line(line)}\n" for line in collect_env_info().splitlines())
    write_whole(os.path.join(folder, run_folder.CONFIG), writable(f"{cfg.dump()}{system}"))
    return True
