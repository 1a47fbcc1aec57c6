"""The rule by which a run reads its images: its data set's, or that of the run that it continues or tests.

Files that record none are from before there were two rules, when all read as the family does.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modprompt.errors import UserError
from modprompt.feature import features
from modprompt.io import checkpoint
from modprompt.io import result as results
from modprompt.io.checkpoint_files import checkpoint_at
from modprompt.io.image_files import FAMILY
from modprompt.io.images import READ_AS
from modprompt.io.tensors import read_tensors
from modprompt.trainers import training_state


def rule_of(cfg: Any, tested: str = "", epoch: int | None = None) -> dict[str, str]:
    """INPUT.READ_AS, as {its key: the rule}, if it differs from that of the data set, with a message; else {}.

    Args:
        cfg: the configuration, with the rule of its data set.
        tested: the folder or file whose model is tested; empty if the run trains, or trains nothing.
        epoch: which epoch's model in a folder; None for the best or last.
    """
    for place in [tested] if tested else [cfg.OUTPUT_DIR, cfg.RESUME]:
        said = _said_by(place, epoch) if place else None
        if said is None:
            continue
        own = said.get("DATASET.NAME", cfg.DATASET.NAME) == cfg.DATASET.NAME
        rule = str(said.get(READ_AS, FAMILY)) if own or READ_AS not in said else cfg.INPUT.READ_AS
        if rule != cfg.INPUT.READ_AS:
            print(f"Images are read as {place} read them ({READ_AS} {rule}), not as a new run would")
            return {READ_AS: rule}
        return {}
    return {}


def _said_by(place: str, epoch: int | None) -> Mapping[str, Any] | None:
    """The settings of a run from its state, checkpoint, features' files or result; None if there is none of these.

    A checkpoint without settings is the family's, or that of a user's own trainer, whose result may have them.
    """
    found: Sequence[Any] = [] if epoch is not None else [_of_state(place)]
    for said in (*found, _of_checkpoint(place, epoch), _of_features(place), _of_result(place)):
        if said:
            return dict(said)
    return {} if _has_checkpoint(place) else None


def _of_state(place: str) -> Any:
    try:
        content = read_tensors(Path(place) / training_state.FILE_NAME)
    except (OSError, UserError):  # whatever continues from a damaged state reports it
        return None
    return content.get("settings") if isinstance(content, dict) else None


def _of_checkpoint(place: str, epoch: int | None) -> Any:
    try:
        return checkpoint.read(checkpoint_at(place, epoch)).settings
    except (OSError, UserError):
        return None


def _has_checkpoint(place: str) -> bool:
    try:
        return Path(checkpoint_at(place)).is_file()
    except (OSError, UserError):
        return False


def _of_features(place: str) -> Any:
    return next(filter(None, (one.settings_in(place) for one in features())), None)


def _of_result(place: str) -> Any:
    found = results.read(place).result
    return None if found is None else {**(found.get("settings") or {}), **(found.get("input") or {})}
