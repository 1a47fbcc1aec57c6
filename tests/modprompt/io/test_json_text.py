"""JSON from anywhere: what is read is within the bounds, and all else is one line, soon."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modprompt.io.json_text import MOST_LEVELS, parse
from modprompt.io.safe_open import Refused
from tests.work_time import work_within

PLAIN = st.one_of(st.none(), st.booleans(), st.integers(-(2**64) + 1, 2**64 - 1), st.floats(), st.text(max_size=5))
CONTENTS = st.recursive(
    PLAIN,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=4)),
    max_leaves=20,
)


def is_within_bounds(content):
    """Gone through level by level, without recursion."""
    level, depth = [content], -1
    while level:
        if any(type(item) is int and item.bit_length() > 64 for item in level):
            return False
        inner = [
            item.values() if isinstance(item, dict) else item for item in level if isinstance(item, (dict, list, tuple))
        ]
        level, depth = [item for some in inner for item in some], depth + bool(inner)
    return depth <= MOST_LEVELS


def read_or_line(text, **how):
    try:
        with work_within(seconds=5):
            content = parse(text, **how)
    except Refused as error:
        line = str(error)
        assert line
        assert "\n" not in line
        assert len(line) <= 200
        content = None
    else:
        line = ""
        assert is_within_bounds(content)
    return content, line


@given(content=CONTENTS)
def test_what_is_within_bounds_is_read_as_the_json_module_reads_it(content):
    text = json.dumps(content)
    assert repr(parse(text)) == repr(json.loads(text))
    assert repr(parse(text.encode())) == repr(json.loads(text))


@settings(max_examples=300)
@given(
    text=st.one_of(
        st.text(max_size=60),
        st.binary(max_size=60),
        st.lists(st.sampled_from(['{"a":', "[", "]", "}", ",", '"', "1", "-", "e9", "NaN", "\\ud800", "null"])).map(
            "".join
        ),
        st.integers(1, 5000).map(lambda n: "[" * n + "]" * n),
        st.integers(1, 6000).map(lambda n: "1" * n),
        st.integers(1, 6000).map(lambda n: f"1e{'9' * n}"),
    )
)
def test_any_text_is_within_bounds_or_a_line(text):
    read_or_line(text)
    read_or_line(text, finite=True)
    read_or_line(text, pairs=list)


@pytest.mark.parametrize(("begins", "ends"), [("[", "]"), ('{"a":', "}")])
def test_depth_has_a_bound(begins, ends):
    count = MOST_LEVELS + 1  # the outermost is level 0
    assert not read_or_line(begins * (count - 1) + "[]" + ends * (count - 1))[1]
    assert read_or_line(begins * count + "[]" + ends * count)[1] == "it is nested deeper than 100 levels"


@pytest.mark.parametrize("number", [2**64 - 1, -(2**64) + 1])
def test_whole_numbers_of_64_bits_are_read(number):
    assert parse(f"[{number}]") == [number]


@pytest.mark.parametrize(
    "text", [str(2**64), str(-(2**64)), "1" * 5000, '{"a": [' + "9" * 30 + "]}", '[{"b": ' + "1" * 100_000 + "}]"]
)
def test_longer_ones_are_refused_for_what_they_are(text):
    with pytest.raises(Refused, match=r"^it has a whole number of more than 64 bits$"):
        parse(text)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_none_are_read_unless_they_must_be_finite(word):
    assert not math.isfinite(parse(f"[{word}]")[0])
    with pytest.raises(Refused, match=f"^{word} is no number$"):
        parse(f"[{word}]", finite=True)


@pytest.mark.parametrize("text", [b"\xff\xfe{", b'"\xed\xa0\x80"', b'{"a": "\xe9"}', b"\x00\x00"])
def test_bytes_that_are_no_text_are_a_line(text):
    assert read_or_line(text)[1]


def test_half_a_character_is_read_as_it_stands():
    assert parse('"\\ud800"') == "\ud800"


def test_what_stands_for_objects_is_kept_and_bounded():
    assert parse('{"a": 1, "a": 2}', pairs=list) == [("a", 1), ("a", 2)]
    with pytest.raises(Refused, match="deeper"):
        parse('{"a":' * 90 + "1" + "}" * 90, pairs=list)  # a pair is a level, too
    with pytest.raises(Refused, match="64 bits"):
        parse('{"a": 99999999999999999999}', pairs=list)


def test_what_pairs_refuses_is_told_as_it_is():
    def refuse(pairs):
        raise Refused("twice")

    with pytest.raises(Refused, match="^twice$"):
        parse("{}", pairs=refuse)
