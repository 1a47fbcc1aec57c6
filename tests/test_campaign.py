"""A little of `make campaign` (tests/campaign.py)."""

import pickle

import pytest

from tests import campaign

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


def test_reader_that_trusts_its_file_is_a_fault(tmp_path):
    trusting = BY_NAME["result.json"]._replace(read=lambda path: pickle.loads(path.read_bytes()), tries=5)
    row = campaign.read_damaged(trusting, tmp_path, 1, 1)
    assert any("it was executed" in line for line in row.faults)
