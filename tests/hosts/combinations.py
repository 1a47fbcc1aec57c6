"""Does the doctor tell the truth? Stand-ins of random combinations of traits, its verdict, and what happens there.

    python -m tests.hosts.combinations NUMBER SEED

Each stand-in is examined by the doctor, and again once MPL is installed; then MPL trains and tests in it by launcher and
by installer. A line for each; exit code 1 if a verdict is wrong.
"""

import contextlib
import io
import random
import re
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, NamedTuple, Optional, Tuple

from modprompt.hosts import install
from tests.modprompt.hosts.conftest import Workshop, losses
from tests.modprompt.hosts.stand_in import git, run_in, write_host

WELL, CANNOT, UNKNOWN = "MPL trains and tests", "MPL cannot run: ", "could not be tried: "
CODES = {WELL: 0, CANNOT: 1, UNKNOWN: 2}
LAUNCHER = ("-m", "modprompt.launch", "train.py")
# of each trait its other values, and how often it has one of them
OTHERS: Dict[str, Tuple[Tuple[Any, ...], float]] = {
    "clip": (("design", "ivlp", "vpt", "odd_block", "own word", "loses_weights"), 0.6),
    "clean": ((True,), 0.2),
    "own_mpl": ((True,), 0.2),
    "package": ((False,), 0.1),
    "old_clip": ((True,), 0.15),
    "load": (("note", "extra", "never"), 0.5),
    "late_model": ((True,), 0.3),
    "dataset_flag": ((True,), 0.3),
    "task": ((True,), 0.3),
    "noise": ((True,), 0.3),
    "backbone": (("RN50",), 0.2),
    "epochs": ((3,), 0.3),
    "override": (("OPTIM.LR 0.5",), 0.2),
    "first": ((("wilds",),), 0.2),
    "last": ((("learn2learn",), ("trainers.base",)), 0.2),
    "unknown_flag": ((True,), 0.1),
    "eurosat": ((False,), 0.3),
}


def draw(number: int, seed: int) -> Dict[str, Any]:
    """Traits of a stand-in that are not the usual."""
    rng = random.Random(f"{seed} {number}")
    drawn = {name: (rng.random() < often, rng.choice(values)) for name, (values, often) in OTHERS.items()}
    return {name: value for name, (is_drawn, value) in drawn.items() if is_drawn}


class Told(NamedTuple):
    """What the doctor says: its exit code, and the states of the two ways."""

    code: int
    launcher: str
    installer: str


def ask_doctor(host: Path, installed: bool) -> Told:
    """Raises AssertionError if it ends in any other way than with its report, or changes the codebase."""
    before = git(host, "status", "--porcelain", "--ignored")
    done = run_in(host, "-m", "modprompt.doctor", "--seconds", 200, installed=installed)
    assert "Traceback" not in done.stderr, done.stderr
    states = {}
    for way in ("launcher", "installer"):
        found = re.findall(rf"^{way:<10}({WELL}|{CANNOT}|{UNKNOWN})", done.stdout, re.MULTILINE)
        assert len(found) == 1, f"{done.stdout}{done.stderr}"
        states[way] = found[0]
    assert git(host, "status", "--porcelain", "--ignored") == before, "the doctor has changed the codebase"
    return Told(done.returncode, **states)


def what_happens(host: Path, workshop: Workshop, way: str, traits: Dict[str, Any]) -> str:
    """WELL or CANNOT; what nobody but its author knows is given.

    Raises:
        AssertionError: if it runs with other losses than this project's, though nothing of its own says so.
    """
    name = "ModMPL" if traits.get("own_mpl") else "MPL"
    known_to_its_author = ("--key-file", "x") if traits.get("unknown_flag") else ()
    if way == "installer" and not (host / "modprompt").exists():
        return CANNOT
    start = LAUNCHER if way == "launcher" else ("train.py",)
    results = []
    for more in ((), ("--eval-only", "--model-dir", f"output/{way}")):
        out = f"output/{way}{'-test' if more else ''}"
        words = workshop.asked(host, out, *known_to_its_author, *more, trainer=name)
        done = run_in(host, *start, *words, installed=way == "installer")
        results.append(re.findall(r"\* (?:accuracy|correct): .*", done.stdout))
        if done.returncode or not results[-1]:
            return CANNOT
        if not more:
            is_changed = traits.get("epochs") or traits.get("override")
            same = [abs(a - b) <= 1e-4 for a, b in zip(losses(done.stdout), workshop.losses)]
            assert is_changed or (all(same) and len(same) == len(workshop.losses)), f"{way}: other losses"
            assert bool(is_changed) == ("--keep-settings gives" in done.stdout), f"{way}: what it changed is not told"
    assert results[0] == results[1], f"{way}: {results}"
    return WELL


def _installer(host: Path, *flags: str) -> int:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return install.main([str(host), *flags])


def _is_right(told: Told, in_use: str, happened: Dict[str, str], traits: Dict[str, Any]) -> bool:
    """Whether the doctor's exit code and both its lines are true.

    Where nobody knows what to start a program with, it may say so; but not that it runs.
    """
    said = {"launcher": told.launcher, "installer": told.installer}
    for way, outcome in happened.items():
        true = {CANNOT, UNKNOWN} if outcome == CANNOT else {UNKNOWN}
        if said[way] not in (true if traits.get("unknown_flag") else {outcome}):
            return False
    return told.code == CODES[said[in_use]]


def compare(number: int, seed: int, workshop: Workshop, folder: Path) -> Tuple[str, bool]:
    """A line on a stand-in, and whether all verdicts on it are right."""
    traits = draw(number, seed)
    host = write_host(folder / "host", **traits)
    told = ask_doctor(host, False)
    happened = {"launcher": what_happens(host, workshop, "launcher", traits)}
    told_then: Optional[Told] = None
    if _installer(host) == 0:
        told_then = ask_doctor(host, True)
    happened["installer"] = what_happens(host, workshop, "installer", traits)
    if told_then is not None:
        assert _installer(host, "--uninstall") == 0
    assert git(host, "status", "--porcelain") == "", "the codebase is not as it was"
    right = _is_right(told, "launcher", happened, traits)
    if told_then is not None:
        right = right and _is_right(told_then, "installer", happened, traits)
    words = " ".join(f"{name}={value}" for name, value in traits.items()) or "as usual"
    line = f"{number}: {words}\n   " + "".join(f"{way}: {what.rstrip(': ')}; " for way, what in happened.items())
    return f"{line}{'the doctor is right' if right else f'WRONG: {told}, installed: {told_then}'}", right


def main() -> int:
    """Exit code 0 if all verdicts are right, 1 if one is wrong, 2 after wrong use."""
    if len(sys.argv) != 3 or not all(word.isdigit() for word in sys.argv[1:]):
        print(__doc__, file=sys.stderr)
        return 2
    count, seed = map(int, sys.argv[1:])
    wrong = 0
    with tempfile.TemporaryDirectory() as work:
        (Path(work) / "shop").mkdir()
        workshop = Workshop(Path(work) / "shop")
        for number in range(count):
            with tempfile.TemporaryDirectory(dir=work) as folder:
                try:
                    line, right = compare(number, seed, workshop, Path(folder))
                except AssertionError as error:
                    line, right = f"{number}: {draw(number, seed)}\n   WRONG: {error}", False
            wrong += not right
            print(line, flush=True)
    print(f"{count - wrong} of {count} right (seed {seed})")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
