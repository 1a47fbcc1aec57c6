import pytest

from modprompt.io import result
from modprompt.io.files import write_json
from modprompt.io.records import sealed

CONTENT = {"accuracy_pct": 93.79, "correct": 1685, "settings": {"SEED": "1"}, "trainer": "MPL"}
WHOLE = sealed(CONTENT, result.VERSION)


def test_what_was_written_is_read(tmp_path):
    assert result.read(tmp_path) == (None, "")
    write_json(tmp_path / "result.json", WHOLE)
    assert result.read(tmp_path) == (WHOLE, "")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({**WHOLE, "accuracy_pct": 95.1}, "its hash does not match"),
        ({**CONTENT, "accuracy_pct": 95.1}, "the hash is missing"),  # changed, and the seal taken out
        ({**CONTENT, "modprompt": 2}, "the hash is missing"),
        ({**CONTENT, "modprompt": {"version": 2}}, "its hash does not match"),
    ],
)
def test_result_whose_seal_is_wrong_or_missing_is_none(content, why, tmp_path):
    write_json(tmp_path / "result.json", content)
    assert result.read(tmp_path) == (None, f"result.json is damaged ({why})")
