"""No setting of any method has a layer get more prompt tokens than there may be; nothing is allocated before."""

import pytest

from modprompt import Search
from modprompt.engine.schedule import MOST_TOKENS, Shape
from modprompt.errors import SettingError
from modprompt.methods.table import METHODS as ROWS
from tests.methods import small
from tests.work_time import work_within

METHODS = {row.name: row.method for row in ROWS}
NUMBERS = ("n_ctx", "n_ctx_text", "n_ctx_vision", "n_add_op")
CASES = [(name, one.field) for name, cls in METHODS.items() for one in cls.settings() if one.field in NUMBERS]
WRITTEN = [
    (name, one.field)
    for name, cls in METHODS.items()
    for one in cls.settings()
    if one.field.startswith(("schedule_", "lengths_"))
]


def refused(make, key):
    with work_within(seconds=5), pytest.raises(SettingError) as raised:
        make()
    assert key in [name for name, _ in raised.value.faults]
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(("name", "field"), CASES)
def test_number_of_tokens_names_its_setting(name, field):
    said = refused(lambda: small(METHODS[name], **{field: 100000}), field.upper())
    assert "at most" in said
    assert "got 100000" in said


@pytest.mark.parametrize(("name", "field"), WRITTEN)
def test_schedule_or_lengths_name_their_setting(name, field, clip_model):
    cls = METHODS[name]
    lengths = {one.field: () for one in cls.settings() if one.field.startswith("lengths_")}
    side = field.rpartition("_")[2]
    if field.startswith("lengths_"):
        lengths = {one: (1, 1, 1) for one in lengths} | {field: (1, 10**5, 1)}
    else:
        lengths |= {f"lengths_{other}": (1, 1, 1) for other in ("text", "vision") if other != side and lengths}
    steps = {field: [[0, 0], [0, 100000]]} if field.startswith("schedule_") else {}
    more = {"n_ctx_vision": 0} if field == "schedule_vision" and "n_ctx_vision" in cls.__dataclass_fields__ else {}
    method = small(cls, **lengths, **steps, **more)
    said = refused(lambda: method.on(clip_model, ["a", "b"]), field.upper())
    assert "would have 100000 prompt tokens, but at most 1024 are supported" in said or "must add tokens" in said


def test_product_of_two_settings_names_them(clip_model):
    method = small(METHODS["MPL"], n_ctx=40, n_add_op=40)
    said = refused(lambda: method.on(clip_model, ["a", "b"]), "N_ADD_OP")
    assert said.startswith(
        "N_ADD_OP 40 does not fit N_RM_OP 1: vision schedule, layer 1: this layer would have 1639 prompt tokens"
    )


def test_search_whose_slots_are_too_many_names_what_it_adds():
    method = small(METHODS["CoOp"], n_ctx=4)
    search = Search(add=64)
    assert max(search.widened(method, Shape(16, 16)).text.counts) == 964
    said = refused(lambda: search.widened(method, Shape(24, 24)), "SEARCH.ADD")
    assert str(MOST_TOKENS) in said
