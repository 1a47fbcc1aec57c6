"""A run that is killed at changes to the disk and started again, in a process of its own.

    python -m tests.kills SCRATCH NUMBER training|rounds     prints [number of changes, [point, ...], [fault, ...]] as JSON

The points are drawn from a seed. Whatever a kill leaves, the same command must end with the undisturbed run's result.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

from modprompt.runs import result
from tests.conftest import ROOT, SMALL_CONFIG, bare, random_clip, write_eurosat
from tests.killing import KILLED, in_child

SAME = ("prompts_hash", "accuracy_pct", "correct", "images_hash", "config_hash", "backbone_hash", "rounds")
OPTIONS = {
    "training": {"DATASET.NUM_SHOTS": 2, "TEST.FINAL_MODEL": "best_val"},
    "rounds": {"ACTIVE.METHOD": "badge", "ACTIVE.PCB": True, "ACTIVE.ROUNDS": 3, "ACTIVE.GAMMA": 0.3},
}


def kills(scratch: Path, number: int, kind: str = "training") -> tuple[int, list[int], list[str]]:
    """How many changes a run of this kind makes, in front of which it was killed, and what was wrong then."""
    words = [sys.executable, "-W", "ignore", "-m", "tests.kills", str(scratch), str(number), kind]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def _prepare(scratch: Path) -> None:
    import torch

    write_eurosat(scratch / "whole", images_per_class=8)
    torch.save(random_clip(1, text_layers=4, vision_layers=4).state_dict(), scratch / "clip.pt")
    (scratch / "small.yaml").write_text(SMALL_CONFIG)


def _words(scratch: Path, root: Path, kind: str) -> list[str]:
    flags = {
        "--root": root,
        "--seed": 1,
        "--trainer": "MPL",
        "--output-dir": root / "out",
        "--config-file": scratch / "small.yaml",
        "--dataset-config-file": ROOT / "configs/datasets/eurosat.yaml",
    }
    words = [str(word) for pair in (*flags.items(), *OPTIONS[kind].items()) for word in pair]
    return [*words, *bare(scratch / "clip.pt")]


def _facts(root: Path) -> dict[str, object]:
    """What a run's result says, but for times."""
    found = result.read(root / "out").result or {}
    rounds = [{**one, "elapsed_s": 0} for one in found.get("active", {}).get("rounds", ())]
    return {**{key: found.get(key) for key in SAME}, "rounds": rounds}


def campaign(scratch: Path, number: int, kind: str) -> tuple[int, list[int], list[str]]:
    """As `kills`, in this process, which must not have trained."""
    import modprompt.active.rounds  # noqa: F401 - before a child counts what it does
    from modprompt.cli import train

    _prepare(scratch)

    def run(root: Path, kill_at: int) -> int:
        def work():
            if train.main(_words(scratch, root, kind)) != 0:
                raise SystemExit(1)

        return in_child(work, kill_at, scratch / "counted")

    shutil.copytree(scratch / "whole", scratch / "undisturbed")
    assert run(scratch / "undisturbed", 0) == 0
    expected = _facts(scratch / "undisturbed")
    assert expected["accuracy_pct"] is not None
    total = int((scratch / "counted").read_text())
    points, faults = sorted(random.Random(number).sample(range(1, total + 1), number)), []
    for point in points:
        root = scratch / f"killed{point}"
        shutil.copytree(scratch / "whole", root)
        if run(root, point) != KILLED:
            faults.append(f"{point}: not reached")
        if run(root, 0) != 0:
            faults.append(f"{point}: does not go on")
            continue
        found = _facts(root)
        faults += [f"{point}: other {key}" for key in SAME if found[key] != expected[key]]
        faults += [f"{point}: left {path.name}" for path in root.rglob("*.part")]
    return total, points, faults


def main(argv: list[str]) -> None:
    """Print the figures."""
    with Path("/dev/null").open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        found = campaign(Path(argv[0]), int(argv[1]), argv[2])
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
