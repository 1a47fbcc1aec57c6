"""The table of known CLIPs is held against open_clip's own tables and models, OpenAI's, and the embedded model."""

import importlib
import subprocess
import sys
import warnings
from collections import Counter

import pytest
import torch
import yaml

from modprompt.clip import known
from modprompt.clip.build import load_clip
from modprompt.clip.design import ACTIVATIONS, GELU, QUICK_GELU, Images
from modprompt.clip.package import import_clip
from modprompt.errors import UserError
from tests.conftest import ROOT
from tests.process_state import left_as_found

OPENAI_NAMES = {
    "RN50": "RN50",
    "RN101": "RN101",
    "RN50x4": "RN50x4",
    "RN50x16": "RN50x16",
    "RN50x64": "RN50x64",
    "ViT-B-32": "ViT-B/32",
    "ViT-B-16": "ViT-B/16",
    "ViT-L-14": "ViT-L/14",
    "ViT-L-14-336": "ViT-L/14@336px",
}
# open_clip's config of the plain name has GELU, but the weights were trained with QuickGELU
DISAGREEING = [
    "RN50/openai", "RN50/yfcc15m", "RN50/cc12m", "RN101/openai", "RN101/yfcc15m", "RN50x4/openai", "RN50x16/openai",
    "RN50x64/openai", "ViT-B-32/openai", "ViT-B-32/laion400m_e31", "ViT-B-32/laion400m_e32", "ViT-B-32/metaclip_400m",
    "ViT-B-32/metaclip_fullcc", "ViT-B-16/openai", "ViT-B-16/dfn2b", "ViT-B-16/metaclip_400m", "ViT-B-16/metaclip_fullcc",
    "ViT-L-14/openai", "ViT-L-14/dfn2b", "ViT-L-14/metaclip_400m", "ViT-L-14/metaclip_fullcc", "ViT-L-14-336/openai",
    "ViT-H-14/dfn5b", "ViT-H-14/metaclip_fullcc", "ViT-H-14-378/dfn5b", "ViT-bigG-14/metaclip_fullcc",
]  # fmt: skip


