"""Where the weights of a CLIP are, and what says how they are run: a name, a folder, or a file.

Nothing is guessed: weights are refused if nothing says how they are run, or two things contradict each other.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.clip import file_tokenizer, hub, known, open_clips, transformers_names
from modprompt.clip.design import ACTIVATIONS, Images
from modprompt.clip.file_tokenizer import FileTokenizer, TokenizerPlan
from modprompt.clip.open_clips import CONFIG_FILE, POSITIONS, TRANSFORMERS_FILE, VOCABULARY
from modprompt.clip.package import import_clip
from modprompt.clip.present import Asked
from modprompt.clip.tokenizers import ClipTokenizer, Tokenizer
from modprompt.errors import UserError
from modprompt.io.files import of_user
from modprompt.io.records import file_hash

LOG = logging.getLogger("modprompt")
OPENAI, OPEN_CLIP, TRANSFORMERS, BARE = "openai", "open_clip", "transformers", "bare"
SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".tar")
_RUN_EMBEDDED = f"`modprompt train --trainer MPL` alone, or MODEL.BACKBONE.NAME {known.EMBEDDED}, runs the embedded one"
_OPEN_CLIP = (
    "open_clip_model.safetensors", "open_clip_model.safetensors.index.json", "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin", "open_clip_pytorch_model.bin.index.json", "open_clip_pytorch_model.pt",
)  # fmt: skip
_TRANSFORMERS = (
    "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json",
)  # fmt: skip
TEXT_FOLDER = "text_config"
_UNUSED = {"roberta": 2, "xlm-roberta": 2}  # positions: theirs begin after the padding id
_HOW_TO_SAY = (
    "give open_clip's name of the model, MODEL.BACKBONE.MODEL, in Python model=; or MODEL.BACKBONE.ACTIVATION "
    "(quick_gelu or gelu) and MODEL.BACKBONE.HEADS (text side, image side; a head is 64 wide in most), in Python "
    "activation= and heads=; or put the configs that came with it into its folder"
)
_NOT_ASKED = (
    "MODEL.BACKBONE.ACTIVATION, HEADS and MODEL are for weights from MODEL.BACKBONE.PATH that nothing else describes: "
    "{} already says it"
)


def asked_of(backbone: Any) -> Asked:
    """The CLIP that the node MODEL.BACKBONE of a run names."""
    heads = tuple(backbone.HEADS) if isinstance(backbone.HEADS, (tuple, list)) else (backbone.HEADS,)
    return Asked(backbone.NAME, backbone.PATH, backbone.ACTIVATION, heads, backbone.MODEL)


class Source(NamedTuple):
    """Where weights are, and how they are run."""

    asked: Asked
    name: str  # as it was asked for, a hub's with the commit that was used; empty for a file
    file: str  # base name of the file or folder that was given; empty for a name
    weights: Path | None  # the file, or an index of several; None for the embedded model
    dialect: str  # who says how they are run: openai (also the embedded model), open_clip, transformers; bare: the user
    model: dict[str, Any] | None  # open_clip's model_cfg; None for openai and bare
    images: Images  # how its images are made; their size is 0 if only the tensors say it
    sha256: str = ""  # of OpenAI's file
    commit: str = ""  # of a hub's repository
    trusted: bool = False  # other repositories that its model_cfg names may be asked for: it is open_clip's own

    @property
    def called(self) -> str:
        """The name of the weights in messages."""
        return str(self.weights) if self.file else self.name


def find(asked: Asked) -> Source:
    """The source of a CLIP, downloaded if need be; UserError if there is none, or nothing says how it is run."""
    if asked.activation not in ("", *ACTIVATIONS):
        raise UserError(f"MODEL.BACKBONE.ACTIVATION must be {' or '.join(ACTIVATIONS)}, got {asked.activation!r}")
    if len(asked.heads) not in (0, 2) or not all(type(one) is int and one > 0 for one in asked.heads):
        raise UserError(f"MODEL.BACKBONE.HEADS must be two whole numbers, (text side, image side), got {asked.heads!r}")
    if asked.path:
        return _of_path(asked)
    if asked.activation or asked.heads or asked.model:
        raise UserError(_NOT_ASKED.format(asked.name))
    name = known.plain(asked.name)
    found = known.require(name)
    if found is not None:
        return _of_tag(asked, found)
    if name.startswith(hub.PREFIX):
        return _of_hub(asked)
    if name == known.EMBEDDED:
        return Source(asked, name, "", None, OPENAI, None, Images(32))
    row = known.OPENAI[name]
    return Source(asked, name, "", _openai_file(name), OPENAI, None, Images(row.pixels), row.sha256)


def describes_itself(path: str) -> bool:
    """Whether something other than the user's options says how a file or folder of weights is run."""
    try:
        return find(Asked(path=path)).dialect != BARE
    except UserError:
        return False


