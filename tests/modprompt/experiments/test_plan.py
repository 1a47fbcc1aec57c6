"""A file of several protocols: what its parts are, what of it runs, and one report of all."""

import re

import pytest

from modprompt.errors import UserError
from modprompt.experiments.plan import file as experiment_file
from modprompt.experiments.plan import protocols
from modprompt.experiments.plan.experiment import select
from modprompt.experiments.reporting import report
from tests.modprompt.experiments.fakes import finish
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
        (tmp_path / "parts.yaml").write_text(text)
        return tmp_path / "parts.yaml"

    return write


def test_parts_share_methods_and_say_the_rest(file):
    plan = experiment_file.read_plan(file())
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
    plan = experiment_file.read_plan(file())
    alone = [protocols.jobs(part) for part in plan.parts]
    together = protocols.jobs(*plan.parts)
    assert [job.folder for job in together] == [job.folder for jobs in alone for job in jobs]
    assert protocols.jobs(*plan.parts, plan.parts[0]) == together


def test_file_of_one_protocol_is_a_plan_without_parts(file):
    plan = experiment_file.read_plan(file(PARTS[: PARTS.index("parts:")] + "protocol: base2new\ndatasets: [digits]\n"))
    assert (plan.has_parts, len(plan.parts), plan.parts[0].name) == (False, 1, "parts")
    with pytest.raises(UserError, match="--parts: parts does not contain 'base2new'"):
        select(plan, parts=["base2new"])
    part = select(plan, methods=["CLIP"], seeds=[1]).parts[0]
    assert ([(m.label, m.seeds) for m in part.methods], part.seeds, part.highlight) == ([("CLIP", (1,))], (1,), "CLIP")
    with pytest.raises(UserError, match="No method of parts has the requested seeds"):
        select(plan, methods=["CLIP"], seeds=[2])
    with pytest.raises(
        UserError, match="contains several parts with a protocol each, but a file with a single protocol is needed"
    ):
        experiment_file.read(file())


def test_some_of_a_plan(file):
    plan = experiment_file.read_plan(file())

    def names(**given):
        return [part.name for part in select(plan, **given).parts]

    assert names(parts=["shots", "shift"]) == ["shift", "shots"]
    assert names(datasets=["digits"]) == ["base2new"]
    assert names(methods=["MaPLe"]) == ["base2new", "shots"]
    assert names(seeds=[3]) == ["shots"]
    assert names() == ["base2new", "shift", "shots"]
    for given, what in (
        ({"datasets": ["mnist"]}, "--datasets: parts does not contain 'mnist'. Did you mean 'mnist5k'"),
        ({"seeds": [9]}, "--seeds: parts does not contain 9"),
        ({"acquisitions": ["badge"]}, "--acquisitions: parts does not contain 'badge'"),
        ({"methods": ["CLIP"], "seeds": [3]}, "No part of the experiment parts contains all values"),
    ):
        with pytest.raises(UserError, match=re.escape(what)):
            select(plan, **given)


@pytest.mark.usefixtures("unpainted")
def test_one_page_has_all_parts_and_each_has_its_own_files(file, tmp_path, capsys):
    path, out = file(), tmp_path / "out"
    for job in protocols.jobs(*experiment_file.read_plan(path).parts):
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
        names = {one.name for one in (folder / part).iterdir()}
        assert {"report.md", "report.csv", "report.tex", "index.html"} <= names
    said = capsys.readouterr().out
    assert "What was left out." in said
    assert said.rstrip().endswith("index.html.")
