"""The checks of the GPU path find what a card would refuse and wait for, and let pass what it would not."""

import json
import subprocess

import pytest

from modprompt.errors import UserError
from tests.fake_cuda import building, child, choices, needed
from tests.fake_cuda.needed import needs_fake_cuda


@pytest.fixture(scope="module")
def tried():
    return child.run("tests.fake_cuda.wrong:tried")


@needs_fake_cuda
def test_types_and_devices_that_a_card_refuses_are_found(tried):
    assert len(tried["mismatches"]) == 10
    assert {*tried["mismatches"].values()} <= {"Mismatch", "TypeError"}, tried["mismatches"]


@needs_fake_cuda
def test_waits_are_found(tried):
    waits = {name: counts["waits"] for name, counts in tried["waits"].items()}
    assert {*waits.values()} == {1}, waits
    assert {*tried["sizes"].values()} == {"DynamicOutputShapeException"}


@needs_fake_cuda
def test_what_waits_for_nothing_is_no_wait(tried):
    waits = {name: counts["waits"] for name, counts in tried["waits for nothing"].items()}
    assert {*waits.values()} == {0}, waits


@pytest.mark.slow
@needs_fake_cuda
def test_attention_takes_the_kernel_of_a_card(tried):
    names = {name: {*counts["by_name"]} - {"zeros"} for name, counts in tried["attention"].items()}
    flash, efficient = (f"_scaled_dot_product_{kind}_attention" for kind in ("flash", "efficient"))
    assert names == {
        "half": {flash},
        "half, causal": {flash},
        "half, causal, with more keys than queries": {efficient},
        "half, masked": {efficient, "full", "scalar_tensor", "where", "constant_pad_nd"},
        "float": {efficient},
    }


def test_kernels_are_asked_in_the_order_of_pytorch_and_of_the_card():
    flash = ("flash", "mem_efficient", "math", "cudnn")
    cudnn = ("cudnn", "flash", "mem_efficient", "math")
    assert [choices.order(card, "2.13.0+cu130") for card in ((9, 0), (10, 0), (10, 3))] == [cudnn] * 3
    assert [choices.order(card, "2.13.0+cu130") for card in ((8, 0), (8, 9), (12, 0))] == [flash] * 3
    assert [choices.order((9, 0), version) for version in ("2.10.1", "2.11.0a0")] == [flash, cudnn]


@pytest.mark.slow
@needs_fake_cuda
def test_on_a_card_that_prefers_it_cudnn_takes_what_it_can():
    names = child.run("tests.fake_cuda.wrong:attention_on", [9, 0])
    flash, efficient, cudnn = (f"_scaled_dot_product_{kind}_attention" for kind in ("flash", "efficient", "cudnn"))
    assert {name: found for name, found in names.items() if found != [cudnn]} == {
        "float": [efficient],
        "half, of one key": [flash],
        "half, of too many sequences": "RuntimeError",
        "half, with a trained bias": [efficient],
        "half, deterministic": [flash],
    }


@pytest.mark.slow
@needs_fake_cuda
def test_launches_are_those_of_a_card():
    found = child.run("tests.fake_cuda.wrong:steps")
    assert found["views"]["launches"] == 0
    assert found["forward"]["by_name"] == {"mm": 1, "silu": 1, "sum": 1}
    assert found["backward"]["by_name"] == {"ones_like": 1, "silu_backward": 1, "mm": 1}
    assert found["optimiser"]["by_name"] == {"clone": 1, "_foreach_add_": 1}
    assert found["kept, bytes"] == 2 * 16 * 64 * 2  # what is multiplied, and what the activation was given
    assert found["truths"] == [True] * 5


@needs_fake_cuda
def test_error_in_the_child_is_told():
    with pytest.raises(RuntimeError, match="Could not run .aten::|no attribute 'nothing'"):
        child.run("tests.fake_cuda.wrong:nothing")


def test_child_gets_the_inputs_and_gives_the_value(monkeypatch, tmp_path):
    monkeypatch.setattr(child, "compiled", lambda: tmp_path / "none.so")
    monkeypatch.setattr(child.warm, "kept", lambda *of: None)
    monkeypatch.setattr(child.warm, "run_python", answers := Answering())
    assert child.run("a:b", 1, ["c"]) == {"d": 2}
    assert answers.words[-2:] == ("a:b", json.dumps([1, ["c"]]))


class Answering:
    def __call__(self, *words, **_):
        self.words = words
        return subprocess.CompletedProcess(words, 0, stdout='said\n{"d": 2}\n', stderr="")


@pytest.mark.parametrize(
    ("version", "compiler", "reason"), [("1.9.0", "/usr/bin/g++", "PyTorch is 1.9.0"), ("", None, "no g\\+\\+")]
)
def test_it_says_why_it_cannot_be_had(monkeypatch, tmp_path, version, compiler, reason):
    monkeypatch.setattr(building, "_torch", lambda: tmp_path)  # a build for CPUs
    version = version or building.tried_version()
    monkeypatch.setattr(building.importlib.metadata, "version", lambda _: version)
    monkeypatch.setattr(building.shutil, "which", lambda _: compiler)
    building.compiled.cache_clear()
    with pytest.raises(UserError, match=reason):
        building.compiled()


def test_a_build_for_cards_is_another_pytorch(monkeypatch, tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libtorch_cuda.so").touch()
    monkeypatch.setattr(building, "_torch", lambda: tmp_path)
    monkeypatch.setattr(building.importlib.metadata, "version", lambda _: building.tried_version())
    assert "is built for cards" in building.why_not()


def test_a_test_is_skipped_unless_it_is_required(monkeypatch):
    monkeypatch.setattr(needed, "why_not", lambda: "there is no g++")
    monkeypatch.delenv(building.REQUIRED, raising=False)
    assert needed.marker().args == (True,)
    monkeypatch.setenv(building.REQUIRED, "1")
    assert needed.marker().args == (False,)


def test_library_that_does_not_compile_is_told(monkeypatch, tmp_path):
    if building.why_not():
        pytest.skip(building.why_not())
    monkeypatch.setattr(building, "SOURCE", tmp_path / "wrong.cpp")
    (tmp_path / "wrong.cpp").write_text("int main( {")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(building.tempfile, "tempdir", None)
    building.compiled.cache_clear()
    with pytest.raises(UserError, match="does not compile"):
        building.compiled()
    assert not [*tmp_path.rglob("*.so"), *tmp_path.rglob("*.part")]
