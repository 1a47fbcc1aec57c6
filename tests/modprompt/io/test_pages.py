import pytest

from modprompt.io import pages

CARD = {"header": "", "tables": "", "runs": [], "repo": "o/n", "folder": "n", "file": "", "module": ""}


def test_values_are_text_in_each_language():
    name = "<b>&\"'*x*\udcff"
    page = pages.html("io/page.html.j2", title=name, policy="", style="", script="")
    assert "<title>&lt;b&gt;&amp;&quot;&#x27;*x*\\udcff</title>\n" in page
    text = pages.markdown("experiments/reporting/card.md.j2", facts=name + "\n# y", **CARD)
    assert text.startswith("\n\\<b>&\"'\\*x\\*\\udcff # y\n\n## How to load the model\n")


def test_a_value_that_lacks_is_no_empty_place():
    with pytest.raises(Exception, match="'facts' is undefined"):
        pages.markdown("experiments/reporting/card.md.j2", **CARD)
