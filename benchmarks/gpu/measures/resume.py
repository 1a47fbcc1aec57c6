"""A run with MODEL.DETERMINISTIC that is killed after its first epoch and resumes, against an undisturbed one."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.gpu.programs import prepare, train
from benchmarks.gpu.rows import holds
from benchmarks.gpu.task import Found, Place, Task
from modprompt.io import result

SAME = ("prompts_hash", "accuracy_pct", "correct")


def _result(folder: Path) -> Mapping[str, Any]:
    found = result.read(str(folder)).result
    if found is None:
        raise RuntimeError(f"{folder} has no result")
    return found


def measure(task: Task, place: Place) -> Found:
    """Whether the prompts' hashes and the predictions are the same.

    Raises:
        RuntimeError: if the killed run began anew.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        per_class = place.choose(32, 16)  # a step for each: enough to kill it between them
        words = prepare(folder, place, train=per_class, test=16, sides=place.choose((500, 375), (48, 36)))
        words += ["OPTIM.MAX_EPOCH", "3", "TRAIN.PRINT_FREQ", "1", "MODEL.DETERMINISTIC", "True"]
        words += ["TRAINER.MPL.PREC", task.precision]
        train(words, folder / "whole")
        train(words, folder / "killed", kill_at="epoch [2/3] batch [5/")
        again = train(words, folder / "killed")
        if "resuming after epoch" not in again:
            raise RuntimeError("the killed run began anew instead of resuming")
        whole, killed = _result(folder / "whole"), _result(folder / "killed")
    facts = {key: (whole.get(key), killed.get(key)) for key in SAME}
    other = [f"{key} is {one} and {two}" for key, (one, two) in facts.items() if one != two or one is None]
    figure = f"resumed run, {task.what}, MODEL.DETERMINISTIC: prompts and predictions of an undisturbed one"
    detail = f"3 epochs of {per_class} steps, killed after the first; hash {str(whole['prompts_hash'])[:12]}"
    row = holds(figure, "equal to the bit", "; ".join(other) or "equal to the bit", not other, detail)
    return Found([row], {"facts": facts})
