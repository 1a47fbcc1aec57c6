"""Whose an output folder is, which weights its result is of, and who works in it."""

import hashlib
import subprocess
import sys

import pytest

from modprompt.errors import UserError
from modprompt.io import folder as run_folder
from modprompt.io import identity, lock, result
from modprompt.io.files import write_json
from modprompt.io.records import sealed
from tests.modprompt.io.test_lock import no_locks


def put(folder, **content):
    write_json(folder / result.FILE_NAME, sealed({"accuracy_pct": 50.0, "settings": {}, **content}, result.VERSION))
    return folder


def checkpoint(folder, text="weights", name="model.pth.tar-1", model="prompt_learner"):
    (folder / model).mkdir(parents=True, exist_ok=True)
    (folder / model / name).write_text(text)
    (folder / model / "checkpoint").write_text(f"{name}\n")
    return folder


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def test_an_empty_folder_is_anybodys(tmp_path):
    assert run_folder.read(tmp_path / "nothing").is_free
    (tmp_path / "config.yaml").write_text("TRAINER: {NAME: CoOp}\n")  # of a start that came to nothing
    assert run_folder.read(tmp_path).is_free
    run_folder.require_own(str(tmp_path), "MPL", True)


@pytest.mark.parametrize("trains", [True, False])
def test_another_trainers_folder_is_refused(tmp_path, trains):
    put(checkpoint(tmp_path), trainer="CoOp")
    with pytest.raises(UserError) as caught:
        run_folder.require_own(str(tmp_path), "MPL", trains)
    kind = "training" if trains else "test"
    assert (
        str(caught.value)
        == f"{tmp_path} contains a training of CoOp. Use a different --output-dir for this {kind} of MPL."
    )


def test_an_unfinished_trainings_folder_is_its_trainers(tmp_path):
    (tmp_path / run_folder.STATE).write_text("state")
    (tmp_path / "config.yaml").write_text("TRAINER:\n  NAME: CoOp\n")
    with pytest.raises(UserError, match="contains a training of CoOp"):
        run_folder.require_own(str(tmp_path), "MPL", True)
    run_folder.require_own(str(tmp_path), "CoOp", True)


def test_whoever_takes_a_folder_for_a_run_is_asked_which(tmp_path):
    put(checkpoint(tmp_path), trainer="CoOp")
    for _ in range(2):  # it is given free again
        with pytest.raises(UserError, match="contains a training of CoOp. .* for this run of MPL"):
            run_folder.keep(tmp_path, "MPL")
        assert not run_folder.is_held(tmp_path)
    with run_folder.hold(tmp_path, "CoOp", True) as said:
        assert said == ""
        assert run_folder.keep(tmp_path, "MPL") == ""  # who holds it has asked


def test_a_training_and_a_test_do_not_share_a_folder(tmp_path):
    put(checkpoint(tmp_path / "training"), trainer="MPL")
    put(checkpoint(tmp_path / "damaged"), trainer="MPL")
    (tmp_path / "damaged" / result.FILE_NAME).write_text("{")
    put(checkpoint(tmp_path / "test", model="..") / "..", trainer="MPL")
    put(tmp_path / "test", trainer="MPL", evaluated="elsewhere epoch last")
    for name in ("training", "damaged"):
        with pytest.raises(UserError, match="contains a training.* Use a different --output-dir for this test of MPL"):
            run_folder.require_own(str(tmp_path / name), "MPL", False)
        run_folder.require_own(str(tmp_path / name), "MPL", True)
    with pytest.raises(UserError, match="contains a test of elsewhere epoch last of MPL"):
        run_folder.require_own(str(tmp_path / "test"), "MPL", True)
    run_folder.require_own(str(tmp_path / "test"), "MPL", False)


def test_a_tests_result_in_the_place_of_a_trainings_is_none_of_it(tmp_path):
    put(checkpoint(tmp_path), trainer="MPL", evaluated="here epoch 1")
    assert run_folder.of_training(tmp_path) == (None, "result.json belongs to a test of here epoch 1")
    put(tmp_path, trainer="MPL", evaluated="")
    assert run_folder.of_training(tmp_path).result["trainer"] == "MPL"


