"""A run: build its trainer, train or evaluate, and write result.json. All trainers and readers are registered."""

import contextlib
import functools
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from dassl.data.datasets import build_dataset
from dassl.engine import build_trainer
from dassl.utils import collect_env_info, set_random_seed, setup_logger
from yacs.config import CfgNode

import modprompt.data.readers.all
import modprompt.trainers.all  # noqa: F401
from modprompt.data.reader import FamilyDataset
from modprompt.data.reader_facts import is_few_shot, own_validation, reader_facts, shots_file
from modprompt.data.rounds import require_none
from modprompt.data.selection import uses_validation
from modprompt.data.split_files import find_recorded
from modprompt.errors import UserError
from modprompt.io import folder as run_folder
from modprompt.io import image_files
from modprompt.io import result as results
from modprompt.io.files import of_user, write_whole
from modprompt.io.settings import SHOTS_BY_CLASS, TRAIN_ON_VAL, Settings
from modprompt.io.text import one_line, writable
from modprompt.methods.search import file as schedule_file
from modprompt.methods.table import counts_steps
from modprompt.trainers import baseline, card_errors, closing, device
from modprompt.trainers.config import RunConfig, of_run
from modprompt.trainers.mode import Mode, tested_by, trains, trains_nothing
from modprompt.trainers.prompt_trainer import PromptTrainer
from modprompt.trainers.result import ResultRecorder
from modprompt.trainers.skip_finished import finished_before

_IN_HEAD = (
    "TRAINER.NAME", "DATASET.NAME", "DATASET.NUM_SHOTS", "DATASET.SUBSAMPLE_CLASSES", "DATASET.ROOT", "SEED",
    "OUTPUT_DIR", "MODEL.BACKBONE.PATH", "MODEL.BACKBONE.NAME", SHOTS_BY_CLASS,
)  # fmt: skip
_MOST, _MOST_WORDS = 160, 14  # characters of a line; flags and options that are shown


def dataset_of(cfg: CfgNode) -> Any:
    """Read the data set of a run."""
    if cfg.SEED >= 0:
        set_random_seed(cfg.SEED)  # another project's reader draws few-shot lists with it, and keeps them
    return build_dataset(cfg)


class Rounds(NamedTuple):
    """The functions for active learning that `run` calls."""

    run: Callable[[RunConfig, Settings], None]
    changed: Callable[[str, Mapping[str, Any]], list[str]]


def is_finished(cfg: RunConfig, settings: Settings, mode: Mode, rounds: Rounds | None = None) -> bool:
    """Return True if the output folder contains the finished run; see modprompt/trainers/skip_finished.py."""
    there = results.read(cfg.OUTPUT_DIR).result
    why = [] if there is None or rounds is None else rounds.changed(cfg.OUTPUT_DIR, there)
    if not why and not cfg.TEST.ONLY and cfg.SEARCH.RUNS and schedule_file.fault(cfg.OUTPUT_DIR):
        return False  # what it is run for is missing: it is tested and written again
    if why:
        print(f"The run in {cfg.OUTPUT_DIR} is restarted because {'; '.join(why)}.")
        return False
    find = functools.partial(find_recorded, of_user(cfg.DATASET.ROOT).absolute())
    return finished_before(
        cfg,
        settings.texts(),
        cfg.TEST.ONLY,
        find,
        lambda: dataset_of(cfg),
        tested_by(cfg, mode),
        mode.load_epoch,
    )


def require_trained_on_base(cfg: CfgNode, model_dir: str) -> None:
    """Raise UserError if TEST.BASE_NEW is set for a model that was not trained on the base classes."""
    trained = (run_folder.of_training(model_dir).result or {}).get("classes", "base")
    if cfg.TEST.BASE_NEW and trained != "base":
        raise UserError(
            f"TEST.BASE_NEW True needs a model that was trained on the base classes, but the model in {model_dir} was "
            f"trained on {trained} classes. Set --model-dir to a training run with DATASET.SUBSAMPLE_CLASSES base."
        )


def warn_of_another_split(dataset: Any, model_dir: str) -> None:
    """Warn if a model was trained on another split of the data set than it is tested on."""
    trained = (run_folder.of_training(model_dir).result or {}).get("split")
    mine = reader_facts(dataset).split_facts
    if (
        mine
        and isinstance(trained, dict)
        and trained.get("name") == mine["name"]
        and trained.get("hash") != mine["hash"]
    ):
        warnings.warn(
            f"The model in {model_dir} was trained on a split of {mine['name']} that differs from the split of this "
            "test, so some test images may be among its training images.",
            stacklevel=2,
        )


