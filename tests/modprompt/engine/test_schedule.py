import pickle

import pytest

from modprompt.engine.schedule import (
    MOST_TOKENS,
    Schedule,
    by_lengths,
    check_depth,
    from_config,
    modular,
    replacement,
    shallow,
)
from modprompt.errors import UserError


def test_mpl_reference_setting_gives_the_papers_token_counts():
    schedule = modular(12, depth=9, first=1, remove=1, add=2)
    assert schedule.counts == (1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9)
    assert schedule.depth == 9


def test_replacement_keeps_the_count():
    assert replacement(12, 9, 4).counts == (4,) * 12
    assert replacement(12, 9, 4)[1] == (4, 4)
    assert replacement(12, 9, 4)[9] == (0, 0)


def test_shallow_prompts_are_added_once_and_carried():
    assert list(shallow(3, 5)) == [(0, 5), (0, 0), (0, 0)]
    assert shallow(3, 5).counts == (5, 5, 5)
    assert shallow(3, 5).depth == 1


def test_config_steps_may_grow_and_shrink_and_are_carried_beyond_their_end():
    schedule = from_config([[0, 2], [1, 3], [4, 0]], 5, "vision", 2)
    assert schedule.counts == (2, 4, 0, 0, 0)


def test_layer_that_removes_more_than_there_is_is_named():
    with pytest.raises(UserError, match=r"vision schedule, layer 2: removes 4 prompt tokens, but only 3 reach it"):
        Schedule([(0, 1), (0, 2), (4, 1)])


def test_modular_setting_that_would_eat_patches_is_refused():
    with pytest.raises(UserError, match="layer 1: removes 2"):
        modular(12, depth=3, first=1, remove=2, add=2)


@pytest.mark.parametrize("step", [(1,), (0, -1), (0, 1.5), "ab", (0, True)])
def test_step_that_is_no_pair_of_counts_is_refused(step):
    with pytest.raises(UserError, match="layer 1: expected"):
        Schedule([(0, 3), step])


def test_more_steps_than_layers_are_refused():
    with pytest.raises(UserError, match="3 steps given, but the model has 2 text layers"):
        from_config([[0, 1]] * 3, 2, "text", 1)


@pytest.mark.parametrize("depth", [0, 13])
def test_depth_beyond_the_layers_is_refused(depth):
    with pytest.raises(UserError, match="PROMPT_DEPTH must be from 1 to 12"):
        check_depth(depth, 12)


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


def test_schedule_survives_pickling():
    schedule = modular(4, depth=3, first=1, remove=1, add=2, side="text")
    again = pickle.loads(pickle.dumps(schedule))
    assert again == schedule
    assert again.side == "text"


def test_layer_has_at_most_so_many_tokens():
    assert Schedule([(0, MOST_TOKENS), (MOST_TOKENS, MOST_TOKENS)]).counts == (1024, 1024)
    with pytest.raises(
        UserError, match="vision schedule, layer 1: has 1025 prompt tokens, but a layer may have at most"
    ):
        Schedule([(0, 1), (0, 1024)])
    with pytest.raises(UserError, match="text schedule, layer 0: has 100000"):
        from_config([[0, 100000]], 3, "text", 0, "")
    with pytest.raises(UserError, match="text schedule, layer 1: has 100000"):
        by_lengths([0, 100000, 1], "text")
    with pytest.raises(UserError, match="layer 1: has 1000002 prompt tokens"):
        modular(12, 9, 2, 0, 10**6)
