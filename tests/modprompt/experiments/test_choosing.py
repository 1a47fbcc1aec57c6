"""Hyperparameters are selected on validation images by the rule of the experiment, and used by other experiments."""

import os
import re
from fractions import Fraction
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modprompt.clip import load, lookup
from modprompt.errors import UserError
from modprompt.experiments.plan import file as experiment_file
from modprompt.experiments.plan import protocols, selected
from modprompt.experiments.plan.check import check
from modprompt.experiments.plan.commands import expected_settings
from modprompt.experiments.plan.inputs import Inputs
from modprompt.experiments.reporting import choose
from modprompt.experiments.running import state
from tests.conftest import ROOT, one_line, random_clip
from tests.modprompt.experiments.fakes import edit, finish

TRIES = """
protocol: validation
datasets: [digits, mnist5k]
shots: 16
seeds: [1, 2]
grid: {OPTIM.LR: [0.1, 0.01, 1]}
methods:
  CLIP: {trainer: ZeroshotCLIP, config: glyph}
  MaPLe: {trainer: MaPLe, config: glyph}
  MPL: {trainer: MPL, config: glyph}
"""
ON_VALIDATION = {"tested_on": "val", "selected_on": "validation"}
USES = """
protocol: base2new
datasets: [digits]
hyperparameters: tries.selected.yaml
methods:
  CLIP: {trainer: ZeroshotCLIP, config: glyph}
  MaPLe: {trainer: MaPLe, config: glyph}
  MPL: {trainer: MPL, config: glyph}
"""


@pytest.fixture
def tries(experiment):
    """The experiment that tries settings."""
    return experiment(TRIES, "tries")


def fill(found, out: Path, correct, images=1000) -> None:
    """Have all runs of an experiment finished, with `correct(label, dataset, seed)` of the images right."""
    for job in protocols.jobs(found):
        right = correct(job.method.label, job.dataset, job.seed)
        fields = {**ON_VALIDATION, "dataset": job.dataset, "images": images, "correct": right}
        finish(job, out, 100 * right / images, **fields)


def states_of(found, out: Path):
    return state.of_all(protocols.jobs(found), out, Inputs(out, None))


def choose_from(found, out: Path) -> Path:
    """Select values from the runs of an experiment; return the path of FILE.selected.yaml."""
    path = out / "tries.selected.yaml"
    choose.choose(found, states_of(found, out), path, found.name, out)
    return path


def rates(path: Path) -> dict[str, str]:
    """Return the selected learning rate of each method."""
    return {label: entry["values"]["OPTIM.LR"] for label, entry in selected.read(path).methods.items()}


@pytest.mark.parametrize(("classes", "top"), [("base", "validation/t"), ("all", "validation/all/t")])
def test_trainings_and_tests_see_validation_images_alone(experiment, tmp_path, classes, top):
    found = experiment(TRIES.replace("protocol: validation", f"protocol: validation\nclasses: {classes}"), "tries")
    jobs = protocols.jobs(found)
    assert len(jobs) == 2 * 2 * (1 + 2 * 3 * 2)
    assert f"of {'all' if classes == 'all' else 'the base'} classes" in choose.describe_rule(found)
    for job in jobs:
        settings = expected_settings(job, tmp_path)
        assert (settings["TEST.SPLIT"], settings["DATASET.SUBSAMPLE_CLASSES"]) == ("val", classes)
        assert settings["DATASET.NUM_SHOTS"] == ("-1" if job.is_test else "16")
        assert (job.training is None) == (not job.is_test or not job.method.trains)
    assert len({job.folder for job in jobs}) == len(jobs)
    assert all(job.folder.startswith(top) for job in jobs)  # in the way of no other protocol
    assert not check(jobs, tmp_path, tmp_path)


def test_highest_mean_over_data_sets_wins(tries, tmp_path, capsys):
    right = {"MaPLe LR 0.1": (900, 500), "MaPLe LR 0.01": (700, 701), "MPL LR 1": (10, 0), "MPL LR 0.01": (9, 0)}

    def correct(label, dataset, seed):
        return right.get(label, (1, 0))[dataset == "mnist5k"] + seed

    fill(tries, tmp_path, correct)
    path = choose_from(tries, tmp_path)
    assert rates(path) == {"MaPLe": "0.01", "MPL": "1"}
    trials = pd.read_csv(selected.trials_path(path))
    of_maple = trials[(trials.method == "MaPLe") & (trials["OPTIM.LR"] == 0.1)]
    assert of_maple.groupby("dataset").correct.apply(list).to_dict() == {"digits": [901, 902], "mnist5k": [501, 502]}
    assert set(trials.images) == {1000}
    assert re.search(r"MaPLe +0.1 +70.15", capsys.readouterr().out)


