"""What the runs of a trial prove: MPL trains and tests, cannot run, or could not be tried, and why."""

import os
import re
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from modprompt.hosts.trial import missing
from modprompt.hosts.trial.absent import EMPTY
from modprompt.hosts.trial.program import MADE_UP

WELL, CANNOT, UNTRIED = 0, 1, 2  # exit codes
_PARTS = {
    "__init__": "when it is built",
    "build_data_loader": "when the data are read",
    "build_model": "when its model is built",
    "load_model": "when a checkpoint is loaded",
    "train": "when it trains",
    "test": "when it tests",
}
# what no words that a program is started with can cause
_OF_THE_PROGRAM = ("ImportError", "ModuleNotFoundError", "SyntaxError", "NameError", "AttributeError")
_OF_PICTURES = ("OSError", "FileNotFoundError", "IsADirectoryError", "NotADirectoryError", "UnidentifiedImageError")
_ERROR_LINE = re.compile(r"(?:^|.*\bpy: )(?:error|Error): (.+)")


class Verdict(NamedTuple):
    """A line of the report: what holds, what to do, and the exit code."""

    state: str
    advice: List[str]
    code: int


def untried(why: str, advice: List[str]) -> Verdict:
    """It is not known whether MPL runs."""
    return Verdict(f"could not be tried: {why}", advice, UNTRIED)


def cannot(why: str, advice: List[str]) -> Verdict:
    """MPL does not run as things are."""
    return Verdict(f"MPL cannot run: {why}", advice, CANNOT)


class Ran(NamedTuple):
    """A run that is over.

    way: a way of running.py.
    folder: of the codebase.
    work: where all that was made up lay.
    code: exit code, None if the time was over.
    seen: the content of its record (program.py), {} if it left none.
    said: the end of what it printed.
    made_up: whether its config named our data set.
    unknown: flags and options that train.py asks for, and for which nobody knows a value.
    """

    way: str
    folder: Path
    work: Path
    code: Optional[int]
    seen: Dict[str, Any]
    said: str
    made_up: bool
    unknown: Tuple[str, ...] = ()

    @property
    def program(self) -> str:
        """What was run, as a user knows it."""
        return "modprompt train" if self.way == "trial" else "train.py"

    @property
    def error(self) -> Dict[str, str]:
        """The error that was put down; {} if there is none."""
        found: Dict[str, str] = self.seen.get("error") or {}
        return found

    @property
    def done(self) -> List[str]:
        """Parts of our trainer that came to their end."""
        found: List[str] = self.seen.get("done", [])
        return found

    @property
    def missing(self) -> Dict[str, str]:
        """Packages for which empty ones stood in, and who imports them."""
        found: Dict[str, str] = self.seen.get("missing", {})
        return found

    @property
    def went_well(self) -> bool:
        """Whether the program ended as it should, having trained a step and tested."""
        return self.code == 0 and self.has_trained

    @property
    def has_trained(self) -> bool:
        """Whether it took a step and tested behind it; some programs end inside `train`, once that is done."""
        went_on = self.error.get("part") == "load_model"  # a checkpoint that some programs do without
        return self.seen.get("steps", 0) > 0 and "test" in self.done and (not self.error or went_on)

    @property
    def stops_in_its_reader(self) -> bool:
        """Whether the codebase's own reader of EuroSAT does not take the made-up pictures."""
        return not self.made_up and self.error.get("part") == "build_data_loader"

    @property
    def begun(self) -> bool:
        """Whether our trainer was asked for."""
        return self.seen.get("at") in _PARTS

    def why(self) -> str:
        """What ended it, in one line."""
        error = self.error
        if error and error["type"] != "SystemExit":
            text = " ".join(error["text"].replace(str(self.work), "TEMP").split())
            name = error["type"]
            where = f" ({self.short(error['where'])})" if error["where"] else ""
            return f"{name}: {_cut(text)}{where}" if name not in ("UserError", "SettingError") else _cut(text)
        lines = [line.strip() for line in self.said.splitlines() if line.strip()]
        told = [match.group(1) for match in map(_ERROR_LINE.match, lines) if match]
        if self.code is not None and self.code < 0:
            return f"it was ended by signal {-self.code}"
        return _cut((told or [f"exit code {self.code}"])[-1].replace(str(self.work), "TEMP"))

    def short(self, place: str) -> str:
        """A file and its line, as seen from the codebase."""
        inside = f"{os.path.realpath(str(self.folder))}{os.sep}"
        path = os.path.realpath(place)
        return path[len(inside) :] if path.startswith(inside) else str(Path(*Path(path).parts[-3:]))


def _cut(text: str, most: int = 200) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


def judge(trained: Ran, tested: Optional[Ran], reader: Optional[Ran]) -> Verdict:
    """What holds of a way.

    Args:
        trained: the run that trained.
        tested: the one that tested it by --eval-only; None if there was none.
        reader: an earlier one, which the codebase's own reader of EuroSAT has ended.
    """
    verdict = _of_training(trained)
    if verdict.code == WELL and tested is not None:
        verdict = _of_test(tested)
    if reader is not None and verdict.code == WELL:
        note = f"on a made-up data set: the codebase's reader of EuroSAT stopped on made-up pictures, {reader.why()}"
        verdict = verdict._replace(advice=[*verdict.advice, note])
    if trained.missing:
        return _with_packages(trained, verdict)
    return verdict


