"""The table that the README shows is one that the campaign prints."""

import re

from tests.campaign.parts import PARTS, ROOT

LEAST = {
    "hostile torch files": 500,
    "corruptions of files": 1000,
    "flipped bits": 2000,
    "kills of a training": 90,
    "kills of runs": 40,
}


def rows_of_readme():
    """(name, tried, survived) of each row of its section "Reliability"."""
    section = re.search(r"^## Reliability\n(.*?)^## ", (ROOT / "README.md").read_text(), flags=re.S | re.M).group(1)
    return [
        (name, int(a), int(b)) for name, a, b in re.findall(r"^\| ([^|]+) \| (\d+) \| (\d+) \| ", section, flags=re.M)
    ]


def test_readme_has_a_row_of_each_part_in_their_order():
    assert [name for name, _, _ in rows_of_readme()] == [row for part in PARTS for row in part.rows]


def test_enough_was_tried_and_all_was_survived():
    tried = {name: number for name, number, _ in rows_of_readme()}
    assert all(tried[name] >= least for name, least in LEAST.items())
    assert all(survived == number for _, number, survived in rows_of_readme())
