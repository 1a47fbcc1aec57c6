"""Which CLIPs are known by name: what each of them is, and why others that open_clip has cannot run.

The facts stand in models/known.yaml. No weights are looked at here, and no PyTorch is needed.
"""

import difflib
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import yaml

from modprompt.clip import hub
from modprompt.clip.design import QUICK_GELU, Design, Images, reason
from modprompt.clip.kinds import RESNET, STOCK, Kinds
from modprompt.errors import UserError
from modprompt.io.paths import of_user
from modprompt.io.safe_open import read_text

OPENAI, OPEN_CLIP = "openai", "open_clip"
_FILE = Path(__file__).parent / "models" / "known.yaml"
EMBEDDED = "glyph-clip"
_SUFFIX = "-quickgelu"  # of a model's name: open_clip's other name of the same weights


class Row(NamedTuple):
    """A CLIP that runs; pairs are (text side, image side).

    name: as it is asked for: "ViT-B/16", "glyph-clip", or open_clip's "ViT-B-16/laion2b_s34b_b88k".
    dialect: whose names its tensors have, "openai" or "open_clip".
    source: "OpenAI", "embedded", or the repository on the Hugging Face hub.
    sha256, file: of OpenAI's files, the hash (hex) and the file's name; else empty.
    widths: of the sides; of a ResNet's image side that of its stem.
    design: what its tensors do not show, and in `said` what they must.
    """

    name: str
    dialect: str
    source: str
    widths: Tuple[int, int]
    design: Design
    sha256: str = ""
    file: str = ""

    @property
    def kinds(self) -> Kinds:
        """Which sides prompts can be put into."""
        return Kinds(STOCK, STOCK if self.layers[1] else RESNET)

    @property
    def layers(self) -> Tuple[int, int]:
        """Of the transformers; the image side of a ResNet has 0."""
        return self.design.said["text layers"], self.design.said.get("image layers", 0)


@lru_cache(maxsize=None)
def _content() -> Dict[str, Any]:
    content: Dict[str, Any] = yaml.safe_load(read_text(_FILE))
    return content


def _row(name: str, dialect: str, model: str, source: str, activation: str = QUICK_GELU, **images: Any) -> Row:
    """A row of a model's shape; `images` is what is other than usual with its images."""
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
    told: Dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in images.items()}
    design = Design(activation, (heads, image_heads), Images(size=shape["pixels"], **told), said)
    return Row(name, dialect, source, (width, image_width), design)


def whose(name: str, dialect: str) -> str:
    """Whose weights those of a CLIP are, in words: the embedded one has OpenAI's names of tensors, not its weights."""
    return "this project's own" if name == EMBEDDED else dialect


@lru_cache(maxsize=None)
def rows() -> Tuple[Row, ...]:
    """All CLIPs that run: OpenAI's, the embedded one, then open_clip's, each once."""
    found = [
        _row(name, OPENAI, one["model"], "OpenAI")._replace(sha256=one["sha256"], file=one["file"])
        for name, one in _content()["openai"].items()
    ]
    found.append(_row(EMBEDDED, OPENAI, EMBEDDED, "embedded"))
    for model, tags in _content()["tags"].items():
        for tag, one in tags.items():
            rest = {key: value for key, value in one.items() if key != "hub"}
            found.append(_row(f"{model}/{tag}", OPEN_CLIP, model, one["hub"], **rest))
    return tuple(found)


@lru_cache(maxsize=None)
def _by_name() -> Dict[str, Row]:
    """Rows by their names and, those of OpenAI, by MODEL/openai too."""
    found = {row.name: row for row in rows()}
    found.update((f"{one['model']}/openai", found[name]) for name, one in _content()["openai"].items())
    return found


def _plain(name: str) -> str:
    """MODEL/TAG of MODEL-quickgelu/TAG; every other name as it is."""
    model, _, tag = name.rpartition("/")
    return f"{model[: -len(_SUFFIX)]}/{tag}" if model.endswith(_SUFFIX) else name


def names() -> List[str]:
    """Names of the CLIPs that run, without their other names."""
    return [row.name for row in rows()]


def find(name: str) -> Optional[Row]:
    """The row of a CLIP that runs, or None.

    Args:
        name: a row's own, MODEL/openai for one of OpenAI's, or MODEL-quickgelu/TAG for a row with quick_gelu.
    """
    plain = _plain(name)
    row = _by_name().get(plain)
    return None if row is None or (plain != name and row.design.activation != QUICK_GELU) else row


