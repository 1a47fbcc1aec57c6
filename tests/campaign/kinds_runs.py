"""Kinds of files that runs, experiments, rounds of labelling and installations are told by, or leave behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from lpclip.linear_probe import read_splits
from modprompt.active import asked as labels
from modprompt.active import generators, picks_file, record
from modprompt.active import settings as rounds
from modprompt.experiments.plan import chosen, protocols, spec
from modprompt.experiments.plan.inputs import NOTES, Inputs
from modprompt.experiments.plan.job import Job
from modprompt.experiments.reporting import logs, report
from modprompt.experiments.reporting.results import of_experiment
from modprompt.experiments.running import slurm, state
from modprompt.hosts.rows import rows_of
from modprompt.hosts.train_line import with_line
from modprompt.io import descriptions, steps, test_parts
from modprompt.io import result as results
from modprompt.io.arrays import write_arrays
from modprompt.io.checksum import arrays_hash, sealed
from modprompt.io.safe_open import open_regular
from modprompt.io.settings import read_settings
from modprompt.io.text import sha256_of, write_json
from tests.campaign.kind import CSV, JSON, NPZ, TEXT, YAML, Kind, refuse, resealed
from tests.campaign.values import tree
from tests.modprompt.experiments.conftest import FILE
from tests.modprompt.experiments.fake_rounds import ask, finish_rounds
from tests.modprompt.experiments.fakes import finish
from tests.modprompt.experiments.test_plan import PARTS
from tests.modprompt.experiments.test_rounds import ROUNDS

EXPERIMENT = "small.yaml"
PICKS = (
    record.Picked("a/1.jpg", 1, 0.5, -0.7, "entropy -0.7", None, 1),
    record.Picked("b 2.jpg", None, None, None, "drawn", 0, 0),
)
ROUND = record.Round(2, {"OPTIM.LR": "0.1"}, PICKS, generators.taken(), None, "2:ab")
CLASSES = ("forest", "annual_crop", "sea; lake")
ROWS = [picks_file.Row(n, f"a/{n}.jpg", CLASSES[n % 3], 0.5, -n / 3, "entropy 0.98") for n in range(1, 7)]


def _written(name: str, text: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


CONFIG = """DATALOADER:
  TRAIN_X: {BATCH_SIZE: 4}
  NUM_WORKERS: 8
INPUT:
  SIZE: (224, 224)
  PIXEL_MEAN: [0.48145466, 0.4578275, 0.40821073]
OPTIM:
  LR: 0.0035
  NAME: "sgd"
TRAINER:
  MPL: {N_CTX: 2, PREC: fp16, SCHEDULE_TEXT: [[0, 1], [1, 1]]}
"""


def _shipped(name: str) -> Callable[[Path], Path]:
    """An experiment that comes with the program, and the choices beside it."""

    def write(folder: Path) -> Path:
        for path in spec.FILES.glob("*.json"):
            shutil.copy(path, folder)
        return Path(shutil.copy(spec.FILES / f"{name}.yaml", folder))

    return write


def _runs_of(path: Path) -> Any:
    return protocols.jobs(*spec.read_plan(path).parts)


def _job(folder: Path, text: str = FILE) -> Job:
    """The first run of an experiment that trains; the experiment is written beside it."""
    path = folder / EXPERIMENT
    path.write_text(text)
    return next(job for job in protocols.jobs(spec.read(path)) if job.parent is None and job.method.trains is not False)


def _out(path: Path) -> Path:
    return next(folder for folder in path.parents if (folder / EXPERIMENT).is_file())


WHOLE = {  # what a result may say beside its numbers
    "dataset": "digits", "backbone": "glyph-clip", "split": {"name": "digits", "status": "ours", "hash": "h"},
    "class_names": {"names": ["one"]}, "clip": {"name": "glyph-clip", "fingerprint": "2:a", "heads": [1, 2]},
    "method": {"name": "MPL"}, "input": {"INPUT.SIZE": "32"}, "tested_on": "test", "selected_on": "val",
    "init_weights": "d", "few_shot": {"hash": ""}, "places": {"text": "in front"},
    "search": {"mixture_pct": 1.0, "path_pct": 2}, "text_chunk": None, "elapsed_s": 3.5, "peak_gib": 0.1,
    "compile": {"asked": ""}, "device": "cpu", "versions": {"torch": "2"}, "sources": {"SEED": "flag --seed"},
}  # fmt: skip


def _write_result(folder: Path) -> Path:
    return finish(_job(folder), folder, 81.5, **WHOLE)


def _write_result_of_rounds(folder: Path) -> Path:
    return finish_rounds(_job(folder, ROUNDS), folder, [80.0, 81.5])


def _read_result(path: Path) -> Any:
    found = results.read(path.parent)
    refuse(found.why)
    return found.result


def _read_reported(path: Path) -> Any:
    """A run's state, and the report that it is in."""
    out = _out(path)
    experiment = spec.read(out / EXPERIMENT)
    states = state.of_all(protocols.jobs(experiment), out, Inputs(out, None))
    why = next(one.why for job, one in states if out / job.folder == path.parent)
    refuse(why and f"{path}: {why}")  # as a run's line names its folder
    with mock.patch.object(report, "can_draw", return_value=False):  # figures take seconds
        report.write(experiment, of_experiment(experiment, states), out / "reports")
    return tree(out / "reports")


