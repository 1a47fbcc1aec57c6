"""What all runs of the check share: pictures, weights, configs; runs of a train.py, and what they say."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple, Sequence

import torch
import yaml

from modprompt.errors import UserError
from modprompt.runs.settings import flat
from modprompt.trainers import training_state
from tests.conftest import BARE_CONFIG, ROOT, bare, published, random_clip, write_eurosat

TIMEOUT_S = 240  # of a run
EPOCHS, TESTED_EPOCH = 3, 2  # the one that --load-epoch takes is not the last
NUMBERS = ("total", "correct", "accuracy", "macro_f1")
SETTINGS = {"N_CTX": 1, "PROMPT_DEPTH": 3, "PREC": "fp32"}
OPTIONS = ("DATASET.NUM_SHOTS", "4", "TRAIN.CHECKPOINT_FREQ", "1")
CLASSES = ("base", "new")
MODEL = "MultiModalPromptLearner/model.pth.tar-{}"


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
        (errors or err.strip().splitlines() or [""])[-1][:160],
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


def as_words(tree: dict) -> list[str]:
    """Settings as KEY VALUE words."""
    return [word for key, value in flat(tree).items() for word in (key, str(value))]


class Way(NamedTuple):
    """How a train.py is started: words in front of it, its folder, PYTHONPATH, and what of the words is its own."""

    start: tuple[str, ...]
    folder: Path
    path: tuple[Path, ...] = ()
    trainer: str = "MPL"
    dataset_config: str = "configs/datasets/eurosat.yaml"
    flags: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class Desk:
    """A folder of its own for the runs in one codebase: a copy of the pictures, and outputs by name."""

    def __init__(self, folder: Path, pictures: Path):
        self.folder = folder
        shutil.copytree(pictures, folder / "data")

    def environment(self, path: Sequence[Path], **more: str) -> dict[str, str]:
        """The environment of a run, with these folders on PYTHONPATH."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MODPROMPT"))}
        fixed = {
            "PYTHONPYCACHEPREFIX": str(self.folder.parent / "pycache"),
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": "1",
        }
        return {**kept, **fixed, "PYTHONPATH": os.pathsep.join(map(str, path)), **more}

    def fresh(self) -> None:
        """Few-shot draws are made anew: a run that finds them draws other random numbers."""
        for cache in (self.folder / "data").glob("eurosat/split_fewshot*"):
            shutil.rmtree(cache)

    def run(
        self,
        command: Sequence,
        folder: Path,
        environment: dict[str, str],
        out: Path | None = None,
        kill_at: Path | None = None,
        seconds: float = TIMEOUT_S,
    ) -> Run:
        """Any program.

        Args:
            command: its words.
            folder: where it runs.
            environment: of its process.
            out: its output folder; a codebase may print into a log there and nowhere else.
            kill_at: kill it when this file is there.
            seconds: what it may take.
        """
        logs = _logs(out)
        with (self.folder / "stdout").open("w+", errors="replace") as said, (self.folder / "stderr").open(
            "w+", errors="replace"
        ) as err:
            child = subprocess.Popen([*map(str, command)], cwd=folder, env=environment, stdout=said, stderr=err)
            until, late = time.monotonic() + seconds, False
            try:
                while child.poll() is None and not late and not (kill_at is not None and kill_at.exists()):
                    time.sleep(0.002 if kill_at else 0.05)
                    late = time.monotonic() > until
            finally:
                child.kill()
                code = child.wait()
            if late:
                return Run(-1, error=f"took more than {seconds:.0f} s")
            texts = [Path(file.name).read_text(errors="replace") for file in (said, err)]
        if "* accuracy" not in texts[0]:
            texts[0] += "".join(text for path, text in _logs(out).items() if logs.get(path) != text)
        return read_run(code, *texts)


def _logs(out: Path | None) -> dict[Path, str]:
    """The logs in an output folder."""
    found = sorted(out.glob("log.txt*")) if out is not None else []
    return {path: path.read_text(errors="replace") for path in found}


