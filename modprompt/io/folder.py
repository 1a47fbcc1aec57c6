"""A run's output folder: what it holds, whose it is, which weights its result comes from, and who works in it.

It is one run's: a training with its checkpoints, or a test of another run's, or of a CLIP as it is. A test of the
training that a folder holds is below it, in `tests/`. One process at a time works there, which takes its lock and says
for which run; a folder of another run is refused then, for programs of all codebases. Who starts runs in processes of
their own has another lock while it prepares the folder and waits; the run itself ends if a third process was faster.
"""

import contextlib
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.errors import UserError
from modprompt.io import lock, run_files
from modprompt.io import result as results
from modprompt.io.checkpoint import find_checkpoint, model_folders, newest_checkpoint
from modprompt.io.files import PathLike, remove_parts, sha256_of
from modprompt.io.settings import read_settings

LOCK = "job/lock"
STARTER = "job/starter"  # the lock of the process that starts the run
GONE = "was deleted or replaced while the run was active"
CONFIG, STATE = "config.yaml", "training_state.pth.tar"  # all settings; what an unfinished training resumes from
ROUNDS = "rounds"  # the folder of what rounds of active learning leave
# what the names of output folders of the scripts say
_SHOTS = re.compile(r"(?:^|/)shots_(\d+)(?:/|$)|_(\d+)shots(?:/|$)")
_SEED = re.compile(r"(?:^|/)seed(\d+)(?:_[^/]*)?$")
_EVALUATION = re.compile(r"/crossdataset/evaluation/|/evaluation/[^/]+/[^/]+shots/nctx")
_IN_TRAINING = re.compile(r"/tests/[^/]+$")
_CLASSES = re.compile(r"(?:^|/)base2new/(?:train|test)_(base|new)/")
_NO_NAME = re.compile(r"[^\w.+-]+")  # of a file, in a data set's name
_BUSY = "Another run is active in {}. Wait until that run ends, or use a different --output-dir."


class Holding(NamedTuple):
    """What a folder holds."""

    trainer: str  # empty if nothing says it
    trained: bool  # a training is or was at work there: it has checkpoints, or a state to resume from
    result: dict[str, Any] | None
    why: str  # there is no result, though there is a file

    @property
    def is_free(self) -> bool:
        """Whether there is no run."""
        return not (self.trained or self.result or self.why)

    @property
    def what(self) -> str:
        """Its run, in words."""
        tested = test_of(self.result)
        what = "a training" if self.trained else f"a test of {tested}" if tested else "a run"
        return f"{what}{f' of {self.trainer}' if self.trainer else ''}"


def read(folder: PathLike) -> Holding:
    """What a folder holds; nothing if it does not exist."""
    result, why = results.read(folder)
    trained = _has_begun(str(folder)) or bool(model_folders(folder))
    said = (result or {}).get("trainer") or (_of_config(folder, "TRAINER.NAME") if trained or why else "")
    return Holding(str(said), trained, result, why)


def place_of_training(folder: PathLike, seed: str) -> str:
    """Where a run of this seed goes below the folder of its kind, if none is given.

    A run without a seed (-1) gets the first unseeded-N that is free, or has an unfinished run, which goes on.
    """

    def can_begin(place: str) -> bool:
        there = read(place)
        return there.is_free or (there.result is None and _has_begun(place))

    if seed.startswith("-"):
        return _first(can_begin, (str(Path(folder, f"unseeded-{number}")) for number in itertools.count(1)))
    return str(Path(folder, f"seed{seed}"))


def place_of_eval(folder: PathLike, seed: str, tested: str) -> str:
    """Where a test goes if no folder is given: `eval`, numbered, below that of a training of this seed.

    tested: the model that it tests, as results name it.
    """
    own = Path(folder, "unseeded-1" if seed.startswith("-") else f"seed{seed}")
    return _numbered(str(own / "eval"), lambda _, result: test_of(result) == tested)


def _numbered(first: str, is_same: Callable[[str, Mapping[str, Any]], bool]) -> str:
    """Where a test goes: `first`, or `first_2` and so on, if that has another run, or a process is at work there.

    is_same: whether the result in a folder is of the same test, which is done again.
    """

    def can_test(place: str) -> bool:
        there = read(place)
        return there.is_free or (there.result is not None and is_same(place, there.result))

    return _first(can_test, itertools.chain([first], (f"{first}_{number}" for number in itertools.count(2))))


def _first(is_usable: Callable[[str], bool], folders: Iterable[str]) -> str:
    """The first usable folder that no process holds."""
    return next(place for place in folders if is_usable(place) and not is_held(place))


