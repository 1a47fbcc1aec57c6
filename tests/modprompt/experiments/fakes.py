"""Results of runs that were never run, as train.py would write them."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.clip.load import load
from modprompt.clip.spec import ClipSpec
from modprompt.experiments.plan import protocols
from modprompt.experiments.plan.commands import expected_settings
from modprompt.experiments.plan.experiment import Experiment, Job, Plan, select
from modprompt.experiments.plan.inputs import Inputs
from modprompt.experiments.plan.protocols import jobs
from modprompt.experiments.reporting import report
from modprompt.experiments.reporting.runs import Runs, collect
from modprompt.experiments.reporting.tables import Summary, Table
from modprompt.experiments.running import state
from modprompt.io.files import write_json
from modprompt.io.identity import CLIP, IDENTITY, record
from modprompt.io.records import sealed
from modprompt.io.settings import settings_hash
from modprompt.methods.search import file as schedule_file
from modprompt.methods.search.file import SideOfSearch


@functools.cache
def embedded_clip() -> str:
    """The hash of the embedded CLIP, which all experiments of these tests have."""
    return str(load(ClipSpec("glyph-clip")).fingerprint)


def finish(job: Job, out: Path, accuracy: float, **more) -> Path:
    """Write result.json of a job; the path. Keywords replace or add fields."""
    settings = expected_settings(job, out)
    path = out / job.folder / "result.json"
    trained: dict[str, Any] = {} if job.method.trains is False else {"prompts_hash": f"{job.method.label}{job.seed}"}
    if job.method.trainer == "MPL":
        trained["schedules"] = {"text": "[[0, 1], [1, 1], [0, 0]]", "vision": "[[0, 1], [1, 2], [0, 0]]"}
    fingerprint = more.get("backbone_hash", embedded_clip())
    content = {
        "trainer": job.method.trainer,
        "seed": job.seed,
        "shots": int(settings.get("DATASET.NUM_SHOTS", -1)),
        "classes": settings.get("DATASET.SUBSAMPLE_CLASSES", "all"),
        **({"evaluated": f"{out / job.training.folder} epoch last"} if job.training is not None else {}),
        "images_hash": f"2:{job.dataset}{job.seed}{job.options}",
        "backbone_hash": embedded_clip(),
        IDENTITY: record({CLIP: fingerprint} if fingerprint else {}, {}),
        "files": {},
        "images": 1000,
        "correct": round(10 * accuracy),
        "accuracy_pct": accuracy,
        "macro_f1_pct": accuracy,
        **trained,
        "config_hash": settings_hash(settings),
        "settings": settings,
        **more,
    }
    write_json(path, sealed(content, 2))
    return path


def schedules(add: int = 2, layers: int = 8) -> str:
    """What a search leaves in schedule.json: in every layer the prompts go and `add` new ones come."""
    steps = ((0, add), *((add, add),) * (layers - 1))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / schedule_file.FILE_NAME
        schedule_file.write(path, {side: SideOfSearch("", steps) for side in ("text", "vision")}, {"trainer": "MPL"})
        return path.read_text()


def leave_schedules(search: Job, out: Path, add: int = 2) -> Path:
    """Write schedule.json of a search; the path."""
    path = out / search.folder / schedule_file.FILE_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(schedules(add))
    return path


def narrowed_to(experiment: Experiment, **given: Any) -> Experiment:
    """An experiment with some of its data sets, methods, seeds and acquisitions."""
    return select(Plan(experiment.name, experiment.title, "", {}, (experiment,)), **given).parts[0]


def runs_below(experiment: Experiment, out: Path, selected_on_test: bool = False) -> Runs:
    """Return the runs of an experiment in an output folder, without a comparison with the data sets."""
    return collect(experiment, state.of_all(jobs(experiment), out, Inputs(out, None)), out, selected_on_test)


def summary_of(experiment: Experiment, out: Path) -> Summary:
    """Return the means and tables of an experiment in an output folder."""
    return report.summarize(runs_below(experiment, out))[0]


def write_log(folder: Path, correct: int, total: int = 1000, *, trained: bool = False, finished: bool = True) -> None:
    """A log.txt as codebases of the family leave it."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "epoch [1/1] batch [1/1] loss 1.0\n" if trained else ""
    text += "Finish training\n" if trained and finished else ""
    if finished:
        accuracy = 100 * correct / total
        text += (
            f"=> result\n* total: {total:,}\n* correct: {correct:,}\n* accuracy: {accuracy:.1f}%\n* macro_f1: 1.0%\n"
        )
    (folder / "log.txt").write_text(text)


def edit(path: Path, **fields) -> None:
    """Change fields of a result.json, which stays as whole as train.py would have left it."""
    content = {key: value for key, value in json.loads(path.read_text()).items() if key != "modprompt"}
    path.write_text(json.dumps(sealed({**content, **fields}, 2)))


TWO = """
protocol: base2new
datasets: [eurosat, dtd]
methods:
  CLIP: {trainer: ZeroshotCLIP, config: vit_b16, seeds: [1]}
  MaPLe: {trainer: MaPLe, config: vit_b16_c2_ep5_batch4_2ctx}
  MPL: {trainer: MPL, config: vit_b4_c1_add2_rm1}
"""


def fill(found, out, accuracy):
    """Finish every run with what accuracy(job) gives; None leaves it out."""
    for job in protocols.jobs(found):
        value = accuracy(job)
        if value is not None:
            finish(job, out, value)


class Cell(NamedTuple):
    """A mean and its standard deviation; None if there is no deviation."""

    mean: float
    std: float | None = None


def tables_of(experiment: Experiment, out: Path) -> tuple[dict[str, Table], Runs]:
    """Return the tables of an experiment by data set, and its runs."""
    runs, _, tables = summary_of(experiment, out)
    return {table.place: table for table in tables}, runs


def row(table: Table, label: str) -> dict[str, Cell | None]:
    """Return the cells of the row of a method by column; None for a missing number."""
    at = list(table.rows["label"]).index(label)
    means, stds = table.mean.iloc[at], table.std.iloc[at]
    return {
        column: None if means.isna()[column] else Cell(means[column], None if stds.isna()[column] else stds[column])
        for column in table.columns
    }


def best(table: Table) -> set[tuple[int, int]]:
    """Return the numbers of the rows and columns of the bold cells."""
    bold = table.best().to_numpy()
    return {(at, column) for at, cells in enumerate(bold) for column, cell in enumerate(cells) if cell}


def by_hand(job):
    base = {"eurosat": 80.0, "dtd": 60.0}[job.dataset] + 5 * job.seed
    return base if job.column == "base" else base - 30


def edit_some(found, out, fields, label="MPL", dataset="eurosat", seeds=(1, 2, 3)):
    """Change the results of some of a method's runs."""
    for job in protocols.jobs(found):
        if (job.method.label, job.dataset) == (label, dataset) and job.seed in seeds:
            edit(out / job.folder / "result.json", **fields)
