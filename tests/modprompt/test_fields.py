import dataclasses
from dataclasses import dataclass

import pytest

import modprompt
from modprompt.errors import SettingError
from modprompt.fields import Configured, changed, setting
from modprompt.methods.table import METHODS


@dataclass(frozen=True, repr=False)
class Group(Configured):
    """Settings of others."""

    weight: float = setting(0.0, "a weight", least=0)


@dataclass(frozen=True, repr=False)
class Example(Group):
    """A configured thing."""

    node = "TRAINER.EXAMPLE"

    n_ctx: int = setting(2, "tokens", least=1)
    words: str = setting("a photo", "words", choices=("a photo", "art"))
    schedule: tuple = setting((), "steps")
    own: bool = setting(False, "whether", key="CSC")


def test_repr_is_code_with_what_differs_from_the_defaults():
    made = Example(n_ctx=3, schedule=[[0, 1], [1, 2]], weight=2)
    assert repr(made) == "Example(n_ctx=3, schedule=[[0, 1], [1, 2]], weight=2)"
    assert eval(repr(made)) == made  # noqa: S307 - our own code
    assert repr(Example()) == "Example()"


@pytest.mark.parametrize("row", METHODS, ids=lambda row: row.name)
def test_methods_are_frozen_equal_by_value_and_code(row):
    made = row.method()
    assert eval(repr(made), vars(modprompt) | {row.name: row.method}) == made  # noqa: S307
    assert hash(made) == hash(row.method())
    if made.settings():
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, made.settings()[0].field, 1)


def test_own_settings_stand_in_front_of_a_groups():
    assert [one.field for one in Example.settings()] == ["n_ctx", "words", "schedule", "own", "weight"]


def test_values_come_in_the_settings_own_type():
    made = Example.of({"N_CTX": 4, "CSC": True, "weight": 3, "SCHEDULE": [[0, 1]]})
    assert (made.n_ctx, made.own, made.weight, made.schedule) == (4, True, 3.0, ((0, 1),))
    assert isinstance(made.weight, float)
    assert made.as_config() == {"N_CTX": 4, "WORDS": "a photo", "SCHEDULE": [[0, 1]], "CSC": True, "WEIGHT": 3}
    assert made.changed() == {"n_ctx": 4, "own": True, "weight": 3, "schedule": [[0, 1]]}


def test_all_faults_are_named_at_once():
    with pytest.raises(SettingError) as raised:
        Example(n_ctx=0, words="x", weight=float("inf"), own=1)
    assert str(raised.value) == (
        "N_CTX must be at least 1, got 0. WORDS must be one of a photo, art, got 'x'. "
        "CSC must be True or False, got 1. WEIGHT must be a number from 0 up, got inf."
    )
    assert [name for name, _ in raised.value.faults] == ["N_CTX", "WORDS", "CSC", "WEIGHT"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n_ctx": "2"}, "N_CTX must be a whole number, got '2'"),
        ({"n_ctx": True}, "N_CTX must be a whole number, got True"),
        ({"n_ctx": 2.5}, "N_CTX must be a whole number, got 2.5"),
        ({"words": 3}, "WORDS must be a string, got 3"),
        ({"weight": "much"}, "WEIGHT must be a number, got 'much'"),
        ({"weight": -1}, "WEIGHT must be a number from 0 up, got -1"),
        ({"schedule": 3}, r"SCHEDULE must be a list of \[remove, add\] pairs, got 3"),
    ],
)
def test_wrong_types_and_bounds(given, message):
    with pytest.raises(SettingError, match=message):
        Example(**given)


@pytest.mark.parametrize(("name", "near"), [("N_CTXT", "N_CTX"), ("weigth", "weight")])
def test_unknown_names_propose_the_nearest(name, near):
    with pytest.raises(SettingError, match=f"Example: unknown name '{name}'. Did you mean '{near}'"):
        Example.of({name: 1})


def test_a_base_classes_field_with_another_default_keeps_its_meaning_and_bounds():
    @dataclass(frozen=True, repr=False)
    class Other(Example):
        n_ctx: int = changed(Example, "n_ctx", 5)

    assert Other().n_ctx == 5
    assert next(one for one in Other.settings() if one.field == "n_ctx").meaning == "tokens"
    with pytest.raises(SettingError, match="N_CTX must be at least 1"):
        Other(n_ctx=0)


def test_a_setting_given_twice_is_refused():
    with pytest.raises(SettingError, match="N_CTX is given twice"):
        Example.of({"n_ctx": 1, "N_CTX": 2})


def test_a_whole_number_too_large_for_one_with_a_point_is_refused():
    with pytest.raises(SettingError, match="WEIGHT must be a number from 0 up, got inf"):
        Example(weight=10**400)