def describe_model(model_dir: str, epoch: int | None) -> str:
    """Which model a test tests, as written in result.json; empty if it loads none."""
    return f"{model_dir} epoch {epoch or 'last'}" if model_dir else ""


def or_delete(folder: PathLike, then: str = "to start again") -> str:
    """The end of a message that asks for another folder: ", or delete that folder ...".

    It is empty if other runs are below (tests of its training, runs of other settings), which would be lost, too.
    """
    for place, below, files in os.walk(folder):
        if place != str(folder) and {results.FILE_NAME, STATE} & set(files):
            return ""
        if ROUNDS in below:
            below.remove(ROUNDS)  # the run's own
    return f", or delete that folder {then}"


def _has_begun(folder: str) -> bool:
    """Whether there is something that a training, or a run of another kind, resumes from."""
    return any(os.path.exists(os.path.join(folder, name)) for name in (STATE, ROUNDS))


def _of_config(folder: PathLike, key: str) -> str:
    """One of all settings of the run in a folder; empty if its file does not say it."""
    try:
        return str(read_settings(os.path.join(folder, CONFIG)).get(key, ""))
    except (OSError, UserError):
        return ""


def test_of(result: Mapping[str, Any] | None) -> str:
    """Which saved model a result is a test of; empty if it is its own run's."""
    return str((result or {}).get("evaluated") or "")


def of_training(folder: PathLike) -> results.Read:
    """The result of the training in a folder; none, and why, if it is that of a test."""
    found = results.read(folder)
    tested = test_of(found.result)
    return results.Read(None, f"{results.FILE_NAME} belongs to a test of {tested}") if tested else found


def require_own(folder: PathLike, trainer: str, trains: bool | None = None) -> str:
    """Refuse a folder that another run has, before anything is written there; a message on what the run overwrites.

    trains: None where other codebases have not said it yet. Raises UserError if the folder has another trainer's run,
    or a training and this is a test, or the reverse.
    """
    found = read(folder)
    if found.is_free:
        return ""
    other = bool(found.trainer) and found.trainer != trainer
    tests_there = found.trained and trains is False
    if other or tests_there or (trains and not found.trained and test_of(found.result)):
        what = {True: "training", False: "test", None: "run"}[trains]
        raise UserError(f"{folder} contains {found.what}. Use a different --output-dir for this {what} of {trainer}.")
    tested = test_of(found.result) if trains else ""
    return f"The result of this training replaces the result of a test of {tested} in {folder}." if tested else ""


def place_of_test(
    folder: str, model_dir: str, epoch: int | None, data: Mapping[str, str], settings: Mapping[str, str]
) -> str:
    """Where a test goes: the folder asked for, or, if that is its training's (`model_dir`), one in `tests/`, numbered.

    data: NAME, SUBSAMPLE_CLASSES and ROOT of DATASET. settings: those that files and options gave. Raises UserError if
    the training has no checkpoint of this epoch.
    """
    if not folder or not model_dir or os.path.realpath(folder) != os.path.realpath(model_dir):
        return folder
    models = model_folders(model_dir)
    if not models:
        raise UserError(
            f"--model-dir {model_dir} contains no checkpoint. Train a model first, or use the output folder of a "
            "training run."
        )
    checkpoint = os.path.basename(find_checkpoint(str(models[0]), epoch))
    name = f"{checkpoint}_{_NO_NAME.sub('_', data['NAME'])}_{data['SUBSAMPLE_CLASSES']}"
    root = os.path.realpath(data["ROOT"])

    def is_same(place: str, result: Mapping[str, Any]) -> bool:
        return os.path.realpath(_of_config(place, "DATASET.ROOT")) == root and result.get("settings") == settings

    return _numbered(os.path.join(folder, "tests", name), is_same)


def weights_of(folder: PathLike, epoch: int | None = None) -> dict[str, str]:
    """Name and SHA-256 of the checkpoint that a test of a run's folder loads, of several models all; else UserError."""
    paths = [find_checkpoint(str(model), epoch) for model in model_folders(folder)]
    names = ["/".join(path.split(os.sep)[-2:]) for path in paths]
    return {"name": " ".join(names), "hash": " ".join(map(sha256_of, paths))} if paths else {}


def weights_hash(folder: PathLike, epoch: int | None = None) -> str | None:
    """Return the SHA-256 of the checkpoints that a test of a run loads; None if they are missing or cannot be read."""
    try:
        return weights_of(folder, epoch).get("hash")
    except (UserError, OSError):
        return None


