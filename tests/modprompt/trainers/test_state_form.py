"""A training state with one thing wrong is refused in a line before anything of the run is changed, or does no harm."""

import copy
import math
import re
import warnings

import pytest
import torch

from modprompt.cli import train
from modprompt.errors import UserError
from modprompt.io.safe_open import Refused
from modprompt.io.tensors import read_tensors, write_tensors
from modprompt.trainers import training_state
from modprompt.trainers.prompt_trainer import PromptTrainer
from modprompt.trainers.state_form import like
from tests.methods import METHODS, SEARCHES, some_slow
from tests.mutations import changed, mutations, without

ROWS = {**METHODS, **SEARCHES}
SHORT = ["DATASET.NUM_SHOTS", 2, "DATALOADER.TRAIN_X.BATCH_SIZE", 10, "TEST.NO_TEST", True]
ADVICE = ": delete it to start anew, or put another copy there"


def tensors_for(tensor):
    """What may stand in place of a tensor, each of it wrong."""
    yield from (None, [1.0], tensor.tolist(), tensor.to(torch.complex64), tensor.bool(), tensor.to(torch.int8))
    yield from (torch.empty(0), torch.tensor(1.0), tensor[:-1], torch.stack([tensor, tensor]), tensor.to("meta"))
    if tensor.is_floating_point():
        yield from (torch.full_like(tensor, math.nan), tensor.double(), tensor.to_sparse())


def places_of_tensors(content, where=()):
    if isinstance(content, torch.Tensor):
        yield where
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if type(content) is list else ()
    for key, item in pairs:
        yield from places_of_tensors(item, (*where, key))


def put(content, where, value):
    made = dict(content) if isinstance(content, dict) else list(content)
    made[where[0]] = value if len(where) == 1 else put(content[where[0]], where[1:], value)
    return made


def wrong_tensors(state):
    for where in places_of_tensors(state):
        tensor = state
        for key in where:
            tensor = tensor[key]
        if tensor.dim():  # numbers of steps may be texts' worth of kinds
            for wrong in tensors_for(tensor):
                yield f"{where} is {str(wrong)[:60]}", put(state, where, wrong)


@pytest.fixture
def stopped(command, tmp_path, monkeypatch):
    """Of a row, its trainer and the state that it left behind its first epoch."""

    def of(row, *options):
        plain, seen = PromptTrainer.after_epoch, []

        def after_epoch(self):
            plain(self)
            seen.append(self)
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(PromptTrainer, "after_epoch", after_epoch)
            assert train.main(command(ROWS[row], *SHORT, *options)) == 130
        state = read_tensors(tmp_path / "out" / training_state.FILE_NAME)
        return seen[0], {key: part for key, part in state.items() if key != "hash"}

    return of


def held_by(*parts):
    """All that models, optimisers and schedules hold, and the generators."""
    states = [{name: one.state_dict() for name, one in part.items()} for part in parts]
    return copy.deepcopy([*states, training_state.random_states()])


def held(trainer):
    """All that a run would go on from."""
    return held_by(trainer._models, trainer._optims, trainer._scheds), copy.deepcopy(trainer.resume.extra_state())


def same(one, other):
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def resealed(state):
    """With the hash that it would have had from a run, if it can have one: its form alone is wrong."""
    try:
        return {**state, "hash": training_state._hash_of(state)}
    except (TypeError, RuntimeError, NotImplementedError, AttributeError):
        return state


def resumed(trainer, state, monkeypatch):
    monkeypatch.setattr(training_state, "read_tensors", lambda path: resealed(copy.deepcopy(state)))
    return trainer.resume._resume_state(trainer.cfg.OUTPUT_DIR)


def cases_of(row, state):
    """All mutations for one trainer; for the others those of what they alone have, and some of the rest."""
    few = list(state["settings"])[5:]  # the others are of one kind
    found = [case for case in mutations(state) if not any(f"settings.{key} " in case[0] for key in few)]
    found += wrong_tensors(state)
    if row == "coop_end":
        return found
    every = 10 if row in SEARCHES else 5
    special = ("extras.average", "extras.search.taken", "extras.search.history ", "extras.search.optimiser ")
    return [case for at, case in enumerate(found) if case[0].startswith(special) or (at + len(row)) % every == 0]