EQUAL = TRIES.replace("[0.1, 0.01, 1]", "[1, 0.02, 5e-3]")


@pytest.mark.parametrize(
    ("ties", "worst", "taken"),
    [
        ("ties: config\n", "LR 1", "0.02"),  # without a word too
        ("ties: smallest\n", "LR 1", "0.005"),
        ("", "LR 0.02", "0.005"),  # the config's is not among the best
    ],
)
def test_of_equal_ones_the_configs_value_is_kept_or_the_smallest_taken(experiment, tmp_path, ties, worst, taken):
    found = experiment(EQUAL + ties, "tries")
    fill(found, tmp_path, lambda label, dataset, seed: 1 if label.endswith(worst) else 7 + seed)
    assert rates(choose_from(found, tmp_path)) == {"MaPLe": taken, "MPL": taken}


def test_of_a_run_that_is_missing_nothing_is_chosen(tries, tmp_path):
    fill(tries, tmp_path, lambda *_: 5)
    (tmp_path / protocols.jobs(tries)[0].folder / "result.json").unlink()  # of what trains nothing: not needed
    assert set(rates(choose_from(tries, tmp_path))) == {"MaPLe", "MPL"}
    job = next(job for job in protocols.jobs(tries) if job.is_test and job.method.label == "MPL LR 1")
    (tmp_path / job.folder / "result.json").write_text("{")
    with pytest.raises(UserError, match=r"result.json is damaged"):
        choose_from(tries, tmp_path)


def test_of_runs_that_cannot_be_averaged_nothing_is_chosen(tries, tmp_path):
    fill(tries, tmp_path, lambda *_: 5)
    for number, job in enumerate(
        job for job in protocols.jobs(tries) if job.is_test and job.method.label == "MPL LR 1"
    ):
        edit(tmp_path / job.folder / "result.json", split={"hash": "other" if number else "one"})
    with pytest.raises(UserError, match="^MPL has no mean because the runs differ in split of digits"):
        choose_from(tries, tmp_path)


def test_nothing_is_chosen_by_test_images(tries, tmp_path):
    job = next(job for job in protocols.jobs(tries) if job.is_test and job.method.trains)
    for fields in ({"tested_on": "test"}, {"selected_on": "test"}):
        fill(tries, tmp_path, lambda *_: 5)
        edit(tmp_path / job.folder / "result.json", **fields)
        with pytest.raises(
            UserError, match="digits has no validation images, and hyperparameters are never selected on"
        ):
            choose_from(tries, tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("config: glyph}\n", "config: glyph, seeds: [1]}\n", "MaPLe and MPL have different grids or seeds"),
        (
            "grid: {OPTIM.LR: [0.1, 0.01, 1]}\n",
            "",
            "tries: no grid of hyperparameter values is defined for the methods MaPLe, MPL. Add `grid: {KEY: [VALUE, ...]}`",
        ),
        ("[0.1, 0.01, 1]", "[0.1, .inf]", "the grid value 'inf' of OPTIM.LR is not a number"),
        ("grid: {OPTIM.LR", "grid: {OPTIM.NAME: [sgd, adam]}\n#", "the grid value 'sgd' of OPTIM.NAME is not a number"),
        (
            "protocol: validation",
            "protocol: base2new",
            "needs an experiment with `protocol: validation`, but tries has `protocol: base2new`",
        ),
    ],
)
def test_methods_that_were_not_tried_alike(experiment, tmp_path, old, new, what):
    found = experiment(new.join(TRIES.rsplit(old, 1)), "tries")
    with pytest.raises(UserError, match=re.escape(what)):
        choose_from(found, tmp_path)


def test_command_writes_what_other_experiments_use(tries, experiment, tmp_path, capsys):
    out = tmp_path / "out"
    fill(tries, out, lambda label, *_: 9 if label in ("MaPLe LR 0.1", "MPL LR 1") else 5)
    words = [str(tmp_path / "tries.yaml"), "--out", str(out)]
    path = tmp_path / "tries.selected.yaml"
    assert choose.main(words) == 0
    said = capsys.readouterr().out
    assert re.search(r"MaPLe +0.1 +0.90 +False +True", said)
    assert (
        f"The selected hyperparameters were written to {path}, and all trials to {tmp_path / 'tries.trials.csv'}."
        in said
    )
    assert choose.main([*words, "--to", str(tmp_path / "other/again.selected.yaml")]) == 0
    assert choose.main([*words, "--options", "OPTIM.MAX_EPOCH", "3"]) == 2  # these runs are not there
    assert (tmp_path / "other/again.selected.yaml").read_bytes() == path.read_bytes()
    found = experiment(USES, "uses")
    assert [dict(method.options) for method in found.methods] == [{}, {"OPTIM.LR": "0.1"}, {"OPTIM.LR": "1"}]
    assert "OPTIM.LR of MaPLe, MPL were selected on validation images (tries.selected.yaml)" in found.hyperparameters
    last = experiment_file.read(tmp_path / "uses.yaml", {"OPTIM.LR": "7"})
    assert dict(last.methods[1].options) == {"OPTIM.LR": "7"}


