"""Methods whose teacher is trained by another method of the file: planned, handed on, and told."""

import pytest

from modprompt.errors import UserError
from modprompt.experiments.plan import protocols
from modprompt.experiments.plan.check import check
from modprompt.experiments.plan.commands import expected_settings, flags
from modprompt.experiments.reporting import cost
from tests.conftest import one_line
from tests.modprompt.experiments.fakes import finish, summary_of

TAUGHT = """
protocol: base2new
datasets: [digits]
seeds: [1]
methods:
  PromptSRC: {trainer: PromptSRC, config: glyph}
  KDPL: {trainer: MPL, config: glyph, teacher_from: PromptSRC, options: {TRAINER.KDPL.ON: True, TRAINER.KDPL.TEACHER: glyph-clip}}
  PromptKD: {trainer: PromptKD, config: glyph, teacher_from: PromptSRC}
"""
TEACHER = "base2new/train_base/digits/shots_16/PromptSRC/glyph/seed1"


def runs_of(found, label):
    return [job for job in protocols.jobs(found) if job.method.label == label]


def test_each_is_taught_by_what_the_other_method_has_trained(experiment, tmp_path):
    found = experiment(TAUGHT)
    for label, node, tests in (("KDPL", "TRAINER.KDPL", 1), ("PromptKD", "TRAINER.PROMPTKD", 0)):
        training, *others = runs_of(found, label)
        assert (training.first_stage.folder, training.needs.folder) == (TEACHER, TEACHER)
        assert len(others) == tests
        for job in (training, *others):
            assert flags(job, tmp_path, tmp_path)[-2:] == [f"{node}.TEACHER_CKPT", str(tmp_path / TEACHER)]
            assert expected_settings(job, tmp_path)[f"{node}.TEACHER_CKPT"] == str(tmp_path / TEACHER)
    assert not check(protocols.jobs(found), tmp_path, tmp_path)


def test_a_teacher_sees_the_base_classes_where_its_student_sees_all_without_labels(experiment, tmp_path):
    found = experiment(TAUGHT.replace("  KDPL", "#"))
    teacher, student = (next(iter(runs_of(found, label))) for label in ("PromptSRC", "PromptKD"))
    seen = [expected_settings(job, tmp_path) for job in (teacher, student)]
    shown = [(one["DATASET.SUBSAMPLE_CLASSES"], one["DATASET.NUM_SHOTS"]) for one in seen]
    assert shown == [("base", "16"), ("all", "0")]
    assert student.first_stage == teacher._replace(
        fills_column=False, column=student.column, first_stage_options=student.first_stage_options
    )


def test_unlabelled_images_are_asked_for_in_each_part(experiment, tmp_path):
    few = experiment(TAUGHT.replace("protocol: base2new", "protocol: few_shot\nshots: [1]"))
    with pytest.raises(UserError, match="The method PromptKD trains on unlabelled images of all classes"):
        check(protocols.jobs(experiment(TAUGHT), few), tmp_path, tmp_path)


@pytest.mark.slow
def test_on_validation_images_both_are_tried(experiment, tmp_path):
    text = TAUGHT.replace("protocol: base2new", "protocol: validation")
    text = text.replace("PromptSRC}\n", "PromptSRC, grid: {OPTIM.LR: [1, 2]}}\n")
    jobs = protocols.jobs(experiment(text))
    assert not check(jobs, tmp_path, tmp_path)
    of_student = [expected_settings(job, tmp_path) for job in jobs if job.method.family == "PromptKD"]
    assert {one["TEST.SPLIT"] for one in of_student} == {"val"}
    assert [one["DATASET.SUBSAMPLE_CLASSES"] for one in of_student] == ["all", "base"] * 2
    (teacher,) = (job for job in jobs if job.method.family == "PromptSRC" and not job.is_test)
    assert expected_settings(teacher, tmp_path)["DATASET.SUBSAMPLE_CLASSES"] == "base"


def test_costs_count_the_training_of_the_teacher_and_not_its_parameters(experiment, tmp_path):
    found = experiment(TAUGHT)
    for job in protocols.jobs(found):
        numbers = {"PromptSRC": (7, 100.0), "KDPL": (5, 10.0), "PromptKD": (3, 20.0)}[job.method.family]
        spent = {} if job.is_test else {"training_s": numbers[1]}
        finish(job, tmp_path, 50.0, trained_parameters=numbers[0], testing_s=1.0, **spent)

    costs = cost.costs(summary_of(found, tmp_path))
    assert list(costs.loc["KDPL", ["parameters_least", "parameters_most", "training_s_mean"]]) == [5, 5, 110.0]


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("TRAINER.KDPL.ON: True, ", "", "MPL has no teacher. Use the trainer PromptKD, or a method with prompts and TRAINER.KDPL.ON"),
        ("PromptKD, config: glyph,", "PromptKD, config: glyph, options: {TRAINER.PROMPTKD.TEACHER_CKPT: x},", "TRAINER.PROMPTKD.TEACHER_CKPT is set, but the experiment trains the teacher"),
        ("teacher_from: PromptSRC}", "teacher_from: Nobody}", "'Nobody' is not a method above this method"),
        ("teacher_from: PromptSRC}", "teacher_from: PromptSRC, options: {MODEL.BACKBONE.NAME: RN50}}", "MODEL.BACKBONE.NAME is 'RN50', but the training of the teacher uses 'glyph-clip'"),
    ],
)  # fmt: skip
def test_what_cannot_be_taught_is_refused_in_a_line(experiment, tmp_path, old, new, what):
    with one_line(what):
        check(protocols.jobs(experiment(TAUGHT.replace(old, new))), tmp_path, tmp_path)
