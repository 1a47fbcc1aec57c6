"""Rounds of active prompt learning: their settings, and what they leave in a run's folder, by name.

rounds/round_3.csv     the picks of a round, with a column for their labels
rounds/round_3.html    the same as pictures
rounds/round_3.json    the record of a round, from which a killed run resumes
rounds/round_3/        its training: checkpoints, result.json
rounds/waiting.json    which labels a run waits for
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modprompt.errors import UserError
from modprompt.fields import Configured, setting
from modprompt.io.files import PathLike
from modprompt.io.folder import ROUNDS

FOLDER = ROUNDS
WAITING = "waiting.json"  # in it: {"round": 3, "file": "round_3.csv", "missing": 7, "of": 10}
NONE, RANDOM, PCB_ALONE = "none", "random", "pcb"  # pcb: badge with PCB, as active-prompt-learning calls it


def round_name(number: int) -> str:
    """What the files of a round are called, without their endings."""
    return f"round_{number}"


def known(folder: PathLike) -> list[int]:
    """The numbers of the rounds that have a record in the folder where rounds are kept, ascending."""
    found = [path.stem.rpartition("_")[2] for path in Path(folder).glob(f"{round_name(0)[:-1]}*.json")]
    return sorted(int(number) for number in found if number.isdecimal())


METHODS = (  # names alone, for code that must not import PyTorch
    RANDOM, "entropy", "margin", "least_confidence", "coreset", "badge", "cb", "cbsq", NONE, PCB_ALONE,
)  # fmt: skip


def require_none(output_dir: PathLike) -> None:
    """Raise UserError if a folder holds rounds, which a run without any would overwrite."""
    folder = Path(output_dir) / FOLDER
    if known(folder):
        raise UserError(f"{folder} contains active-learning rounds (ACTIVE.ROUNDS). Use a different --output-dir.")


@dataclass(frozen=True, repr=False)
class Active(Configured):
    """Rounds that choose which images are labelled (PCB, arXiv 2311.11178), around any trainer."""

    node = "ACTIVE"

    rounds: int = setting(
        0,
        "the number of active-learning rounds (select, label, train); with 0, all labels are used and there "
        "are no rounds",
        least=0,
    )
    method: str = setting(
        "", "the acquisition function: random, entropy, margin, least_confidence, coreset, badge, pcb, cb, cbsq or none"
    )
    pcb: bool = setting(False, "balances the selected images by predicted class (PCB) if True")
    budget: int = setting(0, "the number of labels per round; 0 requests as many labels as there are classes", least=0)
    gamma: float = setting(0.1, "the number of candidates for PCB as a fraction of all training images", least=0)
    give_up: bool = setting(
        False,
        "lets PCB select the rest of a round at random if True and the class with the fewest labels has no candidate",
    )
    badge_rows: str = setting(
        "right",
        "the images that BADGE selects: right for the correct images, reference for the misplaced ones of "
        "the original code",
        choices=("right", "reference"),
    )
    manual_labels: bool = setting(
        False, "stops after each selection, until the labels are filled in in the CSV file of the round, if True"
    )


def has_more_rounds(settings: Mapping[str, str], result: Mapping[str, Any], differing: Sequence[str]) -> bool:
    """Return True if a finished run is to be continued, because only its number of rounds has been increased.

    Args:
        settings: the explicit settings of this run.
        result: the result of the finished run.
        differing: the settings that differ between the two, as "KEY old -> new".
    """
    active, key = result.get("active"), "ACTIVE.ROUNDS"
    finished, requested = len(active["rounds"]) if isinstance(active, dict) else 0, settings.get(key, "")
    more = bool(finished) and requested.isdecimal() and int(requested) > finished
    return more and all(text.startswith(f"{key} ") for text in differing)


def labels_in(result: Mapping[str, Any]) -> str:
    """How many labels all rounds of a result have, in words; empty for a run without rounds."""
    active = result.get("active")
    rounds = active.get("rounds") if isinstance(active, Mapping) else None
    return f"{rounds[-1].get('labels')} in {len(rounds)} rounds of {active['method']}" if rounds and active else ""
