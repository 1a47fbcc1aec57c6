import pytest

from modprompt.io import pages

CARD = {"repo": "o/n", "folder": "n", "module": ""}


def test_values_are_text_in_each_language():
    name = "<b>&\"'*x*\udcff"
    page = pages.html("io/page.html.j2", title=name, policy="", style="", script="")
    assert "<title>&lt;b&gt;&amp;&quot;&#x27;*x*\\udcff</title>\n" in page
    text = pages.markdown("use/how_to_load.md.j2", file=name + "\n# y", **CARD)
    assert "in the file \\<b>&\"'\\*x\\*\\udcff # y, which this repository" in text


def test_a_value_that_lacks_is_no_empty_place():
    with pytest.raises(Exception, match="'file' is undefined"):
        pages.markdown("use/how_to_load.md.j2", **CARD)
