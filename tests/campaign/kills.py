"""A command that is killed in front of its changes to the disk and given again: what all parts of that kind share.

Whatever a kill leaves, the same command must end with the undisturbed result, and leave the files that it leaves then.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

import modprompt.active.rounds
import modprompt.methods.search.figure  # noqa: F401 - all is imported before a child counts what it does
from modprompt.cli import train
from modprompt.io import checkpoint, result
from tests.campaign.figures import Figure
from tests.conftest import BARE_CONFIG, ROOT, bare, random_clip, write_eurosat
from tests.killing import KILLED, LIMIT_S, in_child

SAME = ("prompts_hash", "accuracy_pct", "correct", "images_hash", "config_hash", "backbone_hash", "schedules")
_LATE = f"took longer than {LIMIT_S} s"
_EPOCH = re.compile(r"(=== Round \d+)|epoch \[(\d+)/\d+\] batch \[(\d+)/\d+\].* (loss.*) lr ")


class Work(NamedTuple):
    """A command and the folder that it works in.

    name: for the table.
    before: what the folder holds when the command is given.
    run: gives the command in a folder, and again until it has nothing left to do; raises if it fails.
    facts: what came of it there, by name.
    again: what is given after a kill; None for the same.
    """

    name: str
    before: Path
    run: Callable[[Path], object]
    facts: Callable[[Path], dict[str, Any]]
    again: Callable[[Path], object] | None = None


def drawn(total: int, seed: int, share: float) -> list[int]:
    """So many of the points 1 to `total`, all of them for a share of 1."""
    number = max(1, round(share * total))
    return sorted(random.Random(seed).sample(range(1, total + 1), number))


def fresh(before: Path, root: Path) -> Path:
    """The folder as it is before the command."""
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(before, root)
    return root


@contextlib.contextmanager
def silent(kept: Path = Path("/dev/null")) -> Iterator[None]:
    """No word to the streams; a file may keep them."""
    with contextlib.ExitStack() as stack:
        words = stack.enter_context(kept.open("w", encoding="utf-8"))
        stack.enter_context(contextlib.redirect_stdout(words))
        stack.enter_context(contextlib.redirect_stderr(words))
        yield


def _last_words(root: Path) -> str:
    """The end of what the last train.py in a folder said."""
    said = _said(root)
    return said.read_text(encoding="utf-8")[-600:].replace("\n", " | ") if said.is_file() else ""


def _said(root: Path) -> Path:
    return root.with_name("said.txt")


def undisturbed(work: Work, scratch: Path) -> tuple[int, dict[str, Any]]:
    """How many changes the command makes, and what comes of it."""
    root = fresh(work.before, scratch / "undisturbed")
    assert in_child(lambda: work.run(root), 0, scratch / "counted") == 0, f"{work.name}: fails without a kill"
    total = int((scratch / "counted").read_text())
    return total, work.facts(root)


def killed(work: Work, scratch: Path, seed: int, share: float, expected: dict[str, Any] | None = None) -> Figure:
    """The command, killed in front of each of its changes, or of a drawn share of them, and given again.

    Args:
        work: the command.
        scratch: a folder for its folders.
        seed: of what is drawn.
        share: how many.
        expected: what must come of it; without it what comes of it undisturbed.
    """
    total, found = undisturbed(work, scratch)
    expected, figure = found if expected is None else expected, Figure(work.name)
    assert found == expected, f"{work.name}: other {differing(found, expected)} without a kill"
    points = drawn(total, seed, share)
    for number, point in enumerate(points):
        print(f"{work.name}: {number} of {len(points)} kills, {total} changes", flush=True)  # before the next fork
        start, root = time.monotonic(), fresh(work.before, scratch / "killed")
        came, fault = _kill(work, root, point, scratch / "counted", expected)
        where = f"{work.name}: killed at change {point} of {total} ({(scratch / 'counted').read_text()})"
        figure.add(
            "not survived" if fault else came,
            time.monotonic() - start,
            f"{where}: {fault}" if fault else "",
        )
    return figure


def _kill(work: Work, root: Path, point: int, counted: Path, expected: dict[str, Any]) -> tuple[str, str]:
    """What came of a kill, and what is wrong then; empty if nothing.

    How often TensorBoard's thread opens its file is not the same each time: a command may end in front of a late kill.
    """
    code = in_child(lambda: work.run(root), point, counted)
    if code == 0:
        return "ended before the kill", differing(work.facts(root), expected)
    if code != KILLED:
        return "", _LATE if code < 0 else f"fails in front of the kill: {_last_words(root)}"
    return "went on to the same result", _after(work, root, counted, expected)


def _after(work: Work, root: Path, counted: Path, expected: dict[str, Any]) -> str:
    """What is wrong with a command that is given again after a kill; empty if nothing."""
    code = in_child(lambda: (work.again or work.run)(root), 0, counted.with_suffix(".again"))
    if code != 0:
        return _LATE if code < 0 else f"does not go on: {_last_words(root)}"
    left = [path.name for path in root.rglob("*.part*")]
    if left:
        return f"left {left}"
    return differing(work.facts(root), expected)


def differing(found: dict[str, Any], expected: dict[str, Any]) -> str:
    """Which facts differ, and how; empty if none does."""
    names = [name for name in {**expected, **found} if found.get(name) != expected.get(name)]
    return ", ".join(f"other {name}: {_short(expected.get(name), found.get(name))}" for name in names)


def _short(wanted: Any, found: Any) -> str:
    if isinstance(wanted, set) and isinstance(found, set):
        return f"at {sorted(map(str, wanted ^ found))[:3]}"
    if isinstance(wanted, dict) and isinstance(found, dict):
        return f"at {sorted(map(str, wanted.items() ^ found.items()))[:3]}"
    return f"{str(wanted)[:80]} -> {str(found)[:80]}"


# ------------------------------------------------------------------ runs of train.py


def prepare(scratch: Path, images_per_class: int = 8) -> Path:
    """A EuroSAT-shaped tree, a small CLIP beside it, a config; the tree's folder."""
    write_eurosat(scratch / "data", images_per_class=images_per_class)
    torch.save(random_clip(1, text_layers=4, vision_layers=4).state_dict(), scratch / "clip.pt")
    (scratch / "bare.yaml").write_text(BARE_CONFIG)
    return scratch / "data"