@card_errors.told()
def run(
    settings: Settings,
    mode: Mode,
    check: Callable[[RunConfig], Any] | None = None,
    rounds: Rounds | None = None,
    with_baseline: bool = False,
) -> None:
    """Build the trainer, train or evaluate it, and write result.json.

    Args:
        settings: read once, so that files may be edited while the run runs.
        mode: what to do with them.
        check: raises UserError, before any work, if a configuration is not for the calling program.
        rounds: for a program that runs ACTIVE.ROUNDS.
        with_baseline: print the accuracy of zero-shot CLIP before a training run without rounds.

    Raises:
        UserError: if a setting, a file or the output folder does not fit.
    """
    cfg = of_run(settings, mode, check)
    if not (cfg.OUTPUT_DIR or mode.no_train):
        raise UserError(
            "OUTPUT_DIR is not set. Set --output-dir to the folder in which the run should save its checkpoints and "
            "its result."
        )
    before = _changed_ns(cfg.OUTPUT_DIR)
    if mode.once and is_finished(cfg, settings, mode, rounds):
        return
    with run_folder.hold(cfg.OUTPUT_DIR, cfg.TRAINER.NAME, trains(cfg, mode)) as said:
        if mode.once and _changed_ns(cfg.OUTPUT_DIR) != before and is_finished(cfg, settings, mode, rounds):
            return  # finished by a process that held the folder until now
        with _begun(cfg, settings, trains(cfg, mode), said):
            if rounds is not None and cfg.ACTIVE.ROUNDS and not (mode.eval_only or mode.no_train):
                rounds.run(cfg, settings)
                return
            recorder = ResultRecorder(_built(cfg, mode))
            if mode.eval_only:
                _test(recorder.trainer, mode)
            elif not mode.no_train:
                print(unused_validation(recorder.trainer), end="")
                zero_shot = baseline.line(recorder.trainer) if with_baseline else ""
                print(zero_shot, end="\n" if zero_shot else "")
                recorder.trainer.train()
            _write(recorder, cfg, settings, mode)
            if trains(cfg, mode) and not mode.no_train:
                tested_pct = (recorder.results or {}).get("accuracy")
                for line in closing.lines(recorder.trainer, tested_pct, in_series=mode.once):
                    print(line)
            elif trains_nothing(cfg) and not mode.no_train:
                print(closing.next_command(recorder.trainer))


@contextlib.contextmanager
def _begun(cfg: CfgNode, settings: Settings, is_training: bool, said: str) -> Iterator[None]:
    """Set up the device, the seed and the log of a run, and write its config file."""
    device.set_up(cfg.MODEL.DETERMINISTIC, cfg.USE_CUDA, ours=True)
    if cfg.SEED >= 0:
        set_random_seed(cfg.SEED)
    setup_logger(cfg.OUTPUT_DIR)
    print(said, end="\n" if said else "")
    tell(cfg, settings, is_training)
    is_kept = keep_config(cfg, begins=True)
    with warnings.catch_warnings():
        # NUM_WORKERS stays as it is given, since the draws of augmentation depend on it, whatever cores there are
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        yield
    if not is_kept:  # the folder held another run, or an earlier start of this one
        keep_config(cfg, begins=False)


def _built(cfg: RunConfig, mode: Mode) -> Any:
    require_none(cfg.OUTPUT_DIR)
    tested = tested_by(cfg, mode)
    if tested:
        require_trained_on_base(cfg, tested)
    return build_trainer(cfg.of_one_training() if mode.eval_only or mode.no_train else cfg)


def _test(trainer: Any, mode: Mode) -> None:
    trainer.load_model(mode.model_dir, epoch=mode.load_epoch)
    warn_of_another_split(trainer.dm.dataset, mode.model_dir)
    trainer.test()


def _write(recorder: ResultRecorder, cfg: RunConfig, settings: Settings, mode: Mode) -> None:
    tested = tested_by(cfg, mode)
    path = recorder.write(
        cfg, run_folder.describe_model(tested, mode.load_epoch), settings, tested, epoch=mode.load_epoch
    )
    if path:
        print(f"Result: {path}")


