import json
import math

import pytest

from modprompt.io.json_text import parse
from modprompt.io.safe_open import Refused


def test_what_json_is_read_as_the_json_module_reads_it():
    text = '{"a": [1, 2.5, null, "\\ud800"], "b": {"c": 18446744073709551616}}'
    assert parse(text) == parse(text.encode()) == parse(b"\xef\xbb\xbf" + text.encode()) == json.loads(text)


@pytest.mark.parametrize(
    "text", ["", "{", "[1,]", "[" * 100_000, "1" * 5000, b"\xff\xfe{", b'"\xed\xa0\x80"', b"\0\0", "<!DOCTYPE html>\n"]
)
def test_all_else_is_a_line(text):
    with pytest.raises(Refused) as raised:
        parse(text)
    assert str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_none_are_read_unless_they_must_be_finite(word):
    assert not math.isfinite(parse(f"[{word}]")[0])
    with pytest.raises(Refused, match=f"^{word} is no number$"):
        parse(f"[{word}]", finite=True)


def test_a_key_with_two_values_is_refused():
    assert parse('{"a": [1], "a": [1]}') == {"a": [1]}
    with pytest.raises(Refused, match="^the key 'a' has two values$"):
        parse('[{"a": 1, "b": 2, "a": 3}]')