def _openai_file(name: str) -> Path:
    clip = import_clip()
    cache = of_user("~/.cache/clip")
    if name not in clip._MODELS:
        raise UserError(f"the `clip` package at {Path(str(clip.__file__)).parent} does not know {name}")
    url = clip._MODELS[name]
    path: Path = cache / url.rpartition("/")[2]
    if path.is_file():
        return path  # its SHA-256 is compared when it is read
    try:
        return Path(clip._download(url, str(cache)))
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"no weights for {name}: {path} is not there and the download failed ({error}); put the file there or give "
            f"MODEL.BACKBONE.PATH; {_RUN_EMBEDDED}"
        ) from None


def _of_tag(asked: Asked, found: open_clips.Tag) -> Source:
    open_clips.tell_activation(found)
    if found.model["text_cfg"].get("hf_tokenizer_name"):
        open_clips.transformers()  # before the download
    names = (found.file,) if found.file else _OPEN_CLIP
    there = hub.snapshot(found.repo, known.at_revision(asked.name)[1], lambda names_there: _wanted(names_there, names))
    weights = there.folder / _pick(there.files(), found.repo, names)
    tell(found.name, [weights.name], there)
    return Source(
        asked, found.name, "", weights, OPEN_CLIP, found.model, found.images, commit=there.commit, trusted=True
    )


def _of_hub(asked: Asked) -> Source:
    repo, revision = hub.parse(asked.name)
    there = hub.snapshot(repo, revision, _wanted)
    weights = there.folder / _pick(there.files(), repo)
    found = _of_weights(asked, weights)
    tell(asked.name, [weights.name, TRANSFORMERS_FILE if found.dialect == TRANSFORMERS else CONFIG_FILE], there)
    return found._replace(name=f"{hub.PREFIX}{repo}@{there.commit}", file="", commit=there.commit)


def _of_path(asked: Asked) -> Source:
    path = of_user(asked.path)
    try:
        if not path.exists():
            if asked.path.startswith(hub.PREFIX) or known.is_openai(asked.path) or asked.path == known.EMBEDDED:
                raise UserError(f"MODEL.BACKBONE.PATH: {path} is a name: give it with --backbone (MODEL.BACKBONE.NAME)")
            raise UserError(f"MODEL.BACKBONE.PATH: no file or folder at {path}; {_RUN_EMBEDDED}")
        files = [one.name for one in path.iterdir() if one.is_file()] if path.is_dir() else []
        weights = path / _pick(files, asked.path) if path.is_dir() else path
        return _of_weights(asked, weights)._replace(file=path.resolve().name)
    except OSError as error:
        raise UserError(f"MODEL.BACKBONE.PATH: cannot read {path} ({error.strerror})") from None


def _of_weights(asked: Asked, weights: Path) -> Source:
    """A file of weights by what stands beside it, its hash, or the options."""
    own, others = weights.parent / CONFIG_FILE, weights.parent / TRANSFORMERS_FILE
    is_others = others.is_file() and (weights.name in _TRANSFORMERS or not own.is_file())
    found: Callable[..., Source] = partial(Source, asked, "", weights.name, weights)
    if is_others or own.is_file():
        if asked.activation or asked.heads or asked.model:
            raise UserError(_NOT_ASKED.format(others if is_others else own))
        if is_others:
            return found(TRANSFORMERS, *transformers_names.read(weights.parent))
        return found(OPEN_CLIP, *open_clips.of_file(own))
    if asked.model:
        if asked.activation or asked.heads:
            raise UserError("MODEL.BACKBONE.MODEL says activation and heads: leave out ACTIVATION and HEADS")
        return found(OPEN_CLIP, *open_clips.of_name(asked.model))
    if asked.activation and asked.heads:
        return found(BARE, None, Images(stated=False))
    if asked.activation or asked.heads:
        raise UserError(f"{weights}: give both MODEL.BACKBONE.ACTIVATION and MODEL.BACKBONE.HEADS")
    digest = file_hash(weights) if weights.suffix in (".pt", ".pth") else ""
    row = next((one for one in known.OPENAI.values() if one.sha256 == digest), None)
    if row is None:
        raise UserError(f"{weights} does not say how it is run: {_HOW_TO_SAY}")
    return found(OPENAI, None, Images(row.pixels), digest)


def _wanted(there: Sequence[str], preferred: Sequence[str] = ()) -> list[str]:
    """The files of a repository that are needed: its weights, and without a tag all that says how they are run."""
    weights = _pick(there, "it", preferred)
    stem, _, ending = weights.removesuffix(".index.json").rpartition(".")
    shards = [one for one in there if one.startswith(f"{stem}-") and one.endswith(f".{ending}")]
    needed = [weights, *(shards if weights.endswith(".json") else [])]
    if preferred:
        return needed
    if not {CONFIG_FILE, TRANSFORMERS_FILE} & set(there):
        raise UserError(f"it has neither {CONFIG_FILE} nor {TRANSFORMERS_FILE}, which say how its weights are run")
    more = (CONFIG_FILE, TRANSFORMERS_FILE, *transformers_names.IMAGES_FILES, f"{TEXT_FOLDER}/{TRANSFORMERS_FILE}")
    tokens = (*file_tokenizer.CARRIERS, *file_tokenizer.SETTINGS)
    return [*needed, *(one for one in (*more, *tokens) if one in there)]


