"""Mutations are single, all of them, and leave what they are made of alone."""

import copy

from tests.mutations import mutations

CONTENT = {"a": {"b": [1, "x"]}, "c": 0.5, "d": None}


def test_every_place_is_mutated_and_the_content_stays():
    before = copy.deepcopy(CONTENT)
    found = dict(mutations(CONTENT))
    assert before == CONTENT
    assert found["a.b.0 is missing"] == {**CONTENT, "a": {"b": ["x"]}}
    assert found["a.b.1 is None"] == {**CONTENT, "a": {"b": [1, None]}}
    assert found["a.b has extra item"] == {**CONTENT, "a": {"b": [1, "x", "x"]}}
    assert found["a has extra 'extra'"] == {**CONTENT, "a": {"b": [1, "x"], "extra": 1}}
    assert found["c is '1'"] == {**CONTENT, "c": "1"}
    assert found["all of it is None"] is None
    for place in ("all of it", "a", "a.b", "a.b.0", "a.b.1", "c", "d"):
        assert any(where.startswith(f"{place} is ") for where in found)
    assert all(mutated != CONTENT for mutated in found.values())


def test_tensors_are_leaves_that_are_shared():
    import torch

    tensor = torch.zeros(2)
    found = dict(mutations({"t": tensor, "n": 1}))
    assert found["n is missing"]["t"] is tensor
    assert found["t is None"] == {"t": None, "n": 1}
