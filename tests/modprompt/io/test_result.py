import pytest

from modprompt.io import result, result_schema
from modprompt.io.checksum import sealed
from modprompt.io.text import write_json

CONTENT = {"accuracy_pct": 93.79, "correct": 1685, "settings": {"SEED": "1"}, "trainer": "MPL"}


def write(folder, content):
    write_json(folder / "result.json", sealed(content, result.VERSION))


def test_whole_result_is_read(tmp_path):
    assert result.read(tmp_path) == (None, "")
    write(tmp_path, CONTENT)
    assert result.read(tmp_path).result["accuracy_pct"] == 93.79


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"accuracy_pct": 95.1}, "its hash does not match"),
        ({"accuracy_pct": 95.1, "modprompt": None}, "it has no hash"),
        ({"modprompt": {"version": 2}}, "its hash does not match"),
    ],
)
def test_result_that_was_changed_is_none(change, why, tmp_path):
    write_json(tmp_path / "result.json", {**sealed(CONTENT, result.VERSION), **change})
    assert result.read(tmp_path) == (None, f"result.json is damaged ({why})")


def test_settings_are_part_of_a_result(tmp_path):
    write(tmp_path, {key: value for key, value in CONTENT.items() if key != "settings"})
    assert result.read(tmp_path).why == "result.json is damaged (its part settings is missing)"


@pytest.mark.parametrize("value", [True, "90", None, -1, 101, float("nan")])
def test_accuracy_must_be_a_percentage(tmp_path, value):
    write(tmp_path, {**CONTENT, "accuracy_pct": value})
    assert result.read(tmp_path).why.startswith("result.json is damaged (its part accuracy_pct")


def with_rounds(*accuracies):
    return {**CONTENT, "accuracy_pct": accuracies[-1], "active": {"rounds": [{"accuracy_pct": a} for a in accuracies]}}


def test_accuracy_is_lacking_only_where_rounds_say_so(tmp_path):
    write(tmp_path, with_rounds(None, None))
    assert result.read(tmp_path).result["accuracy_pct"] is None
    for content in (
        {**with_rounds(None, 50.0), "accuracy_pct": None},
        {**CONTENT, "accuracy_pct": None, "active": {"rounds": []}},
        {**CONTENT, "accuracy_pct": None, "active": {"rounds": [{}]}},
        {**CONTENT, "accuracy_pct": None, "active": {"rounds": "none"}},
        {**CONTENT, "accuracy_pct": None, "active": None},
        {key: value for key, value in with_rounds(None).items() if key != "accuracy_pct"},
    ):
        write(tmp_path, content)
        found = result.read(tmp_path)
        assert found.result is None
        assert found.why.startswith(
            ("result.json is damaged (its part acc", "result.json is damaged (its part active.")
        )


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("top5_pct", 101),
        ("ece_pct", "1"),
        ("test_files", ["test.npz"]),
        ("test_files", {"test.npz": 3}),
        ("steps_hash", 1),
    ],
)
def test_what_lies_beside_it_is_named_in_the_form_that_runs_write(part, value):
    whole = {
        "accuracy_pct": 50.0,
        "settings": {},
        "top5_pct": 99.5,
        "ece_pct": 0.0,
        "test_files": {"test.npz": "ab"},
        "steps_hash": "ab",
    }
    assert result_schema.fault(whole) == ""
    assert result_schema.fault({**whole, part: value}).startswith(f"its part {part}")
