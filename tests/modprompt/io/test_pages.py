import sys

import pytest

from modprompt.errors import UserError
from modprompt.io import pages

CARD = {"header": "", "tables": "", "runs": [], "repo": "o/n", "folder": "n", "file": ""}


@pytest.fixture
def anew():
    """Templates are read as for the first time, before and after."""
    pages._templates.cache_clear()
    yield
    pages._templates.cache_clear()


def test_values_are_text_in_each_language():
    name = "<b>&\"'*x*\udcff"
    assert pages.html("use/show.html.j2", heading="", note=name, is_wrong=False, shares=[], quiet="", pictures=[]) == (
        '<div class="mp-note">&lt;b&gt;&amp;&quot;&#x27;*x*\\udcff</div>\n'
    )
    text = pages.markdown("experiments/reporting/card.md.j2", facts=name + "\n# y", **CARD)
    assert text.startswith("\n\\<b>&\"'\\*x\\*\\udcff # y\n\n## How to load it\n")


def test_a_value_that_lacks_is_no_empty_place():
    with pytest.raises(Exception, match="'facts' is undefined"):
        pages.markdown("experiments/reporting/card.md.j2", **CARD)


def test_without_jinja2_a_line_says_what_to_install(anew, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(UserError, match="Jinja2, which is missing: pip install Jinja2"):
        pages.markdown("experiments/reporting/card.md.j2", facts="", **CARD)