def _of_training(ran: Ran) -> Verdict:
    if ran.code is None:
        return _too_slow(ran)
    if ran.went_well:
        return Verdict("MPL trains and tests", [], WELL)
    if ran.code and {"train", "test"} <= set(ran.done):
        return cannot(f"it trains and tests, but then {ran.program} ends with {ran.why()}", _advice(ran))
    return _of_trainer(ran) if ran.begun else _before_trainer(ran)


def _of_trainer(ran: Ran) -> Verdict:
    """A run that ended inside our trainer."""
    part = ran.error.get("part", "")
    if ran.error.get("type") in _OF_PICTURES and str(ran.work) in ran.error["file"] + ran.error["text"]:
        return untried(f"the codebase does not take the made-up pictures: {ran.why()}", [])
    if part == "build_data_loader" and MADE_UP not in ran.done:
        return untried(f"the codebase reads other data than its config names, which are not here: {ran.why()}", [])
    if not ran.error and ran.code == 0:
        lacks = "tested" if ran.seen.get("steps") else "trained"
        return untried(f"{ran.program} ended without having {lacks}", [])
    stage = _PARTS.get(part, "behind the trainer")
    return cannot(f"{stage}: {ran.why()}", _advice(ran))


def _before_trainer(ran: Ran) -> Verdict:
    """A run that ended before our trainer was asked for."""
    error = ran.error
    if error.get("module") and error["type"] == "ModuleNotFoundError":
        top, path = error["module"].split(".")[0], ran.folder.joinpath(*error["module"].split("."))
        at = f"{error['module']}, which {ran.short(error['where'])} imports"
        if path.is_dir() or path.with_suffix(".py").is_file():
            return cannot(f"another {top} than the codebase's own comes first on the path: it has no {at}", [])
        if (ran.folder / top).is_dir():
            return cannot(f"the codebase lacks its own {at}", [])
    of_the_program = error.get("type") in _OF_THE_PROGRAM or "CUDA" in error.get("text", "")
    if of_the_program or (not error and ran.code):  # without an error the launcher has said in a line what is wrong
        return cannot(f"{ran.program} does not get to its trainer: {ran.why()}", _advice(ran))
    if ran.unknown:
        return untried(f"{ran.program} asks for {', '.join(ran.unknown)}, of unknown value: {ran.why()}", [])
    if not error:
        return untried(f"{ran.program} ended without building a trainer", [])
    return untried(f"{ran.program} stops before it builds a trainer: {ran.why()}", [])


def _advice(ran: Ran) -> List[str]:
    module = ran.error.get("module", "").split(".")[0]
    if not module:
        return []
    found = missing.sort_out([module], ran.folder)
    return [missing.install(found.packages)] if found.packages else []


def _too_slow(ran: Ran) -> Verdict:
    at = _PARTS.get(ran.seen.get("at", ""), "before it builds a trainer")
    return untried(f"the time is over ({at})", ["give it more: --seconds 300"])


def _of_test(ran: Ran) -> Verdict:
    """What --eval-only adds to a training that went well."""
    if ran.code is None:
        return Verdict("MPL trains and tests", ["there was no time to try --eval-only: --seconds 300"], WELL)
    if ran.code or ran.error:
        return cannot(f"it trains and tests, but --eval-only does not: {ran.why()}", _advice(ran))
    if "load_model" not in ran.done:
        note = "--eval-only loads no checkpoint: it does not call load_model, so it tests what is not trained"
        return Verdict("MPL trains and tests", [note], WELL)
    if "test" not in ran.done:
        return Verdict("MPL trains and tests", ["--eval-only ends without a test"], WELL)
    return Verdict("MPL trains and tests", [], WELL)


def _with_packages(ran: Ran, rest: Verdict) -> Verdict:
    """The verdict where packages are missing, whatever came behind them with empty ones in their place."""
    found = missing.sort_out(ran.missing, ran.folder)
    names = sorted(ran.missing, key=str.lower)
    advice = [missing.install(found.packages)] if found.packages else []
    for module in found.unknown:
        advice.append(f"{module}, imported by {ran.short(ran.missing[module])}, is no package that is known here")
    mended = [name for name in names if name in missing.BY_LAUNCHER]
    if mended and ran.way != "launcher":
        advice.append(f"or use the launcher, which does without {' and '.join(mended)}")
    instead = "an empty one in its" if len(names) == 1 else "empty ones in their"
    if rest.code != WELL and EMPTY in ran.error.get("text", ""):
        advice.append(f"with {instead} place the run ends early: ask again once they are there")
    else:
        advice.append(f"with {instead} place: {rest.state}")
    return cannot(f"not installed: {', '.join(names)}", [*advice, *rest.advice])
