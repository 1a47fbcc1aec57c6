"""The sides of benchmarks.gpu: the same losses on a CPU; no mixed types or devices on a GPU that is not there."""

import pytest

from benchmarks.gpu.measures import losses
from benchmarks.gpu.plan import LEARN, METHODS
from benchmarks.gpu.ready import ready
from benchmarks.gpu.records import Record, Records
from benchmarks.gpu.rows import HELD, NOT_HELD, NOT_RUN
from benchmarks.gpu.sides import batch, build
from benchmarks.gpu.task import Found, Place, Task
from tests.fake_cuda import building, child

DRY = Place(dry_run=True)
needs_fake_cuda = pytest.mark.skipif(bool(building.why_not()), reason=building.why_not() or "-")


@pytest.mark.cover(1)
@pytest.mark.parametrize("method", METHODS)
def test_all_sides_start_alike_and_stay_together(method):
    curves = losses.measure(Task("losses", method, 50, "fp16"), DRY).numbers["losses"]
    assert set(curves) == {"ours", "plain"}
    assert losses.apart(*curves.values()) < 1e-5
    assert len(set(curves["ours"])) == 3  # they learn


def test_curves_with_a_loss_that_is_no_number_are_not_close():
    assert not losses.apart([1.0, float("nan")], [1.0, 2.0]) < 1


def test_batches_are_the_same_for_every_side_and_differ_from_step_to_step():
    task = Task("losses", "MPL", 1000, "fp16")
    (images, labels), (again, _), (other, _) = batch(task, DRY, 1), batch(task, DRY, 1), batch(task, DRY, 2)
    assert images.equal(again)
    assert not images.equal(other)
    assert images.shape == (4, 3, 32, 32)
    assert labels.max() < DRY.classes(task) <= 1000
    assert len(batch(Task("losses", "CoCoOp", 5, "fp16"), DRY)[1]) == 1


def test_official_side_that_cannot_run_leaves_the_others(tmp_path):
    made = ready(["ours", "official"], Task("step", "CoOp", 5, "fp16"), Place(True, str(tmp_path)))
    assert set(made.sides) == {"ours"}
    assert "there is no trainers/coop.py" in made.lost["official"]
    assert [row.verdict for row in made.not_run("step: ours / {}")] == [NOT_RUN]
    assert made.attention == {"ours": ["flash"]}


def test_official_side_without_a_checkout_is_not_run():
    made = ready(["official"], Task("step", "CoOp", 5, "fp16"), DRY)
    (row,) = made.not_run("step: ours / {}")
    assert row.figure == "step: ours / official"
    assert row.measured.startswith("not run: no --reference names")


def test_our_side_that_cannot_run_ends_the_case(monkeypatch):
    monkeypatch.setattr("benchmarks.gpu.sides.random_clip", lambda *_: [][0])
    monkeypatch.setattr("benchmarks.gpu.sides._first_clip", lambda *_: [][0])
    with pytest.raises(IndexError):
        ready(["ours"], Task("step", "CoOp", 5, "fp16"), DRY)


@pytest.mark.parametrize("method", ["PromptSRC", "TipAdapterF"])
def test_methods_that_only_we_have_learn_too(method):
    task = Task("losses", method, 5, "fp32")
    side = build("ours", task, DRY)
    first, *_, last = losses.curve(side, task._replace(classes=5), DRY, 1) + [float(side.step(*batch(task, DRY)))] * 2
    assert last < first


@pytest.mark.slow
def test_curve_of_a_cpu_is_held_against_the_gpus(tmp_path):
    place, task = DRY._replace(folder=str(tmp_path)), Task("losses", "CoOp", 5, "fp32")
    records = Records(tmp_path, {})
    of_cpu = task._replace(how=losses.CPU)
    records.write(Record(of_cpu, {}, Found([], {"losses": {losses.ON_CPU: [9.0, 9.0, 9.0]}}), "", 1.0))
    row = next(row for row in losses.measure(task, place).rows if losses.ON_CPU in row.figure)
    assert row.verdict == NOT_HELD
    records.write(Record(of_cpu, {}, losses.measure(of_cpu, place), "", 1.0))
    row = next(row for row in losses.measure(task, place).rows if losses.ON_CPU in row.figure)
    assert (row.measured, row.verdict) == ("0.0e+00", HELD)
    records.write(Record(of_cpu, {}, None, "RuntimeError", 1.0))
    row = next(row for row in losses.measure(task, place).rows if losses.ON_CPU in row.figure)
    assert row.verdict == NOT_RUN


def test_model_of_a_test_trains_on_behind_it():
    side = build("ours", Task("test", "MPL", 5, "fp32"), DRY)
    images, labels = batch(Task("test", "MPL", 5, "fp32"), DRY)
    assert not side.test(images).requires_grad
    assert side.loss(images, labels).requires_grad


@pytest.mark.slow
@needs_fake_cuda
@pytest.mark.parametrize("method", LEARN)
def test_sides_mix_no_types_and_devices_on_a_gpu(method):
    precisions, names = ["fp16", "fp32"], ["ours", "plain"] if method in METHODS else ["ours"]
    found = child.run("tests.benchmarks.gpu.fake_card:launches", method, precisions, names)
    assert len(found) == len(precisions) * len(names)
    assert min(found.values()) > 80  # a head has no text side in a step
