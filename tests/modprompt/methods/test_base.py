"""A method of one's own says what it can do by capability objects; what it said in ways of before is told."""

from dataclasses import dataclass

import pytest

from modprompt.errors import UserError
from modprompt.fields import setting
from modprompt.methods.base import Method
from modprompt.methods.coop import CoOp
from modprompt.methods.parts.capabilities import FORMER


@pytest.mark.parametrize("name", FORMER)
def test_a_way_of_before_is_told_in_a_line_and_not_ignored(name):
    with pytest.raises(UserError, match=f"^Mine: {name} of a method is {FORMER[name]} now") as caught:
        type("Mine", (CoOp,), {name: lambda self: True})
    assert "\n" not in str(caught.value)


def test_todays_ways_exist_and_a_setting_may_have_any_name():
    assert all(hasattr(Method, name) for name in FORMER.values())

    @dataclass(frozen=True, repr=False)
    class Mine(CoOp):
        shared: bool = setting(True, "whether layers share their tokens")

    assert Mine(shared=False).shared is False
