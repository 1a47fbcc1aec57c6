"""Images by content, whatever they are called; on the small Dassl and on a stand-in of the real one."""

import io
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from dassl.config import get_cfg_default
from dassl.data.data_manager import DatasetWrapper
from dassl.data.datasets import Datum
from PIL import Image

from modprompt.errors import UserError
from modprompt.io.files import Refused
from modprompt.io.image_files import FAMILY, FORMATS, PEOPLE, as_people, opened, read_rgb, rule_of
from modprompt.trainers.config import add_family_defaults
from tests.conftest import ROOT

PIXELS = np.arange(12 * 10 * 3, dtype=np.uint8).reshape(10, 12, 3)
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(ran) print quit\n%%EOF\n"


def encoded(kind, pixels=PIXELS):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return file.getvalue()


OTHERS = {
    "eps": EPS,
    "pdf": b"%PDF-1.4\n1 0 obj\n<< >>\nendobj\n%%EOF\n",
    "html": b"<!DOCTYPE html><title>not an image</title>",
    "empty": b"",
    **{kind: encoded(kind, np.zeros((16, 16, 3), np.uint8)) for kind in ("ICO", "TGA")},
}


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read_by_its_content(kind, tmp_path):
    (tmp_path / "image.eps").write_bytes(encoded(kind))
    image = read_rgb(tmp_path / "image.eps")
    assert (image.mode, image.size) == ("RGB", (12, 10))
    if kind not in ("JPEG", "GIF"):  # which lose something
        assert np.array_equal(np.asarray(image), PIXELS)


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_image_of_data_sets_is_refused_and_nothing_is_started(kind, tmp_path, monkeypatch):
    for module, name in ((subprocess, "Popen"), (subprocess, "check_call"), (os, "system")):
        monkeypatch.setattr(module, name, lambda *args, **_: pytest.fail(f"a program was started: {args}"))
    (tmp_path / "image.png").write_bytes(OTHERS[kind])
    with pytest.raises(
        UserError,
        match=r"^Cannot read the image .*its format is not supported. Supported formats are JPEG, PNG,.*Replace the file\.$",
    ):
        read_rgb(tmp_path / "image.png")


@pytest.mark.parametrize("kind", FORMATS)
def test_truncated_image_is_one_line(kind, tmp_path):
    whole = encoded(kind, np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8))
    for share in (0.01, 0.6):
        (tmp_path / "image.png").write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(UserError, match="^Cannot read the image .*$"):
            read_rgb(tmp_path / "image.png")


