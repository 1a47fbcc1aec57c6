"""What a search leaves in its output folder: alphas of each epoch, schedule.json and a picture of both."""

import os
from typing import Any, Dict, List, Mapping, Sequence, Tuple

import numpy as np
from torch import Tensor

from modprompt.errors import UserError
from modprompt.io.images import shots_of
from modprompt.io.pictures import can_draw
from modprompt.methods.search import alphas_file as alphas
from modprompt.methods.search import file as schedule_file
from modprompt.methods.search.file import SideOfSearch
from modprompt.methods.search.learner import Found, SearchLearner
from modprompt.methods.search.space import ALL, Option

_NEVER = -1e30  # alpha of an option that a layer does not have: the file's rows are of one length
PICTURE = "search.png"


def shown(options: Sequence[Option]) -> str:
    """Options in words, every removal with every addition."""
    numbers = sorted({remove for remove, _ in options} - {ALL})
    removes = f"{numbers[0]} to {numbers[-1]}" if numbers else ""
    whole = "all" if any(remove == ALL for remove, _ in options) else ""
    return f"remove {' or '.join(filter(None, (removes, whole)))}, add 0 to {max(add for _, add in options)}"


def margins_line(found: Found) -> str:
    """How sure each layer's choice is: the weight of what is taken minus that of the best other."""
    return f"{'margin':<14}" + "".join(f"{round(margin, 2) + 0.0:>6.2f}" for margin in found.margins)


def write_alphas(folder: str, epoch: int, learner: SearchLearner, values: Mapping[str, Tensor], npy: bool) -> None:
    """Write alpha_e{epoch}.npz; with `npy` the reference's pair of files too.

    Args:
        folder: where.
        epoch: after which.
        learner: whose options they weigh.
        values: the alphas (L, O) of each searched side.
        npy: whether the reference's files are written, too.
    """
    sides = {side: _table(values[side], options, learner.place(side)) for side, options in learner.options.items()}
    alphas.write(folder, epoch, sides)
    if not npy:
        return
    both = alphas.write_pair(folder, epoch, text=sides["text"].values, vision=sides["vision"].values)
    if epoch == 0:
        print(f"The reference's files, {', '.join(map(str, both))} and so on, are written too: {alphas.SWAPPED}")


def _table(values: Tensor, options: Sequence[Sequence[Option]], place: str) -> alphas.Alphas:
    most = max(map(len, options))
    rows = [[*row[: len(there)], *[_NEVER] * (most - len(there))] for row, there in zip(values.tolist(), options)]
    pairs = [[*there, *[there[-1]] * (most - len(there))] for there in options]
    return alphas.Alphas(np.array(rows, np.float32), np.array(pairs, np.int64), place)


def require_alphas(folder: str, epochs: int) -> None:
    """Raise UserError if those of one of the epochs up to this one are not there."""
    for epoch in range(epochs + 1):
        _read(folder, epoch)


def write_found(cfg: Any, learner: SearchLearner, found: Mapping[str, Found], validation: str) -> None:
    """Write schedule.json and the picture."""
    folder = cfg.OUTPUT_DIR
    history = [_read(folder, epoch) for epoch in range(cfg.OPTIM.MAX_EPOCH + 1)]
    sides = {}
    for side, schedule in learner.schedules._asdict().items():
        if side in found:
            sides[side] = _of_search(found[side], [each[side] for each in history if side in each])
        else:
            sides[side] = SideOfSearch(schedule.place, tuple(map(tuple, schedule)))
    search = {
        "trainer": cfg.TRAINER.NAME,
        "dataset": cfg.DATASET.NAME,
        "classes": cfg.DATASET.SUBSAMPLE_CLASSES,
        "shots": shots_of(cfg),
        "seed": cfg.SEED,
        "epochs": cfg.OPTIM.MAX_EPOCH,
        "validation": validation,
    }
    path = os.path.join(folder, schedule_file.FILE_NAME)
    schedule_file.write(path, sides, search)
    print(f"Schedule: {path}")
    if can_draw():
        from modprompt.methods.search.figure import draw

        draw(os.path.join(folder, PICTURE), {side: one for side, one in sides.items() if one.alphas})


def _read(folder: str, epoch: int) -> Dict[str, alphas.Alphas]:
    path = os.path.join(folder, alphas.file_name(epoch))
    try:
        return alphas.read(path)
    except FileNotFoundError:
        raise UserError(
            f"{path} is gone: schedule.json needs the alphas of every epoch; start the search anew"
        ) from None


def _of_search(found: Found, history: List[alphas.Alphas]) -> SideOfSearch:
    values = tuple(
        tuple(tuple(row[: len(there)].tolist()) for row, there in zip(each.values, found.options)) for each in history
    )
    steps: Tuple[Option, ...] = tuple((step.remove, step.add) for step in found.schedule)
    return SideOfSearch(found.schedule.place, steps, found.margins, found.options, values)


def record_of(found: Mapping[str, Found]) -> Dict[str, Any]:
    """What result.json says of it: each side's pairs, as SCHEDULE_TEXT is written, and the smallest margin."""
    return {
        side: {"steps": str([list(step) for step in one.schedule]), "least_margin": round(min(one.margins), 4)}
        for side, one in found.items()
    }
