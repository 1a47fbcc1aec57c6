"""What all runs of the check share: pictures, weights, a config; runs of MPL, and what they say."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import yaml

from modprompt.errors import UserError
from modprompt.io.folder import STATE
from tests.conftest import BARE_CONFIG, ROOT, bare, published, random_clip, write_eurosat
from tests.warm import Warm

TIMEOUT_S = 300  # of a run
EPOCHS, TESTED_EPOCH = 2, 1  # the one that --load-epoch takes is not the last
NUMBERS = ("total", "correct", "accuracy", "macro_f1")
SETTINGS = {"OPTIM": {"MAX_EPOCH": EPOCHS, "WARMUP_CONS_LR": 0.0035}, "TRAIN": {"CHECKPOINT_FREQ": 1}}
SETTINGS["TRAINER"] = {"MPL": {"N_CTX": 1, "PROMPT_DEPTH": 3, "PREC": "fp32"}}
CLASSES = ("base", "new")
MODEL = "MultiModalPromptLearner/model.pth.tar-{}"
EUROSAT = "configs/datasets/eurosat.yaml"


class Run(NamedTuple):
    """A finished run. code: its exit code, losses: four decimals each, tested: text of each of NUMBERS (of the last test),
    error: its last line of stderr that names an error; out: all that it printed."""

    code: int
    losses: tuple[float, ...] = ()
    tested: tuple[str, ...] = ()
    error: str = ""
    out: str = ""

    @property
    def failed(self) -> str:
        """Why it counts as failed, or ""."""
        return f"exit code {self.code}: {self.error}" if self.code else "" if self.tested else "it tested nothing"


def read_run(code: int, out: str, err: str) -> Run:
    """A run by what it printed."""
    found = [re.findall(rf"^\* {name}: ([\d.,]+)%?\s*$", out, re.MULTILINE) for name in NUMBERS]
    errors = [line for line in err.splitlines() if re.match(r"[\w.]*(error|Error|Exception|Interrupt)\b", line)]
    return Run(
        code,
        tuple(float(value) for value in re.findall(r"^epoch .* loss (nan|[\d.]+) \(", out, re.MULTILINE)),
        tuple(one[-1].replace(",", "") for one in found) if all(found) else (),
        (errors or err.strip().splitlines() or [""])[-1][:200],
        f"{out}\n{err}",
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
    differing = [abs(a - b) for a, b in zip(run.losses, expected.losses) if a != b]
    if differing:
        return (
            "some losses are not finite"
            if any(one != one for one in differing)
            else f"losses differ by {max(differing):.0e}"
        )
    other = [name for name, a, b in zip(NUMBERS, run.tested, expected.tested) if not same_number(a, b)]
    return f"other {', '.join(other)}: {run.tested} in place of {expected.tested}" if other else ""


def other_tensors(one: Path, two: Path) -> str:
    """The first tensor of two checkpoints that differs in a bit, or ""."""
    states = [torch.load(path, map_location="cpu", weights_only=True)["state_dict"] for path in (one, two)]
    if states[0].keys() != states[1].keys():
        return "the checkpoint has other tensors"
    return next(
        (f"{key} was learned otherwise" for key in states[0] if not torch.equal(states[0][key], states[1][key])), ""
    )


def checkpoint(out: Path, epoch: int) -> Path | None:
    """That of an epoch in an output folder, wherever below it a program has put it; what is kept beside it is none."""
    found = [path for path in out.glob(f"**/{MODEL.format(epoch)}") if "kept" not in path.parts]
    return found[0] if found else None


class Way(NamedTuple):
    """How a program is started: its words, its folder, PYTHONPATH, our trainer there, and the data set's config."""

    start: tuple[str, ...]
    folder: Path
    path: tuple[Path, ...]
    trainer: str = "MPL"
    dataset_config: str = EUROSAT


