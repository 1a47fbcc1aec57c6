"""`compare`: the differences of one method from all others, of the seeds that both have, from the tables' numbers."""

import csv
import json

import numpy as np
import pandas as pd
import pytest

from modprompt.errors import UserError
from modprompt.experiments.plan import file as experiment_file
from modprompt.experiments.reporting import report
from modprompt.experiments.reporting.compare import compare, difference, finding, holm
from modprompt.io.base_new import harmonic_mean
from tests.modprompt.experiments.fakes import edit_some, fill, summary_of

FIVE = """
protocol: base2new
datasets: [eurosat, dtd]
seeds: [1, 2, 3, 4, 5]
compare: MPL
methods:
  CLIP: {trainer: ZeroshotCLIP, config: vit_b16, seeds: [1]}
  CoOp: {trainer: CoOp, config: vit_b16}
  MaPLe: {trainer: MaPLe, config: vit_b16_c2_ep5_batch4_2ctx}
  MPL: {trainer: MPL, config: vit_b4_c1_add2_rm1}
"""
SEEDS = (1, 2, 3, 4, 5)


def accuracy(method, dataset, column, seed):
    """A number of each run that is like no other's; CLIP's is that of seed 1."""
    draw = np.random.default_rng([len(method), ord(method[1]), len(dataset), ord(column[0]), seed])
    return round(float(70 + 5 * (method == "MPL") + 6 * draw.random()), 1)


def of_job(job):
    return accuracy(job.method.label, job.dataset, job.column, job.seed)


def compared(found, out):
    return compare(summary_of(found, out))


class Cell:
    """A difference in the form that the tests read."""

    def __init__(self, row):
        seeds = {int(name.split("_")[1]): value for name, value in row.items() if str(name).startswith("seed_")}
        self.by_seed = {seed: value for seed, value in sorted(seeds.items()) if not pd.isna(value)}
        self.mean = row.get("difference_points")
        bounds = [row.get(f"interval95_{end}_points", np.nan) for end in ("low", "high")]
        self.interval = None if pd.isna(bounds[0]) else tuple(bounds)
        self.p, self.p_holm = (None if pd.isna(row.get(name, np.nan)) else row[name] for name in ("p", "p_holm"))


def cells(one, key, minus):
    """The differences of a table from a method, by column."""
    rows = one.frame[(one.frame["table"] == key) & (one.frame["minus"] == minus)]
    return {row["column"]: Cell(row) for row in rows.to_dict("records")}


def texts(one, number=0):
    """What is said of a table, and its rows by their names."""
    _, said, frame = list(one.tables())[number]
    return said, {name: own for name, *own in frame.to_numpy().tolist()}


def pairs(minus, dataset, column, method="MPL"):
    """Both sides by hand."""
    both, seeds = (method, minus), {"CLIP": (1,) * len(SEEDS)}
    return [[accuracy(name, dataset, column, seed) for seed in seeds.get(name, SEEDS)] for name in both]


def h_pairs(minus, *datasets):
    halves = [np.mean([pairs(minus, name, half) for name in datasets], axis=0) for half in ("base", "new")]
    return [[harmonic_mean(b, n) for b, n in zip(*side)] for side in zip(*halves)]


def test_differences_are_those_of_the_runs_and_corrected_by_column(experiment, tmp_path):
    found = experiment(FIVE)
    fill(found, tmp_path, of_job)
    one = compared(found, tmp_path)
    assert list(one.frame["table"].unique()) == ["eurosat", "dtd", "average"]
    assert list(texts(one)[1]) == ["CLIP", "CoOp", "MaPLe"]
    assert one.missing == []
    assert "describe the variation over seeds on these data sets and do not generalize to other data sets" in one.about
    assert one.about.endswith(
        "CLIP does not depend on the seed, so the one run of CLIP is paired with every seed of the other methods."
    )
    assert texts(one)[0] == "n = 5. The p-values are Holm-corrected over 3 methods."
    for key, datasets in (("eurosat", ["eurosat"]), ("average", ["eurosat", "dtd"])):
        for column in ("base", "new", "H"):
            for minus in ("CLIP", "CoOp", "MaPLe"):
                both = h_pairs(minus, *datasets)
                if column != "H":
                    both = np.mean([pairs(minus, name, column) for name in datasets], axis=0)
                assert cells(one, key, minus)[column].by_seed == pytest.approx(dict(zip(SEEDS, np.subtract(*both))))
            tested = [cells(one, key, minus)[column] for minus in ("CLIP", "CoOp", "MaPLe")]
            assert [cell.p_holm for cell in tested] == pytest.approx(list(holm(pd.Series([cell.p for cell in tested]))))


