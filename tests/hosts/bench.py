"""What all runs of the check share: pictures, weights, a config; runs of MPL, and what they say."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import yaml

from modprompt.errors import UserError
from tests.conftest import BARE_CONFIG, ROOT, bare, published, random_clip, write_eurosat

TIMEOUT_S = 300  # of a run
EPOCHS, TESTED_EPOCH = 2, 1  # the one that --load-epoch takes is not the last
NUMBERS = ("total", "correct", "accuracy", "macro_f1")
SETTINGS = {"OPTIM": {"MAX_EPOCH": EPOCHS, "WARMUP_CONS_LR": 0.0035}, "TRAIN": {"CHECKPOINT_FREQ": 1}}
SETTINGS["TRAINER"] = {"MPL": {"N_CTX": 1, "PROMPT_DEPTH": 3, "PREC": "fp32"}}
MODEL = "MultiModalPromptLearner/model.pth.tar-{}"
EUROSAT = "configs/datasets/eurosat.yaml"


class Run(NamedTuple):
    """A finished run. code: its exit code, losses: four decimals each, tested: text of each of NUMBERS (of the last
    test), error: its last line of stderr that names an error."""

    code: int
    losses: tuple[float, ...] = ()
    tested: tuple[str, ...] = ()
    error: str = ""

    @property
    def failed(self) -> str:
        """Why it counts as failed, or ""."""
        return f"exit code {self.code}: {self.error}" if self.code else "" if self.tested else "it tested nothing"


def read_run(code: int, out: str, err: str) -> Run:
    """A run by what it printed."""
    numbers = [re.findall(rf"^\* {name}: ([\d.,]+)%?\s*$", out, re.MULTILINE) for name in NUMBERS]
    errors = [line for line in err.splitlines() if re.match(r"[\w.]*(error|Error|Exception|Interrupt)\b", line)]
    return Run(
        code,
        tuple(float(value) for value in re.findall(r"^epoch .* loss (nan|[\d.]+) \(", out, re.MULTILINE)),
        tuple(values[-1].replace(",", "") for values in numbers) if all(numbers) else (),
        (errors or err.strip().splitlines() or [""])[-1][:300],
    )


def same_number(a: str, b: str) -> bool:
    """Whether two printed numbers are one, as far as the shorter of them goes (hosts print one to three decimals)."""
    decimals = min(len(text.partition(".")[2]) for text in (a, b))
    return abs(float(a) - float(b)) <= 0.500001 * 10**-decimals if decimals else float(a) == float(b)


def difference(run: Run, expected: Run) -> str:
    """What tells a run from another: "" if losses (to the last digit) and tests are equal."""
    if run.failed:
        return run.failed
    if len(run.losses) != len(expected.losses):
        return f"{len(run.losses)} steps in place of {len(expected.losses)}"
    if run.losses != expected.losses:
        return f"losses differ by {max(abs(a - b) for a, b in zip(run.losses, expected.losses)):.0e}"
    other = [name for name, a, b in zip(NUMBERS, run.tested, expected.tested) if not same_number(a, b)]
    return f"other {', '.join(other)}: {run.tested} in place of {expected.tested}" if other else ""


def other_tensors(one: Path, two: Path) -> str:
    """The first tensor of two checkpoints that differs in a bit, or ""."""
    states = [torch.load(path, map_location="cpu", weights_only=True)["state_dict"] for path in (one, two)]
    if states[0].keys() != states[1].keys():
        return "the checkpoint has other tensors"
    differing = (key for key in states[0] if not torch.equal(states[0][key], states[1][key]))
    return next((f"{key} was learned otherwise" for key in differing), "")


def checkpoint(out: Path, epoch: int) -> Path | None:
    """That of an epoch in an output folder, wherever below it a program has put it; what is kept beside it is none."""
    files = (path for path in out.glob(f"**/{MODEL.format(epoch)}") if "kept" not in path.parts)
    return next(files, None)


class Way(NamedTuple):
    """How a program is started: its words, its folder, PYTHONPATH, our trainer there, and the data set's config."""

    start: tuple[str, ...]
    folder: Path
    path: tuple[Path, ...]
    trainer: str = "MPL"
    dataset_config: str = EUROSAT


