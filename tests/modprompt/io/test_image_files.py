"""Images by content, within a bound, whatever they are called; on the small Dassl and on a stand-in of the real one."""

import io
import os
import struct
import subprocess
import sys
import textwrap
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from modprompt.errors import UserError
from modprompt.io import image_files
from modprompt.io.image_files import FORMATS, VARIABLE, bound, most_megapixels, opened, read_rgb
from modprompt.io.safe_open import Refused
from tests.conftest import ROOT
from tests.work_time import work_within

PIXELS = np.arange(12 * 10 * 3, dtype=np.uint8).reshape(10, 12, 3)
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(ran) print quit\n%%EOF\n"
OTHERS = {
    "eps": EPS,
    "ps": EPS.replace(b" EPSF-3.0", b""),
    "pdf": b"%PDF-1.4\n1 0 obj\n<< >>\nendobj\n%%EOF\n",
    "fits": b"SIMPLE  =                    T".ljust(80) + b"BITPIX  =                    8".ljust(2800),
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
    "html": b"<!DOCTYPE html><title>not an image</title>",
    "empty": b"",
}


def encoded(kind, pixels=PIXELS):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return file.getvalue()


def png_header(width, height):
    def chunk(kind, content):
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content) & 0xFFFFFFFF)
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


@pytest.fixture(autouse=True)
def _bound_of_nobody(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)


@pytest.fixture
def no_programs(monkeypatch):
    def started(*args, **kwargs):
        raise AssertionError(f"a program was started: {args}")

    for module, name in ((subprocess, "Popen"), (subprocess, "check_call"), (os, "system")):
        monkeypatch.setattr(module, name, started)


@pytest.mark.parametrize("suffix", ["jpg", "eps", "ico", "none"])
@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read_by_its_content(kind, suffix, tmp_path):
    (tmp_path / f"image.{suffix}").write_bytes(encoded(kind))
    image = read_rgb(tmp_path / f"image.{suffix}")
    assert (image.mode, image.size) == ("RGB", (12, 10))
    if kind not in ("JPEG", "GIF"):  # which lose something
        assert np.array_equal(np.asarray(image), PIXELS)


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_image_of_data_sets_is_refused_and_nothing_is_started(kind, tmp_path, no_programs):
    (tmp_path / "image.png").write_bytes(OTHERS[kind])
    with pytest.raises(UserError, match=r"cannot read the image .*image.png \(it is none of JPEG, PNG,") as raised:
        read_rgb(tmp_path / "image.png")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", ["ICO", "ICNS", "TGA", "PCX", "SGI"])
def test_other_formats_of_pillow_are_refused_under_any_name(kind, tmp_path):
    (tmp_path / "image.png").write_bytes(encoded(kind, np.zeros((16, 16, 3), np.uint8)))
    with pytest.raises(UserError, match="it is none of JPEG"):
        read_rgb(tmp_path / "image.png")


@pytest.mark.parametrize("kind", FORMATS)
def test_truncated_image_is_one_line(kind, tmp_path):
    whole = encoded(kind, np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8))
    for share in (0.01, 0.3, 0.6, 0.9):
        (tmp_path / "image.png").write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(UserError, match="cannot read the image") as raised:
            read_rgb(tmp_path / "image.png")
        assert "\n" not in str(raised.value)


def test_large_header_is_refused_before_anything_is_decoded(tmp_path):
    (tmp_path / "image.png").write_bytes(png_header(20000, 20000))
    said = r"20000 x 20000 pixels, more than 100 megapixels: INPUT.MAX_MEGAPIXELS, or "
    with work_within(seconds=2), pytest.raises(UserError, match=said):
        read_rgb(tmp_path / "image.png")


