import subprocess
import sys

import pytest

from modprompt.hosts.trial import HOST, LAUNCHER, LINE
from tests.conftest import ROOT
from tests.hosts.combinations import CANNOT, OTHERS, UNTRIED, WELL, Told, compare, draw, is_right
from tests.modprompt.hosts.stand_in import Traits

SEED = 1


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", [0, 1, 3])  # wilds is missing; another clip would win; no design word
def test_verdict_and_outcome_agree(number, workshop, tmp_path):
    line, right = compare(number, SEED, workshop, tmp_path)
    assert right, line


def test_draws_are_of_traits_that_there_are_and_depend_on_seed_and_number_alone():
    assert set(OTHERS) <= set(Traits._fields)
    drawn = [draw(number, SEED) for number in range(40)]
    assert drawn == [draw(number, SEED) for number in range(40)]
    assert drawn != [draw(number, SEED + 1) for number in range(40)]
    assert {name for traits in drawn for name in traits} == set(OTHERS)
    for traits in drawn:
        Traits(**traits)


ALL_WELL = {LINE: WELL, HOST: WELL, LAUNCHER: WELL}


@pytest.mark.parametrize(
    ("code", "states", "happened", "traits", "right"),
    [
        (0, {}, ALL_WELL, {}, True),
        (1, {}, ALL_WELL, {}, False),
        (0, {LAUNCHER: CANNOT}, ALL_WELL, {}, False),
        (0, {LAUNCHER: CANNOT}, {**ALL_WELL, LAUNCHER: CANNOT}, {}, True),
        (1, {LINE: CANNOT}, {**ALL_WELL, LINE: CANNOT}, {}, True),
        (0, {LINE: CANNOT}, {**ALL_WELL, LINE: CANNOT}, {}, False),
        (2, {LINE: UNTRIED}, ALL_WELL, {"eurosat": False}, True),
        (2, {LINE: UNTRIED}, ALL_WELL, {}, False),
        (0, {}, {HOST: WELL, LAUNCHER: WELL}, {}, False),
    ],
)
def test_wrong_verdict_is_noticed(code, states, happened, traits, right):
    assert is_right(Told(code, {**ALL_WELL, **states}), happened, traits) == right


@pytest.mark.slow
def test_wrong_use_is_told():
    done = subprocess.run(
        [sys.executable, "-m", "tests.hosts.combinations", "x"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "NUMBER SEED" in done.stderr
