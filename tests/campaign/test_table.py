"""The table that docs/campaign.md shows is one that the campaign prints."""

import re

from tests.campaign.parts import PARTS, ROOT

LEAST = {
    "hostile torch files": 500,
    "corruptions of files": 1000,
    "flipped bits": 2000,
    "kills of a training": 90,
    "kills of runs": 40,
}


def rows_of_page():
    """(name, tried, survived) of each row."""
    text = (ROOT / "docs" / "campaign.md").read_text()
    return [(name, int(a), int(b)) for name, a, b in re.findall(r"^\| ([^|]+) \| (\d+) \| (\d+) \| ", text, flags=re.M)]


def test_page_has_a_row_of_each_part_in_their_order():
    assert [name for name, _, _ in rows_of_page()] == [row for part in PARTS for row in part.rows]


def test_enough_was_tried_and_all_was_survived():
    tried = {name: number for name, number, _ in rows_of_page()}
    assert all(tried[name] >= least for name, least in LEAST.items())
    assert all(survived == number for _, number, survived in rows_of_page())