def _write_failure(folder: Path) -> Path:
    path = folder / _job(folder).folder / state.FAILURE
    write_json(path, {"line": "error: no images", "time_s": 1.5e9, "exit_code": 2, "command": ["python", "train.py"]})
    return path


def _read_state(path: Path) -> Any:
    return state.of(_job(_out(path)), _out(path))


def _write_queued(folder: Path) -> Path:
    write_json(folder / state.QUEUED, {"cluster": "slurm", "job_id": "123_4"})
    return folder / state.QUEUED


def _asking(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        ask(folder, ["one", "", " ", "two"])
        return folder / rounds.FOLDER / name

    return write


def _read_asked(path: Path) -> Any:
    return labels.asked(path.parents[1])


def _write_notes(folder: Path) -> Path:
    note = {"stamp": [3000, 5], "hash": "2:" + "a" * 64, "old": "b" * 64}
    write_json(folder / NOTES, sealed({"clips": {"/clip.pt gelu [1, 1]": note}}, 1))
    return folder / NOTES


def _read_notes(path: Path) -> Any:
    notes = Inputs(path.parent, None).notes
    refuse("" if notes else f"{path} notes nothing: CLIPs are hashed again")
    return notes


def _write_chosen(folder: Path) -> Path:
    one = {"options": {"OPTIM.LR": "0.1"}, "accuracy_pct": 90.5, "by_dataset": {"digits": [[181, 200], [9, 10]]}}
    method = {"trainer": "MPL", "config": "glyph", "settings": "0" * 12, "options": one["options"], "tries": [one]}
    chosen.write(folder / "chosen.json", {"rule": "the best", "experiment": "tries", "methods": {"MPL": method}})
    return folder / "chosen.json"


def _write_record(folder: Path) -> Path:
    record.write(folder, ROUND)
    return folder / f"{rounds.round_name(2)}.json"


def _read_record(path: Path) -> Any:
    """A record, which a run can go on with."""
    found = record.read(path.parent, 2, 3)
    if found is not None:
        with generators.kept():
            generators.put(found.generators)
    return found


def _write_picks(folder: Path) -> Path:
    path = folder / "round_2.csv"
    picks_file.write(path, ROWS)
    text = path.read_text(encoding="utf-8-sig")
    path.write_text(
        "".join(line + ("forest" if number else "") + "\n" for number, line in enumerate(text.splitlines()))
    )
    return path


def _write_features(folder: Path) -> Path:
    draws = np.random.default_rng(0)
    for name in ("train", "test"):
        features, numbers = draws.normal(size=(6, 4)).astype(np.float32), np.arange(6) % 3
        own, made_of = np.array(False), np.array("2:abc digits")
        seal = np.array(arrays_hash(name, features, numbers, own, made_of))
        arrays: dict[str, Any] = {
            "feature_list": features,
            "label_list": numbers,
            "own_validation": own,
            "made_of": made_of,
        }
        write_arrays(folder / f"{name}.npz", **arrays, seal=seal)
    return folder / "train.npz"


def _read_features(path: Path) -> Any:
    return read_splits(path.parent, True)


def _resealed_features(content: Any) -> Any:
    parts = [content.get(name) for name in ("feature_list", "label_list", "own_validation", "made_of")]
    return (
        content if any(part is None for part in parts) else {**content, "seal": np.array(arrays_hash("train", *parts))}
    )


def _write_steps(folder: Path) -> Path:
    table, _ = steps.begin(folder, 0)
    for step in range(1, 9):
        table.add(steps.Row(1 + step // 5, step, {"loss": 1.25 / step, "acc": 12.5 * step}, 0.0035))
    table.write()
    write_json(folder / results.FILE_NAME, {steps.KEY: sha256_of(folder / steps.FILE_NAME)})
    return folder / steps.FILE_NAME


def _write_tested(folder: Path) -> Path:
    confusion, calibration = np.array([[3, 1, 0], [0, 2, 0], [1, 0, 4]]), np.zeros((test_parts.BINS, 3))
    calibration[7] = [11, 0.5, 9 / 11]
    wrong = [
        test_parts.Wrong("forest/1.jpg", 0, (1, 0, 2), (0.625, 0.25, 0.125), 0.25),
        test_parts.Wrong("sea lake/7.jpg", 2, (0, 2, 1), (0.5, 0.375, 0.125), 0.375),
    ]
    hashes = test_parts.write(folder, test_parts.TestParts(CLASSES, confusion, calibration, wrong))
    write_json(folder / results.FILE_NAME, {test_parts.KEY: hashes})
    return Path(test_parts.path_of(folder))


def _written_in(folder: Path) -> Any:
    """What the whole run's result says: the fault is beside it."""
    return json.loads((folder / results.FILE_NAME).read_bytes())


def _as_plain(parts: Any) -> Any:
    return [value.tolist() if isinstance(value, np.ndarray) else value for value in parts]


def _read_tested(path: Path) -> Any:
    return _as_plain(test_parts.read(path.parents[1], _written_in(path.parents[1])))


def _read_tested_by_form(path: Path) -> Any:
    """As if the result had the hash of this very file."""
    hashes = {path.name: sha256_of(path) if path.is_file() else ""}
    return _as_plain(test_parts.read(path.parents[1], {test_parts.KEY: hashes}))


LOG = """epoch [1/1] batch [1/1] loss 1.0
Finish training
=> result
* total: 1,000
* correct: 815
* accuracy: 81.5%
* macro_f1: 80.0%
"""


def _read_log(path: Path) -> Any:
    found = logs.read_run(path.parent)
    refuse(found.reason and f"{path}: {found.reason}")
    return found


PROGRAM = """import argparse
import torch
from dassl.config import get_cfg_default
from dassl.engine import build_trainer

import trainers.maple

DATASETS = ["eurosat", "dtd"]


def main(args):
    cfg = get_cfg_default()
    cfg.merge_from_file(args.config_file)
    if args.mode not in ("base", "new"):
        raise ValueError(args.mode)
    trainer = build_trainer(cfg)
    trainer.train()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--trainer", type=str, default="")
    parser.add_argument("--config-file", type=str, default="")
    parser.add_argument("--mode", required=True, choices=["base", "new"])
    main(parser.parse_args())
"""


def _write_program(folder: Path) -> Path:
    (folder / "train.py").write_text(PROGRAM)
    return folder / "train.py"


def _read_program(path: Path) -> Any:
    with open_regular(path) as file:
        program = file.read()
    return with_line(program), rows_of(program)


def kinds() -> list[Kind]:
    """All of them."""
    phrases = json.dumps({"Forest": ["green", "dark trees"], "River": ["a blue band"], "sea_lake": ["water"]}, indent=1)
    return [
        Kind("config", YAML, _written("a.yaml", CONFIG), lambda path: read_settings(str(path))),
        Kind("experiment file", YAML, _written("small.yaml", FILE), spec.read),
        Kind("experiment file with parts", YAML, _written("parts.yaml", PARTS), _runs_of),
        *(Kind(f"{name}.yaml", YAML, _shipped(name), _runs_of) for name in ("active", "demo", "dpl_base2new")),
        Kind("chosen settings", JSON, _write_chosen, chosen.read, True, resealed),
        Kind("descriptions", JSON, _written("a.json", phrases), lambda path: descriptions.read(str(path)).phrases),
        Kind("result.json", JSON, _write_result, _read_result, True, resealed),
        Kind("result.json in a report", JSON, _write_result, _read_reported, True, resealed),
        Kind("result.json of rounds in a report", JSON, _write_result_of_rounds, _read_reported, True, resealed),
        Kind("failure.json", JSON, _write_failure, _read_state),
        Kind("queued.json", JSON, _write_queued, lambda path: slurm.submitted_as(path.parents[1])),
        Kind("waiting.json", JSON, _asking(rounds.WAITING), _read_asked),
        Kind("labels that a run waits for", CSV, _asking("round_3.csv"), _read_asked),
        Kind(NOTES, JSON, _write_notes, _read_notes, True, resealed),
        Kind("record of a round", JSON, _write_record, _read_record, True, resealed),
        Kind("labels of a round", CSV, _write_picks, lambda path: picks_file.read_labels(path, ROWS, CLASSES)),
        Kind("train.py of a codebase", TEXT, _write_program, _read_program),
        Kind("features of lpclip", NPZ, _write_features, _read_features, True, _resealed_features),
        Kind(steps.FILE_NAME, CSV, _write_steps, lambda path: steps.read(path.parent, _written_in(path.parent)), True),
        Kind("steps.csv of a run without a result", CSV, _write_steps, lambda path: steps.read(path.parent)),
        Kind("test.npz", NPZ, _write_tested, _read_tested, True),
        Kind("test.npz whose hash fits", NPZ, _write_tested, _read_tested_by_form),
        Kind("log.txt", TEXT, _written("log.txt", LOG), _read_log),
    ]
