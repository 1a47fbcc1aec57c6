"""What is survived, tried from a seed and counted in a table: damaged and foreign files, kills, a full disk.

    python -m tests.campaign [--seed 1] [--share 1.0] [--only ROW ...]

A file of each kind is cut off, has a bit flipped, or has something else in its place. Its reader must say one line or
give exactly what was written; what carries no checksum may be read as something else, which is counted. Nothing that is
read may be executed. A training that is killed, or finds no room, must end with the undisturbed losses when it is
started again. Exit code 1 if anything was not survived.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import functools
import io
import itertools
import json
import multiprocessing
import os
import pickle
import random
import resource
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.conftest import BARE_CONFIG, ROOT, bare, random_clip, write_eurosat  # Dassl is found from here on

# isort: split
from dassl.config import get_cfg_default
from dassl.optim import build_lr_scheduler
from dassl.utils import read_image, resume_from_checkpoint, save_checkpoint

import modprompt
from modprompt.cli import train
from modprompt.errors import UserError
from modprompt.io import result
from modprompt.io.arrays import read_array, read_arrays, write_arrays
from modprompt.io.descriptions import read_file
from modprompt.io.files import write_json
from modprompt.io.records import sealed
from modprompt.io.settings import read_settings
from modprompt.io.tables import read_table, write_table
from tests.killing import KILLED, in_child
from tests.modprompt.data import test_readers, trees
from tests.modprompt.io.test_tensors import Writing

SLOW_S = 20  # to read a file for longer is a fault


@dataclass
class Row:
    """A row of the table: what was tried, what came of it, a line for each fault, and the longest one in seconds."""

    name: str
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    longest_s: float = 0.0

    def add(self, outcome: str, start: float, what: str, fault: str) -> None:
        """Count one that began at `start`, by time.monotonic()."""
        self.outcomes["not survived" if fault else outcome] += 1
        self.longest_s = max(self.longest_s, time.monotonic() - start)
        self.faults += [f"{self.name}: {what}: {fault}"] if fault else []


# ------------------------------------------------------------------ kinds of files


class Kind(NamedTuple):
    """A kind of file.

    write: writes one, and what must be around it, into an empty folder; gives its path.
    read: what programs do with such a file; gives a value, or raises UserError or OSError.
    checked: whether a checksum covers all that is read.
    tries: how often its bytes are damaged.
    """

    name: str
    write: Callable[[Path], Path]
    read: Callable[[Path], Any]
    checked: bool = False
    tries: int = 1500


def _as(name: str, save: Callable[[Path], object]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        save(folder / name)
        return folder / name

    return write


_clip = functools.lru_cache(maxsize=1)(random_clip)
_PROMPTS, _NAMES = modprompt.MPL(n_ctx=1, prompt_depth=2), ("forest", "river")


def _weights() -> dict[str, Any]:
    return dict(_PROMPTS.on(_clip(), _NAMES).saved_state())


def _half() -> dict[str, Any]:
    return random_clip().half().state_dict()


def _loaded(path: Path, **said: Any) -> Any:
    model = modprompt.load(path, _clip(), **said)
    return repr(model.method), model.classes.names, dict(model.saved_state())


def _of_family(path: Path) -> Any:
    return _loaded(path, method=_PROMPTS, names=_NAMES)


def _training() -> tuple[Any, ...]:
    """A model, its optimiser with momentum, and its schedule with warm-up, after a step."""
    cfg = get_cfg_default()
    cfg.OPTIM.LR_SCHEDULER, cfg.OPTIM.WARMUP_EPOCH, cfg.OPTIM.MAX_EPOCH = "cosine", 1, 5
    model = torch.nn.Linear(3, 1)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = build_lr_scheduler(optimiser, cfg.OPTIM)
    model(torch.ones(4, 3)).sum().backward()
    optimiser.step()
    scheduler.step()
    return model, optimiser, scheduler


def _of_dassl(weights: dict[str, Any]) -> dict[str, Any]:
    _, optimiser, scheduler = _training()
    parts = {"optimizer": optimiser.state_dict(), "scheduler": scheduler.state_dict()}
    return {"state_dict": weights, "epoch": 3, "val_result": 93.7, **parts}


def _save_with_dassl(path: Path) -> None:
    save_checkpoint(_of_dassl(_training()[0].state_dict()), str(path.parent))


def _resume_with_dassl(path: Path) -> Any:
    parts = _training()
    try:
        return resume_from_checkpoint(str(path.parent), *parts), [part.state_dict() for part in parts]
    except ValueError as error:  # Dassl's own kind, which programs print as they do ours
        raise UserError(str(error)) from None


def _save_torchscript(path: Path) -> None:
    inputs = torch.zeros(1, 3, 32, 32), torch.zeros(1, 77, dtype=torch.long)
    torch.jit.save(torch.jit.trace(random_clip(), inputs, check_trace=False).half(), str(path))


def _read_clip(path: Path) -> Any:
    return modprompt.load_clip(path, "cpu", activation="quick_gelu", heads=(1, 2))[0].state_dict()


def _in_tree(
    name: str, make: Callable[[Path], None], file: str, shots: int = -1
) -> tuple[Callable[[Path], Path], Callable[[Path], Any]]:
    """How a file in a data set's tree is written, if need be by the reader itself, and read."""

    def write(folder: Path) -> Path:
        make(folder / "tree")
        if not list(folder.rglob(file)):
            test_readers.read(name, folder / "tree", shots)
        return next(folder.rglob(file))

    def read(path: Path) -> Any:
        root = next(folder for folder in path.parents if folder.name == "tree")
        is_drawn = shots > 0 and not path.exists()
        found = test_readers.read(name, root, shots, draw=1)
        if is_drawn:
            raise UserError("it was not used: drawn anew")
        return [test_readers.facts(items, root) for items in (found.train_x, found.val, found.test)]

    return write, read


