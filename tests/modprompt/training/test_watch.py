"""What is written down of a step."""

import pytest
import torch
import torch.nn.functional as F

from modprompt.training.watch import Watch
from tests.conftest import random_clip
from tests.methods import some_slow
from tests.modprompt.methods.test_model import LEARNING, by_name, on
from tests.modprompt.training.test_graph import batches, step_of


def watched(work, batch=()):
    with Watch(batch) as watch:
        work()
    return watch


@pytest.mark.parametrize("chunk", [0, 1])
@pytest.mark.parametrize("cls", some_slow(LEARNING), ids=by_name)
def test_step_of_every_method_does_the_same_each_time_and_nothing_that_cannot_be_recorded(cls, chunk):
    model = on(cls, random_clip()).train()
    model.limit_text(chunk)
    step, (batch, other) = step_of(model), batches(2)
    step(*batch)
    first, second = (watched(lambda given=given: step(*given), given) for given in (batch, other))
    assert (first.obstacle, second.obstacle) == ("", "")
    assert first.operations == second.operations
    assert len(first.operations) > 100


def test_kept_class_features_are_held_for_those_who_read_them_later():
    """VPT's class features are made once and may be made anew: a recorded step goes on reading the first."""
    model = on(next(cls for cls in LEARNING if cls.__name__ == "VPT"), random_clip()).train()
    step, (batch,) = step_of(model), batches(1)
    step(*batch)
    watch = watched(lambda: step(*batch))
    assert model._kept.text.untyped_storage()._cdata in watch.held
    parameters = [*model.prompt_learner.parameters(), batch[0]]
    assert {x.untyped_storage()._cdata for x in parameters} <= set(watch.held)


def test_what_is_made_within_is_not_held():
    x = torch.ones(3)
    watch = watched(lambda: (x * 2 + 1).sum())
    assert set(watch.held) == {x.untyped_storage()._cdata}


@pytest.mark.parametrize(
    ("work", "operation"),
    [
        (lambda x: x.sum().item(), "_local_scalar_dense"),
        (lambda x: bool(x.any()), "_local_scalar_dense"),
        (lambda x: torch.equal(x, x), "equal"),
        (lambda x: x[x > 0], "index"),
        (lambda x: x.clone().index_put_((x > 0,), torch.zeros(())), "index_put_"),
        (lambda x: x.nonzero(), "nonzero"),
        (lambda x: x.masked_select(x > 0), "masked_select"),
        (lambda x: x.repeat_interleave(torch.tensor([1, 2, 3])), "repeat_interleave"),
    ],
)
def test_operations_that_wait_are_named(work, operation):
    assert operation in watched(lambda: work(torch.arange(3.0))).obstacle


@pytest.mark.parametrize(
    "work",
    [
        lambda x: x[torch.tensor([0, 2])],
        lambda x: x.clone().index_put_((torch.tensor([0]),), torch.zeros(())),
        lambda x: x.repeat_interleave(torch.tensor([1, 2, 3]), output_size=6),
        lambda x: F.dropout(x, 0.5, training=False),
        lambda x: x.masked_fill(x > 0, 0.0).to(torch.float16),
    ],
)
def test_others_are_not(work):
    assert watched(lambda: work(torch.arange(3.0))).obstacle == ""


def test_copies_between_devices_are_named():
    assert "aten._to_copy" in watched(lambda: torch.ones(3).to("meta")).obstacle


def test_numbers_of_the_cpu_are_named():
    one, x = torch.tensor(1.0), torch.ones(3, device="meta")
    why = "the step gives the device a number that lies in a CPU tensor (aten.mul.Tensor)"
    assert watched(lambda: x * one).obstacle == why
    assert watched(lambda: (x * 2.0, torch.where(x > 0, x, 0.0), one * one)).obstacle == ""


def test_held_tensors_are_told_apart_by_where_they_lie():
    x, table, square = torch.ones(3), torch.ones(2, 3), torch.ones(3, 3)
    one, other = table[0], table[1]

    def operations(y):
        return watched(lambda: x * y).operations

    assert operations(one) == operations(one)
    assert operations(one) != operations(other)
    assert operations(one) != operations(one.clone())
    assert operations(square) != operations(square.t())


def test_batches_are_others_each_time():
    x, batches = torch.ones(3), (torch.ones(2, 3), torch.zeros(2, 3))
    one, other = (watched(lambda y=y: x * y, [y]) for y in batches)
    assert one.operations == other.operations
    assert set(one.held) == {x.untyped_storage()._cdata}


def test_draws_on_the_cpu_are_named_and_made():
    torch.manual_seed(1)
    watch = watched(lambda: torch.rand(3))
    assert watch.obstacle == "the step draws random numbers on the CPU (aten.rand.default)"
    after = torch.get_rng_state()
    torch.manual_seed(1)
    torch.rand(3)
    assert torch.equal(after, torch.get_rng_state())


def test_numbers_and_shapes_tell_operations_apart():
    x = torch.ones(3)
    assert watched(lambda: x * 2).operations == watched(lambda: x * 2).operations
    assert watched(lambda: x * 2).operations != watched(lambda: x * 3).operations
    assert watched(lambda: x * 2).operations != watched(lambda: x[:2] * 2).operations
