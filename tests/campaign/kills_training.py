"""Kills of trainings: one on a fresh tree, which makes its split and lists, and one that goes on after its first epoch."""

from __future__ import annotations

import functools
from pathlib import Path

from tests.campaign import kills
from tests.campaign.figures import Figure, joined
from tests.killing import KILLED, in_child

EVERY_EPOCH = {"OPTIM.MAX_EPOCH": 3, "TRAIN.CHECKPOINT_FREQ": 1, "DATASET.NUM_SHOTS": 2}
MPL = {**EVERY_EPOCH, "TEST.FINAL_MODEL": "best_val", "TRAINER.MPL.PREC": "fp32", "TRAINER.MPL.PROMPT_DEPTH": 3}
PROMPTSRC = {
    **EVERY_EPOCH,
    "TRAINER.PROMPTSRC.PREC": "fp32",
    "TRAINER.PROMPTSRC.GPA_MEAN": 2.0,
    "TRAINER.PROMPTSRC.PROMPT_DEPTH_TEXT": 3,
    "TRAINER.PROMPTSRC.PROMPT_DEPTH_VISION": 2,
}


def _after_an_epoch(work: kills.Work, scratch: Path) -> Path:
    """The folder of a training that was killed once it had left a state, in the middle."""
    total, _ = kills.undisturbed(work, scratch)
    for point in sorted(range(1, total + 1), key=lambda point: abs(point - total // 2)):
        root = kills.fresh(work.before, scratch / "begun")
        assert in_child(functools.partial(work.run, root), point, scratch / "counted") == KILLED
        if list((root / "out").glob("training_state.pth.tar")):
            return Path(root.rename(scratch / "after_an_epoch"))
    raise AssertionError("no state was left")


def run(scratch: Path, seed: int, share: float) -> list[Figure]:
    """Both, as one figure."""
    tree = kills.prepare(scratch)
    whole = kills.Work("training", tree, kills.trained("MPL", MPL), kills.facts_of_run)
    begun = kills.Work("training that goes on", tree, kills.trained("PromptSRC", PROMPTSRC), kills.facts_of_run)
    _, expected = kills.undisturbed(begun, scratch)
    begun = begun._replace(before=_after_an_epoch(begun, scratch))
    figures = [kills.killed(whole, scratch, seed, share), kills.killed(begun, scratch, seed, share, expected)]
    return [joined(figures, "kills of a training")]