def _save_result(path: Path) -> None:
    numbers = {"images": 1000, "correct": 815, "accuracy_pct": 81.5, "macro_f1_pct": 80.25, "elapsed_s": 3.5}
    facts = {"trainer": "MPL", "dataset": "digits", "seed": 1, "settings": {"OPTIM.LR": "0.1"}, "files": {}}
    write_json(path, sealed({**facts, **numbers}, result.VERSION))


def _read_result(path: Path) -> Any:
    found = result.read(path.parent)
    if found.result is None:
        raise UserError(found.why or "there is none")
    return found.result


def _pixels() -> Any:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8))


_ARRAY = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
_PHRASES = json.dumps({"Forest": ["green", "dark trees"], "River": ["a blue band"], "sea_lake": ["water"]})
_CONFIG = "OPTIM: {LR: 0.0035}\nINPUT:\n  SIZE: (224, 224)\nTRAINER: {MPL: {SCHEDULE_TEXT: [[0, 1], [1, 1]]}}\n"
_HEAD = ("file", "label", "confidence")
_CELLS = [("a 1.jpg", "forest", "0.5"), ("=1+1.jpg", "sea, lake", "-0.25"), ("b/é.jpg", 'a "b"', "1e-05")]
KINDS = (
    Kind("checkpoint", _as("a.pt", lambda to: _PROMPTS.on(_clip(), _NAMES).save(to)), _loaded, True),
    Kind("checkpoint of the family", _as("a.pt", lambda to: torch.save(_of_dassl(_weights()), to)), _of_family, True),
    Kind("checkpoint of Dassl, gone on from", _as("model.pth.tar-3", _save_with_dassl), _resume_with_dassl, True),
    Kind("CLIP as a state dict", _as("a.pt", lambda to: torch.save(_half(), to)), _read_clip, True, 200),
    Kind("CLIP as TorchScript", _as("a.pt", _save_torchscript), _read_clip, True, 200),
    Kind("CLIP as safetensors", _as("a.safetensors", lambda to: save_file(_half(), str(to))), _read_clip, tries=200),
    Kind("arrays, .npz", _as("a.npz", lambda to: write_arrays(to, a=_ARRAY)), read_arrays, True),
    Kind("alphas, .npy", _as("a.npy", lambda to: np.save(to, _ARRAY)), read_array),
    Kind("split", *_in_tree("EuroSAT", trees.eurosat, "split_*.json"), True),
    Kind("few-shot list", *_in_tree("EuroSAT", trees.eurosat, "shot_2*.json", 2), True),
    Kind("descriptions", _as("a.json", lambda to: to.write_text(_PHRASES)), lambda path: read_file(path).phrases),
    Kind("config, YAML", _as("a.yaml", lambda to: to.write_text(_CONFIG)), lambda path: read_settings(str(path))),
    Kind("table, CSV", _as("a.csv", lambda to: write_table(to, _HEAD, _CELLS)), lambda path: read_table(path, _HEAD)),
    Kind("result.json", _as(result.FILE_NAME, _save_result), _read_result, True),
    Kind("image, PNG", _as("a.png", lambda to: _pixels().save(to)), lambda path: read_image(str(path))),
    Kind("image, JPEG", _as("a.jpg", lambda to: _pixels().save(to)), lambda path: read_image(str(path))),
)


