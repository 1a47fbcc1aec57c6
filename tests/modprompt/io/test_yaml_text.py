"""YAML from anywhere: plain values within the bounds, and all else is one line, soon."""

import datetime

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from modprompt.io.safe_open import Refused
from modprompt.io.yaml_text import MOST_BYTES, MOST_LEVELS, parse
from tests.work_time import work_within

PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=5),
)
CONTENTS = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text("abc ", max_size=3), inner, max_size=4)
    ),
    max_leaves=15,
)
KINDS = (dict, list, str, int, float, bool, type(None), bytes, set, tuple, datetime.date)


def made_of_plain_values(content):
    level, depth = [content], 0
    while level and depth <= MOST_LEVELS + 1:
        assert all(isinstance(item, KINDS) for item in level)
        assert all(len(str(item)) <= 400 for item in level if type(item) is int)
        level = [
            inner
            for item in level
            if isinstance(item, (dict, list, tuple, set))
            for inner in ([*item, *item.values()] if isinstance(item, dict) else item)
        ]
        depth += 1
    return depth <= MOST_LEVELS + 1


def read_or_line(text, once=False):
    try:
        with work_within(seconds=10):
            content = parse(text, once)
    except Refused as error:
        content, line = None, str(error)
        assert line
        assert "\n" not in line
    else:
        line = ""
        assert made_of_plain_values(content)
    return content, line


@given(content=CONTENTS, once=st.booleans())
def test_what_is_written_is_read_as_yaml_reads_it(content, once):
    text = yaml.safe_dump(content)
    if "&id" not in text:
        assert repr(parse(text, once)) == repr(yaml.safe_load(text))


TAGS = [
    "int",
    "float",
    "bool",
    "null",
    "timestamp",
    "binary",
    "set",
    "omap",
    "pairs",
    "str",
    "seq",
    "map",
    "value",
    "merge",
]
SCALARS = [
    '""',
    "x",
    "1",
    "1:60",
    "0x",
    "0b",
    "0o9",
    "-",
    "+",
    ".",
    "_",
    ".inf",
    "1e999",
    "2001-99-99",
    "[1]",
    "{a:1}",
    "~",
]
PLACES = ("{}", "a: {}", "? {}\n: 1", "[{}]")


@given(tag=st.sampled_from(TAGS), scalar=st.sampled_from(SCALARS), place=st.sampled_from(PLACES), once=st.booleans())
def test_any_tag_on_any_value_is_read_or_a_line(tag, scalar, place, once):
    read_or_line(place.replace("{}", f"!!{tag} {scalar}"), once)


LINES = {
    "an int that is none": '!!int ""',
    "a truth value that is none": "!!bool x",
    "a time that is none": "!!timestamp x",
    "a time that there is not": "2001-99-99",
    "a list as a key": "? [a]\n: b",
    "an object as a key": "{{a: 1}: 2}",
    "a merge of a number": "a: {<<: 1}",
    "a merge of numbers": "a: {<<: [1, 2]}",
    "bytes that are none": "!!binary \u00e9",
    "an alias": "a: &b 1\nc: *b",
    "an alias of nothing": "*a",
    "itself": "&a [*a]",
    "an object": "!!python/object/apply:os.system ['true']",
    "a module": "!!python/module:os",
    "a name": "!!python/name:os.system",
    "a tag of nobody's": "!mine 1",
    "a tag that is none": "!<> 1",
    "two documents": "a: 1\n---\nb: 2",
    "a zero byte": "a: \0",
    "half a character": "a: \ud800",
    "a tab": "a:\n\t- b",
    "not closed": "[1, 2",
    "a quote not closed": 'a: "b',
    "a directive": "%YAML 9.9\n---\na: 1",
}


@pytest.mark.parametrize("name", list(LINES))
def test_what_is_no_plain_value_is_a_line(name):
    assert read_or_line(LINES[name])[1]


def test_sexagesimal_numbers_are_as_yaml_has_them_and_not_endless():
    assert parse("1:30") == 90
    assert read_or_line("1:" + "30:" * 20_000 + "1")[1].endswith("characters (40 at most)")


@pytest.mark.parametrize(
    "number", ["1" * 41, "1" * 100_000, "0x" + "f" * 39, "1." + "1" * 5000, "0b" + "1" * 60, "-" + "9" * 40]
)
def test_long_numbers_are_refused_with_their_line(number):
    assert read_or_line(f"a: 1\nb: {number}")[1] == f"line 2: a number of {len(number)} characters (40 at most)"


def test_bombs_are_refused_at_once():
    lol = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(20)
    )
    assert "alias" in read_or_line(lol)[1]
    merged = "a: &a {x: 1}\n" + "".join(f"b{n}: {{<<: *a}}\n" for n in range(100))
    assert "alias" in read_or_line(merged)[1]


def test_depth_and_size_have_bounds():
    assert not read_or_line("[" * MOST_LEVELS + "]" * MOST_LEVELS)[1]
    assert "deeper than 100 levels" in read_or_line("[" * (MOST_LEVELS + 2) + "]" * (MOST_LEVELS + 2))[1]
    assert "larger than 1,048,576 bytes" in read_or_line("#" * (MOST_BYTES + 1))[1]


WORDS = [
    "a",
    ":",
    " ",
    "\n",
    "-",
    "- ",
    "? ",
    "[",
    "]",
    "{",
    "}",
    ",",
    "&a ",
    "*a",
    "!!int ",
    "!!set ",
    "|",
    ">",
    "'",
    '"',
    "#",
]
WORDS += ["<<", "1", ".", "~", "---", "\t", "%"]


@settings(max_examples=400)
@given(
    text=st.one_of(st.text(max_size=40), st.lists(st.sampled_from(WORDS), max_size=30).map("".join)), once=st.booleans()
)
def test_any_text_is_plain_values_or_a_line(text, once):
    read_or_line(text, once)


def test_key_that_stands_twice_is_refused_where_it_is_asked_for():
    assert parse("a: 1\nb: 2\na: 3") == {"a": 3, "b": 2}
    with pytest.raises(Refused, match="the key 'a' occurs twice, the second time in line 3"):
        parse("a: 1\nb: 2\na: 3", once=True)
    with pytest.raises(Refused, match="occurs twice"):
        parse("x: [{1: 1, '1': 2}]", once=True)
