"""The runs of a protocol have the folders of the scripts, and settings that train.py records alike."""

import os
import subprocess
from pathlib import Path

import pytest

from modprompt.cli.flags import parse_args, settings_of
from modprompt.errors import UserError
from modprompt.experiments.plan import check, protocols
from modprompt.experiments.plan import file as experiment_file
from modprompt.experiments.plan.commands import expected_settings, flags, options
from modprompt.experiments.reporting import published
from modprompt.methods.search import file as schedule_file
from modprompt.methods.search.file import SideOfSearch
from tests.conftest import ROOT
from tests.modprompt.experiments.conftest import FILE
from tests.modprompt.experiments.fakes import leave_schedules, narrowed_to


def test_base_to_new(jobs):
    assert [
        (job.folder, job.training and job.training.folder, job.is_test, job.column) for job in jobs if job.seed == 1
    ] == [
        ("base2new/test_base/digits/shots_16/ZeroshotCLIP/glyph/seed1", None, True, "base"),
        ("base2new/test_new/digits/shots_16/ZeroshotCLIP/glyph/seed1", None, True, "new"),
        ("base2new/train_base/digits/shots_16/MPL/glyph/seed1", None, False, "base"),
        (
            "base2new/test_new/digits/shots_16/MPL/glyph/seed1",
            "base2new/train_base/digits/shots_16/MPL/glyph/seed1",
            True,
            "new",
        ),
    ]


def test_cross_data_set(experiment):
    text = FILE.replace("base2new", "cross_dataset\nsource: imagenet").replace("[digits]", "[eurosat, dtd]")
    found = experiment(text.replace("[1, 2]", "[1]"))
    jobs = protocols.jobs(found)
    assert [(job.dataset, job.folder.split("/MPL")[0], bool(job.training)) for job in jobs[3:]] == [
        ("imagenet", "crossdataset/imagenet", False),
        ("eurosat", "crossdataset/evaluation/eurosat", True),
        ("dtd", "crossdataset/evaluation/dtd", True),
    ]
    assert [job.folder.split("/")[1] for job in jobs[:3]] == ["evaluation"] * 3
    assert all(job.folder.endswith("_16shots/seed1") for job in jobs)
    assert protocols.columns(found) == ("accuracy",)


def test_few_shot(experiment):
    text = FILE.replace("base2new", "few_shot\nshots: [1, 4]").replace("[1, 2]", "[1]")
    found = experiment(text)
    assert [(job.folder, job.column, job.is_test) for job in protocols.jobs(found)] == [
        ("digits/ZeroshotCLIP/eval/glyph_0shots/seed1", "0", True),
        ("digits/MPL/eval/glyph_1shots/seed1", "1", False),
        ("digits/MPL/eval/glyph_4shots/seed1", "4", False),
    ]
    assert protocols.columns(found) == ("0", "1", "4")


def shots_in(job):
    words = options(job, Path("out"))
    given = dict(zip(words[::2], words[1::2]))
    return job.folder.split("/MPL/")[0], given.get("DATASET.NUM_SHOTS"), given.get("DATASET.SHOTS_BY_CLASS")


def test_unequal_shots_stand_where_a_protocol_has_a_number(experiment):
    own = "MPL:\n    trainer: MPL\n    config: glyph\n    options: {DATASET.SHOTS_BY_CLASS: few.csv}\n"
    alone = FILE.replace("MPL: {trainer: MPL, config: glyph}\n", own).replace("[1, 2]", "[1]")
    mixed, found = FILE.replace("[1, 2]", "[1]") + own.replace("MPL:", "  Unequal:", 1), {}
    for protocol in ("base2new", "few_shot\nshots: [1, 4]", "validation", "cross_dataset\nsource: eurosat"):
        one = experiment(mixed.replace("base2new", protocol))
        found[one.protocol] = [shots_in(job) for job in protocols.jobs(one) if job.method.label == "Unequal"]
        assert published.rows(one, "eurosat") == []
    assert found == {
        "base2new": [(f"base2new/{run}/digits/shots_by_class", None, "few.csv") for run in ("train_base", "test_new")],
        "few_shot": [("digits", None, "few.csv")],
        "validation": [
            ("validation/train/digits/shots_by_class", None, "few.csv"),
            ("validation/test/digits", "-1", None),
        ],
        "cross_dataset": [("crossdataset/eurosat", None, "few.csv"), ("crossdataset/evaluation/digits", None, None)],
    }
    few = experiment(alone.replace("base2new", "few_shot"))
    assert (protocols.columns(few), few.shots) == (("0", "by class"), ("by class",))
    for text, why in (
        (
            alone.replace("base2new", "base2new\nshots: 4"),
            "shots: all methods set DATASET.SHOTS_BY_CLASS, which replaces shots",
        ),
        (alone.replace("base2new", "active\nacquisitions: [random]"), "active does not support DATASET.SHOTS_BY_CLASS"),
        (mixed + "  Tip: {trainer: TipAdapter, config: glyph, prompts_from: Unequal}\n", "has another DATASET.SHOTS"),
    ):
        with pytest.raises(UserError, match=why):
            experiment(text)


