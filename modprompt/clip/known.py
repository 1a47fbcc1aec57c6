"""The CLIPs that are known by name: what each is, and what runs on it.

The facts are in models/known.yaml. No weights are read here, and PyTorch is not needed.
"""

import difflib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from modprompt.clip import hub
from modprompt.clip.design import GELU, QUICK_GELU, Design, Images
from modprompt.clip.kinds import FEATURES, PROMPTED, RESNET, Kinds
from modprompt.errors import UserError
from modprompt.io.paths import of_user
from modprompt.io.safe_open import read_text

OPENAI, OPEN_CLIP = "openai", "open_clip"
_FILE = Path(__file__).parent / "models" / "known.yaml"
EMBEDDED = "glyph-clip"
_SUFFIX = "-quickgelu"  # in a model's name: open_clip's other name for the same weights
STOCK = "stock"  # the family of OpenAI's transformers
_STOCK_SIDES = (STOCK, STOCK)
_PROMPTED_TEXT = (STOCK, "SigLIP", "MobileCLIP", "PE", "MetaCLIP 2")  # families that tower_sides.py knows
_PROMPTED_IMAGE = (STOCK, "SigLIP", "MobileCLIP2-L")
EVERYTHING, TEXT, VISION, HEADS = "everything", "text side and heads", "vision side and heads", "heads"
RUNS = {(True, True): EVERYTHING, (True, False): TEXT, (False, True): VISION, (False, False): HEADS}


def runs_on(kinds: Kinds) -> str:
    """What runs on a CLIP with such sides, in words: one of RUNS."""
    return RUNS[kinds.text == PROMPTED, kinds.image == PROMPTED]


class Row(NamedTuple):
    """A supported CLIP; pairs are (text side, image side).

    name: as a user gives it: "ViT-B/16", "glyph-clip", or open_clip's "ViT-B-16/laion2b_s34b_b88k".
    dialect: whose names its tensors have, "openai" or "open_clip".
    source: "OpenAI", "embedded", or the repository on the Hugging Face hub.
    sha256, file: OpenAI's: the file's hash (hex) and name; if a repository has several files, the one with the
        weights; else empty.
    widths: of the sides; a ResNet's is that of its stem; 0 for a side that is not of the stock shape.
    design: what its tensors do not show, and in `said` what they must show. If a side is not of the stock shape, only
        images and activation: the rest is in open_clip's config of the model.
    families: the architectures of the sides: "stock" is OpenAI's.
    """

    name: str
    dialect: str
    source: str
    widths: tuple[int, int]
    design: Design
    sha256: str = ""
    file: str = ""
    families: tuple[str, str] = _STOCK_SIDES

    @property
    def layers(self) -> tuple[int, int]:
        """Numbers of layers of the transformers; 0 for a ResNet, and for both sides if one is a tower."""
        return self.design.said.get("text layers", 0), self.design.said.get("image layers", 0)

    @property
    def model(self) -> str:
        """open_clip's name of its shape; empty for OpenAI's names and the embedded model."""
        return self.name.rpartition("/")[0] if self.dialect == OPEN_CLIP else ""

    @property
    def has_tower(self) -> bool:
        """Whether a side is a package's own module: neither of the stock shape nor OpenAI's kind of ResNet."""
        return self.families[0] != STOCK or self.families[1] not in (STOCK, RESNET)

    @property
    def kinds(self) -> Kinds:
        """Which sides prompts can be put into."""
        text, image = self.families
        other = RESNET if image == RESNET else FEATURES
        return Kinds(PROMPTED if text in _PROMPTED_TEXT else FEATURES, PROMPTED if image in _PROMPTED_IMAGE else other)

    @property
    def runs(self) -> str:
        """What runs on it, in words: one of RUNS."""
        return runs_on(self.kinds)


@cache
def _content() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(read_text(_FILE))
    return content