def _pick(there: Sequence[str], where: str, preferred: Sequence[str] = ()) -> str:
    """The file with the weights: open_clip's own first, then transformers', then the only one."""
    files = sorted(one for one in there if one.endswith(SUFFIXES) and "/" not in one)
    for one in preferred or (*_OPEN_CLIP, *_TRANSFORMERS):
        if one in there:
            return one
    if len(files) != 1:
        listed = ", ".join(files) or "nothing"
        raise UserError(f"{where} must hold one file of weights ({', '.join(SUFFIXES)}), there is: {listed}")
    return files[0]


def tell(name: str, files: Sequence[str], there: hub.Snapshot) -> None:
    """Say which commit of a repository a CLIP's files come from, at a level that is shown without a logging setup."""
    LOG.warning("%s: %s of %s at commit %s", name, ", ".join(files), there.repo, there.commit)


# ---------------------------------------------------------------------- texts


def text_folder(found: Source) -> Path | None:
    """The folder with the config.json of a text side that is transformers', UserError if it lacks; None for others."""
    name = (found.model or {}).get("text_cfg", {}).get("hf_model_name")
    if not name or found.weights is None:
        return None
    folder = found.weights.parent / TEXT_FOLDER
    if not (folder / TRANSFORMERS_FILE).is_file():
        lacking = f"it needs {TEXT_FOLDER}/{TRANSFORMERS_FILE} in its folder, the config of its text side {name}"
        folder = _named(found, str(name), _config_in, lacking)
    open_clips.text_config(folder / TRANSFORMERS_FILE)
    return folder


def _config_in(there: Sequence[str]) -> list[str]:
    if TRANSFORMERS_FILE not in there:
        raise UserError(f"it has no {TRANSFORMERS_FILE}")
    return [TRANSFORMERS_FILE]


def tokenizer_of(found: Source, text: Path | None) -> Tokenizer:
    """The tokenizer of a source, `text` of text_folder; UserError if it is missing, or belongs to another CLIP."""
    part: dict[str, Any] = (found.model or {}).get("text_cfg", {})
    length, vocabulary = part.get("context_length", POSITIONS), part.get("vocab_size", VOCABULARY)
    name, given = part.get("hf_tokenizer_name"), part.get("tokenizer_kwargs") or {}
    if not name:
        if text is not None or vocabulary != VOCABULARY or given:
            raise UserError(
                f"{found.called}: its config names no tokenizer (text_cfg.hf_tokenizer_name), and CLIP's does not fit "
                "this text side"
            )
        return ClipTokenizer(length)
    padding, end = None, None
    if text is not None:
        of_text = open_clips.text_config(text / TRANSFORMERS_FILE)
        vocabulary = of_text.get("vocab_size", 0)
        kind = of_text.get("model_type")
        padding = of_text.get("pad_token_id", 0 if kind == "bert" else 1)
        most = of_text.get("max_position_embeddings", length) - _UNUSED.get(str(kind), 0)
        if length > most:
            raise UserError(f"{found.called}: context_length is {length}, but its text side has {most} positions")
    elif part.get("pool_type") == "eos":
        end = part.get("eos_id", 2)
    if part.get("embed_cls"):
        padding = part.get("pad_id", 0)
    clean, language = str(given.get("clean") or "whitespace"), str(given.get("language") or "")
    plan = TokenizerPlan(length, clean, vocabulary, bool(given.get("strip_sep_token")), padding, end, language)
    files = ", ".join((*file_tokenizer.CARRIERS, *file_tokenizer.SETTINGS))
    lacking = f"it needs the tokenizer of {name} in its folder: copy its files ({files}: all that exist)"
    assert found.weights is not None  # the embedded model has no model_cfg
    own = found.weights.parent
    if not found.trusted and any((own / one).is_file() for one in file_tokenizer.CARRIERS):
        return FileTokenizer(own, plan)
    return FileTokenizer(_named(found, str(name), file_tokenizer.wanted, lacking), plan)


def _named(found: Source, name: str, choose: hub.Choose, lacking: str) -> Path:
    """The snapshot of a repository that open_clip's own config names; for other configs nothing is asked for."""
    if not found.trusted:
        raise UserError(f"{found.called}: {lacking}")
    there = hub.snapshot(name, "", choose)
    tell(found.called, choose(there.files()), there)
    return there.folder