def place(folder, model_dir, epoch=None, name="Digits", classes="new", root="data", **settings):
    data = {"NAME": name, "SUBSAMPLE_CLASSES": classes, "ROOT": root}
    return run_folder.place_of_test(folder, model_dir, epoch, data, settings)


def test_a_test_of_the_training_in_a_folder_lies_below_it(tmp_path):
    here = str(checkpoint(checkpoint(tmp_path), name="model.pth.tar-2"))
    assert place(here, here) == f"{here}/tests/model.pth.tar-2_Digits_new"
    assert place(here, f"{here}/.", 1, "a b/c", "all") == f"{here}/tests/model.pth.tar-1_a_b_c_all"
    assert place(f"{here}/other", here) == f"{here}/other"
    (tmp_path / "tests" / "model.pth.tar-2_Digits_new").mkdir(parents=True)
    assert run_folder.weights_of(here)["name"] == "prompt_learner/model.pth.tar-2"  # tests are no model's folder
    with pytest.raises(UserError, match="model.pth.tar-7 does not exist"):
        place(here, here, 7)
    with pytest.raises(UserError, match="--model-dir .*gone contains no checkpoint. Train a model first"):
        place(f"{here}/gone", f"{here}/gone")


def test_another_test_of_that_name_has_another_place(tmp_path):
    here = str(checkpoint(tmp_path))
    first = tmp_path / "tests" / "model.pth.tar-1_Digits_new"
    put(first, settings={"A": "1"})
    (first / "config.yaml").write_text("DATASET: {ROOT: data}\n")
    assert place(here, here, A="1") == str(first)
    with run_folder.hold(first):
        assert place(here, here, A="1") == f"{first}_2"
    assert place(here, here, A="2") == place(here, here, root="other", A="1") == f"{first}_2"


def test_whether_a_test_is_of_the_weights_that_are_there(tmp_path):
    checkpoint(tmp_path, "weights")

    def other_weights(result, epoch, trained=None):
        return identity.of_other_weights(result, lambda: run_folder.weights_hash(tmp_path, epoch), trained)

    mine, other = ({"checkpoint": {"name": "a/b", "hash": digest(text)}} for text in ("weights", "others"))
    assert not other_weights(mine, None)
    assert other_weights(other, None)
    assert other_weights(mine, 7)  # there is none
    assert other_weights({}, None)  # nobody knows
    assert not other_weights({}, None, {})  # nor of the training: as before
    assert other_weights({}, None, mine)  # it was made behind that test
    assert other_weights(mine, None, other)
    same = {"prompts_hash": "a"}
    assert not other_weights({**same, **other}, None, same)
    assert other_weights({"prompts_hash": "a", **mine}, None, {"prompts_hash": "b"})


def test_where_a_training_began(tmp_path):
    folder = str(checkpoint(tmp_path, "weights"))
    assert run_folder.resumed_from("") == ""
    assert run_folder.resumed_from(folder) == digest("weights")

    def differing(result, resume):
        now = run_folder.resumed_from(resume)
        return identity.differing_beginning(result.get(identity.BEGAN_FROM), now, resume)

    began = {"began_from": digest("weights")}
    assert differing(began, folder) == []
    assert "checkpoint of another training (--resume)" in differing(began, "")[0]
    assert differing(began, str(tmp_path / "gone")) == []
    for other in ({"began_from": ""}, {"began_from": digest("others")}):
        assert differing(other, folder) == [f"the run did not start from the checkpoint in {folder}"]
    assert differing({}, folder) == []  # of a version that did not record it
    (tmp_path / run_folder.STATE).write_text("")  # from there it goes on exactly
    assert run_folder.resumed_from(folder) == ""


# ---------------------------------------------------------------------- who works in it

HOLD = "import sys; from modprompt.io import folder\nwith folder.hold(sys.argv[1]): print('held')"


