"""Records of rounds: what is damaged is refused in a line, states of generators come back."""

import random

import numpy as np
import pytest
import torch

from modprompt.active import record
from modprompt.active.record import CHOSEN, TESTED
from modprompt.errors import UserError


@pytest.mark.parametrize("content", ["{", "[]", '{"number": 2, "settings": {}, "picks": [{"file": "x"}]}'])
def test_records_of_something_else_are_refused(tmp_path, content):
    (tmp_path / "round_2.json").write_text(content)
    with pytest.raises(UserError, match=r"round_2.json is damaged; to choose anew from round 2 on, move .*round_2\.\*"):
        record.read(tmp_path, 2)


def draws():
    return random.random(), random.gauss(0, 1), np.random.random_sample(), np.random.randn(), torch.rand(3).tolist()


def test_generators_go_on_where_they_were(tmp_path):
    random.gauss(0, 1), np.random.randn()  # both keep a second number for the next call
    record.keep_states(tmp_path, 0, CHOSEN)
    chosen = draws()
    record.keep_states(tmp_path, 0, TESTED)
    tested = draws()
    for after, wanted in ((CHOSEN, chosen), (TESTED, tested)):
        record.restore_states(tmp_path, 0, after)
        assert draws() == wanted


def test_states_that_are_gone_or_damaged_are_refused(tmp_path):
    said = r"cannot be restored \(no checkpoint at .*round_0.pt\); to choose anew from round 0 on"
    with pytest.raises(UserError, match=said):
        record.restore_states(tmp_path, 0, CHOSEN)
    record.keep_states(tmp_path, 0, CHOSEN)
    with pytest.raises(UserError, match=r"round_0.pt is not of such a round"):
        record.restore_states(tmp_path, 0, TESTED)
    path = tmp_path / "round_0.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"cannot be restored \(.*round_0.pt"):
        record.restore_states(tmp_path, 0, CHOSEN)
