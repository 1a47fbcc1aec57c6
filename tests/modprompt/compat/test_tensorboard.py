"""TensorBoard's files of the small Dassl: where it is installed, each step once, and they end no run."""

import builtins
import errno
import os
import shutil
import threading

import pytest
from dassl.engine import TrainerBase

pytestmark = pytest.mark.skipif(
    not str(__import__("dassl").__file__).endswith("stand_in/dassl/__init__.py"), reason="the real Dassl is installed"
)


class Trainer(TrainerBase):
    """Five steps an epoch, some of which are done."""

    def __init__(self, done=0):
        super().__init__()
        self.start_epoch = done

    def steps_of_an_epoch(self):
        return 5


def written(folder, steps, value, done=0):
    trainer = Trainer(done)
    trainer.init_writer(str(folder))
    for step in steps:
        trainer.write_scalar("train/loss", value, step)
    trainer.close_writer()


def test_a_run_that_goes_on_has_each_step_once(tmp_path, monkeypatch):
    loading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    files = pytest.importorskip("tensorboard.summary.writer.event_file_writer")
    monkeypatch.setattr(files._global_uid, "_value", 9)  # names of one second are told apart by it, as texts
    before = threading.active_count()
    written(tmp_path, range(8), 1.0)  # killed in its second epoch
    written(tmp_path, range(5, 10), 2.0, done=1)
    assert threading.active_count() == before
    events = loading.EventAccumulator(str(tmp_path)).Reload().Scalars("train/loss")
    assert [(one.step, one.value) for one in events] == [(at, 1.0 if at < 5 else 2.0) for at in range(10)]


def test_nothing_is_written_before_it_is_asked_for_and_nothing_behind_the_end(tmp_path):
    trainer = Trainer()
    trainer.write_scalar("a", 1.0, 0)
    trainer.close_writer()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_goes_ends_no_run(tmp_path, capfd):
    pytest.importorskip("tensorboard")
    before, trainer = threading.active_count(), Trainer()
    trainer.init_writer(str(tmp_path / "in"))
    trainer.write_scalar("a", 1.0, 0)
    trainer._writer.flush()
    shutil.rmtree(tmp_path / "in")
    for step in range(1, 20):
        trainer.write_scalar("a", 1.0, step)
    trainer.close_writer()
    assert threading.active_count() == before
    assert not (tmp_path / "in").exists()
    out, err = capfd.readouterr()
    assert out.startswith("TensorBoard's files are not whole: ")
    assert len(out.splitlines()) == 1
    assert "Traceback" not in err


@pytest.mark.parametrize("room", [0, 1, 5])  # for so many numbers
def test_a_disk_without_room_ends_no_run(room, tmp_path, monkeypatch, capfd):
    records = pytest.importorskip("tensorboard.summary.writer.record_writer")
    written, write = [], records.RecordWriter.write

    def full(self, data):
        if len(written) >= room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(data)
        write(self, data)

    monkeypatch.setattr(records.RecordWriter, "write", full)
    before, trainer = threading.active_count(), Trainer()
    trainer.init_writer(str(tmp_path / "in"))
    for step in range(20):
        trainer.write_scalar("a", 1.0, step)
    trainer.close_writer()
    assert threading.active_count() == before
    out, err = capfd.readouterr()
    assert len(out.splitlines()) == 1
    assert "No space left on device" in out
    assert err == ""


@pytest.mark.skipif(os.name != "posix", reason="no such folder")
def test_a_folder_that_cannot_be_made_ends_no_run(tmp_path, capsys):
    pytest.importorskip("tensorboard")
    (tmp_path / "file").write_text("")
    trainer = Trainer()
    trainer.init_writer(str(tmp_path / "file" / "in"))
    trainer.write_scalar("a", 1.0, 0)
    assert capsys.readouterr().out.startswith("No TensorBoard files: ")


@pytest.mark.parametrize(
    "error", [ImportError("No module named 'tensorboard'\nmore"), AttributeError("module 'distutils' has no version")]
)
def test_without_the_package_there_are_none_and_it_is_said(error, tmp_path, monkeypatch, capsys):
    plain = builtins.__import__

    def lacking(name, *args, **kwargs):
        if name == "torch.utils.tensorboard":
            raise error
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", lacking)
    written(tmp_path / "in", range(3), 1.0)
    assert capsys.readouterr().out == f"No TensorBoard files ({str(error).splitlines()[0]}): pip install tensorboard\n"
    assert list(tmp_path.iterdir()) == []