# ------------------------------------------------------------------ damage, and what comes of it


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    words = io.StringIO()
    with contextlib.redirect_stdout(words), contextlib.redirect_stderr(words), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated; odd files are warned of
        yield


class _Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = str(marker)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.marker,)


def traps(marker: Path) -> dict[str, bytes]:
    """Files that make `marker` if what is in them is executed."""
    trap, boxed, found = _Trap(marker), np.array([_Trap(marker)], dtype=object), {}
    ways: dict[str, Callable[[io.BytesIO], object]] = {
        "pickle": lambda file: pickle.dump(trap, file, protocol=2),
        "torch.save": lambda file: torch.save({"state_dict": trap}, file),
        "torch.save before 1.6": lambda file: torch.save(trap, file, _use_new_zipfile_serialization=False),
        "TorchScript": lambda file: torch.jit.save(torch.jit.script(Writing(str(marker))), file),
        ".npy": lambda file: np.save(file, boxed, allow_pickle=True),
        ".npz": lambda file: np.savez(file, a=boxed),
        "YAML": lambda file: file.write(f"!!python/object/apply:os.mkdir [{marker}]".encode()),
    }
    for name, save in ways.items():
        stream = io.BytesIO()
        with _quiet():
            save(stream)
        found[f"{name} that executes"] = stream.getvalue()
    return found


@functools.lru_cache(maxsize=1)
def _samples() -> dict[str, tuple[str, bytes]]:
    """A file of each kind: the ending of its name, and its bytes."""
    found = {}
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder, _quiet():
            path = kind.write(Path(folder))
            found[kind.name] = path.suffix, path.read_bytes()
    return found


def damages(
    kind: Kind, raw: bytes, marker: Path, draw: random.Random, share: float
) -> Iterator[tuple[str, bytes | None]]:
    """What is tried on a file, in words, and the bytes in its place; None for no file."""
    page = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body>no file</body></html>\n"
    others: dict[str, bytes | None] = {"no file": None, "an empty file": b"", "a web page": page, **traps(marker)}
    ending = _samples()[kind.name][0]
    others |= {name: one for name, (suffix, one) in _samples().items() if not (kind.checked and suffix == ending)}
    yield from draw.sample([*others.items()], max(1, round(share * len(others))))
    for _ in range(max(1, round(share * kind.tries))):
        at, bit = draw.randrange(len(raw)), draw.randrange(8)
        if draw.random() < 0.5:  # near an end, where headers and directories are
            at = min(at, draw.randrange(300)) if bit % 2 else max(at, len(raw) - draw.randrange(1, 2000))
        if draw.random() < 0.25:
            yield f"cut off at {at}", raw[:at]
        else:
            yield f"bit {bit} of byte {at} flipped", raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :]


def plain(item: Any) -> Any:
    """A content as values that compare bit by bit."""
    if isinstance(item, torch.Tensor):
        item = item.detach().numpy()
    if isinstance(item, np.ndarray):
        return item.dtype.str, item.shape, item.tobytes()
    if isinstance(item, dict):
        return tuple((plain(key), plain(value)) for key, value in item.items())
    if isinstance(item, (list, tuple)):
        return tuple(map(plain, item))
    return (item.mode, item.size, item.tobytes()) if isinstance(item, Image.Image) else repr(item)


