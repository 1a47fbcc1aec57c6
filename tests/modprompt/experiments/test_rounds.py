"""Protocol active: what its runs are, told and found."""

import pytest

from modprompt.cli.flags import parse_args, settings_of
from modprompt.errors import UserError
from modprompt.experiments.plan import check, protocols
from modprompt.experiments.plan.commands import expected_settings, flags
from tests.modprompt.experiments.fakes import narrowed_to

ROUNDS = """
protocol: active
datasets: [digits]
seeds: [1]
rounds: 2
acquisitions: [random, badge+pcb]
methods:
  CLIP: {trainer: ZeroshotCLIP, config: glyph}
  MPL: {trainer: MPL, config: glyph, options: {OPTIM.LR: 0.1, ACTIVE.GIVE_UP: True}}
"""
BASE2NEW = ROUNDS + "base2new: true\n"


def folders(found):
    return [(job.folder, job.column, job.kind) for job in protocols.jobs(found)]


def test_every_acquisition_is_a_training_and_the_few_shot_runs_are_those_of_that_protocol(experiment):
    found = experiment(ROUNDS)
    assert folders(found) == [
        ("digits/ZeroshotCLIP/eval/glyph_0shots/seed1", "0", "test"),
        ("active/digits/MPL/glyph-LR0.1-GIVE_UPTrue_2rounds/random/seed1", "accuracy", "training"),
        ("active/digits/MPL/glyph-LR0.1-GIVE_UPTrue_2rounds_gamma0.1/badge+pcb/seed1", "accuracy", "training"),
        ("digits/MPL/eval/glyph-LR0.1_1shots/seed1", "1", "training"),
        ("digits/MPL/eval/glyph-LR0.1_2shots/seed1", "2", "training"),
    ]
    assert protocols.columns(found) == ("0", "accuracy", "1", "2")
    few_shot = ROUNDS.split("acquisitions")[0].replace("active", "few_shot").replace("rounds: 2", "shots: [1, 2]")
    methods = "methods:" + ROUNDS.split("methods:")[1].replace(", ACTIVE.GIVE_UP: True", "")
    assert {one[0] for one in folders(experiment(few_shot + methods, "other"))} < {one[0] for one in folders(found)}


def test_options_say_what_chooses_and_how_much(experiment):
    text = ROUNDS.replace("rounds: 2", "rounds: 2\nbudget: 20\ngamma: 0.25")
    _, random, pcb = protocols.jobs(experiment(text))
    common = {"DATASET.NUM_SHOTS": "-1", "ACTIVE.ROUNDS": "2", "ACTIVE.BUDGET": "20"}
    assert dict(random.options) == {**common, "ACTIVE.METHOD": "random", "ACTIVE.PCB": "False"}
    assert dict(pcb.options) == {
        **common,
        "ACTIVE.METHOD": "badge",
        "ACTIVE.PCB": "True",
        "ACTIVE.GAMMA": "0.25",  # without PCB it decides nothing
    }
    assert pcb.folder.split("/")[3].endswith("_2rounds_20labels_gamma0.25")


def test_base_to_new_labels_base_classes_and_has_the_few_shot_runs_of_both_halves(experiment):
    found = experiment(BASE2NEW)
    jobs = protocols.jobs(found)
    assert [(job.folder.split("/")[:3], job.column) for job in jobs] == [
        (["base2new", "test_base", "digits"], "0"),
        (["base2new", "test_new", "digits"], "0 new"),
        (["active", "base2new", "digits"], "accuracy"),
        (["active", "base2new", "digits"], "accuracy"),
        (["base2new", "train_base", "digits"], "1"),
        (["base2new", "test_new", "digits"], "1 new"),
        (["base2new", "train_base", "digits"], "2"),
        (["base2new", "test_new", "digits"], "2 new"),
    ]
    assert dict(jobs[2].options)["DATASET.SUBSAMPLE_CLASSES"] == "base"
    assert jobs[5].training.folder == jobs[4].folder


@pytest.mark.parametrize("text", [ROUNDS, BASE2NEW])
def test_expected_settings_are_those_that_train_records_and_accepts(experiment, tmp_path, text):
    jobs = protocols.jobs(experiment(text))
    for job in jobs:
        read = settings_of(parse_args(flags(job, tmp_path, tmp_path)))
        assert expected_settings(job, tmp_path) == read.texts()
        assert dict(check.job_settings(job, tmp_path, tmp_path)) == dict(read)
    assert check.check(jobs, tmp_path, tmp_path) == []


@pytest.mark.parametrize("line", ["budget: 7\n", "few_shot: false\n"])
def test_rounds_without_few_shot_runs(experiment, line):
    assert len(protocols.jobs(experiment(ROUNDS + line))) == 3


def test_few_shot_runs_of_another_method_stand_beside_if_it_is_said(experiment):
    beside = "few_shot: {trainer: CoOp, config: glyph, options: {OPTIM.LR: 3}}}"
    found = experiment(ROUNDS.replace("ACTIVE.GIVE_UP: True}}", "MODEL.BACKBONE.NAME: glyph-clip}, " + beside))
    job = protocols.jobs(found)[-1]
    assert job.folder == "digits/CoOp/eval/glyph-NAMEglyph-clip-LR3_2shots/seed1"
    assert job.method.label == "MPL few-shot"
    two = narrowed_to(experiment(ROUNDS.replace("[1]", "[1, 2]").replace("True}}", "True}, " + beside)), seeds=[2])
    assert {job.seed for job in protocols.jobs(two)} == {2}


def test_rounds_under_another_protocol_are_refused(experiment, tmp_path):
    text = "protocol: few_shot\ndatasets: [digits]\nshots: [1]\nmethods:\n  ALVLM: {trainer: ALVLM, config: glyph}\n"
    with pytest.raises(
        UserError,
        match="method ALVLM: ALVLM with ACTIVE.ROUNDS 8 selects images in rounds, which is only supported in experiments with the protocol `active`",
    ):
        check.check(protocols.jobs(experiment(text)), tmp_path, tmp_path)


def test_part_of_the_acquisitions(experiment):
    found = experiment(ROUNDS)
    assert len(protocols.jobs(narrowed_to(found, acquisitions=["random"], methods=["MPL"]))) == 3
    with pytest.raises(UserError, match="--acquisitions: small does not contain 'badge'. Did you mean 'badge\\+pcb'"):
        narrowed_to(found, acquisitions=["badge"])


def test_own_acquisition_may_be_of_a_module_that_is_imported_by_the_check_and_every_run(experiment, tmp_path):
    job = protocols.jobs(experiment(ROUNDS.replace("random, badge+pcb", "mine+pcb") + "import: json\n"))[1]
    assert dict(job.options)["ACTIVE.METHOD"] == "mine"
    assert job.folder.endswith("/mine+pcb/seed1")
    with pytest.raises(UserError, match="method MPL mine.pcb: ACTIVE.METHOD: unknown name 'mine'"):  # json has none
        check.check([job], tmp_path, tmp_path)
