"""The page stands alone and says what is there."""

import html.parser
import re

import pytest

from modprompt.experiments.reporting import report
from tests.modprompt.experiments.fakes import TWO, by_hand, fill


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


@pytest.mark.usefixtures("unpainted")
def test_page_is_whole_needs_nothing_from_elsewhere_and_opens_with_its_finding(experiment, tmp_path):
    text = TWO.replace("  MPL:", '  "<b>&\\"x":')  # a method with a name that is no good HTML
    fill(experiment(text + 'notes: "Run by `modprompt experiment run two`."\n', "two"), tmp_path / "out", by_hand)
    assert report.main([str(tmp_path / "two.yaml"), "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out/reports/two/index.html").read_text()
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert len(checker.fetched) == 3
    assert all(value.startswith("data:image/png;base64,") for value in checker.fetched)
    assert not any(text in page for text in ("url(", "<b>", "`", "<script"))
    assert "&lt;b&gt;&amp;&quot;x" in page
    for anchor in re.findall(r'href="#([\w-]+)"', page):
        assert f'id="{anchor}"' in page
    first = page.index('<p class="finding">')
    assert page.index("<h1>") < first < page.index('<p class="about">')
    assert (
        ", the best of the other methods, by +0.00 percentage points in H (average over 2 data sets)"
        in page[first : first + 300]
    )
    assert "Run by <code>modprompt experiment run two</code>." in page