def environment(path: Sequence[Path]) -> dict[str, str]:
    """The environment of a run, with these folders on PYTHONPATH, and the caller's behind them."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MODPROMPT"))}
    whole = os.pathsep.join([*map(str, path), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": whole}


class Bench:
    """A folder with all that runs need, and this project's own runs, which all others are held against."""

    def __init__(self, folder: Path):
        self.folder, self.pictures = folder, folder / "pictures"
        write_eurosat(self.pictures, 48)
        torch.save(published(random_clip(1, text_layers=4, vision_layers=4)), folder / "clip.pt")
        tree = yaml.safe_load(BARE_CONFIG)
        for name, node in SETTINGS.items():
            tree.setdefault(name, {}).update(node)
        (folder / "mpl.yaml").write_text(yaml.safe_dump(tree))
        (folder / "ours").mkdir()
        (folder / "ours" / "modprompt").symlink_to(ROOT / "modprompt")  # as pip has it: nothing else of a checkout
        (folder / "wilds").mkdir()  # which Dassl imports for data sets of its own
        (folder / "wilds" / "wilds.py").write_text("def get_dataset(*args, **kwargs):\n    raise ImportError\n")
        self._measure()

    def desk(self, name: str) -> Path:
        """A folder for the runs in one codebase, with a copy of the pictures."""
        folder = self.folder / re.sub(r"\W", "-", name)
        shutil.copytree(self.pictures, folder / "data", symlinks=True)
        return folder

    def words(self, desk: Path, way: Way, classes: str, out: str) -> list[str]:
        """Flags and options of MPL on these classes."""
        flags = ["--root", desk / "data", "--seed", 1, "--trainer", way.trainer, "--output-dir", desk / out]
        flags += ["--config-file", self.folder / "mpl.yaml", "--dataset-config-file", way.dataset_config]
        options = [*bare(self.folder / "clip.pt"), "DATASET.NUM_SHOTS", 4, "DATASET.SUBSAMPLE_CLASSES", classes]
        return [*map(str, [*flags, *options])]

    def run(self, desk: Path, way: Way, classes: str, out: str, more: Sequence = ()) -> Run:
        """A run of MPL on these classes into a folder of the desk. more: further flags."""
        return self.program(desk, [*more, *self.words(desk, way, classes, out)], way, out)

    def program(self, desk: Path, words: Sequence, way: Way, out: str) -> Run:
        """A way's program; a codebase may print into a log in its output folder, and nowhere else."""
        for cache in (desk / "data").glob("*/split_fewshot*"):
            shutil.rmtree(cache)  # a run that finds draws of few shots draws other random numbers
        try:
            words, env = [sys.executable, *way.start, *map(str, words)], environment(way.path)
            done = subprocess.run(words, cwd=way.folder, env=env, capture_output=True, text=True, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return Run(-1, error=f"took more than {TIMEOUT_S} s")
        said = done.stdout
        if "* accuracy" not in said:
            said += "".join(path.read_text(errors="replace") for path in sorted((desk / out).glob("log.txt*")))
        return read_run(done.returncode, said, done.stderr)

    def command(self, words: Sequence, path: Sequence[Path], folder: Path) -> subprocess.CompletedProcess[str]:
        """One of our commands, in a process of its own."""
        whole = [sys.executable, "-m", "modprompt", *map(str, words)]
        return subprocess.run(whole, cwd=folder, env=environment(path), capture_output=True, text=True, check=False)

    def _measure(self) -> None:
        """This project's own numbers, on the small Dassl.

        Raises:
            UserError: if they fail, or could not tell a wrong run from a right one.
        """
        way = Way(("train.py",), ROOT, (ROOT,))
        first = self.desk("first")
        runs = [self.run(first, way, "base", "out")]  # writes the split file, which takes random numbers
        split = first / "data/eurosat/split_zhou_EuroSAT.json"
        shutil.copy(split, self.pictures / "eurosat")
        btmri = self.pictures / "BTMRI"  # the same pictures, as BiomedCoOp's reader wants them
        btmri.mkdir()
        (btmri / "BTMRI").symlink_to("../eurosat/2750")
        shutil.copy(split, btmri / "split_BTMRI.json")
        desk = self.desk("trained")
        self.trained = self.run(desk, way, "base", "out")
        self.model = desk / "out" / MODEL.format(EPOCHS)
        self.tested, last = (
            self.run(desk, way, "new", f"new-{epoch}", loading(desk / "out", epoch)) for epoch in (TESTED_EPOCH, EPOCHS)
        )
        failed = [run.failed for run in (*runs, self.trained, self.tested, last) if run.failed]
        if failed:
            raise UserError(f"this project's own runs fail: {failed[0]}")
        if last.tested == self.tested.tested:
            raise UserError("the pictures of the check do not tell a trained model from another: change them")


def loading(folder: Path, epoch: int = TESTED_EPOCH) -> list:
    """Flags of a test of a run's checkpoint."""
    return ["--eval-only", "--model-dir", folder, "--load-epoch", epoch]
