import errno

import pytest

from modprompt.errors import UserError
from modprompt.io import safe_open
from modprompt.io.checkpoint_files import newest_checkpoint
from modprompt.io.safe_open import open_regular, read_bytes, read_text


def test_missing_files_stay_missing_files_and_all_else_is_a_line(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "a", tmp_path / "a" / "b", tmp_path / "file" / "below"):
        with pytest.raises(FileNotFoundError, match=f"no file at {path}"):
            open_regular(path)
    with pytest.raises(UserError, match="is a folder, not a file"):
        read_bytes(tmp_path)
    with pytest.raises(UserError, match="cannot read a.b"):
        read_bytes("a\0b")


def test_files_that_the_machine_cannot_open_now_are_not_called_unreadable(tmp_path, monkeypatch):
    def none_left(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(safe_open, "open", none_left, raising=False)
    with pytest.raises(OSError, match="Too many"):
        open_regular(tmp_path / "file")


def test_text_has_plain_ends_of_lines_and_no_mark_in_front(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"\xef\xbb\xbfa\r\nb\r")
    assert read_text(path) == "a\nb\n"
    path.write_bytes(b"\xff")
    with pytest.raises(UserError, match="is damaged: it is not UTF-8 text .* at byte 0"):
        read_text(path)


def test_pointer_leads_to_no_checkpoint_elsewhere(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "model-other").touch()
    for word in ("../model-other", str(tmp_path / "model-other"), "", "model/../../model-other"):
        (tmp_path / "run" / "checkpoint").write_text(word)
        with pytest.raises(UserError, match="there is: nothing"):
            newest_checkpoint(str(tmp_path / "run"))