def _row(name: str, dialect: str, model: str, source: str, activation: str = QUICK_GELU, **images: Any) -> Row:
    """A row for a model's shape; `images` is how its images differ from OpenAI's."""
    shape = _content()["shapes"][model]
    layers, width, heads, hidden = shape["text"]
    said = {"text layers": layers, "text width": width, "text hidden": hidden, "embed": shape["embed"]}
    if "patch" in shape:
        image_layers, image_width, head, image_hidden = shape["image"]
        said.update({"image layers": image_layers, "image width": image_width, "image hidden": image_hidden})
        said["patch"], image_heads = shape["patch"], image_width // head
    else:
        image_width = shape["image"][1]
        image_heads = image_width * 32 // 64  # of the attention pool, which is 32 times as wide
    families = _STOCK_SIDES if "patch" in shape else (STOCK, RESNET)
    told: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in images.items()}
    design = Design(activation, (heads, image_heads), Images(size=shape["pixels"], **told), said)
    return Row(name, dialect, source, (width, image_width), design, families=families)


def _towers() -> Iterator[Row]:
    """Rows of the CLIPs with a side that is not of the stock shape."""
    for group in _content()["towers"]:
        images = group.get("images", {})
        told: dict[str, Any] = {key: tuple(one) if isinstance(one, list) else one for key, one in images.items()}
        for model, facts in group["models"].items():
            design = Design(facts.get("activation", GELU), (), Images(size=facts["pixels"], **told))
            for tag, place in facts["tags"].items():
                owner, repo, *file = place.split("/")
                found = Row(f"{model}/{tag}", OPEN_CLIP, f"{owner}/{repo}", (0, 0), design)
                yield found._replace(file="".join(file), families=tuple(group["families"]))


def whose(name: str, dialect: str) -> str:
    """Whose weights a CLIP has, in words: the embedded one has OpenAI's names of tensors, but its own weights."""
    return "this project's own" if name == EMBEDDED else dialect


def is_openai(name: str) -> bool:
    """Whether a name belongs to one of OpenAI's CLIPs."""
    row = find(at_revision(name)[0])
    return row is not None and whose(row.name, row.dialect) == OPENAI


@cache
def rows() -> tuple[Row, ...]:
    """All CLIPs, each once: OpenAI's, the embedded one, then open_clip's, those of the stock shape first."""
    found = [
        _row(name, OPENAI, one["model"], "OpenAI")._replace(sha256=one["sha256"], file=one["file"])
        for name, one in _content()["openai"].items()
    ]
    found.append(_row(EMBEDDED, OPENAI, EMBEDDED, "embedded"))
    for model, tags in _content()["tags"].items():
        for tag, one in tags.items():
            rest = {key: value for key, value in one.items() if key != "hub"}
            found.append(_row(f"{model}/{tag}", OPEN_CLIP, model, one["hub"], **rest))
    return (*found, *_towers())


@cache
def _by_name() -> dict[str, Row]:
    """Rows by name; OpenAI's also by MODEL/openai."""
    found = {row.name: row for row in rows()}
    found.update((f"{one['model']}/openai", found[name]) for name, one in _content()["openai"].items())
    return found


def _plain(name: str) -> str:
    """MODEL/TAG for MODEL-quickgelu/TAG; every other name unchanged."""
    model, _, tag = name.rpartition("/")
    return f"{model[: -len(_SUFFIX)]}/{tag}" if model.endswith(_SUFFIX) else name


def names() -> list[str]:
    """The CLIPs' names, without their other names."""
    return [row.name for row in rows()]


def find(name: str) -> Row | None:
    """The row of a CLIP, or None.

    Args:
        name: a row's own, MODEL/openai for one of OpenAI's, or MODEL-quickgelu/TAG for a row of the stock shape with
            quick_gelu.
    """
    row = _by_name().get(name) or _by_name().get(_plain(name))
    if row is None or name in _by_name():
        return row
    return row if row.design.activation == QUICK_GELU and not row.has_tower else None


@cache
def _by_repository() -> dict[str, Row]:
    found = {one["hub"]: _by_name()[name] for name, one in _content()["openai"].items()}
    for row in rows():
        if row.dialect == OPEN_CLIP and not row.has_tower:
            found.setdefault(row.source, row)
    return found