class Desk:
    """A folder of its own for the runs in one codebase: a copy of the pictures, and outputs by name."""

    def __init__(self, folder: Path, pictures: Path, python: str):
        self.folder, self.python = folder, python
        if not folder.is_dir():  # else the runs were there, and now the doctor comes
            shutil.copytree(pictures, folder / "data", symlinks=True)
        self._warm: Warm | None = None

    def close(self) -> None:
        """End what starts programs."""
        if self._warm is not None:
            self._warm.close()

    def environment(self, path: Sequence[Path]) -> dict[str, str]:
        """The environment of a run, with these folders on PYTHONPATH, and the caller's behind them."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MODPROMPT"))}
        whole = os.pathsep.join([*map(str, path), *filter(None, [os.environ.get("PYTHONPATH")])])
        return {**kept, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": whole}

    def fresh(self) -> None:
        """Few-shot draws are made anew: a run that finds them draws other random numbers."""
        for cache in (self.folder / "data").glob("*/split_fewshot*"):
            shutil.rmtree(cache)

    def run(self, words: Sequence, way: Way, out: Path, until_saved: bool = False, seconds: float = TIMEOUT_S) -> Run:
        """A program.

        Args:
            words: what follows `python`.
            way: where and with what it runs.
            out: its output folder; a codebase may print into a log there and nowhere else.
            until_saved: kill it when its first epoch is saved.
            seconds: what it may take.
        """
        logs, until = _logs(out), time.monotonic() + seconds
        files = [self.folder / "stdout", self.folder / "stderr"]
        for file in files:
            file.write_bytes(b"")

        def is_over() -> bool:
            return time.monotonic() > until or (until_saved and any(out.glob(f"**/{STATE}")))

        self._warm = self._warm or Warm(self.python, self.environment([]))
        code = self._warm.run([*map(str, words)], way.folder, self.environment(way.path), files, is_over)
        if time.monotonic() > until:
            return Run(-1, error=f"took more than {seconds:.0f} s")
        said, errors = (file.read_text(errors="replace") for file in files)
        if "* accuracy" not in said:
            said += "".join(text for path, text in _logs(out).items() if logs.get(path) != text)
        return read_run(code, said, errors)

    def call(self, words: Sequence, path: Sequence[Path], folder: Path) -> subprocess.CompletedProcess[str]:
        """One of our commands, in a process of its own."""
        command = [self.python, "-m", "modprompt", *map(str, words)]
        return subprocess.run(command, cwd=folder, env=self.environment(path), capture_output=True, text=True)


def _logs(out: Path) -> dict[Path, str]:
    """The logs in an output folder."""
    return {path: path.read_text(errors="replace") for path in sorted(out.glob("log.txt*"))}


class Bench:
    """A folder with all that runs need, and this project's own runs, which all others are held against."""

    def __init__(self, folder: Path, python: str):
        self.folder, self.python, self.pictures = folder, python, folder / "pictures"
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

    def words(self, desk: Desk, way: Way, classes: str, out: str) -> list[str]:
        """Flags and options of MPL on these classes."""
        flags = ["--root", desk.folder / "data", "--seed", 1, "--trainer", way.trainer]
        flags += ["--output-dir", desk.folder / out, "--config-file", self.folder / "mpl.yaml"]
        flags += ["--dataset-config-file", way.dataset_config, *bare(self.folder / "clip.pt")]
        return [*map(str, flags), "DATASET.NUM_SHOTS", "4", "DATASET.SUBSAMPLE_CLASSES", classes]

    def train(self, desk: Desk, way: Way, classes: str, out: str, more: Sequence = (), kill: bool = False) -> Run:
        """A run of MPL on these classes. more: flags; kill: once its first epoch is saved."""
        if not (desk.folder / out).exists():  # else it goes on
            desk.fresh()
        words = [*way.start, *more, *self.words(desk, way, classes, out)]
        return desk.run(words, way, desk.folder / out, until_saved=kill)

    def _measure(self) -> None:
        """This project's own numbers, on the small Dassl.

        Raises:
            UserError: if they fail, or could not tell a wrong run from a right one.
        """
        way = Way(("train.py",), ROOT, (ROOT,))
        first = Desk(self.folder / "first", self.pictures, self.python)
        runs = [self.train(first, way, "base", "out")]  # writes the split file, which takes random numbers
        first.close()
        split = first.folder / "data/eurosat/split_zhou_EuroSAT.json"
        shutil.copy(split, self.pictures / "eurosat")
        btmri = self.pictures / "BTMRI"  # the same pictures, as BiomedCoOp's reader wants them
        btmri.mkdir()
        (btmri / "BTMRI").symlink_to("../eurosat/2750")
        shutil.copy(split, btmri / "split_BTMRI.json")
        self.desk = Desk(self.folder / "trained", self.pictures, self.python)
        out = self.desk.folder / "out"
        self.trained = self.train(self.desk, way, "base", "out")
        self.tested = {name: self.train(self.desk, way, name, name, loading(out)) for name in CLASSES}
        last = self.train(self.desk, way, "new", "last", loading(out, EPOCHS))
        self.desk.close()
        failed = [run.failed for run in (*runs, self.trained, last, *self.tested.values()) if run.failed]
        if failed:
            raise UserError(f"this project's own runs fail: {failed[0]}")
        if self.trained.tested == self.tested["base"].tested or last.tested == self.tested["new"].tested:
            raise UserError("the pictures of the check do not tell a trained model from another: change them")


def loading(folder: Path, epoch: int = TESTED_EPOCH) -> list:
    """Flags of a test of a run's checkpoint."""
    return ["--eval-only", "--model-dir", folder, "--load-epoch", epoch]
