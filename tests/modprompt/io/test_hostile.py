"""A table of readers and files: each reader meets each other kind of file, and files that execute something."""

import pytest

from tests import campaign

pytestmark = pytest.mark.filterwarnings("ignore")  # that TorchScript is deprecated


@pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.name) for kind in campaign.KINDS])
def test_file_of_another_kind_is_one_line_and_nothing_of_it_is_executed(kind, tmp_path):
    row = campaign.read_damaged(kind._replace(tries=1), tmp_path, seed=1, share=1.0)
    assert row.faults == []
    assert row.outcomes["refused in one line"] >= 10
