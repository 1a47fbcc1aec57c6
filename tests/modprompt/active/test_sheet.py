"""The page of a round: its pictures are small and as the model sees them, and nothing in it runs but its own script."""

import base64
import hashlib
import io
import json
import re
import shutil
from html.parser import HTMLParser

import pytest
from PIL import Image

from modprompt.active.labelling import write_page
from modprompt.active.picks_file import COLUMNS, Picked, cells_of, read_labels
from modprompt.io import pages
from modprompt.io.tables import as_csv

STYLE, SCRIPT = pages.source("io/page.css"), pages.source("active/sheet.js")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NAMES = ["forest", "<b>sea</b>", 'the "lake"']
FILES = ["a/wide.jpg", "turned.jpg", "cut.png", "none.jpg", "a"]
PICKS = [Picked(file, n % 3, 0.25, 1.5, "why <i>&") for n, file in enumerate(FILES, 1)]


class Page(HTMLParser):
    """The elements of a page, and what is written in it."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(root, picks, **more):
    write_page(root / "round_3.html", picks, str(root), "Round 3 of <sea>", NAMES, **more)
    return Page((root / "round_3.html").read_text(encoding="utf-8"))


@pytest.fixture
def page(tmp_path):
    (tmp_path / "a").mkdir()
    Image.new("RGB", (1000, 500), (200, 30, 30)).save(tmp_path / "a" / "wide.jpg")
    turned = Image.Exif()
    turned[0x112] = 6
    Image.new("RGB", (400, 200)).save(tmp_path / "turned.jpg", exif=turned)
    Image.new("RGB", (300, 300)).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:60])
    return page_of(tmp_path, PICKS, read_as="photo")


def test_pictures_are_small_and_turned_and_what_cannot_be_decoded_says_so_without_a_path(page, tmp_path):
    found = {}
    for image in page.all("img"):
        head, _, data = image["src"].partition(",")
        assert head == "data:image/jpeg;base64"
        found[image["alt"]] = Image.open(io.BytesIO(base64.b64decode(data)))
    sizes = {name: image.size for name, image in found.items()}
    assert sizes == {"a/wide.jpg": (160, 80), "turned.jpg": (80, 160)}
    assert all(abs(a - b) < 8 for a, b in zip(found["a/wide.jpg"].getpixel((80, 40)), (200, 30, 30)))
    said = re.findall(r"This image cannot be shown: (.*)", page.text)
    assert len(said) == 3
    assert said[1] == "the file does not exist"
    assert str(tmp_path) not in page.text


def test_texts_do_nothing_and_the_page_loads_nothing_and_runs_only_its_own_script(page):
    assert {tag for tag, _ in page.elements}.isdisjoint({"i", "sea"})
    for text in ("Round 3 of <sea>", "why <i>&", "<b>sea</b>", 'the "lake"', "Prediction: <b>sea</b> (25%)"):
        assert text in page.text
    (policy,) = [one["content"] for one in page.all("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    allowed = dict(part.split(maxsplit=1) for part in policy.split(";"))
    for kind, text in (("style-src", STYLE), ("script-src", SCRIPT)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert allowed.pop(kind) == f"'sha256-{digest}'"
    assert allowed == {"default-src": "'none'", "img-src": "data:", "base-uri": "'none'", "form-action": "'none'"}
    keys = {key for _, attributes in page.elements for key in attributes}
    assert not [key for key in keys if key in ("style", "href") or key.startswith("on")]


def test_page_has_all_that_its_button_saves(page):
    (body,) = page.all("body")
    assert (body["data-file"], json.loads(body["data-columns"])) == ("round_3.csv", list(COLUMNS))
    cells = [tuple(json.loads(one["data-cells"])) for one in page.all("article")]
    assert cells == [cells_of(n, pick, NAMES) for n, pick in enumerate(PICKS, 1)]
    assert [option["value"] for option in page.all("option")] == NAMES


def test_labels_given_for_nothing_are_marked_and_have_no_field(tmp_path):
    free = Picked("x.jpg", 0, 0.9, 1, "free label: as sure", free=0)
    page = page_of(tmp_path, [free, Picked("y.jpg", None, None, None, ""), Picked("z.jpg", 0, 0.5, 1, "", label=2)])
    assert [one["class"] for one in page.all("article")] == ["free", "asked", "asked"]
    assert "The model has labelled 1 of the 3 images, and 2 images still need a label." in page.text
    fields = [one["aria-label"] for one in page.all("p") if "aria-label" in one]
    assert list(zip(fields, page.all("input"))) == [
        ("Label of y.jpg", {"type": "hidden", "value": ""}),
        ("Label of z.jpg", {"type": "hidden", "value": NAMES[2]}),
    ]


@pytest.mark.parametrize("classes", [10, 11])
def test_ten_classes_have_buttons_and_more_a_search_field(classes, tmp_path):
    names = [f"class {number}" for number in range(classes)]
    picks = [Picked(file, 0, 0.25, 1.53, "entropy 1.53") for file in FILES]
    write_page(tmp_path / "round_3.html", picks, str(tmp_path), "Round 3", names)
    page = Page((tmp_path / "round_3.html").read_text(encoding="utf-8"))
    buttons = [one["value"] for one in page.all("button") if one.get("class") == "class"]
    assert buttons == (names * len(FILES) if classes == 10 else [])
    assert {one["type"] for one in page.all("input")} == {"hidden" if classes == 10 else "search"}
    assert page.text.count("1.53") == len(FILES)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_buttons_of_classes_enter_labels_and_take_them_back(tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api")
    picks = [Picked(f"{number}.jpg", 0, 0.25, 1.5, "why") for number in range(3)]
    write_page(tmp_path / "round_3.html", picks, str(tmp_path), "Round 3", NAMES)
    with sync_api.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.goto((tmp_path / "round_3.html").as_uri())
        for image, label in ((0, 1), (1, 0), (1, 2), (2, 0), (2, 0)):
            page.locator("article").nth(image).locator("button.class").nth(label).click()
        assert page.text_content("#count") == "2 of 3 images labelled"
        assert page.locator("button[aria-pressed=true]").all_text_contents() == NAMES[1:]
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        with page.expect_download() as saved:
            page.click("#save")
        saved.value.save_as(tmp_path / "round_3.csv")
        browser.close()
    assert read_labels(tmp_path / "round_3.csv", picks, NAMES) == [1, 2, None]


def pattern(name):
    """A regular expression of the script."""
    (found,) = re.findall(rf"const {name} = .*?/(.*?)/", SCRIPT)
    return found


@pytest.mark.parametrize("text", ["=a", "'=a", "'x", "a;=b", "a\n-b", "\t@", "\r", "-", "-1.5e-3", "+1 2", ""])
def test_script_writes_cells_as_the_program_does(text):
    is_number = re.match(pattern("number"), text, re.IGNORECASE)
    cell = f"'{text}" if re.match(pattern("shielded"), text) and not is_number else text
    assert (f'"{cell}"' if re.search(pattern("quoted"), cell) else cell) + "\n" == as_csv([[text, 1]])[:-3] + "\n"
