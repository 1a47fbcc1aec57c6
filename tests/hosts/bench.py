"""What all runs of the check share: pictures, weights, configs; runs of a train.py, and what they say."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple, Sequence

import torch
import yaml

from modprompt.errors import UserError
from tests.conftest import BARE_CONFIG, ROOT, bare, random_clip, write_eurosat

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


def flat(tree: dict, prefix: str = "") -> list[str]:
    """Settings as KEY VALUE words."""
    words: list[str] = []
    for key, value in tree.items():
        words += flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [prefix + key, str(value)]
    return words


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
        kill_at: str = "",
        seconds: float = TIMEOUT_S,
    ) -> Run:
        """Any program. kill_at: kill it at the first line that begins so. seconds: what it may take."""
        late = threading.Event()
        with (self.folder / "stderr").open("w+", errors="replace") as err:
            child = subprocess.Popen(
                [*map(str, command)], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=err, text=True, errors="replace"
            )  # fmt: skip
            timer = threading.Timer(seconds, lambda: [end() for end in (late.set, child.kill)])
            timer.start()
            lines = []
            try:
                for line in child.stdout or ():
                    lines.append(line)
                    if kill_at and line.startswith(kill_at):
                        break
                if kill_at:
                    child.kill()
                code = child.wait()
            finally:
                timer.cancel()
                child.kill()
                child.wait()
                if child.stdout:
                    child.stdout.close()
            err.seek(0)
            said = err.read()
        return (
            Run(-1, error=f"took more than {seconds:.0f} s") if late.is_set() else read_run(code, "".join(lines), said)
        )


class Bench:
    """A folder with all that runs need, and this project's own runs, which all others are held against."""

    def __init__(self, folder: Path, python: str):
        self.folder, self.python, self.pictures = folder, python, folder / "pictures"
        write_eurosat(self.pictures, 48)
        state = random_clip(1, text_layers=4, vision_layers=4).state_dict()
        state.update(input_resolution=torch.tensor(32), context_length=torch.tensor(77), vocab_size=torch.tensor(49408))
        torch.save(state, folder / "clip.pt")
        tree = yaml.safe_load(BARE_CONFIG)
        tree["OPTIM"]["MAX_EPOCH"] = EPOCHS
        self.small = [*flat(tree), *flat(SETTINGS, "TRAINER.MPL."), *self.options()]  # all of it as words, for scripts
        (folder / "mpl.yaml").write_text(yaml.safe_dump({**tree, "TRAINER": {"MPL": SETTINGS}}))
        self._measure()

    def options(self) -> list[str]:
        """KEY VALUE words of every run."""
        return [*bare(self.folder / "clip.pt"), *OPTIONS]

    def train(self, desk: Desk, way: Way, classes: str, out: str, words: Sequence = (), kill_at: str = "") -> Run:
        """A run of MPL on these classes. words: further flags, which win."""
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
        return desk.run(
            [python, *way.start, "train.py", *flags, *options], way.folder, desk.environment(way.path), kill_at
        )

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
