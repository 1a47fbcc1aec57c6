"""The sides of benchmarks.gpu: the same losses on a CPU; no mixed types or devices on a card that is not there."""

import pytest

from benchmarks.gpu.measures import losses
from benchmarks.gpu.plan import METHODS
from benchmarks.gpu.ready import ready
from benchmarks.gpu.sides import batch
from benchmarks.gpu.task import Place, Task
from tests.fake_cuda import building, child

DRY = Place(dry_run=True)
needs_fake_cuda = pytest.mark.skipif(bool(building.why_not()), reason=building.why_not() or "-")


@pytest.mark.parametrize("method", METHODS)
def test_all_sides_start_alike_and_stay_together(method):
    curves = losses.measure(Task("losses", method, 50, "fp32"), DRY).numbers["losses"]
    assert set(curves) == {"ours", "plain"}
    assert losses.apart(*curves.values()) < 1e-5
    assert len(set(curves["ours"])) == 3  # they learn


def test_curves_with_a_loss_that_is_no_number_are_not_close():
    assert not losses.apart([1.0, float("nan")], [1.0, 2.0]) < 1


def test_batches_are_the_same_for_every_side_and_differ_from_step_to_step():
    task = Task("losses", "MPL", 1000)
    (images, labels), (again, _), (other, _) = batch(task, DRY, 1), batch(task, DRY, 1), batch(task, DRY, 2)
    assert images.equal(again)
    assert not images.equal(other)
    assert images.shape == (4, 3, 32, 32)
    assert labels.max() < DRY.classes(task) <= 1000
    assert len(batch(Task("losses", "CoCoOp"), DRY)[1]) == 1


def test_official_side_that_cannot_run_leaves_the_others(tmp_path):
    sides, lost = ready(["ours", "official"], Task("step", "CoOp", 5), Place(True, str(tmp_path)))
    assert set(sides) == {"ours"}
    assert "there is no trainers/coop.py" in lost["official"]


def test_our_side_that_cannot_run_ends_the_case(monkeypatch):
    monkeypatch.setattr("benchmarks.gpu.sides.random_clip", lambda *_: [][0])
    monkeypatch.setattr("benchmarks.gpu.sides._first_clip", lambda *_: [][0])
    with pytest.raises(IndexError):
        ready(["ours"], Task("step", "CoOp", 5), DRY)


@pytest.mark.slow
@needs_fake_cuda
@pytest.mark.parametrize(
    ("method", "precision"),
    [(method, precision) for method in METHODS for precision in ("fp16", "fp32")],
)
def test_sides_mix_no_types_and_devices_on_a_card(method, precision):
    found = child.run("tests.benchmarks.gpu.fake_card:launches", method, precision, ["ours", "plain"])
    assert found["plain"] > 100
    assert found["ours"] > 100
