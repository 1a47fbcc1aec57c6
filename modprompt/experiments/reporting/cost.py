"""The cost of methods: trained parameters, and seconds of training and testing, next to the accuracy.

Seconds can be compared only between runs on the same GPU with the same number of jobs at once. Seconds of runs that
shared a GPU are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from modprompt.experiments.plan.first_stages import FIRST_STAGES, ON_PROMPTS
from modprompt.experiments.plan.protocols import TOGETHER
from modprompt.experiments.reporting.runs import Runs
from modprompt.experiments.reporting.tables import (
    EMPTY,
    STD,
    Summary,
    Table,
    decimal,
    most_shots,
    number_text,
    with_remark,
)
from modprompt.io.result import seconds
from modprompt.io.text import one_line

FILE_NAME = "cost.csv"
ABOUT = (
    "The trained parameters of a head on trained prompts include the parameters of the prompts. The training time is "
    "the time of one training in seconds, summed over all starts of the run, and includes the training's share of "
    f"{' or '.join(stage.duration for stage in FIRST_STAGES.values())}. The testing time is the time of all tests of "
    f"one training. Times are averaged over data sets and then shown as {STD} over seeds. Times of runs that shared a "
    "GPU are not shown."
)
_NUMBERS = ("training_s", "testing_s", "accuracy")  # each with a mean and a standard deviation
COLUMNS = ("group", "parameters_least", "parameters_most", "device", "jobs_at_once", "remark")


def costs(summary: Summary) -> pd.DataFrame:
    """Return the costs of each method, in the order of the tables; an empty frame if no result has any.

    Returns:
        A frame indexed by label with the columns COLUMNS and, for "training_s", "testing_s" and "accuracy", NAME_mean
        and NAME_std. Numbers are NaN if a result does not contain them.
    """
    runs, _, tables = summary
    names = [*COLUMNS, *(f"{name}_{end}" for name in _NUMBERS for end in ("mean", "std"))]
    if runs.experiment.rounds is not None or not tables:
        return pd.DataFrame(columns=names)
    rows = pd.DataFrame({label: _costs_of(runs, tables[-1], label) for label in runs.in_groups()}, index=names).T
    has_any = rows["testing_s_mean"].notna() | rows["parameters_most"].notna()
    return rows if has_any.any() else rows.iloc[:0]


def _costs_of(runs: Runs, table: Table, label: str) -> pd.Series:
    columns = [name for name in runs.columns if runs.has_column(label, name) and name not in TOGETHER.values()]
    deciding, group = table.deciding, runs.methods.at[label, "group"]
    if runs.experiment.protocol == "few_shot":
        columns = [name for name in [most_shots(columns)] if name]
        deciding = columns[0] if columns else deciding
    cells = {"group": group, "remark": runs.remark(label, runs.datasets)}
    for end, numbers in (("mean", table.mean), ("std", table.std)):
        if deciding in numbers and label in (measured := table.measured(numbers)).index:
            cells[f"accuracy_{end}"] = measured.at[label, deciding]
    rows = runs.select(label)
    rows = rows[rows["column"].isin(columns)]
    whole = [runs.complete(label, dataset, column) is not None for dataset in runs.datasets for column in columns]
    results = [result or {} for result in rows["result"]]
    for name in ("device", "jobs_at_once"):
        cells[name] = ", ".join(dict.fromkeys(str(result[name]) for result in results if result.get(name)))
    if not whole or not all(whole) or not all(results):
        return pd.Series(cells)
    is_head = group == ON_PROMPTS  # the parameters of a head on trained prompts include those of the prompts
    # with the training of the prompts, or of a teacher, whose parameters are not counted
    stages = [[run.result, *[run.prompts_result] * bool(is_head or run.prompts_result)] for run in rows.itertuples()]
    spent = [[share, *(seconds(one, "training_s") for one in own)] for share, own in zip(rows["first_stage_s"], stages)]
    sizes = [[(one or {}).get("trained_parameters") for one in (own if is_head else own[:1])] for own in stages]
    rows = rows.assign(
        run=list(map(id, results)),
        is_training=[not result.get("evaluated") for result in results],
        training_s=[_sum(numbers) for numbers in spent],
        testing_s=[_sum([seconds(result, "testing_s")]) for result in results],
        parameters=[_sum(numbers) for numbers in sizes],
    )
    if rows["parameters"].notna().all():
        cells |= {"parameters_least": rows["parameters"].min(), "parameters_most": rows["parameters"].max()}
    trainings, tests = rows[rows["is_training"]], rows.drop_duplicates("run")
    if not runs.methods.at[label, "trains"]:
        cells["training_s_mean"] = 0.0
    elif len(trainings) and trainings["training_s"].notna().all():
        cells |= _over_seeds("training_s", trainings.groupby("seed")["training_s"].mean())
    if tests["testing_s"].notna().all():
        of_trainings = tests.groupby(["dataset", "seed"])["testing_s"].sum()
        cells |= _over_seeds("testing_s", of_trainings.groupby(level="seed").mean())
    return pd.Series(cells)


def _over_seeds(name: str, numbers: pd.Series) -> dict[str, float]:
    std = numbers.std(ddof=0) if len(numbers) > 1 else float("nan")
    return {f"{name}_mean": numbers.mean(), f"{name}_std": std}


def _sum(numbers: Sequence[float | None]) -> float:
    """Return the sum of numbers, or NaN if one is unknown."""
    return float("nan") if None in numbers else float(sum(number for number in numbers if number is not None))


def accuracy_name(tables: Sequence[Table]) -> str:
    """Return the name of the accuracies: the deciding column of the last table."""
    return f"{tables[-1].measure} (%), {tables[-1].where}" if tables else ""


def texts(costs: pd.DataFrame, accuracy: str) -> pd.DataFrame:
    """Return the table of costs as texts; `accuracy` names the last column."""
    rows = []
    for label, cost in costs.iterrows():
        sizes = dict.fromkeys(cost[["parameters_least", "parameters_most"]].dropna())
        numbers = {
            name: number_text(cost[f"{key}_mean"], cost[f"{key}_std"], form)
            for name, key, form in (
                ("training (s)", "training_s", ",.2f"),
                ("testing (s)", "testing_s", ",.2f"),
                (accuracy, "accuracy", ".2f"),
            )
        }
        row = {
            "method": with_remark(str(label), cost["remark"]),
            "trained parameters": " to ".join(f"{number:,.0f}" for number in sizes) or EMPTY,
        }
        rows.append({**row, **numbers, "device": cost["device"] or EMPTY})
    names = ["method", "trained parameters", "training (s)", "testing (s)", "device", accuracy]
    return pd.DataFrame(rows, columns=names)


def csv(costs: pd.DataFrame, accuracy: str) -> pd.DataFrame:
    """Return the content of cost.csv as texts; `accuracy` names the accuracies."""
    frame = pd.DataFrame(index=costs.index)
    frame["method"] = [with_remark(str(label), remark) for label, remark in costs["remark"].items()]
    frame["group"] = costs["group"]
    for end in ("least", "most"):
        frame[f"trained_parameters_{end}"] = [decimal(number, ".0f") for number in costs[f"parameters_{end}"]]
    for name in ("training_s", "testing_s"):
        frame[f"{name}_mean"] = [decimal(number) for number in costs[f"{name}_mean"]]
        frame[f"{name}_population_std"] = [decimal(number) for number in costs[f"{name}_std"]]
    frame[["device", "jobs_at_once"]] = costs[["device", "jobs_at_once"]]
    frame["accuracy_of"] = accuracy
    frame["accuracy_mean_pct"] = [decimal(number) for number in costs["accuracy_mean"]]
    frame["accuracy_population_std_pct"] = [decimal(number) for number in costs["accuracy_std"]]
    return frame.map(one_line)
