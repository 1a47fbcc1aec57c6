import hashlib
import warnings

import pytest

from modprompt.clips.package import import_clip
from modprompt.clips.published import hashes, warn_of_impostor


def test_every_name_of_the_clip_package_has_a_hash():
    found = hashes()
    assert len(found) == len(import_clip()._MODELS)
    assert {"ViT-B-16.pt", "RN50.pt"} <= set(found)
    assert all(len(digest) == 64 and not digest.strip("0123456789abcdef") for digest in found.values())


def test_file_with_openais_name_and_other_bytes_is_warned_of(tmp_path, monkeypatch):
    path = tmp_path / "ViT-B-16.pt"
    path.write_bytes(b"weights")
    with pytest.warns(UserWarning, match="has the name of OpenAI's weights, but its SHA-256 is not theirs"):
        warn_of_impostor(path)
    address = f"https://example.invalid/{hashlib.sha256(b'weights').hexdigest()}/ViT-B-16.pt"
    monkeypatch.setitem(import_clip()._MODELS, "ViT-B/16", address)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_impostor(path)
        warn_of_impostor(tmp_path / "RN50.pt")  # that it is missing is told elsewhere
        warn_of_impostor(tmp_path / "mine.pt")
