import subprocess
import sys

import pytest

from modprompt.cli import backbones, main
from modprompt.clip import known
from tests.conftest import ROOT

ALL = ["stock/stock", "everything"]
WEIGHTS = "This project's tests run glyph-clip, but no real weights of the others: they have no network."


def run(capsys, *words):
    assert main.main(["backbones", *words]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out.splitlines()


def rows_of(text):
    """The table's rows, by name."""
    table = text[1 : text.index("")]
    return {line.split()[0]: line.split() for line in table}


def test_all_that_run_have_a_line(capsys):
    text = run(capsys)
    head = ["name", "dialect", "from", "layers", "widths", "heads", "activation", "pixels", "sides", "runs"]
    assert text[0].split() == head
    rows = rows_of(text)
    assert list(rows) == known.names()
    assert rows["ViT-B/16"][1:] == ["openai", "OpenAI", "12/12", "512/768", "8/12", "quick_gelu", "224", *ALL]
    text_side = ["stock/ResNet", "text", "side", "and", "heads"]
    assert rows["RN50"][1:] == ["openai", "OpenAI", "12/0", "512/64", "8/32", "quick_gelu", "224", *text_side]
    assert rows["glyph-clip"][1:] == ["openai", "embedded", "8/8", "64/128", "1/2", "quick_gelu", "32", *ALL]
    siglip = ["open_clip", "timm/ViT-B-16-SigLIP2", "-", "-", "-", "-", "224", "SigLIP/SigLIP", "everything"]
    assert rows["ViT-B-16-SigLIP2/webli"][1:] == siglip
    big = ["open_clip", "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k", "32/48", "1280/1664", "20/16", "gelu", "224", *ALL]
    assert rows["ViT-bigG-14/laion2b_s39b_b160k"][1:] == big
    assert {line[text[0].index("runs") - 1] for line in text[: text.index("")]} == {" "}


@pytest.mark.parametrize("words", [(), ("--all",), ("ViT-g-14",), ("siglip", "--all")])
def test_the_end_says_how_many_and_that_real_weights_were_never_run(words, capsys):
    assert run(capsys, *words)[-4:] == [
        "",
        "171 are known: glyph-clip, 9 of OpenAI's and 161 of open_clip's. Without glyph-clip they are the 196 pretrained "
        "tags of open_clip 3.3.0, which counts -quickgelu names too: everything on 112, text side and heads on 64, "
        "vision side and heads on 9, heads on 11.",
        "Those with another family than stock or ResNet need open_clip_torch, timm and transformers.",
        WEIGHTS,
    ]


def test_all_is_what_stands_there_without_it(capsys):
    assert run(capsys, "--all") == run(capsys)


def test_a_word_filters_names_in_any_case(capsys):
    assert list(rows_of(run(capsys, "vit-h-14-378"))) == ["ViT-H-14-378/dfn5b"]
    rows = rows_of(run(capsys, "H-14"))
    assert len(rows) == 5 + 7
    assert all("H-14" in name for name in rows)


@pytest.mark.parametrize(
    ("word", "name"),
    [("ViT-L-14-336/openai", "ViT-L/14@336px"), ("ViT-B-16-quickgelu/dfn2b", "ViT-B-16/dfn2b")],
)
def test_another_name_gives_the_row(word, name, capsys):
    assert list(rows_of(run(capsys, word))) == [name]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no-such", "--all"], "no name has 'no-such' in it"),
        (
            ["ViT-B-16-quickgelu/laion2b_s34b_b88k"],
            "no name has 'ViT-B-16-quickgelu/laion2b_s34b_b88k' in it; did you mean 'ViT-B-16/laion2b_s34b_b88k'?",
        ),
    ],
)
def test_word_that_no_name_has_is_one_line(words, message, capsys):
    assert main.main(["backbones", *words]) == 2
    assert capsys.readouterr() == ("", f"error: modprompt backbones: {message}\n")


def test_unknown_flag_is_told(capsys):
    with pytest.raises(SystemExit, match="2"):
        main.main(["backbones", "--every"])
    assert "unrecognized arguments: --every" in capsys.readouterr().err


def test_lines_are_what_is_printed(capsys):
    assert run(capsys, "RN50") == backbones.lines("RN50")


def test_no_torch_is_needed():
    text = "import sys; from modprompt.cli import main; main.main(['backbones']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", text], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def test_the_page_has_this_table_and_these_counts():
    page = (ROOT / "docs" / "backbones.md").read_text()
    assert "\n".join(backbones.markdown()) + "\n" in page  # made by it, a line a row
    for what, count in known.counts().items():
        assert f"| {what} | {count} |" in page
