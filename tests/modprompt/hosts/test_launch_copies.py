"""Which copy of modprompt the launcher runs where a codebase has one of its own."""

import pytest

from modprompt.hosts import install
from tests.conftest import ROOT
from tests.modprompt.hosts.conftest import losses
from tests.modprompt.hosts.stand_in import run_in, write_host

pytestmark = pytest.mark.timeout(360)
START = ("-m", "modprompt.launch", "train.py")


@pytest.fixture
def host(tmp_path):
    """A codebase in which MPL is installed, by a copy that would tell."""
    folder = write_host(tmp_path / "host")
    assert install.main([str(folder)]) == 0
    version = folder / "modprompt" / "trainers" / "mpl.py"
    version.write_text(version.read_text() + "\nprint('the copy of the codebase')\n")
    return folder


@pytest.mark.slow
def test_the_environments_copy_runs_and_says_so(host, workshop):
    done = run_in(host, *START, *workshop.words("MPL", "output/run"))
    assert done.returncode == 0, done.stderr
    line = f"running {ROOT / 'modprompt'}; {host / 'modprompt'}, which is installed in this codebase, is not used"
    assert done.stdout.splitlines()[0] == line
    assert "the copy of the codebase" not in done.stdout
    assert losses(done.stdout) == pytest.approx(workshop.losses, abs=1e-4)


@pytest.mark.slow
def test_the_codebases_copy_runs_where_there_is_no_other(host, workshop):
    done = run_in(host, *START, *workshop.words("MPL", "output/run"), "OPTIM.MAX_EPOCH", "1", installed=True)
    assert done.returncode == 0, done.stderr
    assert "the copy of the codebase" in done.stdout
    assert "is not used" not in done.stdout


@pytest.mark.slow
def test_nothing_is_said_where_the_codebase_has_none(workshop, tmp_path):
    host = write_host(tmp_path / "host")
    done = run_in(host, *START, *workshop.words("MPL", "output/run"), "OPTIM.MAX_EPOCH", "x")
    assert done.returncode == 2
    assert "is not used" not in done.stdout
    assert len(done.stderr.strip().splitlines()) == 1
    assert "OPTIM.MAX_EPOCH" in done.stderr