def held_elsewhere(path):
    """What another process says that holds a run_folder."""
    return subprocess.run([sys.executable, "-c", HOLD, str(path)], capture_output=True, text=True, timeout=60)


@pytest.mark.slow
def test_folder_is_one_processs_at_a_time(tmp_path):
    with run_folder.hold(tmp_path):
        run_folder.keep(tmp_path / ".")
        with run_folder.hold(tmp_path):  # a block within a block does not give it free
            pass
        other = held_elsewhere(tmp_path)
        assert other.returncode == 1
        assert f"Another run is active in {tmp_path}. Wait until that run ends" in other.stderr
    assert held_elsewhere(tmp_path).stdout == "held\n"


@pytest.mark.slow
def test_who_starts_a_run_is_alone_but_for_the_run(tmp_path):
    with run_folder.starting(tmp_path) as held:
        assert run_folder.is_held(tmp_path)
        assert not run_folder.is_held(tmp_path, (run_folder.LOCK,))
        with pytest.raises(lock.Busy, match="Another run is active in"), run_folder.starting(tmp_path):
            pass
        assert held_elsewhere(tmp_path).stdout == "held\n"
        assert held.is_there()
    assert not run_folder.is_held(tmp_path)
    with run_folder.hold(tmp_path), pytest.raises(lock.Busy), run_folder.starting(tmp_path):
        pass
    assert not run_folder.is_held(tmp_path)


def test_leftovers_of_killed_writers_go_when_the_folder_is_taken_but_those_of_other_runs(tmp_path):
    end = "0123456789abcdef.part"
    left = [tmp_path / f"{name}.{end}" for name in ("prompt_learner/.model.pth.tar-1", "test/.wrong.csv", ".steps.csv")]
    others = [tmp_path / f"{name}.{end}" for name in ("run/.training_state.pth.tar", "features/.Digits_test.npz")]
    with run_folder.hold(tmp_path / "run"):
        for path in (*left, *others):
            path.parent.mkdir(exist_ok=True)
            path.write_text("being written")
        with run_folder.hold(tmp_path):
            assert [path.exists() for path in (*left, *others)] == [False] * 3 + [True] * 2


@pytest.mark.filterwarnings("always:.*no file locks:UserWarning")
def test_file_system_without_locks_gives_a_warning_and_the_run_goes_on(tmp_path, monkeypatch):
    no_locks(monkeypatch)
    for use in (run_folder.starting, run_folder.hold):
        with (
            pytest.warns(UserWarning, match="has no file locks, so two processes could write to the same folder"),
            use(tmp_path),
        ):
            assert not run_folder.is_held(tmp_path)


def test_lock_that_cannot_be_made_or_is_a_link_is_named(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="Cannot write to --output-dir .*file"), run_folder.hold(tmp_path / "file"):
        pass
    (tmp_path / run_folder.LOCK).parent.mkdir()
    (tmp_path / run_folder.LOCK).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="Cannot write to --output-dir .*symbolic links: .*job/lock"):
        run_folder.take(tmp_path)


@pytest.mark.filterwarnings("ignore:.*no file locks:UserWarning")
@pytest.mark.parametrize("what", ["deleted", "replaced", "deleted, without locks"])
def test_folder_that_was_deleted_or_replaced_is_noticed(what, tmp_path, monkeypatch):
    if "without" in what:
        no_locks(monkeypatch)
    run = tmp_path / "run"
    run_folder.require_still(run)
    with run_folder.hold(""):
        run_folder.require_still("")
    with run_folder.hold(run):
        run_folder.require_still(run)
        run.rename(tmp_path / "elsewhere")
        if what == "replaced":
            (run / run_folder.LOCK).parent.mkdir(parents=True)
            (run / run_folder.LOCK).touch()
        with pytest.raises(UserError, match=f"The output folder {run} was deleted or replaced while"):
            run_folder.require_still(run)
    assert run.exists() is (what == "replaced")