@pytest.mark.parametrize(("said", "refused"), [("0.0001", True), ("0.00013", False), ("1000", False)])
def test_variable_of_the_environment_is_the_bound(said, refused, tmp_path, monkeypatch):
    (tmp_path / "image").write_bytes(encoded("PNG"))
    monkeypatch.setenv(VARIABLE, said)
    if refused:
        with pytest.raises(UserError, match="12 x 10 pixels"):
            read_rgb(tmp_path / "image")
    else:
        assert read_rgb(tmp_path / "image").size == (12, 10)


@pytest.mark.parametrize("said", ["", "many", "nan", "0", "-1", "inf", "1e999"])
def test_variable_that_is_no_number_is_one_line(said, monkeypatch):
    monkeypatch.setenv(VARIABLE, said)
    with pytest.raises(UserError, match=f"{VARIABLE} must be a number above 0, got"):
        most_megapixels()
    with pytest.raises(UserError, match=VARIABLE):
        bound(image_files.MOST_MEGAPIXELS)


def test_setting_raises_the_bound_and_its_default_leaves_the_environments(monkeypatch):
    monkeypatch.setenv(VARIABLE, "7")
    bound(100)
    assert most_megapixels() == 7
    bound(250)
    assert most_megapixels() == 250


def test_image_above_pillows_bound_can_be_cropped(tmp_path, monkeypatch):
    (tmp_path / "image").write_bytes(encoded("PNG"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)  # Pillow refuses from twice that on
    assert read_rgb(tmp_path / "image").crop((0, 0, 12, 9)).size == (12, 9)


def test_pillows_own_bound_is_kept(tmp_path):
    theirs = Image.MAX_IMAGE_PIXELS
    (tmp_path / "image").write_bytes(encoded("PNG"))
    (tmp_path / "other").write_bytes(b"no image")
    read_rgb(tmp_path / "image")
    with pytest.raises(UserError):
        read_rgb(tmp_path / "other")
    assert theirs == Image.MAX_IMAGE_PIXELS


def test_what_a_block_does_with_an_open_image_is_refused_too(tmp_path):
    (tmp_path / "image").write_bytes(encoded("PNG"))
    with pytest.raises(Refused, match="bomb"), opened(tmp_path / "image"):
        raise Image.DecompressionBombError("a bomb")
    with pytest.raises(FileNotFoundError, match="nothing"):
        read_rgb(tmp_path / "nothing")


def test_threads_read_side_by_side_and_leave_pillows_bound(tmp_path, monkeypatch):
    (tmp_path / "image").write_bytes(encoded("PNG"))
    meet, plain, theirs = threading.Barrier(8, timeout=20), Image.open, Image.MAX_IMAGE_PIXELS

    def slow(*args, **kwargs):
        meet.wait()  # for all eight: one that waits for a lock breaks it
        assert Image.MAX_IMAGE_PIXELS is None
        meet.wait()
        return plain(*args, **kwargs)

    monkeypatch.setattr(Image, "open", slow)
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(read_rgb, [tmp_path / "image"] * 8))
    assert [image.size for image in images] == [(12, 10)] * 8
    assert theirs == Image.MAX_IMAGE_PIXELS


