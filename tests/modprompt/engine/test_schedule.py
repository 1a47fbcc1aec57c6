import pytest

from modprompt.engine.schedule import MOST_TOKENS, Schedule, by_lengths, check_depth, from_config, modular, shallow
from modprompt.errors import UserError


def test_mpl_reference_setting_gives_the_papers_token_counts():
    schedule = modular(12, depth=9, first=1, remove=1, add=2)
    assert schedule.counts == (1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9)
    assert schedule.depth == 9


def test_shallow_prompts_are_added_once_and_carried():
    assert list(shallow(3, 5)) == [(0, 5), (0, 0), (0, 0)]
    assert shallow(3, 5).counts == (5, 5, 5)
    assert shallow(3, 5).depth == 1


def test_config_steps_may_grow_and_shrink_and_are_carried_beyond_their_end():
    schedule = from_config([[0, 2], [1, 3], [4, 0]], 5, "vision", 2)
    assert schedule.counts == (2, 4, 0, 0, 0)


def test_table_shows_every_layer():
    lines = modular(4, depth=3, first=1, remove=1, add=2).table().splitlines()
    assert [line.split()[-4:] for line in lines] == [
        ["0", "1", "2", "3"],
        ["0", "1", "1", "0"],
        ["1", "2", "2", "0"],
        ["0", "0", "1", "3"],
        ["1", "2", "3", "3"],
    ]
    assert lines[0].startswith("vision layer")


@pytest.mark.parametrize(
    ("make", "given", "message"),
    [
        (
            Schedule,
            ([(0, 1), (0, 2), (4, 1)],),
            "layer 2: the step removes 4 prompt tokens, but this layer has only 3 to remove",
        ),
        (modular, (12, 3, 1, 2, 2), "layer 1: the step removes 2"),
        *((Schedule, ([(0, 3), step],), "layer 1: expected") for step in ((1,), (0, -1), "ab", (0, True))),
        (from_config, ([[0, 1]] * 3, 2, "text", 1), "has 3 steps, but the model has 2 text layers"),
        (check_depth, (0, 12), "PROMPT_DEPTH must be from 1 to 12"),
        (check_depth, (13, 12), "PROMPT_DEPTH must be from 1 to 12"),
        (
            Schedule,
            ([(0, 1), (0, MOST_TOKENS)],),
            "vision schedule, layer 1: this layer would have 1025 prompt tokens, but at most 1024 are supported",
        ),
        (by_lengths, ([0, 100000, 1], "text"), "text schedule, layer 1: this layer would have 100000"),
    ],
)
def test_what_is_no_schedule_is_refused_by_layer(make, given, message):
    with pytest.raises(UserError, match=message):
        make(*given)
