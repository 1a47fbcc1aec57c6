import os
import re
import subprocess
import sys
from itertools import groupby

import pytest

from modprompt.errors import UserError
from modprompt.hosts.trial.missing import BY_LAUNCHER, PIP
from tests.hosts import stand_ins
from tests.hosts.table import ASKED, HOSTS, KEEP


def test_every_row_can_be_found_and_fetched():
    assert len({host.name for host in HOSTS}) == len(HOSTS) == 34
    assert len({(host.checkout, host.root) for host in HOSTS}) == len(HOSTS)
    for host in HOSTS:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", host.address), host
        assert re.fullmatch(r"[0-9a-f]{7}", host.commit), host
        assert re.fullmatch(r"configs/datasets/[\w/]+\.yaml", host.dataset_config), host
    for _, rows in groupby(sorted(HOSTS), lambda host: host.checkout):
        assert len({(host.address, host.commit) for host in rows}) == 1


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.name)
def test_what_is_special_is_a_sentence_where_anything_is(host):
    own_words = host.flags or host.options or host.trainer != "MPL"
    assert host.special.endswith(".") if own_words or host.special else True
    assert len(host.options) % 2 == 0
    assert len(host.own_flags) % 2 == 0
    assert KEEP not in host.own_flags
    assert "TRAINER.NAME" not in host.own_options


def test_what_codebases_ask_for_is_known_to_the_check_and_to_the_doctor():
    assert {name for host in HOSTS for name in host.asks} == {*ASKED}
    assert {*ASKED} <= {*PIP}
    assert {*stand_ins.STANDS_IN} < {*ASKED}
    assert {"wilds", "pkg_resources"} <= {*BY_LAUNCHER}
    assert {package for host in HOSTS for package in host.packages} <= {*PIP.values()}  # the doctor names them all


@pytest.mark.parametrize(
    ("name", "called"), [("wilds", "wilds.get_dataset"), ("learn2learn", "learn2learn.utils.clone_module")]
)
def test_stand_ins_are_imported_and_not_called(name, called, tmp_path):
    where = stand_ins.put(name, tmp_path)
    assert stand_ins.put(name, tmp_path) == where == tmp_path / name  # it is there
    module, function = called.rsplit(".", 1)
    code = f"from {module} import {function}\nprint('imported')\n{function}()"
    environment = {**os.environ, "PYTHONPATH": str(where)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout == "imported\n"
    assert "it is imported, not called" in done.stderr


def test_package_that_pip_does_not_install_is_one_line(tmp_path):
    with pytest.raises(UserError, match="pip does not install setuptools<70"):
        stand_ins.put("pkg_resources", tmp_path, python="false")
