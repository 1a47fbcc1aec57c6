"""A method of one's own says what it can do by capability objects; what it said in ways of before is told."""

from dataclasses import dataclass

import pytest

from modprompt.errors import UserError
from modprompt.fields import setting
from modprompt.methods.base import Method
from modprompt.methods.coop import CoOp
from modprompt.methods.parts.capabilities import FORMER, SecondNode

PLAIN = {  # those that were no functions
    "log_accuracy": True, "draws_examples": True, "always_searches": True, "not_searched": "why",
    "second_node": SecondNode, "shared": {"TRAINER.COOP.N_CTX": "N_CTX"},
}  # fmt: skip


@pytest.mark.parametrize("name", FORMER)
def test_a_way_of_before_is_told_in_a_line_and_not_ignored(name):
    with pytest.raises(UserError, match=f"^Mine: {name} of a method is {FORMER[name]} now") as caught:
        type("Mine", (CoOp,), {name: PLAIN.get(name, lambda self: True)})
    assert "\n" not in str(caught.value)


def test_todays_ways_exist_and_a_setting_may_have_any_name():
    assert all(hasattr(Method, name) for name in FORMER.values())

    @dataclass(frozen=True, repr=False)
    class Mine(CoOp):
        shared: bool = setting(True, "whether layers share their tokens")

    assert Mine(shared=False).shared is False


def test_a_hook_of_before_that_a_mixin_brings_is_told_and_other_attributes_of_that_name_are_not():
    class Averaged:
        def averages(self):
            return True

    with pytest.raises(UserError, match="^Mine: averages of a method is averaging now"):
        type("Mine", (Averaged, CoOp), {})
    mine = type("Mine", (CoOp,), {"shared": lambda self: 3, "stated": "words", "second_node": None})
    assert mine.stated == "words"
