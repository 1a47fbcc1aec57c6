import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.hosts import combinations
from tests.hosts.combinations import CANNOT, OTHERS, UNKNOWN, WELL, Told, compare, draw
from tests.modprompt.hosts.stand_in import Traits

SEED = 1


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "number", [0, 1, 3]
)  # wilds is missing; another clip wins after an installation; no design word
def test_verdict_and_outcome_agree(number, workshop, tmp_path):
    line, is_right = compare(number, SEED, workshop, tmp_path)
    assert is_right, line


def test_draws_are_of_traits_that_there_are_and_depend_on_seed_and_number_alone():
    assert set(OTHERS) <= set(Traits._fields)
    drawn = [draw(number, SEED) for number in range(40)]
    assert drawn == [draw(number, SEED) for number in range(40)]
    assert drawn != [draw(number, SEED + 1) for number in range(40)]
    assert {name for traits in drawn for name in traits} == set(OTHERS)
    for traits in drawn:
        Traits(**traits)


@pytest.mark.parametrize(
    ("told", "is_right"),
    [
        (Told(0, WELL, CANNOT), True),
        (Told(1, WELL, CANNOT), False),
        (Told(0, WELL, WELL), False),
        (Told(0, WELL, UNKNOWN), False),
        (Told(1, CANNOT, CANNOT), False),
    ],
)
def test_wrong_verdict_is_noticed(told, is_right, monkeypatch, tmp_path):
    happens = {"launcher": WELL, "installer": CANNOT}
    then = told._replace(code=1) if is_right else told
    monkeypatch.setattr(combinations, "ask_doctor", lambda host, installed: then if installed else told)
    monkeypatch.setattr(combinations, "what_happens", lambda host, workshop, way, traits: happens[way])
    line, seen = compare(2, SEED, None, tmp_path)
    assert seen == is_right
    assert ("WRONG" in line) == (not is_right)


@pytest.mark.parametrize(
    ("told", "happens", "is_right"),
    [
        (Told(2, UNKNOWN, UNKNOWN), WELL, True),
        (Told(2, UNKNOWN, UNKNOWN), CANNOT, True),
        (Told(1, CANNOT, CANNOT), CANNOT, True),
        (Told(1, CANNOT, CANNOT), WELL, False),
        (Told(0, WELL, WELL), WELL, False),
        (Told(1, UNKNOWN, UNKNOWN), WELL, False),
    ],
)
def test_where_nobody_knows_a_flags_value_the_doctor_may_say_so_alone(told, happens, is_right):
    happened = {"launcher": happens, "installer": happens}
    assert combinations._is_right(told, "launcher", happened, {"unknown_flag": True}) == is_right


@pytest.mark.slow
def test_wrong_use_is_told():
    done = subprocess.run(
        [sys.executable, "-m", "tests.hosts.combinations", "x"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "NUMBER SEED" in done.stderr
