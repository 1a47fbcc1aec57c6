"""What docs/own_trainer.md of 0.2.0 imported works for this version, with a warning."""

import importlib

import pytest

from modprompt import moved
from modprompt.methods import own

NAMES = {
    "modprompt.learners.independent": ("IndependentPromptLearner", "modprompt.methods.parts.independent"),
    "modprompt.methods.groups": ("PromptsVision", "modprompt.methods.parts.groups"),
}


@pytest.mark.parametrize("old", NAMES)
def test_a_name_is_found_at_its_old_place_with_a_warning(old):
    name, new = NAMES[old]
    with pytest.warns(DeprecationWarning, match=rf"{old}.{name} is {new}.{name} now"):
        found = getattr(importlib.import_module(old), name)
    assert found is getattr(importlib.import_module(new), name)


def test_old_names_say_that_they_lack_what_the_new_ones_lack():
    with pytest.raises(AttributeError):
        importlib.import_module("modprompt.methods.groups").Nothing  # noqa: B018


def test_every_module_that_moved_is_where_the_table_says():
    for new in moved.MOVED.values():
        importlib.import_module(new)


def test_register_own_is_found_with_the_trainers():
    registration = importlib.import_module("modprompt.trainers.registration")
    with pytest.warns(DeprecationWarning, match=r"register_own is modprompt.register_own now"):
        assert registration.register_own is own.register_own
