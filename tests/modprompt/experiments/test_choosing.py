"""What is chosen by validation images, by which rule, from which runs; and what takes it."""

import json
import os
import re
from pathlib import Path

import pytest
import torch

from modprompt.clip import known
from modprompt.errors import UserError
from modprompt.experiments.plan import chosen, protocols, spec
from modprompt.experiments.plan.check import check
from modprompt.experiments.plan.commands import expected
from modprompt.experiments.plan.inputs import Inputs
from modprompt.experiments.reporting import choose
from modprompt.experiments.reporting.choose import choose as choose_by_rule
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
TAKES = """
protocol: base2new
datasets: [digits]
hyperparameters: tries.json
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


def options_by_method(content) -> dict[str, str]:
    return {label: found["options"]["OPTIM.LR"] for label, found in content["methods"].items()}


@pytest.mark.parametrize(("classes", "top"), [("base", "validation/t"), ("all", "validation/all/t")])
def test_trainings_and_tests_see_validation_images_alone(experiment, tmp_path, classes, top):
    found = experiment(TRIES.replace("protocol: validation", f"protocol: validation\nclasses: {classes}"), "tries")
    jobs = protocols.jobs(found)
    assert len(jobs) == 2 * 2 * (1 + 2 * 3 * 2)
    assert f"of {'all' if classes == 'all' else 'the base'} classes" in choose.in_words(found)
    for job in jobs:
        settings = expected(job, tmp_path)
        assert (settings["TEST.SPLIT"], settings["DATASET.SUBSAMPLE_CLASSES"]) == ("val", classes)
        assert settings["DATASET.NUM_SHOTS"] == ("-1" if job.tests else "16")
        assert (job.parent is None) == (not job.tests or not job.method.trains)
    assert len({job.folder for job in jobs}) == len(jobs)
    assert all(job.folder.startswith(top) for job in jobs)  # in the way of no other protocol
    assert not check(jobs, tmp_path, tmp_path)


def test_highest_mean_over_data_sets_wins(tries, tmp_path):
    right = {"MaPLe LR 0.1": (900, 500), "MaPLe LR 0.01": (700, 701), "MPL LR 1": (10, 0), "MPL LR 0.01": (9, 0)}

    def correct(label, dataset, seed):
        return right.get(label, (1, 0))[dataset == "mnist5k"] + seed

    fill(tries, tmp_path, correct)
    content = choose_by_rule(tries, states_of(tries, tmp_path))
    assert options_by_method(content) == {"MaPLe": "0.01", "MPL": "1"}
    assert content["grid"] == {"OPTIM.LR": ["0.1", "0.01", "1"]}
    assert (content["datasets"], content["seeds"], content["shots"]) == (["digits", "mnist5k"], [1, 2], 16)
    first = content["methods"]["MaPLe"]["tries"][0]
    assert first["by_dataset"] == {"digits": [[901, 1000], [902, 1000]], "mnist5k": [[501, 1000], [502, 1000]]}
    assert first["accuracy_pct"] == 70.15


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
    content = choose_by_rule(found, states_of(found, tmp_path))
    assert options_by_method(content) == {"MaPLe": taken, "MPL": taken}
    whose = "the value in the config of the method" if taken == "0.02" else "the smallest value"
    equal = "0.02; 0.005" if worst == "LR 1" else "1; 0.005"
    said = f"these values have equal accuracy on 2,000 images: {equal}. {taken} is used, because it is {whose}."
    assert f"MaPLe, MPL: {said}" in choose.lines(content)


def test_of_a_run_that_is_missing_nothing_is_chosen(tries, tmp_path):
    fill(tries, tmp_path, lambda *_: 5)
    (tmp_path / protocols.jobs(tries)[0].folder / "result.json").unlink()  # of what trains nothing: not needed
    assert set(choose_by_rule(tries, states_of(tries, tmp_path))["methods"]) == {"MaPLe", "MPL"}
    job = next(job for job in protocols.jobs(tries) if job.tests and job.method.label == "MPL LR 1")
    (tmp_path / job.folder / "result.json").write_text("{")
    with pytest.raises(UserError, match=r"result.json is damaged"):
        choose_by_rule(tries, states_of(tries, tmp_path))


def test_of_runs_that_cannot_be_averaged_nothing_is_chosen(tries, tmp_path):
    fill(tries, tmp_path, lambda *_: 5)
    for number, job in enumerate(job for job in protocols.jobs(tries) if job.tests and job.method.label == "MPL LR 1"):
        edit(tmp_path / job.folder / "result.json", split={"hash": "other" if number else "one"})
    with pytest.raises(UserError, match="^MPL has no mean because the runs differ in split of digits"):
        choose_by_rule(tries, states_of(tries, tmp_path))


def test_nothing_is_chosen_by_test_images(tries, tmp_path):
    job = next(job for job in protocols.jobs(tries) if job.tests and job.method.trains)
    for fields in ({"tested_on": "test"}, {"selected_on": "test"}):
        fill(tries, tmp_path, lambda *_: 5)
        edit(tmp_path / job.folder / "result.json", **fields)
        with pytest.raises(
            UserError, match="digits has no validation images, and hyperparameters are never selected on"
        ):
            choose_by_rule(tries, states_of(tries, tmp_path))


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("config: glyph}\n", "config: glyph, seeds: [1]}\n", "MaPLe and MPL have different grids or seeds"),
        (
            "grid: {OPTIM.LR: [0.1, 0.01, 1]}\n",
            "",
            "tries: no grid of hyperparameter values is defined for the methods MaPLe, MPL. Add `grid: {KEY: [VALUE, ...]}`",
        ),
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
        choose_by_rule(found, states_of(found, tmp_path))


def test_command_writes_what_other_experiments_take(tries, experiment, tmp_path, capsys):
    out = tmp_path / "out"
    fill(tries, out, lambda label, *_: 9 if label in ("MaPLe LR 0.1", "MPL LR 1") else 5)
    words = [str(tmp_path / "tries.yaml"), "--out", str(out)]
    assert choose.main(words) == 0
    said = capsys.readouterr().out
    assert "| OPTIM.LR | 0.1 | 0.01 | 1 |" in said
    assert "| MaPLe | **0.90** | 0.50 | 0.50 |" in said
    assert f"The selected hyperparameters were written to {tmp_path / 'tries.json'}." in said
    first = (tmp_path / "tries.json").read_bytes()
    assert choose.main([*words, "--to", str(tmp_path / "other/again.json")]) == 0
    assert choose.main([*words, "--options", "OPTIM.MAX_EPOCH", "3"]) == 2  # these runs are not there
    assert (tmp_path / "other/again.json").read_bytes() == first
    found = experiment(TAKES, "takes")
    assert [dict(method.options) for method in found.methods] == [{}, {"OPTIM.LR": "0.1"}, {"OPTIM.LR": "1"}]
    last = spec.read(tmp_path / "takes.yaml", {"OPTIM.LR": "7"})
    assert dict(last.methods[1].options) == {"OPTIM.LR": "7"}


def test_a_choice_replaces_nothing_but_a_choice(tries, tmp_path, capsys):
    out, file = tmp_path / "out", tmp_path / "tries.yaml"
    fill(tries, out, lambda *_: 5)
    before, words = file.read_bytes(), [str(file), "--out", str(out)]
    assert choose.main([*words, "--to", str(file)]) == 2
    assert f"--to: the file {file} exists, but does not contain selected hyperparameters" in capsys.readouterr().err
    (tmp_path / "tries.json").write_text("{}")
    assert choose.main(words) == 2
    assert (file.read_bytes(), (tmp_path / "tries.json").read_text()) == (before, "{}")
    (tmp_path / "tries.json").unlink()
    assert choose.main(words) == 0
    choice = (tmp_path / "tries.json").read_text()
    (tmp_path / "tries.json").write_text(choice.replace("0.1", "0.2"))  # by hand
    assert choose.main(words) == 0
    assert (tmp_path / "tries.json").read_text() == choice


def test_command_that_cannot_choose_is_one_line(tries, tmp_path, capsys):
    assert choose.main([str(tmp_path / "tries.yaml"), "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert (
        f"24 results are missing in {tmp_path / 'out'}. The first is this: MaPLe LR 0.1 on digits, seed 1, is" in line
    )
    again = f"`modprompt experiment run {tmp_path / 'tries.yaml'} --out {tmp_path / 'out'}`"
    assert f"Complete the runs with {again}. If you ran them with other --out or --options, use" in line
    assert not (tmp_path / "tries.json").exists()


NO_COLLAPSE = TRIES.replace("protocol: validation", "protocol: validation\nrule: no_collapse")


def without(experiment, tmp_path, correct):
    """What rule no_collapse chooses."""
    found = experiment(NO_COLLAPSE, "tries")
    fill(found, tmp_path, correct)
    return choose_by_rule(found, states_of(found, tmp_path))


def test_a_value_at_which_one_seed_collapses_is_left_out(experiment, tmp_path):
    def correct(label, dataset, seed):
        if label.startswith("CLIP"):
            return 800
        if label == "MPL LR 1":  # the highest mean, 5.1 points below CLIP once
            return 749 if (dataset, seed) == ("mnist5k", 2) else 990
        if label == "MPL LR 0.1":  # 5 points below it are none more
            return 750 if (dataset, seed) == ("mnist5k", 2) else 900
        return 810

    content = without(experiment, tmp_path, correct)
    assert options_by_method(content) == {"MaPLe": "0.01", "MPL": "0.1"}
    assert content["methods"]["MPL"]["left_out"] == [{"OPTIM.LR": "1"}]
    assert content["zero_shot"] == {"digits": [800, 1000], "mnist5k": [800, 1000]}
    text = "\n".join(choose.lines(content))
    assert "| MPL | **86.25** | 81.00 | 92.97† |" in text
    assert (
        "† marks excluded values: the accuracy of a seed is more than 5 points below zero-shot CLIP on a data set."
        in text
    )


def test_if_no_value_is_left_the_smallest_is_taken_and_that_is_said(experiment, tmp_path):
    content = without(experiment, tmp_path, lambda label, *_: {"CLIP": 800, "MaPLe LR 1": 740}.get(label, 700))
    assert options_by_method(content) == {"MaPLe": "0.01", "MPL": "0.01"}
    text = "\n".join(choose.lines(content))
    assert "MaPLe, MPL: every value was excluded, so the smallest value is used." in text
    said = "MPL: every value gave the same accuracy on 2,000 images, so OPTIM.LR may have no effect on the method."
    assert f"{said} 0.01 is used, because it is the smallest value." in text


def test_a_part_takes_a_choice_of_its_own(taken, tmp_path):
    content = json.loads(taken.read_text())
    content["methods"]["MPL"]["options"] = {"OPTIM.LR": "1"}
    chosen.write(tmp_path / "other.json", {key: value for key, value in content.items() if key != "modprompt"})
    part = "{protocol: base2new, datasets: [digits]"
    parts = f"parts:\n  one: {part}}}\n  two: {part}, hyperparameters: other.json}}\n"
    (tmp_path / "takes.yaml").write_text(TAKES.replace("protocol: base2new\ndatasets: [digits]\n", "") + parts)
    one, two = spec.read_plan(tmp_path / "takes.yaml").parts
    assert [dict(part.methods[-1].options)["OPTIM.LR"] for part in (one, two)] == ["0.01", "1"]


@pytest.fixture
def taken(tries, tmp_path):
    """A choice that was written; its path."""
    fill(tries, tmp_path / "out", lambda *_: 5)
    assert choose.main([str(tmp_path / "tries.yaml"), "--out", str(tmp_path / "out")]) == 0
    return tmp_path / "tries.json"


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
    assert old in TAKES
    assert dict(experiment(TAKES.replace(old, new), "takes").methods[-1].options)["OPTIM.LR"] == rate


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
        ("tries.json", "other.json", "other.json"),
        ("tries.json", "takes.yaml", "contains no selected hyperparameters"),
    ],
)
def test_choice_of_something_else_is_refused_in_a_line(taken, experiment, old, new, what):
    assert old in TAKES
    with one_line(re.escape(what)):
        experiment(TAKES.replace(old, new), "takes")


def test_choice_on_another_clip_at_the_same_path_is_refused(experiment, tmp_path):
    path = tmp_path / "clip.pt"
    torch.save(random_clip(1, text_layers=1, vision_layers=1).state_dict(), path)
    on = f"{{MODEL.BACKBONE.PATH: '{path}', MODEL.BACKBONE.ACTIVATION: quick_gelu, MODEL.BACKBONE.HEADS: [1, 2]}}"
    found = experiment(f"{TRIES}options: {on}\n", "tries")
    clip = known.named(str(path))._replace(activation="quick_gelu", heads=(1, 2))
    weights = {"backbone_hash": known.identity(clip)[0], "clip_files": {"the weights of CLIP": known.seen(clip)}}
    for job in protocols.jobs(found):
        finish(job, tmp_path, 80.0, **ON_VALIDATION, dataset=job.dataset, **weights)
    chosen.write(tmp_path / "tries.json", choose_by_rule(found, states_of(found, tmp_path)))
    takes = f"{TAKES}options: {on}\n"
    experiment(takes)
    os.utime(path)
    experiment(takes)  # the same weights
    torch.save(random_clip(2, text_layers=1, vision_layers=1).state_dict(), path)
    with pytest.raises(
        UserError, match=r"MaPLe: the hyperparameters were selected with a different CLIP model \(CLIP 2:.* -> 2:"
    ):
        experiment(takes)


def test_damaged_choice_is_refused_in_a_line(taken, experiment):
    taken.write_text(taken.read_text().replace('"0.01"', '"0.02"'))
    with one_line(r"tries\.json.*Run `modprompt experiment choose` again"):
        experiment(TAKES, "takes")


@pytest.mark.parametrize("name", sorted(path.stem for path in spec.FILES.glob("*.json")))
def test_shipped_choice_is_that_of_the_experiment_of_its_name(name):
    tried, content = spec.read(spec.FILES / f"{name}.yaml"), json.loads((spec.FILES / f"{name}.json").read_text())
    assert (content["datasets"], content["seeds"]) == (list(tried.datasets), list(tried.seeds))
    assert content["rule"] == choose.in_words(tried)
    tries = {label: [one["options"] for one in method["tries"]] for label, method in content["methods"].items()}
    points = {method.family: [] for method in tried.methods if method.point}
    for method in tried.methods:
        points.get(method.family, []).append(dict(method.point))
    assert tries == points
