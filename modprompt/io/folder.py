"""The output folder of a run: what the folder contains, and which process may use it.

An output folder belongs to one run: a training run with its checkpoints, or a test of a trained model or of CLIP. Tests
of the training in a folder are stored in its subfolder `tests/`. Only one process at a time uses a folder. The process
takes the lock of the folder, and is rejected if the folder belongs to another run. A program that starts runs as
separate processes takes a second lock (STARTER) while it prepares the folder and waits for the run.
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

LOCK = "job/lock"  # the lock of the process that runs
STARTER = "job/starter"  # the lock of the process that starts the run
GONE = "was deleted or replaced while the run was active"
CONFIG, STATE = "config.yaml", "training_state.pth.tar"  # all settings; the state of an unfinished training
ROUNDS = "rounds"  # the subfolder with the records of rounds of active learning
# what the names of output folders of the scripts say
_SHOTS = re.compile(r"(?:^|/)shots_(\d+)(?:/|$)|_(\d+)shots(?:/|$)")
_SEED = re.compile(r"(?:^|/)seed(\d+)(?:_[^/]*)?$")
_EVALUATION = re.compile(r"/crossdataset/evaluation/|/evaluation/[^/]+/[^/]+shots/nctx")
_IN_TRAINING = re.compile(r"/tests/[^/]+$")
_CLASSES = re.compile(r"(?:^|/)base2new/(?:train|test)_(base|new)/")
_NO_NAME = re.compile(r"[^\w.+-]+")  # characters that are replaced in file names
_BUSY = "Another run is active in {}. Wait until that run ends, or use a different --output-dir."


class Holding(NamedTuple):
    """The content of an output folder."""

    trainer: str  # the name of the trainer; empty if it is unknown
    trained: bool  # whether the folder contains checkpoints or a training state
    result: dict[str, Any] | None
    why: str  # why the result cannot be read although its file exists; empty otherwise

    @property
    def is_free(self) -> bool:
        """Whether the folder contains no run."""
        return not (self.trained or self.result or self.why)

    @property
    def what(self) -> str:
        """The run in words."""
        tested = test_of(self.result)
        what = "a training" if self.trained else f"a test of {tested}" if tested else "a run"
        return f"{what}{f' of {self.trainer}' if self.trainer else ''}"


def read(folder: PathLike) -> Holding:
    """Return the content of an output folder, which need not exist."""
    result, why = results.read(folder)
    trained = _has_begun(str(folder)) or bool(model_folders(folder))
    said = (result or {}).get("trainer") or (_of_config(folder, "TRAINER.NAME") if trained or why else "")
    return Holding(str(said), trained, result, why)


def place_of_training(folder: PathLike, seed: str) -> str:
    """Return the default output folder of a training run.

    Args:
        folder: the folder of all training runs with these settings.
        seed: the seed as a string. A run without a seed (-1) gets the first folder unseeded-N that is free or contains
        an
            unfinished training run, which is resumed.
    """

    def can_begin(place: str) -> bool:
        there = read(place)
        return there.is_free or (there.result is None and _has_begun(place))

    if seed.startswith("-"):
        return _first(can_begin, (str(Path(folder, f"unseeded-{number}")) for number in itertools.count(1)))
    return str(Path(folder, f"seed{seed}"))


def place_of_eval(folder: PathLike, seed: str, tested: str) -> str:
    """Return the default output folder of a test: `eval`, `eval_2` and so on in the folder of the training run.

    Args:
        folder: the folder of all training runs with these settings.
        seed: the seed of the training as a string.
        tested: the model that is tested, as `describe_model` returns it.
    """
    own = Path(folder, "unseeded-1" if seed.startswith("-") else f"seed{seed}")
    return _numbered(str(own / "eval"), lambda _, result: test_of(result) == tested)


def _numbered(first: str, is_same: Callable[[str, Mapping[str, Any]], bool]) -> str:
    """Return the first of the folders `first`, `first_2`, `first_3` and so on that is free or contains the same test.

    Args:
        first: the first folder.
        is_same: returns True if the result in a folder belongs to the same test, which is then repeated.
    """

    def can_test(place: str) -> bool:
        there = read(place)
        return there.is_free or (there.result is not None and is_same(place, there.result))

    return _first(can_test, itertools.chain([first], (f"{first}_{number}" for number in itertools.count(2))))


def _first(is_usable: Callable[[str], bool], folders: Iterable[str]) -> str:
    """Return the first folder that fits and is not in use by another process."""
    return next(place for place in folders if is_usable(place) and not is_held(place))


def describe_model(model_dir: str, epoch: int | None) -> str:
    """Return the description of a tested model for result.json, or "" if a test loads no model."""
    return f"{model_dir} epoch {epoch or 'last'}" if model_dir else ""


def or_delete(folder: PathLike, then: str = "to start again") -> str:
    """Return ", or delete that folder ..." as the end of a message that asks for another folder.

    The text is empty if subfolders contain other runs, which would be deleted as well.
    """
    for place, below, files in os.walk(folder):
        if place != str(folder) and {results.FILE_NAME, STATE} & set(files):
            return ""
        if ROUNDS in below:
            below.remove(ROUNDS)
    return f", or delete that folder {then}"


def _has_begun(folder: str) -> bool:
    """Return True if a folder contains a state from which a run can be resumed."""
    return any(os.path.exists(os.path.join(folder, name)) for name in (STATE, ROUNDS))


def _of_config(folder: PathLike, key: str) -> str:
    """Return a setting of the run in a folder, or "" if it is unknown."""
    try:
        return str(read_settings(os.path.join(folder, CONFIG)).get(key, ""))
    except (OSError, UserError):
        return ""


def test_of(result: Mapping[str, Any] | None) -> str:
    """Return which saved model was tested in a run, or "" if the run tested the model that it trained."""
    return str((result or {}).get("evaluated") or "")


def of_training(folder: PathLike) -> results.Read:
    """Return the result of a training run from its output folder, or the reason why there is no result."""
    found = results.read(folder)
    tested = test_of(found.result)
    return results.Read(None, f"{results.FILE_NAME} belongs to a test of {tested}") if tested else found


def require_own(folder: PathLike, trainer: str, trains: bool | None = None) -> str:
    """Check before anything is written that a folder does not belong to another run.

    Args:
        folder: the output folder.
        trainer: the name of the trainer of this run.
        trains: whether this run trains, or None if a program of another codebase has not decided it yet.

    Returns:
        A message on the result that this run replaces, or "" if there is none.

    Raises:
        UserError: if the folder contains a run of another trainer, a training run although this run is a test, or a
        test
            although this run is a training run.
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
    """Return the output folder of a test: the requested folder, or a subfolder `tests/...` of a training run.

    Args:
        folder: the requested output folder.
        model_dir: the output folder of the training whose model is tested.
        epoch: the epoch to test, or None for the best or last.
        data: the settings NAME, SUBSAMPLE_CLASSES and ROOT of DATASET.
        settings: the explicit settings of the test as strings, by dotted key.

    Raises:
        UserError: if the training has no checkpoint of this epoch.
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
    """Return the name and the SHA-256 of the checkpoint that is loaded to test a run; several are joined by spaces.

    Raises:
        UserError: if there is no checkpoint of this epoch.
    """
    paths = [find_checkpoint(str(model), epoch) for model in model_folders(folder)]
    names = ["/".join(path.split(os.sep)[-2:]) for path in paths]
    return {"name": " ".join(names), "hash": " ".join(map(sha256_of, paths))} if paths else {}


def weights_hash(folder: PathLike, epoch: int | None = None) -> str | None:
    """Return the SHA-256 of the checkpoints that a test of a run loads, or None if it cannot be computed."""
    try:
        return weights_of(folder, epoch).get("hash")
    except (UserError, OSError):
        return None


def resumed_from(folder: str) -> str:
    """Return the SHA-256 of the checkpoint from which a training run with `--resume FOLDER` starts.

    The text is empty without a folder or checkpoints, and if the folder contains a training state or rounds, from which
    the run is resumed exactly.
    """
    if not folder or _has_begun(folder):
        return ""
    try:
        return " ".join(sha256_of(newest_checkpoint(str(model))) for model in model_folders(folder))
    except (UserError, OSError):
        return ""


def require_name_agrees(folder: str, shots: int, seed: int, classes: str) -> None:
    """Raise UserError if the name of an output folder contradicts the settings, for example "seed1" with SEED 2.

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