def test_only_files_of_selected_hyperparameters_are_replaced(tries, tmp_path, capsys):
    out, file = tmp_path / "out", tmp_path / "tries.yaml"
    fill(tries, out, lambda *_: 5)
    before, words = file.read_bytes(), [str(file), "--out", str(out)]
    path = tmp_path / "tries.selected.yaml"
    assert choose.main([*words, "--to", str(file)]) == 2
    assert f"--to: the file {file} exists, but does not contain selected hyperparameters" in capsys.readouterr().err
    path.write_text("{}")
    assert choose.main(words) == 2
    assert (file.read_bytes(), path.read_text()) == (before, "{}")
    assert not (tmp_path / "tries.trials.csv").exists()
    path.unlink()
    assert choose.main(words) == 0
    (tmp_path / "other.trials.csv").write_text("mine")
    assert choose.main([*words, "--to", str(tmp_path / "other.selected.yaml")]) == 2
    assert "exists, but does not contain trials" in capsys.readouterr().err
    assert (tmp_path / "other.trials.csv").read_text() == "mine"
    choice = path.read_text()
    path.write_text(choice.replace("0.01", "0.2"))  # by hand
    assert choose.main(words) == 0
    assert path.read_text() == choice


def test_command_that_cannot_choose_is_one_line(tries, tmp_path, capsys):
    assert choose.main([str(tmp_path / "tries.yaml"), "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert (
        f"24 results are missing in {tmp_path / 'out'}. The first is this: MaPLe LR 0.1 on digits, seed 1, is" in line
    )
    again = f"`modprompt experiment run {tmp_path / 'tries.yaml'} --out {tmp_path / 'out'}`"
    assert f"Complete the runs with {again}. If you ran them with other --out or --options, use" in line
    assert not (tmp_path / "tries.selected.yaml").exists()


NO_COLLAPSE = TRIES.replace("protocol: validation", "protocol: validation\nrule: no_collapse")


def choose_without_collapse(experiment, tmp_path, correct) -> Path:
    """Select values with the rule no_collapse; return the path of FILE.selected.yaml."""
    found = experiment(NO_COLLAPSE, "tries")
    fill(found, tmp_path, correct)
    return choose_from(found, tmp_path)


def test_a_value_with_which_one_seed_collapses_is_excluded(experiment, tmp_path, capsys):
    def correct(label, dataset, seed):
        if label.startswith("CLIP"):
            return 800
        if label == "MPL LR 1":  # the highest mean, once 5.1 points below CLIP
            return 749 if (dataset, seed) == ("mnist5k", 2) else 990
        if label == "MPL LR 0.1":  # 5 points below CLIP are allowed
            return 750 if (dataset, seed) == ("mnist5k", 2) else 900
        return 810

    path = choose_without_collapse(experiment, tmp_path, correct)
    assert rates(path) == {"MaPLe": "0.01", "MPL": "0.1"}
    said = capsys.readouterr().out
    assert re.search(r"MPL +0.1 +86.25 +False +True", said)
    assert re.search(r"MPL +1 +92.97 +True +False", said)


def test_if_all_values_are_excluded_the_smallest_is_used(experiment, tmp_path):
    path = choose_without_collapse(
        experiment, tmp_path, lambda label, *_: {"CLIP": 800, "MaPLe LR 1": 740}.get(label, 700)
    )
    assert rates(path) == {"MaPLe": "0.01", "MPL": "0.01"}


@given(
    shares=st.lists(st.tuples(*[st.integers(0, 3)] * 4), min_size=3, max_size=3),
    zero_shot=st.tuples(*[st.integers(0, 40)] * 2),
    rule=st.sampled_from(["highest", "no_collapse"]),
    of_config=st.sampled_from(["0.1", "0.01", "1", "7"]),
)
def test_selection_equals_a_search_with_exact_fractions(shares, zero_shot, rule, of_config):
    values, places = ["0.1", "0.01", "1"], [("a", 1, 7), ("a", 2, 7), ("b", 1, 3), ("b", 2, 3)]
    rows = [
        ("M", dataset, seed, correct, images, value)
        for value, counts in zip(values, shares)
        for (dataset, seed, images), correct in zip(places, counts)
    ]
    rows += [("CLIP", dataset, 1, correct, 40, "") for dataset, correct in zip("ab", zero_shot)]
    trials = pd.DataFrame(rows, columns=[*selected.COLUMNS, "LR"])
    least = {dataset: Fraction(correct, 40) - Fraction(1, 20) for dataset, correct in zip("ab", zero_shot)}
    by_value = {
        value: [Fraction(correct, images) for (_, _, images), correct in zip(places, counts)]
        for value, counts in zip(values, shares)
    }
    left = [
        value
        for value, of_value in by_value.items()
        if rule == "highest" or all(one >= least[place[0]] for one, place in zip(of_value, places))
    ]
    best = [value for value in left if sum(by_value[value]) == max(sum(by_value[one]) for one in left)]
    expected = of_config if of_config in best else min(best or values, key=float)
    assert selected.rank(trials, rule, {"M": [of_config]}).iloc[0]["LR"] == expected


def test_a_part_uses_selected_values_of_its_own(taken, tmp_path):
    other = tmp_path / "other.selected.yaml"
    other.write_text(taken.read_text().replace("'0.01'", "'1'"))
    part = "{protocol: base2new, datasets: [digits]"
    parts = f"parts:\n  one: {part}}}\n  two: {part}, hyperparameters: other.selected.yaml}}\n"
    (tmp_path / "uses.yaml").write_text(USES.replace("protocol: base2new\ndatasets: [digits]\n", "") + parts)
    one, two = experiment_file.read_plan(tmp_path / "uses.yaml").parts
    assert [dict(part.methods[-1].options)["OPTIM.LR"] for part in (one, two)] == ["0.01", "1"]


@pytest.fixture
def taken(tries, tmp_path):
    """The path of FILE.selected.yaml, in which every method has the learning rate 0.01."""
    fill(tries, tmp_path / "out", lambda *_: 5)
    assert choose.main([str(tmp_path / "tries.yaml"), "--out", str(tmp_path / "out")]) == 0
    return tmp_path / "tries.selected.yaml"


MPL = "MPL, config: glyph}"
SEARCHES = "search: {trainer: MPL, config: glyph, options: {SEARCH.ON: True}}"


@pytest.mark.parametrize(
    ("old", "new", "rate"),
    [
        ("  MPL: {", "  Mine: {hyperparameters: false, options: {OPTIM.LR: 3}, ", "3"),
        ("  MPL: {", "  Other: {hyperparameters: MaPLe, ", "0.01"),  # that of the one above it
        ("config: glyph}\n  MPL: {trainer: MPL, config: glyph}", "config: glyph}\n  MPL: {trainer: MPL, config: ./glyph.yaml}", "0.01"),
        ("datasets:", "options: {TRAIN.PRINT_FREQ: 7}\ndatasets:", "0.01"),  # it decides no number
    ],
)  # fmt: skip
def test_a_method_takes_a_choice_or_none(taken, experiment, tmp_path, old, new, rate):
    content = f"_BASE_: {ROOT}/configs/trainers/MPL/glyph.yaml\nOPTIM: {{LR: 0.01}}\n"  # as it was chosen
    (tmp_path / "glyph.yaml").write_text(content)
    assert old in USES
    assert dict(experiment(USES.replace(old, new), "uses").methods[-1].options)["OPTIM.LR"] == rate


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("  MPL: {", "  Mine: {", "no hyperparameters were selected for 'Mine'"),
        (
            MPL,
            "MPL, config: glyph_selfreg}",
            "MPL: the hyperparameters were selected with the config file glyph, but this",
        ),
        (
            MPL,
            "MPL, config: glyph, options: {MODEL.BACKBONE.PATH: other.pt}}",
            "were selected with the CLIP file none, but this experiment uses other.pt.",
        ),
        (MPL, "MPL, config: glyph, options: {OPTIM.LR: 3}}", "but the options also set OPTIM.LR to 3. Remove"),
        (
            MPL,
            f"MPL, config: glyph, {SEARCHES}}}",
            "selected with the first stage none, but this experiment uses MPL_glyph-",
        ),
        ("tries.selected.yaml", "other.json", "other.json"),
        ("tries.selected.yaml", "uses.yaml", "contains no selected hyperparameters"),
    ],
)
def test_choice_of_something_else_is_refused_in_a_line(taken, experiment, old, new, what):
    assert old in USES
    with one_line(re.escape(what)):
        experiment(USES.replace(old, new), "uses")


