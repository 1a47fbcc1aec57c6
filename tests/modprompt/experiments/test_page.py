"""The page stands alone, says what is there, and fits a phone; in a real browser where there is one."""

import html.parser
import re
import shutil
import subprocess

import pytest

from modprompt.experiments.reporting import report
from tests.modprompt.experiments.fakes import TWO, by_hand, fill

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WIDTH = 390  # pixels of a phone


@pytest.fixture
def page(experiment, tmp_path):
    found = experiment(TWO.replace("  MPL:", '  "<b>&\\"x":'), "two")  # a method with a name that is no good HTML
    fill(found, tmp_path / "out", by_hand)
    report.main([str(tmp_path / "two.yaml"), "--out", str(tmp_path / "out")])
    return (tmp_path / "out/reports/two/index.html").read_text()


class Checker(html.parser.HTMLParser):
    """Keeps what is not closed, and everything that is fetched."""

    def __init__(self):
        super().__init__()
        self.open, self.fetched = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img", "br", "!doctype"):
            self.open.append(tag)
        self.fetched += [value for key, value in attrs if key in ("src", "href") and not value.startswith("#")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page_is_whole_and_needs_nothing_beside_it(page):
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert len(checker.fetched) == 3
    assert all(value.startswith("data:image/png;base64,") for value in checker.fetched)
    assert "url(" not in page
    assert "<b>" not in page
    assert "&lt;b&gt;&amp;&quot;x" in page
    for anchor in re.findall(r'href="#([\w-]+)"', page):
        assert f'id="{anchor}"' in page


def in_browser(page, tmp_path, width, measure=""):
    """The page inside a frame of a width; what a script in the browser measured of its document `d`."""
    srcdoc = page.replace("&", "&amp;").replace('"', "&quot;")
    measure = "const d = document.querySelector('iframe').contentDocument;" + (
        measure
        or "const size = e => parseFloat(getComputedStyle(e).fontSize);"
        "document.title = [d.documentElement.scrollWidth, d.querySelectorAll('table').length,"
        "[...d.images].every(i => i.complete && i.naturalWidth > 0),"
        "Math.min(...[...d.querySelectorAll('td, p, li, figcaption')].map(size)),"
        "getComputedStyle(d.querySelector('td.best')).fontWeight].join(' ')"
    )
    wrapper = tmp_path / "wrapper.html"
    wrapper.write_text(
        f'<meta charset="utf-8"><iframe style="width:{width}px;height:800px;border:0" srcdoc="{srcdoc}"></iframe>'
        f"<script>window.onload = () => {{ {measure} }}</script>"
    )
    words = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    words += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    words += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000", "--dump-dom", wrapper.as_uri()]
    dom = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True).stdout
    return re.search(r"<title>(.*?)</title>", dom)[1].split()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_page_fits_a_phone_in_a_real_browser(page, tmp_path):
    width, tables, images, smallest, weight = in_browser(page, tmp_path, WIDTH)
    assert int(width) <= WIDTH  # nothing is scrolled sideways but tables and figures inside themselves
    assert tables == "7"  # three of numbers, two of published ones without a run, two of where numbers come from
    assert images == "true"
    assert float(smallest) >= 12
    assert int(weight) >= 700


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize("wide", [1280, 1440])
def test_page_uses_the_width_of_a_desktop(page, tmp_path, wide):
    measure = (
        "const box = e => e.getBoundingClientRect();"
        "const table = box(d.querySelector('table')), figure = box(d.querySelector('figure'));"
        "document.title = [figure.left > table.right, figure.top < table.bottom, box(d.body).width,"
        "d.documentElement.scrollWidth].join(' ')"
    )
    beside, above, width, whole = in_browser(page, tmp_path, wide, measure)
    assert (beside, above) == ("true", "true")
    assert float(width) > 0.9 * wide
    assert int(whole) <= wide


def test_page_opens_with_its_finding_and_has_no_raw_backticks(experiment, tmp_path, monkeypatch):
    monkeypatch.setattr(report.figures, "can_draw", lambda: False)
    found = experiment(TWO + 'notes: "Run by `modprompt experiment run two`, one ` alone."\n', "two")
    fill(found, tmp_path / "out", by_hand)
    report.main([str(tmp_path / "two.yaml"), "--out", str(tmp_path / "out")])
    page = (tmp_path / "out/reports/two/index.html").read_text()
    first = page.index('<p class="finding">')
    assert page.index("<h1>") < first < page.index('<p class="about">')
    assert "MaPLe minus MPL, the best of the others: H, average over 2 data sets: +0.00" in page[first : first + 300]
    assert "one ` alone" in page  # no fellow: as it was written
    text = (tmp_path / "two.yaml").read_text().replace(", one ` alone", "")
    (tmp_path / "two.yaml").write_text(text)
    report.main([str(tmp_path / "two.yaml"), "--out", str(tmp_path / "out")])
    page = (tmp_path / "out/reports/two/index.html").read_text()
    assert "Run by <code>modprompt experiment run two</code>." in page
    assert "`" not in page
    assert "<script" not in page