def attempt(kind: Kind, path: Path) -> tuple[Any, str, str]:
    """(value, line, fault) of a reader: a value or a line where there is no fault."""
    value, line, fault, start = None, "", "", time.monotonic()
    try:
        with _quiet():
            value = plain(kind.read(path))
    except (UserError, OSError) as error:
        line = str(error)
        fault = f"not one line: {line[:200]!r}" if not line or "\n" in line or len(line) > 700 else ""
    except Exception as error:
        fault = f"{type(error).__name__}: {str(error)[:200]!r}"
    return value, line, fault or ("it took too long" if time.monotonic() - start > SLOW_S else "")


def read_damaged(kind: Kind, scratch: Path, seed: int, share: float) -> Row:
    """A row: a file of a kind, damaged in as many ways."""
    row, draw = Row(kind.name), random.Random(f"{seed} {kind.name}")
    marker, folder = scratch / "marker", scratch / "files"
    folder.mkdir()
    with _quiet():
        path = kind.write(folder)
    known = {*folder.rglob("*")}
    written, line, fault = attempt(kind, path)  # what nobody vouches for may be refused, but then in any state
    row.faults += [f"{kind.name}, whole: {fault}"] if fault else []
    for number, (what, content) in enumerate(damages(kind, path.read_bytes(), marker, draw, share)):
        for one in sorted({*folder.rglob("*")} - known, reverse=True):
            one.rmdir() if one.is_dir() else one.unlink()
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
            os.utime(path, (1e9 + number, 1e9 + number))  # readers may tell files by their times
        start = time.monotonic()
        value, refused, fault = attempt(kind, path)
        same = not line and value == written
        if marker.exists():
            fault = "it was executed"
            shutil.rmtree(marker) if marker.is_dir() else marker.unlink()
        elif left := [one.name for one in folder.rglob("*.part*")]:
            fault = f"left {left}"
        elif not (refused or fault or same) and kind.checked:
            fault = "other values are read"
        came = "refused in one line" if refused else "read as it was" if same else "read as something else"
        row.add(came, start, f"{what} (seed {seed})", fault)
    return row


# ------------------------------------------------------------------ a training that is killed, or finds no room

SAME = ("prompts_hash", "accuracy_pct", "correct", "images_hash", "config_hash", "backbone_hash", "schedules")
MPL = {
    "OPTIM.MAX_EPOCH": 3, "TRAIN.CHECKPOINT_FREQ": 1, "DATASET.NUM_SHOTS": 2, "TEST.FINAL_MODEL": "best_val",
    "TRAINER.MPL.PREC": "fp32", "TRAINER.MPL.PROMPT_DEPTH": 3,
}  # fmt: skip
FULL = 40  # trainings on a full disk


def _train(scratch: Path, small: int) -> None:
    """One training on a fresh tree, whose split and lists it makes; ends the process."""
    files = {"--config-file": scratch / "bare.yaml", "--dataset-config-file": ROOT / "configs/datasets/eurosat.yaml"}
    flags = {"--root": scratch / "tree", "--output-dir": scratch / "tree/out", "--seed": 1, "--trainer": "MPL", **files}
    first, last = ([str(word) for pair in some.items() for word in pair] for some in (flags, MPL))
    if small:
        resource.setrlimit(resource.RLIMIT_FSIZE, (small, small))
    sys.exit(train.main([*first, *bare(scratch / "clip.pt"), *last]))