def test_choice_on_another_clip_at_the_same_path_is_refused(experiment, tmp_path):
    path = tmp_path / "clip.pt"
    torch.save(random_clip(1, text_layers=1, vision_layers=1).state_dict(), path)
    on = f"{{MODEL.BACKBONE.PATH: '{path}', MODEL.BACKBONE.ACTIVATION: quick_gelu, MODEL.BACKBONE.HEADS: [1, 2]}}"
    found = experiment(f"{TRIES}options: {on}\n", "tries")
    clip = lookup.named(str(path))._replace(activation="quick_gelu", heads=(1, 2))
    fingerprint, name = load.identity(clip)[0], "the weights of CLIP"
    weights = {"backbone_hash": fingerprint, "clip_files": {name: lookup.seen(clip)}}
    weights["identity"] = {"contents": {name: fingerprint}, "named": {}}
    for job in protocols.jobs(found):
        finish(job, tmp_path, 80.0, **ON_VALIDATION, dataset=job.dataset, **weights)
    choose_from(found, tmp_path)
    takes = f"{USES}options: {on}\n"
    experiment(takes)
    os.utime(path)
    experiment(takes)  # the same weights
    torch.save(random_clip(2, text_layers=1, vision_layers=1).state_dict(), path)
    with pytest.raises(
        UserError, match=r"MaPLe: the hyperparameters were selected with a different CLIP model \(CLIP 2:.* -> 2:"
    ):
        experiment(takes)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("tries.selected.yaml", lambda text: text.replace("OPTIM.LR: '0.01'", "OPTIM.LR: 0.02", 1)),
        ("tries.trials.csv", lambda text: text.replace("MaPLe,digits,1,5,", "MaPLe,digits,1,6,", 1)),
        ("tries.trials.csv", None),
    ],
)
def test_values_that_the_trials_do_not_support_were_set_by_hand(taken, experiment, name, change):
    file = taken.with_name(name)
    before = dict(experiment(USES, "before").methods[1].options)
    file.unlink() if change is None else file.write_text(change(file.read_text()))
    found = experiment(USES, "uses")
    by_hand = "MaPLe" if name == taken.name else "MaPLe, MPL"
    said = (
        f"The hyperparameters OPTIM.LR of {by_hand} were set by hand in tries.selected.yaml: the rule does not select"
    )
    assert said in found.hyperparameters
    assert (f"of {by_hand} were selected on validation images" in found.hyperparameters) is False
    assert (dict(found.methods[1].options) != before) == (name == taken.name)  # so that its runs are stale


