"""A little of the parts that kill, that start many at once, and that give too little."""

from __future__ import annotations

import pytest

from tests.campaign.a_little import tried

SHARES = {
    "kills-of-splits": 0.02, "kills-of-a-training": 0.02, "kills-of-a-search": 0.02, "kills-of-rounds": 0.01,
    "limits": 0.02, "at-once": 0.15, "kills-of-runs": 0.05,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARES)
def test_part_tries_a_little_and_all_is_survived(tmp_path, name):
    figures = tried(name, tmp_path, 1, SHARES[name], limit_s=300)
    assert sum(figure.tried for figure in figures) > 0
    assert [fault for figure in figures for fault in figure.faults] == []