def test_seeds_that_one_side_lacks_are_named_and_their_pairs_left_out(experiment, tmp_path):
    found = experiment(FIVE)

    def lacking(job):
        is_lacking = (job.method.label, job.dataset, job.column, job.seed) in (
            ("MPL", "dtd", "new", 2),
            ("MaPLe", "dtd", "base", 4),
        )
        return None if is_lacking else of_job(job)

    fill(found, tmp_path, lacking)
    one = compared(found, tmp_path)
    dtd = {minus: cells(one, "dtd", minus) for minus in ("CoOp", "MaPLe")}
    assert list(dtd["CoOp"]["new"].by_seed) == list(dtd["CoOp"]["H"].by_seed) == [1, 3, 4, 5]
    assert dtd["CoOp"]["new"].interval is not None
    assert dtd["CoOp"]["new"].p is None  # four pairs
    assert list(dtd["CoOp"]["base"].by_seed) == list(SEEDS)
    assert list(dtd["MaPLe"]["H"].by_seed) == list(cells(one, "average", "MaPLe")["H"].by_seed) == [1, 3, 5]
    assert list(cells(one, "eurosat", "MaPLe")["H"].by_seed) == list(SEEDS)
    assert sorted(one.missing)[2:] == [
        "dtd, base, H: MaPLe has no result for seed 4.",
        "dtd, new, H: MPL has no result for seed 2.",
    ]
    said, rows = texts(one, 1)
    assert [text.endswith(", n = 4") for text in rows["CoOp"]] == [False, True, True]
    assert said == "n = 5 unless a cell states another n. The p-values are Holm-corrected over 2 methods."


def test_few_shots_are_compared_by_column_and_zero_shot_with_each(experiment, tmp_path):
    found = experiment(FIVE.replace("base2new", "few_shot\nshots: [1, 4]"))
    fill(found, tmp_path, of_job)
    one = compared(found, tmp_path)
    assert list(cells(one, "dtd", "CLIP")) == ["1", "4"]
    zero = accuracy("CLIP", "dtd", "0", 1)
    cell = cells(one, "dtd", "CLIP")["4"]
    assert list(cell.by_seed.values()) == pytest.approx([accuracy("MPL", "dtd", "4", seed) - zero for seed in SEEDS])
    assert one.about.endswith("paired with every seed and every number of shots of the other methods.")
    assert one.missing == []


def test_what_keeps_numbers_from_being_the_methods_alone_stands_beside_the_method(experiment, tmp_path):
    found = experiment(FIVE)
    fill(found, tmp_path, of_job)
    mark = "unlabelled images and names of new classes seen"
    edit_some(found, tmp_path, {"seen": mark}, label="MaPLe", seeds=SEEDS)
    edit_some(found, tmp_path, {"backbone_hash": "2:other"}, label="CoOp", seeds=SEEDS)
    edit_some(found, tmp_path, {"images_hash": "2:others"}, label="CLIP")
    one = compared(found, tmp_path)
    clip, coop = "CLIP (made with different images)", "CoOp (made with different CLIP weights)"
    assert list(texts(one)[1]) == [clip, coop, f"MaPLe ({mark})"]
    edit_some(found, tmp_path, {"seen": mark}, seeds=SEEDS)
    assert compared(found, tmp_path).title == f"Differences by seed: MPL ({mark}) minus each other method"


def test_a_method_that_is_not_there_is_a_line_and_a_part_without_it_compares_nothing(tmp_path):
    path = tmp_path / "parts.yaml"
    path.write_text(FIVE.replace("compare: MPL", "compare: MLP"))
    with pytest.raises(UserError, match="compare: unknown method 'MLP'. Did you mean 'MPL'"):
        experiment_file.read_plan(path)
    parts = "parts:\n  both: {protocol: base2new}\n  without: {protocol: base2new, methods: [CLIP, CoOp]}\n"
    parts += "  own: {protocol: few_shot, shots: [1], compare: CoOp}\n"
    path.write_text(FIVE.replace("protocol: base2new\n", "") + parts)
    assert [part.compare for part in experiment_file.read_plan(path).parts] == ["MPL", "", "CoOp"]


