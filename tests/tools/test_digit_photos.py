"""Digits as a folder of one's own images."""

from PIL import Image

from modprompt.data.readers.digits import CLASS_NAMES
from tools import digit_photos


def test_class_folders_and_other_images_beside_them(tmp_path):
    digit_photos.write(tmp_path)
    digit_photos.write(tmp_path)  # again: the same files
    folders = sorted(path.name for path in (tmp_path / "images").iterdir())
    assert folders == sorted(CLASS_NAMES)
    assert all(len(list((tmp_path / "images" / name).iterdir())) == 40 for name in folders)
    new = sorted((tmp_path / "new").iterdir())
    assert [path.name for path in new[:2]] == ["eight_40.png", "eight_41.png"]
    assert len(new) == 2 * len(CLASS_NAMES)
    pixels = {path: Image.open(path).tobytes() for path in tmp_path.rglob("*.png")}
    assert not {pixels[path] for path in new} & {pixels[path] for path in pixels if path not in new}
