"""The page of `modprompt show`, in a browser; and that nothing leaves this machine."""

import contextlib
import http.client
import shutil
import signal
import socket
import subprocess
import sys
from urllib.parse import urlsplit

import pytest
from PIL import Image, ImageDraw

import modprompt
from tests.conftest import ROOT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WORDS = ["zero", "one", "two", "three"]
PHONE = {"width": 390, "height": 844}
WAIT = 120_000  # milliseconds
BARS = "document.querySelectorAll('[data-testid$=-confidence-set]').length"
MAPS = "document.querySelectorAll('.thumbnail-item img').length"

# runs a command, and writes down whom its process would reach that is not this machine
GUARDED = """
import socket, sys
told = open(sys.argv[1], "w", buffering=1)
connect, look_up = socket.socket.connect, socket.getaddrinfo
OWN = ("127.0.0.1", "::1", "localhost", "0.0.0.0", None)

def guarded(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in OWN:
        told.write(f"connect {address}\\n")
    return connect(self, address)

def asked(host, *rest, **more):
    if host not in OWN:
        told.write(f"look up {host}\\n")
    return look_up(host, *rest, **more)

socket.socket.connect, socket.getaddrinfo = guarded, asked
from modprompt.cli.main import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture
def saved(tmp_path):
    clip_model = modprompt.load_clip("glyph-clip", "cpu")[0]
    modprompt.MPL(n_ctx=1, n_add_op=2, n_rm_op=1, prompt_depth=3).on(clip_model, WORDS).save(tmp_path / "own.pt")
    return str(tmp_path / "own.pt")


@pytest.fixture
def interrupts_are_heard():
    """Programs that the test starts hear Ctrl-C, even in the background of a shell, which ignores it."""
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, signal.SIG_DFL if earlier is None else earlier)


@contextlib.contextmanager
def served(saved, tmp_path):
    """The address of the page of a process that is interrupted in the end, as a user does it."""
    words = [sys.executable, "-c", GUARDED, str(tmp_path / "outside"), "show", saved, "--port", "0", "--device", "cpu"]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            assert line.startswith("Open http://127.0.0.1:"), line
            yield line.split()[1]
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, err) == (130, "Interrupted.\n")


def visit(page, address, tmp_path):
    """What a visitor does: an image, other classes, another layer."""
    image = Image.new("L", (64, 64), 0)
    ImageDraw.Draw(image).text((18, 2), "3", fill=255, font_size=52)
    image.save(tmp_path / "three.png")
    page.goto(address)
    page.wait_for_selector("text=No image has been uploaded yet")
    page.set_input_files("input[type=file]", str(tmp_path / "three.png"))
    page.wait_for_function(f"{BARS} == 4")
    page.wait_for_function(f"{MAPS} == 4")  # the last layer's: the class token and three prompts
    page.fill("textarea", "three\nsix")
    page.wait_for_function(f"{BARS} == 2")
    page.fill("input[type=number]", "0")
    page.keyboard.press("Tab")
    page.wait_for_function(f"{MAPS} == 2")
    page.fill("textarea", "three\nthree")
    page.wait_for_selector("text='three' is listed twice")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_a_visit(saved, tmp_path, interrupts_are_heard):
    sync_api = pytest.importorskip("playwright.sync_api")
    with served(saved, tmp_path) as address, sync_api.sync_playwright() as started:
        with contextlib.closing(http.client.HTTPConnection(urlsplit(address).netloc)) as other:
            other.request("GET", "/", headers={"Host": "rebound.example"})
            assert other.getresponse().status == 400
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport=PHONE)
        page.set_default_timeout(WAIT)
        asked, errors = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        visit(page, address, tmp_path)
        assert asked
        assert not [url for url in asked if not url.startswith((f"{address}/", "data:", f"blob:{address}/"))]
        assert errors == []
        browser.close()
    assert (tmp_path / "outside").read_text() == ""


def test_bad_input_is_a_line(saved, refused, monkeypatch, tmp_path):
    assert "nowhere" in refused("show", tmp_path / "nowhere")
    assert "--port must be at least 0, got -1" in refused("show", saved, "--port", "-1")
    assert "--port must be at most 65535, got 65536" in refused("show", saved, "--port", "65536")
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert "needs the package gradio, which is not installed. Run `pip install 'gradio>=6,<7' Jinja2`." in refused(
        "show", saved
    )


@pytest.mark.slow
def test_a_port_that_is_taken_is_a_line(saved):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = [sys.executable, "-m", "modprompt", "show", saved, "--port", str(port)]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    message = f"Port {port} cannot be used. Choose a different --port, or use --port 0 to find a free port."
    assert done.stderr == f"error: {message}\n"
