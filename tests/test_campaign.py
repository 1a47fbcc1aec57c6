"""A little of `make campaign` (tests/campaign.py), and the table of it that docs/reliability.md shows."""

import pickle
import re

import numpy as np
import pytest
import torch

from modprompt.errors import UserError
from tests import campaign
from tests.conftest import ROOT

pytestmark = pytest.mark.filterwarnings("ignore")  # that TorchScript is deprecated
BY_NAME = {kind.name: kind for kind in campaign.KINDS}


@pytest.mark.parametrize("share", [0.03, pytest.param(0.1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", BY_NAME)
def test_file_of_each_kind_is_survived_in_any_state(name, share, tmp_path):
    row = campaign.read_damaged(BY_NAME[name], tmp_path, 1, share)
    assert row.faults == []
    assert row.outcomes["refused in one line"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(("name", "share"), [(campaign.KILLS, 0.02), (campaign.FULL_DISK, 0.1)])
def test_disturbed_training_ends_with_the_same_losses(name, share, capfd):
    assert campaign.main(["--only", name, "--share", str(share)]) == 0, capfd.readouterr().out


@pytest.mark.parametrize(
    ("read", "fault"),
    [
        (lambda path: path.read_bytes(), "other values are read"),
        (lambda path: 1 / 0, "ZeroDivisionError"),
        (lambda path: exec("raise UserError('two\\nlines')", {"UserError": UserError}), "not one line"),
        (lambda path: pickle.loads(path.read_bytes()), "it was executed"),
        (lambda path: torch.load(path, weights_only=False), "it was executed"),
        (lambda path: torch.jit.load(path), "it was executed"),
        (lambda path: np.load(path, allow_pickle=True)["a"], "it was executed"),
    ],
)
def test_reader_that_trusts_its_file_is_a_fault(read, fault, tmp_path):
    row = campaign.read_damaged(BY_NAME["result.json"]._replace(read=read, tries=5), tmp_path, 1, 1)
    assert any(fault in line for line in row.faults)


def test_page_has_a_row_of_each():
    page = (ROOT / "docs" / "reliability.md").read_text()
    rows = re.findall(r"^\| ([^|]+?)(?: \(no checksum\))? \| (\d+) \| ", page, flags=re.M)
    assert [name for name, _ in rows] == [*campaign.ROWS]
    assert all(int(tried) >= 40 for _, tried in rows)
