import subprocess
import sys

import pytest

from modprompt.cli import backbones, main
from modprompt.clip import known
from tests.conftest import ROOT

WEIGHTS = "The real weights of none of these were run by this project's tests, which have no network; glyph-clip is."


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
    assert text[0].split() == ["name", "dialect", "from", "layers", "widths", "heads", "activation", "pixels"]
    rows = rows_of(text)
    assert list(rows) == known.names()
    assert rows["ViT-B/16"][1:] == ["openai", "OpenAI", "12/12", "512/768", "8/12", "quick_gelu", "224"]
    assert rows["RN50"][1:] == ["openai", "OpenAI", "12/0", "512/64", "8/32", "quick_gelu", "224"]
    assert rows["glyph-clip"][1:] == ["openai", "embedded", "8/8", "64/128", "1/2", "quick_gelu", "32"]
    big = ["open_clip", "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k", "32/48", "1280/1664", "20/16", "gelu", "224"]
    assert rows["ViT-bigG-14/laion2b_s39b_b160k"][1:] == big
    starts = {line.index(line.split()[-1], len(line) - 4) for line in text[1 : text.index("")]}
    assert starts == {text[0].index("pixels")}
    assert not [line for line in text if "see docs/backbones.md" in line]


@pytest.mark.parametrize("words", [(), ("--all",), ("ViT-g-14",), ("siglip", "--all")])
def test_the_end_says_how_many_and_that_real_weights_were_never_run(words, capsys):
    assert run(capsys, *words)[-3:] == [
        "",
        "71 can run: glyph-clip, 9 of OpenAI's and 61 of open_clip's. Without glyph-clip they are 96 of the 196 pretrained "
        "tags of open_clip 3.3.0, which counts -quickgelu names too; its other 100 are refused.",
        WEIGHTS,
    ]


def test_refused_ones_are_listed_when_asked_for(capsys):
    text = run(capsys, "--all")
    assert list(rows_of(text)) == known.names()
    assert text[text.index("") + 1 : -3] == [known.refusal(name) for name in known.refused_names()]


def test_a_word_filters_names_in_any_case(capsys):
    assert list(rows_of(run(capsys, "vit-h-14-378"))) == ["ViT-H-14-378/dfn5b"]
    text = run(capsys, "H-14", "--all")
    assert len(rows_of(text)) == 5
    refused = text[text.index("") + 1 : -3]
    assert len(refused) == 7
    assert all("H-14" in line.split()[0] for line in refused)


@pytest.mark.parametrize(
    ("word", "name"),
    [("ViT-L-14-336/openai", "ViT-L/14@336px"), ("ViT-B-16-quickgelu/dfn2b", "ViT-B-16/dfn2b")],
)
def test_another_name_gives_the_row(word, name, capsys):
    assert list(rows_of(run(capsys, word))) == [name]


def test_only_refused_ones_have_no_table(capsys):
    text = run(capsys, "siglip", "--all")
    assert text[0].startswith("ViT-B-16-SigLIP/webli is a SigLIP (")
    assert text.index("") == 30


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no-such"], "no name of a CLIP that runs has 'no-such' in it"),
        (["no-such", "--all"], "no name has 'no-such' in it"),
        (
            ["siglip"],
            "no name of a CLIP that runs has 'siglip' in it; of those that cannot run there are 30: add --all",
        ),
        (
            ["ViT-B-16-quickgelu/laion2b_s34b_b88k"],
            "no name of a CLIP that runs has 'ViT-B-16-quickgelu/laion2b_s34b_b88k' in it; did you mean "
            "'ViT-B-16/laion2b_s34b_b88k'?",
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
    assert run(capsys, "RN50", "--all") == backbones.lines("RN50", refused_too=True)


def test_no_torch_is_needed():
    text = "import sys; from modprompt.cli import main; main.main(['backbones']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", text], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def test_the_page_has_this_table_and_these_counts():
    page = (ROOT / "docs" / "backbones.md").read_text()
    assert "\n".join(backbones.markdown()) + "\n" in page  # made by it, a line a row
    counts = known.counts()
    assert (
        f"{counts['runs']} run: {counts['ViT, quick_gelu']} vision transformers with QuickGELU, {counts['ViT, gelu']} "
        f"with GELU and {counts['ResNet']} ResNets"
    ) in page
    for kind in ("SigLIP, SigLIP 2", "EVA", "CoCa", "other image towers", "other text towers"):
        (line,) = [line for line in page.splitlines() if line.startswith(f"| {kind} |")]
        assert line == f"| {kind} | {counts[kind.partition(',')[0]]} |"
