"""The checks of the GPU path find what a card would refuse and wait for, and let pass what it would not."""

import pytest

from tests.fake_cuda import building, child
from tests.fake_cuda.needed import needs_fake_cuda


@pytest.mark.slow
@needs_fake_cuda
def test_what_a_card_refuses_waits_for_and_chooses_is_found():
    tried = child.run("tests.fake_cuda.calls:tried")
    assert {*tried["mismatches"].values()} == {"Mismatch", "TypeError"}, tried["mismatches"]
    waits = [{name: counts["waits"] for name, counts in tried[group].items()} for group in ("waits", "no waits")]
    assert ({*waits[0].values()}, {*waits[1].values()}) == ({1}, {0}), waits
    flash, efficient = (f"_scaled_dot_product_{kind}_attention" for kind in ("flash", "efficient"))
    assert tried["attention"].pop("too many sequences") == "RuntimeError"
    assert {name: {*counts["by_name"]} - {"zeros"} for name, counts in tried["attention"].items()} == {
        "half": {flash},
        "half, causal": {flash},
        "half, causal, with more keys than queries": {efficient},
        "half, masked": {efficient, "full", "scalar_tensor", "where", "constant_pad_nd"},
        "float": {efficient},
    }


@pytest.mark.slow
@needs_fake_cuda
def test_launches_are_those_of_a_card():
    assert child.run("tests.fake_cuda.calls:steps") == {
        "views": {},
        "forward": {"mm": 1, "silu": 1, "sum": 1},
        "kept, bytes": 2 * 16 * 64 * 2,  # what is multiplied, and what the activation was given
        "backward": {"ones_like": 1, "silu_backward": 1, "mm": 1},
        "optimiser": {"clone": 1, "_foreach_add_": 1},
    }
    with pytest.raises(RuntimeError, match="no attribute 'nothing'"):
        child.run("tests.fake_cuda.calls:nothing")


def test_it_says_why_it_cannot_be_had(monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda _: "1.9.0")
    assert building.why_not().startswith("PyTorch is 1.9.0, fake CUDA tensors were tried with ")
