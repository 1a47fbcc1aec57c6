"""What changes from epoch to epoch changes a recorded step too."""

import pytest
import torch
import torch.nn.functional as F

from modprompt.training.graph import CHANGES, WARM_UP, GraphStep
from tests.modprompt.training.test_graph import batches, linear, same, same_state, step_of
from tests.tape import Tape

STEPS = 5  # of an epoch


class Changing:
    """A step whose loss is of the trainer's moment; `before` is called with it before each epoch."""

    def __init__(self, before, loss=lambda now, logits, labels: F.cross_entropy(logits, labels)):
        self.before, self.epoch = before, 0
        self.model = linear()
        self.table = torch.tensor([[1.0, 1.0 + epoch, 1.0] for epoch in range(6)])
        self.weights = self.table[0]
        self.model.loss = lambda output, images, labels: loss(self, output.logits, labels)
        self.step = step_of(self.model)
        self.group = self.step.optimiser.param_groups[0]

    def run(self, call, epochs=3, steps=STEPS):
        done = []
        for self.epoch in range(epochs):
            self.before(self)
            done += [call(*batch) for batch in batches(steps)]
        return done


def nothing(now):
    pass


def per_class(now, logits, labels):
    return F.cross_entropy(logits, labels, weight=now.weights)


def replaces(now):
    now.weights = now.table[now.epoch].clone()


def takes_the_next_row(now):
    now.weights = now.table[now.epoch]


def freezes(now):
    now.model.prompt_learner.bias.requires_grad_(now.epoch < 1)


CASES = {
    "loss reads the epoch": (nothing, lambda now, *of: F.cross_entropy(*of) * (1 + now.epoch)),
    "a term comes in": (nothing, lambda now, *of: F.cross_entropy(*of) + (of[0].square().mean() if now.epoch else 0)),
    "tensor is replaced": (replaces, per_class),
    "tensor is another part of one": (takes_the_next_row, per_class),
    "weight decay": (lambda now: now.group.update(weight_decay=0.5 * now.epoch),),
    "momentum": (lambda now: now.group.update(momentum=0.9 - 0.4 * now.epoch),),
    "a parameter is frozen": (freezes,),
}


def trial(*case, **length):
    """A run with a recorder and one without: their losses and states are the same."""
    recorded, plain = Changing(*case), Changing(*case)
    tape, told = Tape(), []
    graph = GraphStep(recorded.step, told.append, tape, lambda: recorded.epoch)
    same(recorded.run(graph, **length), plain.run(plain.step, **length))
    same_state(recorded.step.optimiser, plain.step.optimiser)
    return graph, tape, told


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_changes_once_an_epoch_is_recorded_anew(case):
    graph, tape, told = trial(*case)
    assert (graph.recorded, graph.why, told) == (True, "", [])
    assert tape.recorded > 1
    assert tape.replayed


@pytest.mark.parametrize("name", ["weight decay", "momentum", "a parameter is frozen"])
def test_optimiser_that_is_set_otherwise_within_an_epoch_is_recorded_anew(name):
    recorded, plain = (Changing(*CASES[name]) for _ in range(2))
    tape, told = Tape(), []
    graph = GraphStep(recorded.step, told.append, tape)  # which is told of no epochs
    same(recorded.run(graph, epochs=2), plain.run(plain.step, epochs=2))
    same_state(recorded.step.optimiser, plain.step.optimiser)
    assert (tape.recorded, graph.recorded, told) == (2, True, [])


def test_optimiser_that_is_set_otherwise_at_the_end_says_why_its_last_steps_are_not_recorded():
    graph, _, told = trial(lambda now: now.group.update(weight_decay=0.1 * (now.epoch == 2)), steps=3, epochs=3)
    assert (graph.recorded, graph.why) == (False, "the step changed, and the run was over before it was recorded anew")
    assert told == []


def test_number_in_a_tensor_that_is_made_at_each_step_is_not_recorded():
    _, tape, told = trial(nothing, lambda now, *of: F.cross_entropy(*of) * torch.as_tensor(1.0 + now.epoch))
    assert told == ["it does not do the same at every step"]
    assert not tape.replayed


def test_tensor_that_is_replaced_at_every_step_is_not_recorded():
    recorded = Changing(nothing, per_class)
    told, tape = [], Tape()
    graph = GraphStep(recorded.step, told.append, tape)
    for batch in batches():
        replaces(recorded)
        graph(*batch)
    assert (told, tape.replayed) == (["it does not do the same at every step"], 0)


def test_tensor_that_is_made_within_a_step_needs_no_other_recording():
    _, tape, told = trial(nothing, lambda now, *of: F.cross_entropy(*of, weight=now.weights.clone()))
    assert (tape.recorded, told) == (1, [])


def test_tensor_that_is_written_in_place_needs_no_other_recording():
    _, tape, _ = trial(lambda now: now.weights.fill_(1.0 + now.epoch), per_class)
    assert tape.recorded == 1


@pytest.mark.parametrize("name", ["tensor is replaced", "weight decay"])
def test_what_changes_every_epoch_is_run_as_it_is_from_then_on(name):
    graph, tape, told = trial(*CASES[name], epochs=CHANGES + 2)
    assert told == [f"what it does changed {CHANGES} times in a row"]
    assert (graph.recorded, graph.why, tape.recorded) == (False, told[0], CHANGES)


def test_changes_with_an_epoch_between_them_are_recorded_for_good():
    graph, _, told = trial(lambda now: replaces(now) if now.epoch % 2 else None, per_class, epochs=2 * CHANGES)
    assert (graph.recorded, told) == (True, [])


def test_the_first_step_of_an_epoch_alone_is_not_replayed():
    _, tape, _ = trial(nothing, epochs=3)
    assert (tape.recorded, tape.replayed) == (1, 3 * STEPS - WARM_UP - 2)


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_short_epochs(steps):
    """What is recorded is held against a step of the same epoch."""
    graph, tape, told = trial(*CASES["loss reads the epoch"], epochs=3 + (steps == 2), steps=steps)
    assert told == []
    assert graph.recorded == (steps > 1)
    assert steps > 1 or graph.why.startswith("the run was over within")


def test_epochs_of_one_step_are_never_recorded_and_that_is_said():
    graph, _, told = trial(nothing, epochs=WARM_UP + 2, steps=1)
    assert (graph.recorded, graph.why, told) == (False, "no epoch had steps enough to record one", [])


def test_value_that_a_later_epoch_reads_ends_the_recording():
    def loss(now, logits, labels):
        value = F.cross_entropy(logits, labels)
        return value * 2 if now.epoch and value.item() else value

    graph, _, told = trial(nothing, loss)
    assert told == [graph.why] == ["the step waits for the device (aten._local_scalar_dense.default)"]
    assert not graph.recorded