@pytest.fixture(scope="module")
def oracle():
    """open_clip; to import it warns and sets variables of the environment."""
    with left_as_found(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("open_clip")


@pytest.fixture(scope="module")
def tags(oracle):
    """What open_clip says of each pretrained tag, by MODEL/TAG."""
    table = oracle.pretrained._PRETRAINED
    return {f"{model}/{tag}": said for model, tags in table.items() for tag, said in tags.items()}


@pytest.fixture(scope="module")
def running(tags):
    """The rows of the tags whose sides are of the stock shape, or OpenAI's kind of ResNet."""
    found = {name: known.find(name) for name in tags}
    return {name: row for name, row in found.items() if not row.has_tower}


def model_of(name):
    return name.split("/")[0]


def kinds_of(config):
    """Of both sides, by a config of open_clip's: what prompts can go into is "prompted"."""
    image, text = config["vision_cfg"], config["text_cfg"]
    of_clipa = text.get("pool_type") == "last" and not text.get("proj_bias") and text.get("proj_type") != "none"
    of_text = "features" if of_clipa or text.get("hf_model_name") or text.get("embed_cls") else "prompted"
    trunk = image.get("timm_model_name", "")
    if "siglip" in trunk or trunk == "vit_large_patch14_clip_224":
        return of_text, "prompted"
    if trunk or image.get("attentional_pool") or image.get("no_ln_pre"):
        return of_text, "features"
    return of_text, "ResNet" if isinstance(image["layers"], list) else "prompted"


def test_table_is_of_this_open_clip(oracle):
    assert known.open_clip_version() == oracle.__version__


def test_every_tag_has_a_row_of_the_kinds_of_its_config_and_the_table_has_no_others(oracle, tags):
    assert len(tags) == 196
    for name in tags:
        assert known.find(name).kinds == kinds_of(oracle.get_model_config(model_of(name))), name
    assert set(known.names()) == {known.find(name).name for name in tags} | {"glyph-clip"}
    assert len(known.names()) == len(set(known.names())) == 171


def test_tags_by_what_runs_on_them(oracle, tags, running):
    cells = Counter(kinds_of(oracle.get_model_config(model_of(name))) for name in tags)
    before = Counter(row.kinds for row in running.values())
    assert before == {("prompted", "prompted"): 80, ("prompted", "ResNet"): 16}
    of_prompts = {("prompted", "prompted"): 80 + 26 + 5 + 1}  # SigLIP, MetaCLIP 2, MobileCLIP2-L
    assert cells == {
        **before,
        **of_prompts,
        ("prompted", "features"): 37 + 5 + 6,
        ("features", "prompted"): 9,
        ("features", "features"): 11,
    }
    assert known.counts() == {
        "everything": 112,
        "text side and heads": 16 + 48,
        "vision side and heads": 9,
        "heads": 11,
    }


FAMILIES = {  # as open_clip's names of models begin, of those with a tower: the sides, and how many tags
    "convnext_": ("stock", "ConvNeXt", 12),
    "EVA0": ("stock", "EVA", 7),
    "ViTamin-": ("stock", "ViTamin", 15),
    "MobileCLIP-B": ("stock", "MobileCLIP-B", 2),
    "MobileCLIP2-B": ("stock", "MobileCLIP-B", 1),
    "MobileCLIP-S": ("MobileCLIP", "FastViT", 2),
    "MobileCLIP2-S": ("MobileCLIP", "FastViT", 4),
    "MobileCLIP2-L": ("MobileCLIP", "MobileCLIP2-L", 1),
    "PE-Core-": ("PE", "PE", 5),
    "coca_": ("CoCa", "CoCa", 4),
    "roberta-": ("RoBERTa", "stock", 1),
    "xlm-roberta-": ("RoBERTa", "stock", 2),
    "nllb-clip-": ("NLLB", None, 6),
    "ViT-H-14-worldwide": ("MetaCLIP 2", "stock", 3),
    "ViT-bigG-14-worldwide": ("MetaCLIP 2", "stock", 2),
}


def test_families_of_towers_are_these():
    towers = [row for row in known.rows() if row.has_tower]
    for start, (text, image, count) in FAMILIES.items():
        found = [row.families for row in towers if row.name.startswith(start)]
        assert len(found) == count, start
        assert {(one, other if image else None) for one, other in found} == {(text, image)}, start
    named = [row for row in towers if not row.name.startswith(tuple(FAMILIES))]
    assert Counter(row.families for row in named) == {("SigLIP", "SigLIP"): 26, ("CLIPA", "CLIPA"): 7}
    assert all(row.families[0] in row.name for row in named)
    assert {row.families[1] for row in towers if row.name.startswith("nllb-clip-")} == {"stock", "SigLIP"}


def test_rows_have_the_activation_the_images_and_the_repository_of_the_tag(oracle, tags, running):
    for name, said in tags.items():
        row, config = known.find(name), oracle.get_model_config(model_of(name))
        of_config = row.has_tower and config.get("quick_gelu")  # where the tag says nothing, open_clip runs the config
        assert row.design.activation == (QUICK_GELU if said.get("quick_gelu") or of_config else GELU), name
        size = config["vision_cfg"]["image_size"]
        images = Images(size, said["mean"], said["std"], said["interpolation"], said["resize_mode"])
        assert row.design.images == images, name
        place = said["hf_hub"].rstrip("/")
        assert "/".join(filter(None, (row.source, row.file))) == place or name.endswith("/openai"), name
        if not row.has_tower:
            assert known.by_repository(place).design == row.design, name
            assert row.source == ("OpenAI" if name.endswith("/openai") else place), name


def test_rows_have_the_sizes_of_the_config(oracle, running):
    for name, row in running.items():
        config = oracle.get_model_config(model_of(name))
        image, text = oracle.CLIPVisionCfg(**config["vision_cfg"]), oracle.CLIPTextCfg(**config["text_cfg"])
        is_resnet = isinstance(image.layers, list)
        of_image = {
            "image layers": image.layers,
            "image width": image.width,
            "image hidden": int(image.width * image.mlp_ratio),
            "patch": image.patch_size,
        }
        assert row.design.said == {
            "text layers": text.layers,
            "text width": text.width,
            "text hidden": int(text.width * text.mlp_ratio),
            "embed": config["embed_dim"],
            **({} if is_resnet else of_image),
        }, name
        vision_heads = image.width * (32 if is_resnet else 1) // image.head_width
        assert row.design.heads == (text.heads, vision_heads), name
        assert row.layers == (text.layers, 0 if is_resnet else image.layers), name
        assert row.widths == (text.width, image.width), name


def sizes_of(model):
    """What a model, OpenAI's or open_clip's, has of a row: its tensors' sizes, and its heads."""
    blocks, visual = model.transformer.resblocks, model.visual
    found = {
        "text layers": len(blocks),
        "text width": model.ln_final.weight.shape[0],
        "text hidden": blocks[0].mlp.c_fc.weight.shape[0],
        "embed": model.text_projection.shape[1],
    }
    if hasattr(visual, "transformer"):
        image_blocks = visual.transformer.resblocks
        found["image layers"] = len(image_blocks)
        found["image width"] = visual.conv1.weight.shape[0]
        found["image hidden"] = image_blocks[0].mlp.c_fc.weight.shape[0]
        found["patch"] = visual.conv1.weight.shape[2]
        return found, (blocks[0].attn.num_heads, image_blocks[0].attn.num_heads)
    return found, (blocks[0].attn.num_heads, visual.attnpool.num_heads)


@pytest.mark.cover(5)
@pytest.mark.parametrize("model", [*OPENAI_NAMES, "ViT-B-16-plus-240", "ViT-H-14", "ViT-g-14", "ViT-bigG-14"])
def test_models_that_open_clip_builds_have_what_is_said_of_their_tensors(model, oracle, running):
    row = next(row for name, row in running.items() if model_of(name) == model)
    with left_as_found(), torch.device("meta"):
        built = oracle.create_model(model, device="meta", load_weights=False)
    said, heads = sizes_of(built)
    assert (said, heads) == (row.design.said, row.design.heads)
    assert built.visual.image_size in (row.design.images.size, (row.design.images.size,) * 2)
    if "patch" not in said:
        assert row.widths[1] * 32 == built.visual.attnpool.c_proj.weight.shape[1]


def test_stages_of_resnets_are_those_of_the_config(oracle):
    content = yaml.safe_load((ROOT / "modprompt/clip/models/known.yaml").read_text())
    resnets = {model: shape["image"][0] for model, shape in content["shapes"].items() if "patch" not in shape}
    assert len(resnets) == 5
    for model, stages in resnets.items():
        assert stages == oracle.get_model_config(model)["vision_cfg"]["layers"]


def test_disagreeing_tags_are_these(oracle, tags, running):
    def disagrees(name):
        return bool(oracle.get_model_config(model_of(name)).get("quick_gelu")) != bool(tags[name].get("quick_gelu"))

    assert len(DISAGREEING) == 26
    assert set(filter(disagrees, running)) == set(DISAGREEING)


def test_tags_that_disagree_with_their_config_have_quick_gelu(tags):
    for name in DISAGREEING:
        row = known.find(name)
        assert row.design.activation == QUICK_GELU
        model, tag = name.split("/")
        alias = f"{model}-quickgelu/{tag}"
        assert alias in tags
        assert known.find(alias) is row


def test_quickgelu_names_of_gelu_tags_are_not_there(tags):
    gelu = [row for row in known.rows() if row.design.activation == GELU and not row.has_tower]
    assert len(gelu) == 44
    for row in gelu:
        model, tag = row.name.split("/")
        assert known.find(f"{model}-quickgelu/{tag}") is None
        assert f"{model}-quickgelu/{tag}" not in tags


def test_other_names_are_not_found():
    for name in (
        "", "/", "ViT-B-16", "RN50-quickgelu", "ViT-B-16/OpenAI", "ViT-B-16/laion2b", "ViT-B/16/openai",
        "ViT-B/16-quickgelu", "ViT-B-16-quickgelu-quickgelu/openai", "vit-b-16/openai", "glyph-clip-quickgelu",
        "glyph-clip/openai", "laion/CLIP-ViT-B-16-laion2B-s34B-b88K", "ViT-B-16-SigLIP/laion2b",
        "roberta-ViT-B-32-quickgelu/laion2b_s12b_b32k",
    ):  # fmt: skip
        assert known.find(name) is None
        assert name not in known.names()


def test_openais_rows_are_those_of_the_clip_package():
    table = import_clip()._MODELS
    rows = {row.name: row for row in known.rows() if row.source == "OpenAI"}
    assert list(rows) == list(table) == list(OPENAI_NAMES.values())
    assert [row.name for row in known.rows()[:10]] == [*table, "glyph-clip"]
    for name, address in table.items():
        assert [rows[name].sha256, rows[name].file] == address.split("/")[-2:]
        assert (rows[name].dialect, rows[name].design.images) == ("openai", Images(rows[name].design.images.size))
    assert {row.sha256 for row in known.rows()[9:]} == {""}


def test_openais_have_their_open_clip_names():
    for model, name in OPENAI_NAMES.items():
        row = known.find(name)
        assert row.name == name
        assert known.find(f"{model}/openai") is known.find(f"{model}-quickgelu/openai") is row


def test_embedded_row_is_the_embedded_model():
    row, model = known.find("glyph-clip"), load_clip("glyph-clip")
    assert (row.dialect, row.source) == ("openai", "embedded")
    said, heads = sizes_of(model)
    assert (said, heads) == (row.design.said, row.design.heads)
    assert row.design.images == Images(model.visual.input_resolution)
    assert row.design.activation == QUICK_GELU
    assert type(model.transformer.resblocks[0].mlp.gelu).__name__ == "QuickGELU"
    assert (row.layers, row.widths) == ((8, 8), (64, 128))


def test_images_that_are_not_made_as_openais():
    rows = [row for row in known.rows() if not row.has_tower]
    squashed = {row.name for row in rows if row.design.images.resize == "squash"}
    assert squashed == {"ViT-H-14/dfn5b", "ViT-H-14-378/dfn5b"}
    half = Images(224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert known.find("ViT-L-14/laion2b_s32b_b82k").design.images == half
    usual = {row.design.images._replace(size=0) for row in rows if row.name not in squashed}
    assert usual == {Images(), half._replace(size=0)}


def test_repositories_give_rows():
    assert known.by_repository("laion/CLIP-ViT-B-16-laion2B-s34B-b88K") is known.find("ViT-B-16/laion2b_s34b_b88k")
    assert known.by_repository("timm/vit_large_patch14_clip_336.openai") is known.find("ViT-L/14@336px")
    for repo in ("", "OpenAI", "embedded", "LAION/clip-vit-b-16-laion2b-s34b-b88k", "timm/ViT-B-16-SigLIP"):
        assert known.by_repository(repo) is None


def test_rows_of_one_repository_have_one_design():
    shared = {}
    for row in known.rows()[10:71]:
        shared.setdefault(row.source, []).append(row)
    several = {repo: rows for repo, rows in shared.items() if len(rows) > 1}
    assert list(several) == ["timm/vit_base_patch16_plus_clip_240.laion400m_e31"]
    for repo, rows in several.items():
        assert len({repr(row.design) for row in rows}) == 1
        assert known.by_repository(repo) is rows[0]


def test_rows_are_whole():
    for row in known.rows():
        assert known.find(row.name) is row
        assert row.dialect in ("openai", "open_clip")
        assert row.design.activation in ACTIVATIONS
        if row.has_tower:
            assert (row.layers, row.widths, row.model) == ((0, 0), (0, 0), model_of(row.name))
            continue
        assert row.widths[0] % row.design.heads[0] == 0
        numbers = [*row.design.heads, *row.widths, row.design.images.size, *row.design.said.values()]
        assert all(type(number) is int and number > 0 for number in numbers)
        if "patch" in row.design.said:
            assert row.design.images.size % row.design.said["patch"] == 0
            assert row.widths[1] % row.design.heads[1] == 0


def test_no_torch_is_needed():
    text = (
        "import sys; from modprompt.clip import known; known.rows(); known.counts(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", text], check=True, cwd=ROOT)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ViT-B-16", "ViT-B-16 has several weights: name one, ViT-B-16/commonpool_l_basic_s1b_b8k or "),
        ("", "no CLIP is named: give --backbone ViT-B/16, say"),
        ("ViT-B/61", "there is no CLIP 'ViT-B/61'; did you mean 'ViT-B/16'"),
    ],
)
def test_name_that_is_none_is_told_to_users_of_python_and_of_the_command_alike(name, said):
    with pytest.raises(UserError) as raised:
        known.require(name)
    assert str(raised.value).startswith(said)
    assert ("ViT-B-16/openai" in str(raised.value)) == (name == "ViT-B-16")
    with pytest.raises(UserError, match="^a.pt: its CLIP: "):
        known.require(name, "a.pt: its CLIP")
