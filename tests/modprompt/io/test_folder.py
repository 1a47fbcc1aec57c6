import subprocess
import sys

import pytest

from modprompt.errors import UserError
from modprompt.io import folder
from tests.modprompt.io.test_lock import no_locks

HOLD = "import sys; from modprompt.io import folder\nwith folder.hold(sys.argv[1]): print('held')"


def held_elsewhere(path):
    """What another process says that holds a folder."""
    return subprocess.run([sys.executable, "-c", HOLD, str(path)], capture_output=True, text=True, timeout=60)


@pytest.mark.slow
def test_folder_is_one_processs_at_a_time(tmp_path):
    with folder.hold(tmp_path):
        folder.keep(tmp_path / ".")
        with folder.hold(tmp_path):  # a block within a block does not give it free
            pass
        other = held_elsewhere(tmp_path)
        assert other.returncode == 1
        assert f"another run is at work in {tmp_path}: wait for its end" in other.stderr
    assert held_elsewhere(tmp_path).stdout == "held\n"


@pytest.mark.slow
def test_who_starts_a_run_is_alone_but_for_the_run(tmp_path):
    with folder.starting(tmp_path) as held:
        assert folder.is_held(tmp_path)
        assert not folder.is_held(tmp_path, (folder.LOCK,))
        with pytest.raises(folder.Busy, match="another run is at work in"), folder.starting(tmp_path):
            pass
        assert held_elsewhere(tmp_path).stdout == "held\n"
        assert held.is_there()
    assert not folder.is_held(tmp_path)
    with folder.hold(tmp_path), pytest.raises(folder.Busy), folder.starting(tmp_path):
        pass
    assert not folder.is_held(tmp_path)


def test_leftovers_of_killed_writers_go_when_the_folder_is_taken_but_those_of_other_runs(tmp_path):
    end = "0123456789abcdef.part"
    left = [tmp_path / f"{name}.{end}" for name in ("prompt_learner/.model.pth.tar-1", "test/.wrong.csv", ".steps.csv")]
    others = [tmp_path / f"{name}.{end}" for name in ("run/.training_state.pth.tar", "features/.Digits_test.npz")]
    with folder.hold(tmp_path / "run"):
        for path in (*left, *others):
            path.parent.mkdir(exist_ok=True)
            path.write_text("being written")
        with folder.hold(tmp_path):
            assert [path.exists() for path in (*left, *others)] == [False] * 3 + [True] * 2


@pytest.mark.filterwarnings("always:.*no file locks:UserWarning")
def test_file_system_without_locks_gives_a_warning_and_the_run_goes_on(tmp_path, monkeypatch):
    no_locks(monkeypatch)
    for use in (folder.starting, folder.hold):
        with pytest.warns(UserWarning, match="no file locks, so nothing keeps two runs apart"), use(tmp_path):
            assert not folder.is_held(tmp_path)


def test_lock_that_cannot_be_made_or_is_a_link_is_named(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="--output-dir: cannot write into .*file"), folder.hold(tmp_path / "file"):
        pass
    folder.path_of(tmp_path).parent.mkdir()
    folder.path_of(tmp_path).symlink_to(tmp_path / "elsewhere")
    for use in (folder.take, folder.is_held):
        with pytest.raises(UserError, match="job/lock is a link: remove it"):
            use(tmp_path)


@pytest.mark.filterwarnings("ignore:.*no file locks:UserWarning")
@pytest.mark.parametrize("what", ["deleted", "replaced", "deleted, without locks"])
def test_folder_that_was_deleted_or_replaced_is_noticed_and_one_that_is_not_kept_is_nobodys(
    what, tmp_path, monkeypatch
):
    if "without" in what:
        no_locks(monkeypatch)
    run = tmp_path / "run"
    folder.require_still(run)
    with folder.hold(""):
        folder.require_still("")
    with folder.hold(run):
        folder.require_still(run)
        run.rename(tmp_path / "elsewhere")
        if what == "replaced":
            folder.path_of(run).parent.mkdir(parents=True)
            folder.path_of(run).touch()
        with pytest.raises(UserError, match=f"the output folder {run} was deleted or replaced while"):
            folder.require_still(run)
    assert run.exists() is (what == "replaced")
