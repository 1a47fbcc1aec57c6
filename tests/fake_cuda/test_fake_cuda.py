"""The checks of the GPU path find what a card would refuse and wait for, and let pass what it would not."""

import pytest

from modprompt.errors import UserError
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


@pytest.mark.parametrize(
    ("version", "compiler", "of_cards", "reason"),
    [
        ("1.9.0", "/usr/bin/g++", False, "PyTorch is 1.9.0, fake CUDA tensors were tried with "),
        ("tried", None, False, "there is no g++"),
        ("tried", "/usr/bin/g++", True, "is built for cards"),
    ],
)
def test_it_says_why_it_cannot_be_had(monkeypatch, tmp_path, version, compiler, of_cards, reason):
    lines = (building.ROOT / "constraints.txt").read_text().splitlines()
    tried = next(line.partition("==")[2] for line in lines if line.startswith("torch=="))
    monkeypatch.setattr(building, "_torch", lambda: tmp_path)
    installed = tried if version == "tried" else version
    monkeypatch.setattr(building.importlib.metadata, "version", lambda _: installed)
    monkeypatch.setattr(building.shutil, "which", lambda _: compiler)
    if of_cards:
        (tmp_path / "lib").mkdir()
        (tmp_path / "lib" / "libtorch_cuda.so").touch()
    building.compiled.cache_clear()
    with pytest.raises(UserError, match="fake CUDA tensors cannot be had: ") as raised:
        building.compiled()
    assert reason in str(raised.value)