def _in_child(scratch: Path, at: int = 0, full: bool = False, small: int = 0) -> tuple[int, str]:
    """(exit code, words) of the training; the words go into a pipe, which no limit bounds."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 1 << 20)
    with (
        os.fdopen(writing, "w", buffering=1) as words,
        contextlib.redirect_stdout(words),
        contextlib.redirect_stderr(words),
    ):
        code = in_child(lambda: _train(scratch, small), at, scratch / "counted", full)
    with os.fdopen(reading, errors="replace") as said:
        return code, said.read()


def _facts(scratch: Path) -> dict[str, Any]:
    """What the run says and leaves, but for times and logs."""
    tree, found = scratch / "tree", result.read(scratch / "tree/out").result or {}
    files = {str(one.relative_to(tree)) for one in tree.rglob("*") if one.is_file() and "tensorboard" not in one.parts}
    return {
        **{name: found.get(name) for name in SAME},
        "losses": (tree / "out/steps.csv").read_text() if found else "",
        "files": {one for one in files if "log.txt" not in one},
    }


def disturbed(scratch: Path, seed: int, share: float, full: bool) -> Row:
    """A row: the training, killed in front of each of its changes to the disk, or without room from there on."""
    row, draw, tree = Row(FULL_DISK if full else KILLS), random.Random(f"{seed} {full}"), scratch / "tree"
    write_eurosat(scratch / "before", images_per_class=8)
    torch.save(random_clip(1, text_layers=4, vision_layers=4).state_dict(), scratch / "clip.pt")
    (scratch / "bare.yaml").write_text(BARE_CONFIG)
    shutil.copytree(scratch / "before", tree)
    assert _in_child(scratch)[0] == 0
    expected, changes = _facts(scratch), int((scratch / "counted").read_text())
    points = draw.sample(range(1, changes + 1), min(FULL, changes) if full else changes)
    for point in points[: max(1, round(share * len(points)))]:
        shutil.rmtree(tree)
        shutil.copytree(scratch / "before", tree)
        start, small = time.monotonic(), int(10 ** draw.uniform(0, 5.5)) if full and point % 2 else 0
        code, said = _in_child(scratch, 0 if small else point, full, small)
        errors = sum(line.startswith("error: ") for line in said.splitlines())
        ended = {0: True, KILLED: not full, 2: full and errors == 1 and "Traceback" not in said}.get(code, False)
        left = [one.name for one in tree.rglob("*.part*")] if full else []
        again, more = _in_child(scratch)
        left += [one.name for one in tree.rglob("*.part*")]
        found = _facts(scratch)
        fault = f"other {', '.join(name for name in expected if found[name] != expected[name])}"
        fault = f"left {left}" if left else fault if found != expected else ""
        fault = f"does not go on: {more[-300:]!r}" if again else fault
        came = {0: "ended well in spite of it", 2: "ended with one line, then with the same losses"}
        how = f"files of {small} bytes at most" if small else f"at change {point} of {changes}"
        fault = fault if ended else f"ended with {code}: {said[-300:]!r}"
        row.add(came.get(code, "went on to the same losses"), start, f"{how} (seed {seed})", fault)
    return row


# ------------------------------------------------------------------ the table

KILLS, FULL_DISK = "a training killed at each write", "a training on a full disk"
ROWS: dict[str, Callable[[Path, int, float], Row]] = {  # kills take longest
    KILLS: functools.partial(disturbed, full=False),
    FULL_DISK: functools.partial(disturbed, full=True),
    **{kind.name: functools.partial(read_damaged, kind) for kind in KINDS},
}


def tried(name: str, seed: int, share: float) -> Row:
    """A row of the table."""
    with tempfile.TemporaryDirectory(prefix="campaign-") as scratch:
        row = ROWS[name](Path(scratch).resolve(), seed, share)
    print(f"{name}: {row.outcomes.total()} tried, {len(row.faults)} not survived", file=sys.stderr)
    return row


def table(rows: list[Row]) -> str:
    """All rows as Markdown."""
    unchecked = {kind.name for kind in KINDS if not kind.checked}
    lines = ["| tried | times | survived | what came of it | longest |", "| --- | ---: | ---: | --- | ---: |"]
    for row in rows:
        tried, came = row.outcomes.total(), ", ".join(f"{count} {word}" for word, count in row.outcomes.most_common())
        name = f"{row.name} (no checksum)" if row.name in unchecked else row.name
        lines.append(f"| {name} | {tried} | {tried - row.outcomes['not survived']} | {came} | {row.longest_s:.1f} s |")
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    """Print the table, and each fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign")
    parser.add_argument("--seed", type=int, default=1, help="from which all is drawn")
    parser.add_argument("--share", type=float, default=1.0, help="of all there is to try, above 0 to 1")
    parser.add_argument("--only", nargs="+", metavar="ROW", choices=[*ROWS], default=[*ROWS])
    args = parser.parse_args(argv)
    start = time.monotonic()
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        rows = [*pool.map(tried, args.only, itertools.repeat(args.seed), itertools.repeat(args.share))]
    print(f"Seed {args.seed}, {(time.monotonic() - start) / 60:.0f} minutes.\n\n{table(rows)}")
    faults = [fault for row in rows for fault in row.faults]
    for fault in faults:
        print(f"not survived: {fault}")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