class Bench:
    """A folder with all that runs need, and this project's own runs, which all others are held against."""

    def __init__(self, folder: Path, python: str):
        self.folder, self.python, self.pictures = folder, python, folder / "pictures"
        write_eurosat(self.pictures, 48)
        torch.save(published(random_clip(1, text_layers=4, vision_layers=4)), folder / "clip.pt")
        tree = yaml.safe_load(BARE_CONFIG)
        tree["OPTIM"]["MAX_EPOCH"] = EPOCHS
        tree["TRAINER"] = {"MPL": SETTINGS}
        self.small = [*as_words(tree), *self.options()]  # all of it as words, for scripts
        (folder / "mpl.yaml").write_text(yaml.safe_dump(tree))
        self._measure()

    def options(self) -> list[str]:
        """KEY VALUE words of every run."""
        return [*bare(self.folder / "clip.pt"), *OPTIONS]

    def train(self, desk: Desk, way: Way, classes: str, out: str, words: Sequence = (), kill: bool = False) -> Run:
        """A run of MPL on these classes. words: further flags, which win; kill: once its first epoch is saved."""
        if not (desk.folder / out).exists():  # else it goes on
            desk.fresh()
        flags = [
            "--root",
            desk.folder / "data",
            "--seed",
            1,
            "--trainer",
            way.trainer,
            "--output-dir",
            desk.folder / out,
        ]
        flags += [
            "--config-file",
            self.folder / "mpl.yaml",
            "--dataset-config-file",
            way.dataset_config,
            *way.flags,
            *words,
        ]
        options = [*self.options(), "DATASET.SUBSAMPLE_CLASSES", classes, *way.options]
        python = sys.executable if way.folder == ROOT else self.python
        command, folder = [python, *way.start, "train.py", *flags, *options], desk.folder / out
        saved = folder / training_state.FILE_NAME if kill else None
        return desk.run(command, way.folder, desk.environment(way.path), folder, saved)

    def _measure(self) -> None:
        """This project's own numbers, on the small Dassl.

        Raises:
            UserError: if they fail, or could not tell a wrong run from a right one.
        """
        first, way = Desk(self.folder / "first", self.pictures), Way((), ROOT)
        runs = [self.train(first, way, "base", "out")]  # writes the split file, which takes random numbers
        shutil.copy(first.folder / "data/eurosat/split_zhou_EuroSAT.json", self.pictures / "eurosat")
        self.desk = Desk(self.folder / "ours", self.pictures)
        runs.append(self.train(self.desk, way, "base", "out"))
        self.trained = runs[-1]
        self.tested = {
            name: self.train(self.desk, way, name, name, self.loading(self.desk.folder / "out")) for name in CLASSES
        }
        shipped = ["--config-file", ROOT / "configs/trainers/MPL/vit_b4_c1_add2_rm1.yaml"]
        long = way._replace(options=tuple(self.small))
        self.by_script = self.train(self.desk, long, "base", "script", shipped)
        loading = [*shipped, "--eval-only", "--model-dir", self.desk.folder / "script"]
        self.tested_by_script = self.train(self.desk, long, "new", "script-test", loading)
        beginning = self.train(self.desk, way, "new", "beginning", self.loading(self.desk.folder / "out", 1))  # at 1e-5
        runs += [*self.tested.values(), self.by_script, self.tested_by_script, beginning]
        failed = [run.failed for run in runs if run.failed]
        if failed:
            raise UserError(f"this project's own runs fail: {failed[0]}")
        new = self.tested["new"].tested
        if self.trained.tested == self.tested["base"].tested or new in (beginning.tested, self.tested_by_script.tested):
            raise UserError("the pictures of the check do not tell a trained model from another: change them")

    @staticmethod
    def loading(folder: Path, epoch: int = TESTED_EPOCH) -> list:
        """Flags of a test of a run's checkpoint."""
        return ["--eval-only", "--model-dir", folder, "--load-epoch", epoch]