def resumed_from(folder: str) -> str:
    """What a training begins from that continues a run's newest checkpoint, with a new optimiser: its SHA-256.

    Empty without a folder, without checkpoints there, and with a state or rounds, which resume as they were.
    """
    if not folder or _has_begun(folder):
        return ""
    try:
        return " ".join(sha256_of(newest_checkpoint(str(model))) for model in model_folders(folder))
    except (UserError, OSError):
        return ""


def require_name_agrees(folder: str, shots: int, seed: int, classes: str) -> None:
    """Raise UserError if the name of an output folder, as the scripts choose it, contradicts the settings of its run.

    Args:
        folder: the output folder.
        shots: DATASET.NUM_SHOTS of the run.
        seed: SEED of the run.
        classes: DATASET.SUBSAMPLE_CLASSES of the run.
    """
    path = os.path.abspath(folder).replace(os.sep, "/")
    for key, value, pattern, of_model in (  # in folders that match the last pattern, the name describes the model
        ("DATASET.NUM_SHOTS", str(shots), _SHOTS, _EVALUATION),
        ("SEED", str(seed), _SEED, None),
        ("DATASET.SUBSAMPLE_CLASSES", classes, _CLASSES, _IN_TRAINING),
    ):
        stated = [next(filter(None, match.groups())) for match in pattern.finditer(path)]
        if stated and stated[-1] != value and not (of_model and of_model.search(path)):
            raise UserError(
                f"{key} is {value}, but the name of the output folder {folder} says {stated[-1]}. Do not set {key} as "
                "an option. Change the corresponding argument or variable of the script, which also changes the name "
                "of the folder."
            )


# ---------------------------------------------------------------------- who works in it

_held: dict[str, lock.Lock] = {}  # by real path: what this process holds


def is_held(folder: PathLike, names: tuple[str, ...] = (LOCK, STARTER)) -> bool:
    """Whether some process runs in a folder, or (STARTER) starts a run there; OSError if a lock cannot be opened."""
    return any(lock.is_held(Path(folder) / name) for name in names)


def _taken(folder: PathLike, name: str, patience_s: float = 2.0) -> lock.Lock:
    try:
        return lock.take(Path(folder) / name, _BUSY.format(folder), patience_s)
    except OSError as error:
        raise UserError(f"Cannot write to --output-dir {folder} ({error.strerror}: {error.filename}).") from None


def take(folder: PathLike, patience_s: float = 2.0) -> lock.Lock:
    """Take a folder's lock, and remove what killed writers left; raises Busy, or UserError if it cannot be written."""
    held = _taken(folder, LOCK, patience_s)
    if held.works:
        remove_parts(folder)
        for entry in os.scandir(folder):
            if entry.is_dir(follow_symlinks=False) and not os.path.exists(os.path.join(entry.path, LOCK)):
                ours = ("model*", "checkpoint", *run_files.OF_TEST)  # files of others are kept there, too
                remove_parts(entry.path, *(() if entry.name == "job" else ours))
    return held


@contextlib.contextmanager
def starting(folder: PathLike) -> Iterator[lock.Lock]:
    """The lock of who starts a run in a process of its own, held in the block; raises as take."""
    held = _taken(folder, STARTER)
    try:
        if is_held(folder, (LOCK,)):
            raise lock.Busy(_BUSY.format(folder))
        yield held
    finally:
        held.release()


def keep(folder: PathLike, trainer: str = "", trains: bool | None = None) -> str:
    """Hold a folder until this process ends, unless it does already; raises as take.

    With a trainer, whose run begins there, what it returns and raises is that of require_own, too.
    """
    real = os.path.realpath(folder)
    if real in _held:
        return ""
    _held[real] = take(folder)
    try:
        return require_own(folder, trainer, trains) if trainer else ""
    except UserError:
        _held.pop(real).release()
        raise


@contextlib.contextmanager
def hold(folder: PathLike, trainer: str = "", trains: bool | None = None) -> Iterator[str]:
    """As keep, within a block, which gets the message; an empty name is no folder."""
    real = os.path.realpath(folder)
    is_new = bool(folder) and real not in _held
    said = keep(folder, trainer, trains) if is_new else ""
    try:
        yield said
    finally:
        if is_new:
            _held.pop(real).release()


def require_still(folder: PathLike) -> None:
    """Raise UserError if a folder that this process keeps was deleted or replaced: what it writes would be lost."""
    held = _held.get(os.path.realpath(folder)) if folder else None
    if held is not None and not held.is_there():
        raise UserError(f"The output folder {folder} {GONE}. Start the run again.")
