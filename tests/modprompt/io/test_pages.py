import pytest

from modprompt.io import pages

CARD = {"header": "", "tables": "", "runs": [], "repo": "o/n", "folder": "n", "file": ""}


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
