import os
import shutil

import pytest

from modprompt.errors import UserError
from modprompt.io.checkpoint import find_checkpoint
from modprompt.trainers import run_folder


def make(folder, *names, pointer=None):
    for name in names:
        (folder / name).write_bytes(b"")
    if pointer is not None:
        (folder / "checkpoint").write_text(pointer)
    return str(folder)


def test_best_comes_before_newest(tmp_path):
    folder = make(tmp_path, "model-best.pth.tar", "model.pth.tar-5", pointer="model.pth.tar-5\n")
    assert find_checkpoint(folder).endswith("model-best.pth.tar")
    assert find_checkpoint(folder, 5).endswith("model.pth.tar-5")


def test_pointer_names_the_newest(tmp_path):
    folder = make(tmp_path, "model.pth.tar-2", "model.pth.tar-5", pointer="model.pth.tar-2")
    assert find_checkpoint(folder).endswith("-2")


def test_without_a_pointer_the_highest_epoch_counts_as_in_published_folders(tmp_path):
    assert find_checkpoint(make(tmp_path, "model.pth.tar-9", "model.pth.tar-50")).endswith("-50")


def test_what_is_missing_is_named_with_what_is_there(tmp_path):
    with pytest.raises(UserError, match="model.pth.tar-7 does not exist in .*Available checkpoints: model.pth.tar-5"):
        find_checkpoint(make(tmp_path, "model.pth.tar-5", "model.pth.tar-6.part"), 7)
    with pytest.raises(UserError, match="Available checkpoints: none"):
        find_checkpoint(str(_empty(tmp_path)))
    with pytest.raises(UserError, match="because the folder .* does not exist"):
        find_checkpoint(str(tmp_path / "nothing"))


def _empty(folder):
    (folder / "empty").mkdir()
    return folder / "empty"


@pytest.mark.parametrize("pointer", [b"\xff\xfe\x00", b"x" * 60000, b"\x1b[31m", b"../a\n", b"[" * 5000, b"\n", b""])
def test_pointer_that_names_nothing_here_is_a_short_line(pointer, tmp_path):
    folder = make(tmp_path, "model.pth.tar-5")
    (tmp_path / "checkpoint").write_bytes(pointer)
    with pytest.raises(UserError, match="does not exist in .*Available checkpoints: model.pth.tar-5") as raised:
        find_checkpoint(folder)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 600


def test_names_whose_number_is_none_come_last(tmp_path):
    names = ("model.pth.tar-²", f"model.pth.tar-{'9' * 200}", "model.pth.tar-3")
    assert find_checkpoint(make(tmp_path, *names)).endswith("-3")


def kept_run(folder, links=True):
    """A run's folder with a kept checkpoint of the model M, whose own folder is gone."""
    model = folder / "M"
    model.mkdir(parents=True)
    path = model / "model.pth.tar-2"
    path.write_bytes(b"weights")
    run_folder.keep_checkpoint(str(path), str(folder))
    kept = folder / "job" / "kept" / "M" / path.name
    assert (kept.stat().st_ino == path.stat().st_ino) == links
    shutil.rmtree(model)
    return kept


@pytest.mark.parametrize("links", [True, False])
def test_kept_checkpoint_is_what_the_training_saved_and_only_where_its_own_is_gone(links, tmp_path, monkeypatch):
    def refuses(*_):
        raise OSError("no links here")

    if not links:
        monkeypatch.setattr(os, "link", refuses)
    kept = kept_run(tmp_path, links)
    assert run_folder.kept_checkpoint(str(tmp_path), "M") == str(kept)
    kept.write_bytes(b"changed")
    assert run_folder.kept_checkpoint(str(tmp_path), "M") == ""
    kept.write_bytes(b"weights")
    (tmp_path / "M").mkdir()
    assert run_folder.kept_checkpoint(str(tmp_path), "M") == ""
    run_folder.forget_kept(str(tmp_path))
    assert not (tmp_path / "job" / "kept").exists()