def _changed_ns(folder: str) -> int:
    """Return the time in ns at which the result in a folder was written; 0 if there is none."""
    path = os.path.join(folder, results.FILE_NAME)
    return os.stat(path).st_mtime_ns if os.path.isfile(path) else 0


def tell(cfg: Any, settings: Settings, trains: bool) -> None:
    """Print a summary of the run: trainer, data, CLIP model and explicit settings."""
    for line in (*_head(cfg), *([_training(cfg)] if trains else []), *_given(settings), *_end(cfg)):
        print(line if len(line) <= _MOST else f"{line[: _MOST - 3]}...")


def _head(cfg: Any) -> Iterator[str]:
    data = cfg.DATASET
    every = "all training and validation images" if data.TRAIN_ON_VAL else "all training images"
    shots = f"shots per class from {shots_file(cfg)}" if shots_file(cfg) else every
    shots = f"{data.NUM_SHOTS} shots" if data.NUM_SHOTS >= 1 else shots
    seed = f"seed {cfg.SEED}" if cfg.SEED >= 0 else "no seed (results differ between runs)"
    yield one_line(f"** {cfg.TRAINER.NAME} on {data.NAME}: {shots}, {data.SUBSAMPLE_CLASSES} classes, {seed} **")
    yield one_line(f"CLIP: {cfg.MODEL.BACKBONE.PATH or cfg.MODEL.BACKBONE.NAME}; data folder: {data.ROOT or '.'}")


def _training(cfg: Any) -> str:
    optim, batch = cfg.OPTIM, cfg.DATALOADER.TRAIN_X.BATCH_SIZE
    length = "steps" if counts_steps(cfg.TRAINER.NAME) else f"{optim.MAX_EPOCH} epochs"
    return f"Training: {length}, batch size {batch}, optimizer {optim.NAME}, learning rate {optim.LR}"


def unused_validation(trainer: Any) -> str:
    """Return a message if validation images are not used for training, or "" if all are used."""
    cfg, dataset = trainer.cfg, trainer.dm.dataset
    learns = not cfg.TEST.ONLY and not (isinstance(trainer, PromptTrainer) and trainer.method.in_turn)
    unused = own_validation(dataset) and not is_few_shot(cfg) and not uses_validation(cfg)
    if not (learns and unused and isinstance(dataset, FamilyDataset)):  # other projects' readers lack the setting
        return ""
    train, val, test = len(dataset.train_x), len(dataset.val), len(dataset.test) if dataset.has_test else 0
    images = "photos" if cfg.INPUT.DECODING == image_files.PEOPLE else "images"
    return (
        f"Of {train + val + test} {images}, {train} are used for training, {val} are kept for validation and {test} "
        f"{'are kept for a test' if cfg.TEST.NO_TEST else 'are used for the test'}. {TRAIN_ON_VAL} True trains on "
        f"{train + val} {images}.\n"
    )


def _is_word(source: str) -> bool:
    return not source.startswith("file ")


def _given(settings: Settings) -> list[str]:
    """Return the sources of the explicit settings for the log: files, flags and options."""
    files = dict.fromkeys(given.source for given in settings.values() if not _is_word(given.source))
    told = [key for key, given in settings.items() if _is_word(given.source) and key not in _IN_HEAD]
    words = [f"  {one_line(f'{key} {settings[key].value} ({settings[key].source})')}" for key in told]
    more = len(words) - _MOST_WORDS
    lines = [one_line(f"Settings: {', '.join(files)}")] if files else []
    return [*lines, *words[:_MOST_WORDS], *([f"  and {more} more settings"] if more > 0 else [])]


def _end(cfg: Any) -> Iterator[str]:
    where = (
        os.path.join(cfg.OUTPUT_DIR, run_folder.CONFIG) if cfg.OUTPUT_DIR else "not saved because OUTPUT_DIR is empty"
    )
    yield one_line(f"All settings and system information: {where}")


def keep_config(cfg: Any, begins: bool) -> bool:
    """Write all settings and information about the system to the output folder.

    Args:
        cfg: the configuration.
        begins: the run only begins: a folder that already holds a run, which may refuse these settings, is left alone.

    Returns:
        Whether they are written.
    """
    folder = cfg.OUTPUT_DIR
    if not folder or (begins and not run_folder.read(folder).is_free):
        return False
    system = "".join(f"# {one_line(line)}\n" for line in collect_env_info().splitlines())
    write_whole(os.path.join(folder, run_folder.CONFIG), writable(f"{cfg.dump()}{system}"))
    return True