@lru_cache(maxsize=None)
def _by_repository() -> Dict[str, Row]:
    found = {one["hub"]: _by_name()[name] for name, one in _content()["openai"].items()}
    for row in rows():
        if row.dialect == OPEN_CLIP:
            found.setdefault(row.source, row)
    return found


def by_repository(repo: str) -> Optional[Row]:
    """The row of a CLIP that runs, by OWNER/NAME of the Hugging Face hub, or None; of several the first.

    Those that share a repository have one design. Repositories of OpenAI's weights give OpenAI's rows.
    """
    return _by_repository().get(repo)


@lru_cache(maxsize=None)
def _refused() -> Dict[str, Tuple[str, str]]:
    """{MODEL/TAG: (kind, family)} of those that cannot run."""
    return {
        f"{model}/{tag}": (kind, family)
        for kind, families in _content()["refused"].items()
        for family, models in families.items()
        for model, tags in models.items()
        for tag in tags
    }


def repository(name: str) -> Optional[Tuple[str, str]]:
    """(OWNER/NAME, revision or "") of the hub that a name's weights come from; None if they come from elsewhere.

    Raises:
        UserError: if it begins as a hub's name and is none.
    """
    if name.startswith(hub.PREFIX):
        return hub.parse(name)
    plain, revision = at_revision(name)
    row = find(plain)
    return (row.source, revision) if row is not None and row.dialect == OPEN_CLIP else None


def at_revision(name: str) -> Tuple[str, str]:
    """(MODEL/TAG, revision) of MODEL/TAG@revision; (name, "") of all others."""
    plain, _, revision = name.rpartition("@")
    row = find(plain) if find(name) is None else None
    return (plain, revision) if row is not None and row.dialect == OPEN_CLIP else (name, "")


def refused_names() -> List[str]:
    """MODEL/TAG of all that open_clip has and that cannot run."""
    return list(_refused())


def refusal(name: str) -> str:
    """Why a MODEL/TAG that open_clip has cannot run, in one line; empty for any other name."""
    return reason(name, _refused()[name][1]) if name in _refused() else ""


def open_clip_version() -> str:
    """The open_clip whose pretrained tags are in the table."""
    return str(_content()["open_clip"])


def require(name: str, where: str = "") -> Row:
    """The row of a CLIP that runs; the name may have a revision.

    Args:
        name: as it is asked for.
        where: what the message begins with, if anything.

    Raises:
        UserError: if it cannot run, or there is no such name; near ones are named, tags of its own model first.
    """
    row = find(at_revision(name)[0])
    if row is not None:
        return row
    refused = refusal(name.partition("@")[0])
    if refused:
        raise UserError(refused)
    where = f"{where}: " if where else ""
    if not name:
        raise UserError(f"{where}no CLIP is named: give --backbone ViT-B/16, say, or a file as MODEL.BACKBONE.PATH")
    if of_user(name).exists():
        raise UserError(f"{where}{name} is a file or folder: give it as MODEL.BACKBONE.PATH")
    tags = [one for one in _by_name() if one.startswith(f"{name}/")]
    if name in _content()["shapes"] and tags:
        raise UserError(f"{where}{name} has several weights: name one, {' or '.join(sorted(tags))}")
    model = _plain(name).rpartition("/")[0]
    of_model = [one for one in names() if one.startswith(f"{model}/")] if model else []
    near = difflib.get_close_matches(_plain(name), of_model or names(), n=3, cutoff=0.4)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ";"
    if not of_model and name.count("/") and not near:
        hint = f"; a hub's repository is {hub.PREFIX}owner/name;"
    raise UserError(f"{where}there is no CLIP {name!r}{hint} `modprompt backbones` lists all that are known")


def pinned(name: str, commit: str) -> str:
    """A name that gives the same weights again: of those of a hub at the commit that was used."""
    return f"{name}@{commit}" if commit and name and not name.startswith(hub.PREFIX) else name  # a hub's has it


def counts() -> Dict[str, int]:
    """How many of open_clip's pretrained tags run and are refused, and of each kind.

    As open_clip counts them: MODEL-quickgelu/TAG is one of its own. "runs" and "refused" are the sums of what follows.
    """
    runs = {"ViT, quick_gelu": 0, "ViT, gelu": 0, "ResNet": 0}
    for row in rows():
        if row.name != EMBEDDED:
            activation = row.design.activation
            runs[f"ViT, {activation}" if "patch" in row.design.said else "ResNet"] += (
                2 if activation == QUICK_GELU else 1
            )
    kinds = [kind for kind, _ in _refused().values()]
    return {
        "runs": sum(runs.values()),
        **runs,
        "refused": len(kinds),
        **{kind: kinds.count(kind) for kind in _content()["refused"]},
    }