# ---- which process uses a folder

_held: dict[str, lock.Lock] = {}  # the locks that this process holds, by the real path of the folder


def is_held(folder: PathLike, names: tuple[str, ...] = (LOCK, STARTER)) -> bool:
    """Return True if a process uses a folder.

    Args:
        folder: the folder.
        names: the locks: LOCK of a process that runs, STARTER of a process that starts a run.

    Raises:
        OSError: if a lock cannot be opened.
    """
    return any(lock.is_held(Path(folder) / name) for name in names)


def _taken(folder: PathLike, name: str, patience_s: float = 2.0) -> lock.Lock:
    try:
        return lock.take(Path(folder) / name, _BUSY.format(folder), patience_s)
    except OSError as error:
        raise UserError(f"Cannot write to --output-dir {folder} ({error.strerror}: {error.filename}).") from None


def take(folder: PathLike, patience_s: float = 2.0) -> lock.Lock:
    """Take the lock of a folder, and remove unfinished files of killed processes.

    Raises:
        Busy: if another process holds the lock after `patience_s` seconds.
        UserError: if the folder cannot be written.
    """
    held = _taken(folder, LOCK, patience_s)
    if held.works:
        remove_parts(folder)
        for entry in os.scandir(folder):
            if entry.is_dir(follow_symlinks=False) and not os.path.exists(os.path.join(entry.path, LOCK)):
                ours = ("model*", "checkpoint", *run_files.OF_TEST)  # other programs keep files there, too
                remove_parts(entry.path, *(() if entry.name == "job" else ours))
    return held


@contextlib.contextmanager
def starting(folder: PathLike) -> Iterator[lock.Lock]:
    """Hold the lock STARTER of an output folder while a run is started in a separate process."""
    held = _taken(folder, STARTER)
    try:
        if is_held(folder, (LOCK,)):
            raise lock.Busy(_BUSY.format(folder))
        yield held
    finally:
        held.release()


def keep(folder: PathLike, trainer: str = "", trains: bool | None = None) -> str:
    """Take the lock of a folder until this process ends; do nothing if this process has it already.

    Args:
        folder: the folder.
        trainer: the name of the trainer whose run begins in the folder; if empty, `require_own` is not called.
        trains: as for `require_own`.

    Returns:
        The message of `require_own`.

    Raises:
        The errors of `take` and `require_own`.
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
    """Call `keep` for the duration of a block, which receives the message; an empty name means no folder."""
    real = os.path.realpath(folder)
    is_new = bool(folder) and real not in _held
    said = keep(folder, trainer, trains) if is_new else ""
    try:
        yield said
    finally:
        if is_new:
            _held.pop(real).release()


def require_still(folder: PathLike) -> None:
    """Raise UserError if a folder that this process uses was deleted or replaced, so that files would be lost."""
    held = _held.get(os.path.realpath(folder)) if folder else None
    if held is not None and not held.is_there():
        raise UserError(f"The output folder {folder} {GONE}. Start the run again.")