def test_bound_is_raised_for_a_large_image_while_another_thread_opens_one(tmp_path, monkeypatch):
    (tmp_path / "image").write_bytes(encoded("PNG"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with image_files._PILLOWS:  # as in another thread
        image = read_rgb(tmp_path / "image")
    assert Image.MAX_IMAGE_PIXELS == 120
    assert image.crop((0, 0, 12, 9)).size == (12, 9)


def test_reasons_of_ours_pass_whole_and_a_whole_file_is_not_to_be_replaced(tmp_path):
    (tmp_path / "image.png").write_bytes(png_header(20000, 20000))
    with pytest.raises(UserError, match=f"or {VARIABLE} in the environment, raises that$"):
        read_rgb(tmp_path / "image.png")
    (tmp_path / "small.png").write_bytes(encoded("PNG"))
    with pytest.raises(Refused, match="a{200}$"), opened(tmp_path / "small.png"):
        raise Refused("a" * 200)
    for error, said in ((MemoryError(), "Cannot allocate memory"), (OSError(5, "Input/output error"), "Input/output")):
        with pytest.raises(OSError, match=f"{said}.*small.png"), opened(tmp_path / "small.png"):
            raise error
    (tmp_path / "small.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="replace the file$"):
        read_rgb(tmp_path / "small.png")


REAL = {
    "__init__.py": "",
    "utils/__init__.py": "from .tools import *\nfrom .logger import Logger",
    "utils/logger.py": "class Logger:\n    def close(self):\n        pass",
    "utils/tools.py": """
        import time
        from PIL import Image
        def read_image(path):
            while True:  # as Dassl does
                try:
                    return Image.open(path).convert("RGB")
                except IOError:
                    time.sleep(0.01)
        """,
    "optim/__init__.py": "",
    "optim/lr_scheduler.py": "",
    "optim/optimizer.py": "",
    "data/__init__.py": "import wilds",
    "data/data_manager.py": """
        import numpy as np
        from dassl.utils import read_image
        class DatasetWrapper:
            def __init__(self, paths):
                self.paths = paths
            def __len__(self):
                return len(self.paths)
            def __getitem__(self, index):
                return np.asarray(read_image(self.paths[index]))
        """,
}
LOAD = """
    import sys
    from modprompt.compat import mends
    if __name__ == "__main__":
        import own
        assert any("images" in line for line in mends.apply())
        from dassl.data.data_manager import DatasetWrapper
        from torch.utils.data import DataLoader
        import dassl.utils, forked
        from modprompt.programs import report
        from modprompt.io.image_files import read_of_run
        assert dassl.utils.read_image is own.read_image is forked.read_image is read_of_run
        dataset = forked.Wrapper([sys.argv[2]]) if sys.argv[3] == "forked" else DatasetWrapper([sys.argv[2]])
        how = {} if sys.argv[1] == "none" else {"num_workers": 1, "multiprocessing_context": sys.argv[1]}
        sys.exit(report(lambda: print("shape", next(iter(DataLoader(dataset, **how))).shape)))
    """


@pytest.fixture
def real_dassl(tmp_path):
    """A folder with what stands for the real Dassl, a codebase's own modules and a program."""
    for name, text in REAL.items():
        (tmp_path / "dassl" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "dassl" / name).write_text(textwrap.dedent(text))
    (tmp_path / "own.py").write_text("from dassl.utils.tools import read_image\n")
    (tmp_path / "forked.py").write_text(
        "from dassl.utils import read_image\nfrom dassl.data.data_manager import DatasetWrapper\n"
        "class Wrapper(DatasetWrapper):\n    def __getitem__(self, index):\n"
        "        import numpy\n        return numpy.asarray(read_image(self.paths[index]))\n"
    )
    (tmp_path / "load.py").write_text(textwrap.dedent(LOAD))
    (tmp_path / "image.png").write_bytes(encoded("BMP"))
    return tmp_path


def load(folder, how, kind="plain", **environment):
    return subprocess.run(
        [sys.executable, str(folder / "load.py"), how, str(folder / "image.png"), kind],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "forked"])
@pytest.mark.parametrize("how", ["none", "fork", "spawn"])
def test_real_dassl_reads_within_bounds_in_every_kind_of_worker(how, kind, real_dassl):
    run = load(real_dassl, how, kind)
    assert (run.returncode, run.stdout) == (0, "shape torch.Size([1, 10, 12, 3])\n"), run.stderr
    (real_dassl / "image.png").write_bytes(EPS)
    run = load(real_dassl, how, kind)
    assert run.returncode == 2
    assert "cannot read the image" in run.stderr.splitlines()[-1], run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.slow
def test_bound_of_the_environment_reaches_workers_that_are_spawned(real_dassl):
    run = load(real_dassl, "spawn", **{VARIABLE: "0.0001"})
    assert run.returncode == 2
    assert "12 x 10 pixels, more than 0.0001 megapixels" in run.stderr
