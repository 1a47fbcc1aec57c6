"""Whether the rounds in a folder belong to the run that is asked for; and resuming from another folder's rounds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dassl.engine import TRAINER_REGISTRY
from yacs.config import CfgNode

from modprompt.active import record
from modprompt.active.pool import Pool
from modprompt.data.rounds import known
from modprompt.errors import UserError
from modprompt.io import folder as run_folder
from modprompt.io import result as results
from modprompt.io.images import images_hash
from modprompt.trainers import training_state

_FREE = ("ACTIVE.ROUNDS", "ACTIVE.ASK")  # may change between starts


def decisive(cfg: CfgNode, pool: Pool, new: Any = None) -> dict[str, str]:
    """What must be the same to resume rounds, as {name: text}.

    Args:
        cfg: the configuration of the run.
        pool: its images.
        new: the data set of the new classes, if they are tested.
    """
    node = getattr(TRAINER_REGISTRY.get(cfg.TRAINER.NAME), "node_name", "")
    settings = training_state.of_trainer(training_state.settings_of(cfg), node)
    return {
        **{key: text for key, text in settings.items() if key not in _FREE},
        # free in single trainings; here each test draws a number from PyTorch's generator
        "whether TEST.NO_TEST": str(bool(cfg.TEST.NO_TEST)),
        "the pool of images": pool.fingerprint(),
        "the validation and test images": images_hash(pool.dataset.val, pool.dataset.test, root=pool.root),
        "the class names": ", ".join(pool.names),
        **({} if new is None else {"the test images of the new classes": images_hash(new.test, root=pool.root)}),
    }


def require_same(mine: Mapping[str, str], one: record.Round, where: Path) -> None:
    """Raise UserError, naming what differs, unless a round belongs to this run."""
    try:
        training_state.require_same(mine, one.settings, str(where))
    except UserError as error:
        raise UserError(f"{error}; picks and labels are in round_*.csv there: keep these") from None


def require_whole(folder: Path) -> int:
    """How many rounds a folder has; UserError if one has no record, but a later one has."""
    numbers = known(folder)
    for number, there in enumerate(numbers):
        if number != there:
            raise UserError(
                f"{folder} has round {there} but no record of round {number}: move the rounds after it away"
            )
    return len(numbers)


def require_own_folder(output_dir: str) -> None:
    """Raise UserError if a folder without rounds holds a run of another kind."""
    result = results.read(output_dir).result or {}
    if not known(record.folder_of(output_dir)) and (
        (result and not result.get("active")) or training_state.exists(output_dir)
    ):
        or_delete = run_folder.or_delete(output_dir)
        raise UserError(f"{output_dir} holds a run without rounds: give another --output-dir{or_delete}")


def take_over(other: str, folder: Path, mine: Mapping[str, str]) -> None:
    """Resume from another run's folder, RESUME, if this one has no rounds yet.

    Args:
        other: the other run's output folder.
        folder: where this run's rounds are kept.
        mine: as decisive.

    Raises:
        UserError: if there are no rounds, their run has other settings, or files would be lost.
    """
    if known(folder):
        print(f"RESUME is not used: {folder} has its own rounds")
        return
    source = record.folder_of(other)
    if not known(source):
        raise UserError(f"RESUME: there are no rounds to resume from in {other}")
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"RESUME: {folder} is not empty: move it away, or give another --output-dir")
    with run_folder.hold(other):
        for number in range(require_whole(source)):
            one = record.read(source, number)
            assert one is not None
            require_same(mine, one, source)
        record.copy_all(source, folder)
    print(f"Resuming from the rounds of {other}")
