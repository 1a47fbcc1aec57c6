import sys

from modprompt.clip import known


def test_all_that_are_known_have_a_line(said):
    text, _ = said(0, "backbones")
    assert text[0].split() == ["name", "from", "activation", "pixels", "runs"]
    rows = {line.split()[0]: line.split()[1:] for line in text[1 : text.index("")]}
    assert [*rows][:10] == [*known.OPENAI, "glyph-clip"]
    assert rows["ViT-B/16"] == ["OpenAI", "quick_gelu", "224", "everything"]
    assert rows["RN50"] == ["OpenAI", "quick_gelu", "224", "text", "side", "and", "heads"]
    assert rows["ViT-B-16-SigLIP2/webli"] == ["timm/ViT-B-16-SigLIP2", "-", "224", "everything"]
    assert rows["ViT-B-16/dfn2b"] == ["apple/DFN2B-CLIP-ViT-B-16", "quick_gelu", "224", "everything"]
    assert text[-2].startswith(f"{len(rows)} CLIP models can be selected by name. Supported methods: ")


def test_a_word_filters_names_in_any_case_and_another_name_finds_its_own(said, refused):
    found = {line.split("/")[0] for line in said(0, "backbones", "vit-h-14-378")[0][1:-3]}
    assert found == {"ViT-H-14-378", "ViT-H-14-378-quickgelu"}
    assert said(0, "backbones", "ViT-L-14-336/openai")[0][1].split()[0] == "ViT-L/14@336px"
    line = refused("backbones", "ViT-B-16/dfn3b")
    assert "no CLIP name contains or matches 'ViT-B-16/dfn3b'. Did you mean 'ViT-B-16/dfn2b'?" in line


def test_a_pattern_filters_names(said, refused):
    found = [line.split()[0] for line in said(0, "backbones", "*b-16*")[0][1:-3]]
    assert found[0] == "ViT-B/16"
    assert {"ViT-B-16/laion2b_s34b_b88k", "ViT-B-16-SigLIP2/webli"} < {*found}
    assert all("B-16" in name or name == "ViT-B/16" for name in found[1:])
    assert [line.split()[0] for line in said(0, "backbones", "RN50x?")[0][1:-3]] == ["RN50x4"]
    assert "no CLIP name contains or matches '*vit-b-61'." in refused("backbones", "*vit-b-61")


def test_without_open_clip_its_names_are_not_listed_and_the_extra_is_named(said, monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    text, _ = said(0, "backbones")
    assert len(text[1 : text.index("")]) == 10
    assert "The pretrained tags of open_clip are not included: " in text[-2]
    assert "pip install 'open_clip_torch>=3.3,<4'" in text[-2]
