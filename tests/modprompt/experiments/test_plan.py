"""A file of several protocols: what its parts are, what of it runs, and one report of all."""

import re

import pytest

from modprompt.errors import UserError
from modprompt.experiments.plan import protocols, spec
from modprompt.experiments.plan.experiment import narrowed
from modprompt.experiments.reporting import report
from modprompt.experiments.running import status
from tests.modprompt.experiments.conftest import FILE
from tests.modprompt.experiments.fakes import finish, narrowed_to
from tests.modprompt.experiments.test_page import Checker

PARTS = """
title: Three at once
seeds: [1, 2]
highlight: MPL
notes: What was left out.
methods:
  CLIP: {trainer: ZeroshotCLIP, config: glyph, seeds: [1]}
  MaPLe: {trainer: MaPLe, config: glyph}
  MPL: {trainer: MPL, config: glyph}
parts:
  base2new: {protocol: base2new, datasets: [digits, mnist5k]}
  shift: {title: Elsewhere, protocol: domain_generalisation, source: digits, datasets: [mnist5k], methods: [CLIP, MPL]}
  shots: {protocol: few_shot, datasets: [mnist5k], shots: [1, 4], methods: [MaPLe], seeds: [3]}
"""


@pytest.fixture
def file(tmp_path):
    """Writes an experiment file; its path."""

    def write(text=PARTS):
        path = tmp_path / "parts.yaml"
        path.write_text(text)
        return path

    return write


def test_parts_share_methods_and_say_the_rest(file):
    plan = spec.read_plan(file())
    assert (plan.name, plan.title, plan.notes, plan.has_parts) == ("parts", "Three at once", "What was left out.", True)
    base2new, shift, shots = plan.parts
    assert [part.name for part in plan.parts] == ["base2new", "shift", "shots"]
    assert (base2new.title, shift.title, shift.source) == ("base2new", "Elsewhere", "digits")
    assert [[method.label for method in part.methods] for part in plan.parts] == [
        ["CLIP", "MaPLe", "MPL"], ["CLIP", "MPL"], ["MaPLe"],
    ]  # fmt: skip
    assert [part.seeds for part in plan.parts] == [(1, 2), (1, 2), (3,)]
    assert [part.highlight for part in plan.parts] == ["MPL", "MPL", "MaPLe"]
    assert shots.shots == (1, 4)


def test_runs_are_those_of_the_parts_in_order_each_once(file):
    plan = spec.read_plan(file())
    alone = [protocols.jobs(part) for part in plan.parts]
    together = protocols.jobs(*plan.parts)
    assert [job.folder for job in together] == [job.folder for jobs in alone for job in jobs]
    assert protocols.jobs(*plan.parts, plan.parts[0]) == together


def test_file_of_one_protocol_is_a_plan_without_parts(file):
    plan = spec.read_plan(file(PARTS[: PARTS.index("parts:")] + "protocol: base2new\ndatasets: [digits]\n"))
    assert (plan.has_parts, len(plan.parts), plan.parts[0].name) == (False, 1, "parts")
    with pytest.raises(UserError, match="--parts: parts has no 'base2new'"):
        narrowed(plan, parts=["base2new"])


