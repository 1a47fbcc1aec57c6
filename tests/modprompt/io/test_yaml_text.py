import pytest
import yaml

from modprompt.io.safe_open import Refused
from modprompt.io.yaml_text import parse, read

TEXT = "a: 1\nb: [1.5, true, null, x]\nc: &c {d: 1:30}\ne: *c\nf: {<<: *c, g: 2}\n"


@pytest.mark.parametrize("once", [False, True])
def test_what_is_yaml_is_read_as_yaml_reads_it(once, tmp_path):
    assert parse(TEXT, once) == yaml.safe_load(TEXT)
    (tmp_path / "a.yaml").write_text("\ufeff" + TEXT)
    assert read(tmp_path / "a.yaml", once) == yaml.safe_load(TEXT)


@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize("text", [
    '!!int ""', "!!bool x", "2001-99-99", "? [a]\n: b", "a: {<<: 1}", "!!python/object/apply:os.system ['true']",
    "!!python/name:os.system", "!mine 1", "a: 1\n---\nb: 2", "a: \0", "a: \ud800", "a:\n\t- b", "[1, 2", "*a", "1" * 5000,
    "[" * 5000,
])  # fmt: skip
def test_what_is_no_plain_value_is_a_line(text, once):
    with pytest.raises(Refused) as raised:
        parse(text, once)
    assert str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_key_that_occurs_twice_is_refused_where_it_is_asked_for():
    assert parse("a: 1\nb: 2\na: 3") == {"a": 3, "b": 2}
    with pytest.raises(Refused, match="the key 'a' occurs twice, the second time in line 3"):
        parse("a: 1\nb: 2\na: 3", once=True)
    with pytest.raises(Refused, match="occurs twice"):
        parse("x: [{1: 1, '1': 2}]", once=True)