def train_in(root: Path, trainer: str, options: Mapping[str, Any], *flags: str, quiet: bool = True) -> int:
    """Exit code of train.py on the tree in a folder, into out/ there; the CLIP and config lie beside the folder."""
    given: dict[str, Any] = {
        "--root": root,
        "--seed": 1,
        "--trainer": trainer,
        "--output-dir": root / "out",
        "--config-file": root.parent / "bare.yaml",
        "--dataset-config-file": ROOT / "configs/datasets/eurosat.yaml",
    }
    first = [str(word) for pair in given.items() for word in pair]
    last = [str(word) for pair in options.items() for word in pair]
    with silent(_said(root)) if quiet else contextlib.nullcontext():
        return train.main([*first, *flags, *bare(root.parent / "clip.pt"), *last])


def trained(trainer: str, options: Mapping[str, Any]) -> Callable[[Path], None]:
    """The work of a training that ends well."""

    def run(root: Path) -> None:
        if train_in(root, trainer, options) != 0:
            raise SystemExit(1)

    return run


def facts_of_run(root: Path) -> dict[str, Any]:
    """What a run in out/ says and leaves, but for times."""
    out = root / "out"
    found = result.read(out).result or {}
    rounds = [
        tuple((k, str(v)) for k, v in one.items() if k != "elapsed_s")
        for one in found.get("active", {}).get("rounds", ())
    ]
    return {
        **{key: found.get(key) for key in SAME},
        "rounds": rounds,
        "losses": losses(out),
        "files": {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and not _is_log(path)},
        "prompts": {str(path.relative_to(out)): _hash_of(path) for path in out.rglob("model*.pth.tar*")},
        "texts": {
            str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in out.rglob("*")
            if path.suffix in (".csv", ".html", ".png", ".npz") or path.name in ("schedule.json", "checkpoint")
        },
    }


def _is_log(path: Path) -> bool:
    return path.name.startswith("log.txt") or "tensorboard" in path.parts


def losses(out: Path) -> dict[tuple[str, ...], str]:
    """The losses of each batch as it was last trained, by round, epoch and batch; each start has a log of its own."""
    found: dict[tuple[str, ...], str] = {}
    number = ""
    for log in sorted(out.glob("log.txt*"), key=lambda path: path.stat().st_mtime_ns):
        for line in log.read_text(encoding="utf-8").splitlines():
            match = _EPOCH.search(line)
            if match and match.group(1):
                number = match.group(1)
            elif match:
                found[(number, match.group(2), match.group(3))] = match.group(4)
    return found


def _hash_of(path: Path) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(checkpoint.read(path).state_dict.items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