def test_image_above_pillows_bound_is_refused_and_a_large_one_warned_of(tmp_path, monkeypatch):
    (tmp_path / "large.png").write_bytes(encoded("PNG"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.warns(Image.DecompressionBombWarning, match=r"120 pixels\) exceeds limit of 100"):
        assert read_rgb(tmp_path / "large.png").size == (12, 10)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(UserError, match=r"^Cannot read the image .*120 pixels\) exceeds limit of 100.*$"):
        read_rgb(tmp_path / "large.png")


def test_what_goes_wrong_with_an_open_image_is_refused_too_and_a_machines_fault_is_not(tmp_path):
    (tmp_path / "image").write_bytes(encoded("PNG"))
    for error, said in ((SyntaxError("broken\nPNG"), "^broken PNG$"), (Refused("a" * 200), "^a{200}$")):
        with pytest.raises(Refused, match=said), opened(tmp_path / "image"):
            raise error
    for error, said in ((MemoryError(), "Cannot allocate memory"), (OSError(5, "Input/output error"), "Input/output")):
        with pytest.raises(OSError, match=f"{said}.*image"), opened(tmp_path / "image"):
            raise error
    with pytest.raises(FileNotFoundError, match="image .*nothing does not exist"):
        read_rgb(tmp_path / "nothing")


def test_two_data_sets_in_one_process_decode_by_their_own_rules(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded("PNG", np.full((2, 2), 257 * 9, np.uint16)))
    images = [Datum(impath=str(tmp_path / "a.png"), label=0)]
    data = {}
    for rule in (FAMILY, PEOPLE):
        cfg = get_cfg_default()
        add_family_defaults(cfg)
        cfg.INPUT.DECODING = rule
        data[rule] = DatasetWrapper(cfg, images)
    greys = {rule: np.asarray(one[0]["img"]).max() for rule, one in data.items()}
    assert greys == {FAMILY: 255, PEOPLE: 9}
    assert np.asarray(data[FAMILY][0]["img"]).max() == 255
    assert rule_of(None) == FAMILY


REAL = {
    "__init__.py": "",
    "utils/__init__.py": "from .tools import *\nfrom .logger import Logger",
    "utils/logger.py": "class Logger:\n    def close(self):\n        pass",
    "utils/tools.py": """
        import time
        from PIL import Image, PngImagePlugin
        def read_image(path):
            while True:  # as Dassl does
                try:
                    return Image.open(path).convert("RGB")
                except IOError:
                    time.sleep(0.01)
        """,
    **dict.fromkeys(("optim/__init__.py", "optim/lr_scheduler.py", "optim/optimizer.py"), ""),
    "data/__init__.py": "import wilds",
    "data/data_manager.py": """
        import numpy as np
        from dassl.utils import read_image
        class DatasetWrapper:
            def __init__(self, paths, cfg=None):
                self.paths, self.cfg = paths, cfg
            def __len__(self):
                return len(self.paths)
            def __getitem__(self, index):
                return np.asarray(read_image(self.paths[index]))
        """,
}
LOAD = """
    import sys
    from types import SimpleNamespace
    from modprompt.compat import mends
    if __name__ == "__main__":
        import own
        assert any("Images are read" in line for line in mends.apply())
        import dassl.utils
        from dassl.data.data_manager import DatasetWrapper
        from torch.utils.data import DataLoader
        from modprompt.programs import report
        assert dassl.utils.read_image is own.read_image is mends.read_image
        photo = SimpleNamespace(INPUT=SimpleNamespace(DECODING="photo"))
        loader = DataLoader(DatasetWrapper([sys.argv[1]], photo), num_workers=1, multiprocessing_context="spawn")
        sys.exit(report(lambda: print("shape", (batch := next(iter(loader))).shape, "maximum", int(batch.max()))))
    """


@pytest.mark.slow
def test_real_dassl_reads_so_in_workers_that_are_started_anew(tmp_path):
    for name, text in {**REAL, "../own.py": "from dassl.utils.tools import read_image", "../load.py": LOAD}.items():
        path = (tmp_path / "dassl" / name).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    words = [sys.executable, str(tmp_path / "load.py"), str(tmp_path / "image.png")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    for content, code, said in (
        (encoded("BMP"), 0, "shape torch.Size([1, 10, 12, 3]) maximum 255"),
        (encoded("PNG", np.full((2, 2), 257 * 9, np.uint16)), 0, "shape torch.Size([1, 2, 2, 3]) maximum 9"),
        (EPS, 2, "Cannot read the im"),
    ):
        (tmp_path / "image.png").write_bytes(content)
        run = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert run.returncode == code, run.stderr
        assert said in (run.stdout or run.stderr).splitlines()[-1]
        assert "Traceback" not in run.stderr


# ---- the two rules

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20  # no turn leaves it as it is


def written(path, pixels, mode=None, **how):
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(path, **how)
    return path


def grey_of(path, rule):
    pixels = np.asarray(read_rgb(path, rule))
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


@pytest.mark.parametrize("ending", ["png", "tiff", "pgm"])
def test_sixteen_bits_are_scaled_for_people_and_clipped_for_the_family(tmp_path, ending):
    path = written(tmp_path / f"a.{ending}", GREY.astype(np.uint16) * 257)
    assert np.array_equal(grey_of(path, PEOPLE), GREY)
    assert np.array_equal(grey_of(path, FAMILY), np.where(GREY > 0, 255, 0))


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_what_nobody_can_say_the_white_of_is_refused_for_people_alone(tmp_path, kind):
    path = written(tmp_path / "a.tiff", GREY.astype(kind))
    with pytest.raises(UserError, match="Cannot read the image .*a.tiff .*floating-point or 32-bit pixels"):
        read_rgb(path, PEOPLE)
    read_rgb(path, FAMILY)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white_for_people(tmp_path, mode):
    pixels = np.zeros((3, 4, 4), np.uint8)
    pixels[0, :, 3] = 255  # black, and else nothing
    if mode == "P":
        flat = Image.fromarray((pixels[..., 3] == 0).astype(np.uint8), "L").convert("P")
        flat.putpalette([0, 0, 0, 0, 0, 0])
        flat.save(tmp_path / "a.png", transparency=1)
    else:
        Image.fromarray(pixels, "RGBA").convert(mode).save(tmp_path / "a.png")
    path = tmp_path / "a.png"
    assert grey_of(path, PEOPLE).tolist() == [[0] * 4, [255] * 4, [255] * 4]
    assert grey_of(path, FAMILY).max() == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_image_is_as_the_camera_was_for_people(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = written(tmp_path / "a.png", GREY.astype(np.uint16) * 257 if orientation % 2 else GREY, exif=exif)
    turns = [GREY, np.fliplr(GREY), np.rot90(GREY, 2), np.flipud(GREY), GREY.T, np.rot90(GREY, -1)]
    wanted = [*turns, np.rot90(GREY, 2).T, np.rot90(GREY)][orientation - 1]
    assert np.array_equal(grey_of(path, PEOPLE), wanted)
    assert np.array_equal(np.asarray(as_people(read_rgb(path, PEOPLE)))[..., 0], wanted)
    assert grey_of(path, FAMILY).shape == GREY.shape


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "CMYK", "YCbCr"])
def test_images_that_are_not_odd_are_the_same_by_both_rules(tmp_path, mode):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    path = written(tmp_path / ("a.jpg" if mode in ("CMYK", "YCbCr") else "a.png"), pixels, mode)
    assert read_rgb(path, PEOPLE).tobytes() == read_rgb(path, FAMILY).tobytes()


def test_of_several_frames_both_rules_take_the_first(tmp_path):
    first, second = (Image.new("L", (4, 3), value) for value in (10, 200))
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    for rule in (FAMILY, PEOPLE):
        assert grey_of(tmp_path / "a.gif", rule).max() == 10