def by_repository(repo: str) -> Row | None:
    """The first row of a CLIP of the stock shape with this OWNER/NAME on the Hugging Face hub, or None.

    CLIPs that share a repository have one design. Repositories of OpenAI's weights give OpenAI's rows.
    """
    return _by_repository().get(repo)


def repository(name: str) -> tuple[str, str] | None:
    """(OWNER/NAME, revision or "") on the hub of a name's weights; None if they come from elsewhere.

    Raises:
        UserError: if it begins as a hub's name but is not one.
    """
    if name.startswith(hub.PREFIX):
        return hub.parse(name)
    plain, revision = at_revision(name)
    row = find(plain)
    return (row.source, revision) if row is not None and row.dialect == OPEN_CLIP else None


def at_revision(name: str) -> tuple[str, str]:
    """(MODEL/TAG, revision) for MODEL/TAG@revision; (name, "") for all others."""
    plain, _, revision = name.rpartition("@")
    row = find(plain) if find(name) is None else None
    return (plain, revision) if row is not None and row.dialect == OPEN_CLIP else (name, "")


def open_clip_version() -> str:
    """The version of open_clip whose pretrained tags are in the table."""
    return str(_content()["open_clip"])


def require(name: str, where: str = "") -> Row:
    """The row of a CLIP; the name may have a revision.

    Args:
        name: as a user gives it.
        where: the beginning of the message; may be empty.

    Raises:
        UserError: if there is no such name; similar ones are named, tags of its own model first.
    """
    row = find(at_revision(name)[0])
    if row is not None:
        return row
    where = f"{where}: " if where else ""
    if not name:
        raise UserError(f"{where}no CLIP is named: give --backbone ViT-B/16, say, or a file as MODEL.BACKBONE.PATH")
    if of_user(name).exists():
        raise UserError(f"{where}{name} is a file or folder: give it as MODEL.BACKBONE.PATH")
    tags = [one for one in _by_name() if one.startswith(f"{name}/")]
    if "/" not in name and tags:
        raise UserError(f"{where}{name} has several weights: name one, {' or '.join(sorted(tags))}")
    model = _plain(name).rpartition("/")[0]
    of_model = [one for one in names() if one.startswith(f"{model}/")] if model else []
    near = difflib.get_close_matches(_plain(name), of_model or names(), n=3, cutoff=0.4)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ";"
    if not of_model and name.count("/") and not near:
        hint = f"; a hub's repository is {hub.PREFIX}owner/name;"
    raise UserError(f"{where}there is no CLIP {name!r}{hint} `modprompt backbones` lists all that are known")


def of_model(name: str) -> Row:
    """The row of open_clip's MODEL, or of MODEL/TAG if its tags are run differently, for a file of its weights.

    Raises:
        UserError: if there is none, or several.
    """
    found = [row for row in rows() if row.model == name or row.name == name]
    if not found:
        near = difflib.get_close_matches(name, sorted({row.model for row in rows() if row.model}), n=3, cutoff=0.4)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise UserError(f"MODEL.BACKBONE.MODEL: there is no model {name!r} of open_clip's{hint}")
    if any(row.design != found[0].design for row in found):
        listed = " or ".join(row.name for row in found)
        raise UserError(f"MODEL.BACKBONE.MODEL: weights of {name} are run differently: name {listed}")
    return found[0]


def pinned(name: str, commit: str) -> str:
    """A name that gives the same weights again: weights of a hub at the commit that was used."""
    return f"{name}@{commit}" if commit and name and not name.startswith(hub.PREFIX) else name  # a hub's name has it


def counts() -> dict[str, int]:
    """The number of open_clip's pretrained tags by what runs on them: one of RUNS.

    As open_clip counts them: MODEL-quickgelu/TAG is a tag of its own.
    """
    found = dict.fromkeys(RUNS.values(), 0)
    for row in rows():
        if row.name != EMBEDDED:
            found[row.runs] += 2 if row.design.activation == QUICK_GELU and not row.has_tower else 1
    return found