@pytest.mark.parametrize("line", ["rule: highest", "  MPL:", "    trainer: MPL", "    weights:", "trials_sha256:"])
def test_a_file_without_a_needed_entry_is_refused_in_a_line(taken, experiment, line):
    lines = taken.read_text().splitlines(keepends=True)
    at = next(number for number, text in enumerate(lines) if text.startswith(line))
    taken.write_text("".join([*lines[:at], lines[at].replace(line.strip(), "other:"), *lines[at + 1 :]]))
    with one_line(r"no hyperparameters were selected for 'MPL'|tries.selected.yaml contains no selected hyperparam"):
        experiment(USES, "uses")


@pytest.mark.parametrize("name", sorted(path.name for path in experiment_file.FOLDER.glob("*.selected.yaml")))
def test_shipped_values_are_those_that_the_rule_selects_from_all_trials_of_the_experiment(name):
    found = selected.read(experiment_file.FOLDER / name)
    tried = experiment_file.read(experiment_file.FOLDER / f"{found.experiment}.yaml")
    assert not found.by_hand
    assert found.description == choose.describe_rule(tried)
    trials = pd.read_csv(selected.trials_path(found.path), dtype=str, keep_default_na=False)
    trials = trials[trials.method.isin(found.methods)]
    keys = [key for key in trials if key not in selected.COLUMNS]
    rows = set(trials[["method", "dataset", "seed", *keys]].itertuples(index=False, name=None))
    points = {
        (method.family, tuple(text for _, text in method.grid_point)) for method in tried.methods if method.grid_point
    }
    assert rows == {
        (label, dataset, str(seed), *values)
        for label, values in points
        for dataset in tried.datasets
        for seed in next(method.seeds for method in tried.methods if method.family == label)
    }