def test_some_of_a_plan(file):
    plan = spec.read_plan(file())

    def names(**given):
        return [part.name for part in narrowed(plan, **given).parts]

    assert names(parts=["shots", "shift"]) == ["shift", "shots"]
    assert names(datasets=["digits"]) == ["base2new"]
    assert names(methods=["MaPLe"]) == ["base2new", "shots"]
    assert names(seeds=[3]) == ["shots"]
    assert names() == ["base2new", "shift", "shots"]
    for given, what in (
        ({"datasets": ["mnist"]}, "--datasets: parts has no 'mnist'; did you mean 'mnist5k'"),
        ({"seeds": [9]}, "--seeds: parts has no 9"),
        ({"parts": ["shot"]}, "--parts: parts has no 'shot'; did you mean 'shots'"),
        ({"acquisitions": ["badge"]}, "--acquisitions: parts has no 'badge'"),
        ({"methods": ["CLIP"], "seeds": [3]}, "no part of parts has all of that"),
    ):
        with pytest.raises(UserError, match=re.escape(what)):
            narrowed(plan, **given)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (PARTS[PARTS.index("parts:") :], "parts: {}\n", "parts.yaml: parts is missing"),
        ("  shift:", "  sh-ift:", "parts: sh-ift: a part's name is a letter"),
        ("methods: [MaPLe]", "methods: [MaPL]", "parts: shots: methods: there is no 'MaPL'; did you mean 'MaPLe'"),
        ("methods: [MaPLe]", "methods: [MaPLe, MaPLe]", "parts: shots: methods: a name occurs twice"),
        ("shots: [1, 4]", "shotz: [1, 4]", "parts: shots: there is no key 'shotz'; did you mean 'shots'"),
        ("shots: [1, 4]", "options: {OPTIM.LR: 1}", "parts: shots: there is no key 'options'"),
        ("protocol: few_shot", "protocol: few", "parts: shots: protocol: there is no 'few'"),
        (
            "protocol: few_shot",
            "protocol: few_shot, source: digits",
            "parts: shots: source: protocol few_shot has none",
        ),
        ("protocol: few_shot, ", "", "parts: shots: protocol is missing"),
        ("  shots: {", "  shots: 3\n#", "parts: shots: KEY: VALUE pairs are expected, got 3"),
        ("datasets: [digits, mnist5k]", "datasets: [digit]", "parts: base2new: datasets: there is no 'digit'"),
        ("seeds: [3]", "highlight: CLIP", "parts: shots: highlight: there is no method 'CLIP'"),
    ],
)
def test_mistake_in_a_part_is_named_with_its_place(file, old, new, expected):
    assert old in PARTS
    with pytest.raises(UserError, match=re.escape(expected)) as caught:
        spec.read_plan(file(PARTS.replace(old, new)))
    assert "\n" not in str(caught.value)


def test_parts_of_an_experiment(experiment):
    found = experiment()
    part = narrowed_to(found, methods=["CLIP"], seeds=[2])
    assert [(m.label, m.seeds) for m in part.methods] == [("CLIP", (2,))]
    assert (part.seeds, part.highlight) == ((2,), "CLIP")
    for what in ({"methods": ["CLOP"]}, {"seeds": [3]}, {"datasets": ["dtd"]}):
        with pytest.raises(UserError, match="small has no"):
            narrowed_to(found, **what)
    other = experiment(
        FILE.replace("{trainer: ZeroshotCLIP, config: glyph}", "{trainer: ZeroshotCLIP, config: glyph, seeds: [5]}")
    )
    with pytest.raises(UserError, match="no method of small has these seeds"):
        narrowed_to(other, methods=["CLIP"], seeds=[1])


def test_file_with_parts_is_no_single_experiment(file):
    with pytest.raises(UserError, match="has parts, where a file with one protocol is needed"):
        spec.read(file())


@pytest.mark.slow
def test_one_page_has_all_parts_and_each_has_its_own_files(file, tmp_path, capsys):
    path, out = file(), tmp_path / "out"
    for job in protocols.jobs(*spec.read_plan(path).parts):
        finish(job, out, 50.0 + job.seed)
    assert report.main([str(path), "--out", str(out)]) == 0
    folder = out / "reports/parts"
    page = (folder / "index.html").read_text()
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    found = re.findall(r'id="([\w-]+)"', page)
    assert len(set(found)) == len(found)
    links = re.findall(r'href="#([\w-]+)"', page)
    assert set(links) <= set(found)
    assert {"base2new", "shift", "shots", "base2new-figures", "shots-mnist5k"} <= set(links)
    assert "What was left out." in page
    for part in ("base2new", "shift", "shots"):
        assert {"report.md", "report.csv", "report.tex", "index.html"} <= {
            one.name for one in (folder / part).iterdir()
        }
    said = capsys.readouterr().out
    assert "What was left out." in said
    assert said.rstrip().endswith("index.html, the page of all parts")


@pytest.mark.slow
def test_parts_of_which_something_is_lacking_are_reported_with_it(file, tmp_path, capsys):
    path, out = file(), tmp_path / "out"
    for job in protocols.jobs(*spec.read_plan(path).parts):
        if job.method.label != "MPL" or job.seed != 2:
            finish(job, out, 50.0)
    assert report.main([str(path), "--out", str(out)]) == 1
    assert "MPL, mnist5k: accuracy seed 2: waiting" in capsys.readouterr().out
    assert report.main([str(path), "--out", str(out), "--parts", "shots"]) == 0
    assert status.main([str(path), "--out", str(out), "--data", str(tmp_path)]) == 0
    assert "22 finished, 6 waiting, of 28 runs" in capsys.readouterr().out


def test_other_trees_are_held_against_one_part(file, tmp_path, capsys):
    words = [str(file()), "--out", str(tmp_path / "out"), "--with", str(tmp_path)]
    assert report.main(words) == 2
    assert "--with: parts has several parts: name one, --parts base2new" in capsys.readouterr().err
