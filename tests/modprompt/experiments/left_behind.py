"""What tests and trainings leave in a run's folder, made up: files as train.py would write them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from modprompt.experiments.plan.experiment import Job
from modprompt.io.run_files import TestParts, Wrong, write_test
from tests.modprompt.experiments.fakes import finish

NAMES = ("forest", "river", "lake")
CONFUSION = ((8, 2, 0), (1, 9, 0), (0, 5, 5))  # of 30 images, in percent 80, 90 and 50


def parts(confusion: Sequence[Sequence[int]] = CONFUSION, names: Sequence[str] = NAMES) -> TestParts:
    """Parts whose wrong images are CLASS/N.png, the N-th of a class surer than the one before."""
    wrong = []
    for label, row in enumerate(confusion):
        others = [other for other, images in enumerate(row) for _ in range(images) if other != label]
        for number, other in enumerate(others):
            sure = 0.6 + 0.05 * number + 0.01 * label
            wrong.append(Wrong(f"{names[label]}/{number}.png", label, (other, label), (sure, 1 - sure), 1 - sure))
    calibration = np.zeros((15, 3))
    calibration[[7, 14]] = [(10, 0.5, 0.4), (20, 0.95, 0.9)]
    return TestParts(names, np.array(confusion), calibration, wrong)


def leave(
    job: Job, out: Path, accuracy: float, *, tested: TestParts | None = None, losses: Sequence[float] = ()
) -> None:
    """A finished run with the files of its test and its steps; five steps are an epoch."""
    folder = out / job.folder
    more = {"test_files": write_test(folder, tested or parts()), "top5_pct": 99.0, "ece_pct": 2.5}
    more["split"] = {"name": job.dataset, "status": "published", "hash": "ab" * 32}
    more["date"] = "2026-01-02"
    more["versions"] = {"modprompt": "0.3.0", "commit": "c" * 40}
    finish(job, out, accuracy, backbone="ViT-B/16", device="a card", **more)
    rows = "".join(f"{number // 5 + 1},{number + 1},{loss},0.002\n" for number, loss in enumerate(losses))
    if rows:
        (folder / "steps.csv").write_text(f"epoch,step,loss,lr\n{rows}")


def draw_images(data: Path, dataset: str, folder: str = "2750") -> None:
    """The images that `parts` names, below a folder in the data set's."""
    for name in NAMES:
        (data / dataset / folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(5):
            Image.new("RGB", (300, 200), (number, 100, 200)).save(data / dataset / folder / name / f"{number}.png")
