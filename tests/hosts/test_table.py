import re
from itertools import groupby

import pytest

from tests.hosts.table import HOSTS


def test_every_row_can_be_found_and_fetched():
    assert len({host.name for host in HOSTS}) == len(HOSTS) == 41
    assert len({(host.checkout, host.root) for host in HOSTS}) == len(HOSTS)
    for host in HOSTS:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", host.address), host
        assert re.fullmatch(r"[0-9a-f]{7}", host.commit), host
        assert re.fullmatch(r"configs/datasets/[\w/]+\.yaml", host.dataset_config), host
    for _, rows in groupby(sorted(HOSTS, key=lambda host: host.checkout), lambda host: host.checkout):
        assert len({(host.address, host.commit) for host in rows}) == 1


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.name)
def test_what_is_special_is_a_sentence_where_anything_is(host):
    if host.keep or host.differs or host.trainer != "MPL" or host.special:
        assert host.special.endswith(".")
