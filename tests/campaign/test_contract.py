"""The contract of all that reads files, over the campaign's kinds: a new kind is held to it, a new reader needs a kind.

A whole file is read. Where there is none, or a folder or a pipe, and where a file is empty, cut off, damaged, in
another encoding or of another structure (values of other types, of any depth and size, missing, twice, unknown), there
is a value, or one line that names the file; never another value where a checksum shows the damage. Nothing else
happens: no program runs, no connection is opened, nothing is written or left.
"""

from __future__ import annotations

import pytest

from tests.campaign import damage
from tests.campaign.kinds import all_kinds
from tests.campaign.kinds_learned import methods

QUICKLY, SLOWLY = 6, 60  # damaged files of each kind
LIKE_OTHERS = {f"checkpoint of {name}" for name in methods() if name not in ("CoOp", "MPL", "CoCoOp", "PromptSRC")}
LIKE_OTHERS |= {"demo.yaml", "dpl_base2new.yaml"}  # read by what reads others, too


CASES = [
    pytest.param(
        kind,
        count,
        id=f"{kind.name}, {count}",
        marks=[pytest.mark.slow] * (count == SLOWLY or kind.name in LIKE_OTHERS),
    )
    for kind in all_kinds()
    for count in (QUICKLY, SLOWLY)
]


@pytest.mark.filterwarnings("ignore")  # of readers, and of TorchScript
@pytest.mark.parametrize(("kind", "count"), CASES)
def test_reader_keeps_the_contract(kind, count, tmp_path):
    folder = tmp_path / "0"
    file = damage.whole(kind, folder)
    rows = damage.Counters.named(kind.name)
    damage.try_none(file, rows.of(kind), folder)
    damage.corrupt(file, rows, 1, count, folder)
    assert [fault for row in rows for fault in row.faults] == []
    assert sum(row.tried for row in rows) == len(damage.NO_FILE) + count