HARMLESS = (  # what is more than is known here, and what a version may not have said
    "has extra 'extra'",
    "extras.text_chunk is missing",
    "extras.training_s is missing",
    "extras.began_from is missing",
    "extras is {'other': 1}",
    "extras.text_chunk is 7",
    "_step_count is missing",
    "_is_initial is missing",
    "_get_lr_called_within_step is missing",
    ".step is 7",
    "param_groups.",
    "random.python.2 is 7",
    "settings.",
)


@pytest.mark.slow
@pytest.mark.parametrize("row", some_slow(ROWS))
def test_whatever_is_wrong_is_a_line_and_changes_nothing(row, stopped, monkeypatch):
    trainer, state = stopped(row)
    before, harmless, refused = held(trainer), [], 0
    for what, mutated in cases_of(row, state):
        try:
            resumed(trainer, mutated, monkeypatch)
        except UserError as error:
            line = str(error)
            assert len(line.splitlines()) == 1, what[:80]
            assert len(line) < 500, what[:80]
            assert line.endswith(ADVICE) or "other settings" in line, (what[:80], line[:200])
            assert same(before, held(trainer)), what
            refused += 1
        else:
            harmless.append(what)
            for one in (*trainer._optims.values(), *trainer._scheds.values()):
                one.step()
            before = held(trainer)
    assert refused > 50
    without_moments = re.compile(r"(optims\.\w+|extras\.search\.optimiser)\.state\.\d+ is missing")  # the hash finds it
    named = [what for what in harmless if not without_moments.fullmatch(what)]
    assert [what for what in named if not any(word in what for word in HARMLESS)] == []
    assert row != "coop_end" or any("extra" in what for what in harmless)


def test_parameter_without_gradients_may_have_no_momentum(tmp_path):
    model = torch.nn.Linear(2, 2)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model.weight.sum().backward()
    optimiser.step()
    parts = {"m": model}, {"m": optimiser}, {"m": None}
    training_state.save(str(tmp_path), {}, 1, *parts, 0)
    assert training_state.load(str(tmp_path), {}, *parts)[0] == 1


CHANGES = {  # values of the right kind in another's place
    "optims.m.param_groups.0.momentum": 0.5,
    "optims.m.state.0.momentum_buffer": torch.full((2, 2), 7.0),
    "scheds.m.last_epoch": 7,
    "models.m.bias": torch.ones(2),
    "random.numpy.2": 3,
    "best_result": 99.0,
    "extras.x": 4,
    "epoch": 2,
}


@pytest.mark.parametrize("where", [*CHANGES, "optims.m.state.0"])
def test_value_of_the_right_kind_changed_by_hand_is_found_by_the_hash(tmp_path, where):
    """Without the hash each of them is taken: this test could fail."""
    model = torch.nn.Linear(2, 2)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    parts = {"m": model}, {"m": optimiser}, {"m": torch.optim.lr_scheduler.StepLR(optimiser, 2)}
    path = tmp_path / training_state.FILE_NAME
    training_state.save(str(tmp_path), {}, 1, *parts, 50.0, {"x": 3})
    keys = [int(key) if key.isdecimal() else key for key in where.split(".")]
    state = read_tensors(path)
    changed_one = changed(state, keys, CHANGES[where]) if where in CHANGES else without(state, keys)
    write_tensors(path, changed_one)
    before = held_by(*parts)
    with pytest.raises(UserError, match="it was changed by hand: its hash does not match") as raised:
        training_state.load(str(tmp_path), {}, *parts)
    assert str(raised.value).endswith(ADVICE)
    assert same(before, held_by(*parts))
    write_tensors(path, without(changed_one, ["hash"]))
    with pytest.raises(UserError, match="its hash does not match"):
        training_state.load(str(tmp_path), {}, *parts)
    write_tensors(path, resealed(changed_one))
    training_state.load(str(tmp_path), {}, *parts)


def test_numbers_of_half_precision_go_on_in_single_and_others_do_not():
    example = torch.zeros(3)
    like(example)(example.half(), "x")
    like(example.half())(example, "x")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that quantized tensors go out of use
        quantized = torch.quantize_per_tensor(example, 0.1, 0, torch.quint8)
    for wrong in (example.double(), example.long(), quantized, example.to_sparse(), example.to("meta"), "text"):
        with pytest.raises(Refused, match="its part x is "):
            like(example)(wrong, "x")
