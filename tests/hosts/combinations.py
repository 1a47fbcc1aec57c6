"""Does the doctor tell the truth? Stand-ins of random combinations of traits, its verdict, and what happens there.

    python -m tests.hosts.combinations NUMBER SEED

In each stand-in the import line is written, if it can be, and the doctor is asked; then MPL trains and tests by every way.
A line for each; exit code 1 if a verdict is wrong.
"""

import random
import re
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.hosts.trial import HOST, LAUNCHER, LINE
from tests.modprompt.hosts.conftest import Workshop, losses
from tests.modprompt.hosts.stand_in import git, run_in, write_host

WELL, CANNOT, UNTRIED = "MPL trains and tests", "MPL cannot run: ", "not tried: "
CODES = {WELL: 0, CANNOT: 1, UNTRIED: 2}
# of each trait its other values, and how often it has one of them
OTHERS: dict[str, tuple[tuple[Any, ...], float]] = {
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


def draw(number: int, seed: int) -> dict[str, Any]:
    """Traits of a stand-in that are not the usual."""
    rng = random.Random(f"{seed} {number}")
    drawn = {name: (rng.random() < often, rng.choice(values)) for name, (values, often) in OTHERS.items()}
    return {name: value for name, (is_drawn, value) in drawn.items() if is_drawn}


class Told(NamedTuple):
    """What the doctor says: its exit code, and {way: state}."""

    code: int
    states: dict[str, str]


def ask_doctor(host: Path) -> Told:
    """Raises AssertionError if it ends in any other way than with its report, or changes the codebase."""
    before = git(host, "status", "--porcelain", "--ignored")
    done = run_in(host, "-m", "modprompt", "doctor", "--seconds", 200, installed=True)
    assert "Traceback" not in done.stderr, done.stderr
    found = re.findall(rf"^({HOST}|{LAUNCHER}|{LINE}) +({WELL}|{CANNOT}|{UNTRIED})", done.stdout, re.MULTILINE)
    assert git(host, "status", "--porcelain", "--ignored") == before, "the doctor has changed the codebase"
    return Told(done.returncode, dict(found))


def what_happens(host: Path, workshop: Workshop, way: str, traits: dict[str, Any]) -> str:
    """WELL or CANNOT.

    Raises:
        AssertionError: if it runs with other losses than this project's, though nothing of its own says so.
    """
    name = "ModMPL" if traits.get("own_mpl") and way != HOST else "MPL"
    is_changed = way != HOST and bool(traits.get("epochs") or traits.get("override"))
    start = {
        HOST: ("-m", "modprompt", "train", "--host", host),
        LAUNCHER: ("-m", "modprompt.launch", LINE),
        LINE: (LINE,),
    }
    words_of = workshop.words if way != LINE else lambda *words: workshop.asked(host, *words[1:], trainer=name)
    results = []
    for more in ((), ("--eval-only", "--model-dir", f"output/{way}")):
        words = words_of(name, f"output/{way}{'-test' if more else ''}", *more)
        done = run_in(host.parent if way == HOST else host, *start[way], *words, installed=True)
        results.append(re.findall(r"\* (?:accuracy|correct): .*", done.stdout))
        if done.returncode or not results[-1]:
            return CANNOT
        if not more:
            assert is_changed or losses(done.stdout) == workshop.losses, f"{way}: other losses"
            assert is_changed == ("--keep-settings gives" in done.stdout), f"{way}: what it changed is not told"
    assert results[0] == results[1], f"{way}: {results}"
    return WELL


def is_right(told: Told, happened: dict[str, str], traits: dict[str, Any]) -> bool:
    """Whether the doctor's exit code and its lines are true.

    Args:
        told: by the doctor.
        happened: by way, the one in use first.
        traits: where there is no data set that its own program reads, that program is not tried.
    """
    true = dict(happened)
    if LINE in true and not traits.get("eurosat", True):
        true[LINE] = UNTRIED
    return told.states == true and told.code == CODES[true[next(iter(true))]]


def _install(host: Path, *flags: str) -> bool:
    return run_in(host.parent, "-m", "modprompt", "install", host, *flags, installed=True).returncode == 0


def compare(number: int, seed: int, workshop: Workshop, folder: Path) -> tuple[str, bool]:
    """A line on a stand-in, and whether all verdicts on it are right."""
    traits = draw(number, seed)
    host = write_host(folder / "host", **traits)
    ways = [*([LINE] if _install(host) else []), HOST, LAUNCHER]
    told = ask_doctor(host)
    happened = {way: what_happens(host, workshop, way, traits) for way in ways}
    assert LINE not in ways or _install(host, "--uninstall")
    assert git(host, "status", "--porcelain") == "", "the codebase is not as it was"
    right = is_right(told, happened, traits)
    words = " ".join(f"{name}={value}" for name, value in traits.items()) or "as usual"
    line = f"{number}: {words}\n   " + "".join(f"{way}: {what.rstrip(': ')}; " for way, what in happened.items())
    return f"{line}{'the doctor is right' if right else f'WRONG: {told}'}", right


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