@pytest.mark.parametrize(
    ("script", "arguments", "protocol", "number"),
    [
        ("mpl/base2new_test.sh", ("eurosat", "1"), "base2new", 1),
        ("mpl/base2new_all.sh", ("eurosat", "1"), "base2new\njoint_test: true", 2),
        ("mpl/few_shot.sh", ("eurosat", "1", "16"), "few_shot\nshots: 16", 0),
        ("mpl/xd_test.sh", ("eurosat", "1"), "cross_dataset", 1),
    ],
)
def test_script_and_experiment_share_their_runs(experiment, tmp_path, script, arguments, protocol, number):
    """A run of a script is finished for an experiment: same folder, same settings."""
    cross = "_cross_datasets" if "cross" in protocol else ""
    text = f"protocol: {protocol}\ndatasets: [eurosat]\nseeds: [1]\nmethods:\n  MPL: {{trainer: MPL, config: vit_b4_c1_add2_rm1{cross}}}\n"
    job = protocols.jobs(experiment(text))[number]
    if job.training:
        (tmp_path / "out" / job.training.folder).mkdir(parents=True)
        (tmp_path / "out" / job.training.folder / "result.json").write_text("{}")
    fake = tmp_path / "fake"
    fake.write_text('#!/bin/sh\nshift\necho "$@"\n')
    fake.chmod(0o755)
    clean = {key: value for key, value in os.environ.items() if key not in ("CFG", "TRAINER", "SHOTS")}
    words = subprocess.run(
        ["bash", str(ROOT / "scripts" / script), *arguments],
        env={**clean, "PYTHON": str(fake), "OUT": str(tmp_path / "out"), "DATA": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    ours = parse_args(flags(job, tmp_path / "out", tmp_path))
    theirs = parse_args(words)
    assert (theirs.output_dir, theirs.model_dir, theirs.eval_only) == (ours.output_dir, ours.model_dir, ours.eval_only)
    assert settings_of(theirs).texts() == settings_of(ours).texts() == expected_settings(job, tmp_path)


@pytest.mark.parametrize("name", ["domain_generalisation", pytest.param("base2new", marks=pytest.mark.slow)])
def test_expected_settings_are_those_that_train_records(name, tmp_path):
    found = narrowed_to(experiment_file.read(experiment_file.FOLDER / f"{name}.yaml", {"OPTIM.LR": "1e-3"}), seeds=[1])
    jobs = {(job.method.label, job.kind, job.column): job for job in protocols.jobs(found)}  # of one data set each
    for job in jobs.values():
        if job.first_stage:
            leave_schedules(job.first_stage, tmp_path)
        read = settings_of(parse_args(flags(job, tmp_path, tmp_path)))
        assert expected_settings(job, tmp_path) == read.texts()
        assert dict(check.job_settings(job, tmp_path, tmp_path)) == dict(read)


def test_option_of_the_command_line_is_seen_from_the_current_folder(experiment, tmp_path, monkeypatch):
    experiment()
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    found = experiment_file.read(tmp_path / "small.yaml", {"TRAINER.MPL.SCHEDULE_TEXT": "@schedule.json"})
    assert dict(found.methods[1].options)["TRAINER.MPL.SCHEDULE_TEXT"] == f"@{tmp_path}/below/schedule.json"


def test_expected_settings_hold_the_pairs_once_the_file_is_there(experiment, tmp_path):
    option = "options: {TRAINER.MPL.SCHEDULE_TEXT: '@searches/schedule.json'}"
    found = experiment(FILE.replace("MPL, config: glyph", f"MPL, config: glyph, {option}"))
    job = next(job for job in protocols.jobs(found) if job.method.label == "MPL")
    path = tmp_path / "searches" / "schedule.json"
    path.parent.mkdir()
    assert expected_settings(job, tmp_path)["TRAINER.MPL.SCHEDULE_TEXT"] == f"@{path}"
    for steps in (((0, 3), (1, 1)), ((0, 2), (2, 2))):
        schedule_file.write(path, {"text": SideOfSearch("behind_start", steps)}, {})
        read = settings_of(parse_args(flags(job, tmp_path, tmp_path)))
        assert expected_settings(job, tmp_path) == read.texts()
        assert dict(check.job_settings(job, tmp_path, tmp_path)) == dict(read)
        assert expected_settings(job, tmp_path)["TRAINER.MPL.N_CTX"] == str(steps[0][1])
        assert expected_settings(job, tmp_path)["TRAINER.MPL.PLACE_TEXT"] == "behind_start"
        assert not {text for text in expected_settings(job, tmp_path).values() if "@" in text}