@pytest.mark.usefixtures("unpainted")
@pytest.mark.slow
def test_report_has_them_in_all_its_forms(experiment, tmp_path, capsys):
    fill(experiment(FIVE, "five"), tmp_path / "out", of_job)
    assert report.main([str(tmp_path / "five.yaml"), "--out", str(tmp_path / "out")]) == 0
    folder = tmp_path / "out/reports/five"
    text, tex = ((folder / name).read_text() for name in ("report.md", "report.tex"))
    base = [one - other for one, other in zip(*pairs("CoOp", "dtd", "base"))]
    mean = f"{np.mean(base):+.2f} ["
    assert f"| CoOp | {mean}" in text
    assert tex.count(r"\caption{Differences by seed: MPL minus each other method") == 3
    assert f"<td>CoOp</td><td>{mean}" in (folder / "index.html").read_text()
    rows = list(csv.DictReader((folder / "differences.csv").read_text().splitlines()))
    (row,) = [row for row in rows if (row["table"], row["column"], row["minus"]) == ("dtd", "base", "CoOp")]
    assert [float(row[f"seed_{seed}_points"]) for seed in SEEDS] == pytest.approx(base)
    assert (row["method"], row["pairs"]) == ("MPL", "5")
    assert row in json.loads((folder / "report.json").read_text())["differences"]
    assert "differences.csv" in capsys.readouterr().out


# ------------------------------------------------------------------ a pair of methods


def between(one, other):
    return Cell(difference(one, other))


def test_hand_computed_mean_and_interval():
    """Differences 1, 2, 3, 4, 5: mean 3, s = sqrt(2.5), t(0.975, 4) = 2.7764, half-width 2.7764 * s / sqrt(5)."""
    found = between({1: 11, 2: 12, 3: 13, 4: 14, 5: 15}, dict.fromkeys(range(1, 6), 10))
    assert found.by_seed == {1: 1, 2: 2, 3: 3, 4: 4, 5: 5}
    assert found.mean == 3
    assert found.interval == pytest.approx((3 - 1.96324, 3 + 1.96324), abs=1e-4)
    assert found.p == pytest.approx(0.01324, abs=1e-5)  # t = 3 / (sqrt(2.5) / sqrt(5)) = 4.2426
    assert between({1: 80.0, 2: 81.0, 7: 99.0}, {2: 80.0, 1: 70.0, 3: 0.0}).by_seed == {1: 10.0, 2: 1.0}
    assert difference({1: 80.0}, {2: 80.0}) == {"pairs": 0}
    alone = between({1: 80.0}, {1: 70.0})  # one pair has neither an interval nor a p-value
    assert (alone.mean, alone.interval, alone.p) == (10.0, None, None)


def test_hand_computed_holm():
    """Sorted 0.005 * 4, 0.01 * 3, 0.03 * 2, 0.04 * 1; the last is not below the one before it."""
    assert list(holm(pd.Series([0.01, 0.04, 0.03, 0.005]))) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert list(holm(pd.Series([0.6, 0.5]))) == [1.0, 1.0]
    assert list(holm(pd.Series(dtype=float))) == []
    some = holm(pd.Series([0.01, np.nan, np.nan, 0.2]))  # a missing p-value is not counted
    assert list(some.dropna()) == [0.02, 0.2]


# ------------------------------------------------------------------ the sentence of a page's top


@pytest.mark.parametrize(
    ("step", "says"), [(-2.0, "the difference is significant"), (0.0, "the difference is not significant")]
)
def test_the_finding_is_the_difference_of_the_table_with_its_sign(experiment, tmp_path, step, says):
    def accuracy(job):
        if job.method.label == "MPL":
            return 80.0 + step + 0.1 * job.seed * (-1) ** job.seed
        return 81.0 if job.method.label == "CoOp" else 80.5

    found = experiment(FIVE)
    fill(found, tmp_path, accuracy)
    summary = summary_of(found, tmp_path)
    said, one = finding(summary), compare(summary)
    cell = cells(one, "average", "CoOp")["H"]
    low, high = cell.interval
    points = f"{cell.mean:+.2f} percentage points in H (average over 2 data sets;"
    interval = f"95% interval {low:+.2f} to {high:+.2f}, 5 seeds)."
    assert said.startswith(f"MPL differs from CoOp, the best of the other methods, by {points} {interval} ")
    assert said.endswith(f" 0, so {says} over seeds.") == (step != 0.0 or low < 0 < high)
