"""Sources with a side of another package: what says how they are made, and where their text files are.

For a name, the files that its config names may come from a hub; for a file or folder they must be there already.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from modprompt.clip import config_files, file_tokenizer, hub, known, tower_config, tower_packages, transformers_config
from modprompt.clip.config_files import OPEN_CLIP_FILE, TRANSFORMERS_FILE, read_by, read_config
from modprompt.clip.design import QUICK_GELU
from modprompt.clip.file_tokenizer import FileTokenizer, TokenizerPlan
from modprompt.clip.infer_shape import POSITIONS, VOCABULARY
from modprompt.clip.source import TRANSFORMERS_WEIGHTS, Asked, Source
from modprompt.clip.tokenizers import ClipTokenizer, Tokenizer
from modprompt.clip.tower_config import TowerConfig
from modprompt.clip.transformers_config import TransformersConfig
from modprompt.errors import UserError

LOG = logging.getLogger("modprompt")
_CONFIGS = (OPEN_CLIP_FILE, TRANSFORMERS_FILE, config_files.IMAGES_FILE, config_files.PROCESSOR_FILE)
TEXT_FOLDER = "text_config"
_COPIED = f"files ({', '.join((*file_tokenizer.CARRIERS, *file_tokenizer.SETTINGS))}: all that exist)"
_MOST_IDS = 4096  # of a text
_TEXT_KINDS = ("bert", "roberta", "xlm-roberta", "m2m_100", "mt5")  # that open_clip knows
_UNUSED = {"roberta": 2, "xlm-roberta": 2}  # positions: theirs begin after the padding id
_OWNERS = {  # owners of repositories that open_clip's configs name without one
    "bert-base-uncased": "google-bert",
    "roberta-base": "FacebookAI",
    "xlm-roberta-base": "FacebookAI",
    "xlm-roberta-large": "FacebookAI",
}
_TOKENIZER_RULES: config_files.Rules = {
    "clean": config_files.Read(config_files.one_of(*file_tokenizer.CLEANINGS), "whitespace"),
    "strip_sep_token": config_files.Read(config_files.as_bool, False),
}
Config = TowerConfig | TransformersConfig


def require_packages(asked: Asked) -> None:
    """Raise UserError if a package that a tag's CLIP needs is missing: before the CLIP is downloaded."""
    row = None if asked.path else known.find(known.at_revision(asked.name)[0])
    if row is not None and row.has_tower and _of_row(row).model["text_cfg"].get("hf_tokenizer_name"):
        tower_packages.transformers()


def config_of(found: Source) -> Config | None:
    """How a source with a side of another package is made; None if both sides are of the stock shape.

    Raises:
        UserError: on what is not supported, on options for weights that need none, and if open_clip is missing, since
            only it knows the models of its tags.
    """
    config = _config_of(found)
    if config is not None and (found.asked.activation or found.asked.heads):
        raise UserError(f"MODEL.BACKBONE.ACTIVATION and HEADS are not read here: {found.called} says it itself")
    return config


def _config_of(found: Source) -> Config | None:
    if found.row is not None:
        return _of_row(found.row) if found.row.has_tower else None
    assert found.weights is not None  # the embedded model has a row
    folder = found.weights.parent
    path, other = folder / OPEN_CLIP_FILE, folder / TRANSFORMERS_FILE
    is_others = found.weights.name in TRANSFORMERS_WEIGHTS or not path.is_file()
    if is_others and other.is_file() and read_config(other).get("model_type") in transformers_config.NAMED:
        return transformers_config.read(folder)
    return _of_open_clip(path) if path.is_file() else None


def _of_row(row: known.Row) -> TowerConfig:
    model = tower_packages.open_clip().get_model_config(row.model)
    if model is None:
        raise UserError(f"the installed open_clip does not know {row.model}")
    model["quick_gelu"] = row.design.activation == QUICK_GELU  # if config and tag disagree, the tag is right
    return tower_config.read(model, row.design.images, row.name)


def _of_open_clip(path: Path) -> TowerConfig | None:
    model, images = config_files.model_and_images(path)
    size = config_files.part_of(model, "vision_cfg", str(path)).get("image_size", 224)
    size = config_files.pixels(size, f"{path}: vision_cfg.image_size")
    found = tower_config.read(model, config_files.preprocessed(images, size, f"{path}: preprocess_cfg."), str(path))
    return found if found.has_tower else None


def text_folder(found: Source, config: TowerConfig) -> Path | None:
    """The folder with the config.json of a text side that is transformers'; None for others.

    Raises:
        UserError: if it is missing.
    """
    name = config.model["text_cfg"].get("hf_model_name")
    if not name:
        return None
    assert found.weights is not None
    folder = found.weights.parent / TEXT_FOLDER
    if not (folder / TRANSFORMERS_FILE).is_file():
        lacking = f"it needs {TEXT_FOLDER}/{TRANSFORMERS_FILE} in its folder, the config of its text side {name}"
        folder = _named(found, str(name), lambda there: [TRANSFORMERS_FILE], lacking)
    path = folder / TRANSFORMERS_FILE
    text = read_config(path)
    config_files.one_of(*_TEXT_KINDS)(text.get("model_type"), f"{path}: model_type")
    if "auto_map" in text:
        raise UserError(f"{path}: auto_map names code of its own, which is never run")
    config_files.require_bounded(text, f"{path}: ")
    return folder


def tokenizer(found: Source, config: TowerConfig, text: Path | None) -> Tokenizer:
    """The tokenizer of a source.

    Args:
        found: the source.
        config: open_clip's.
        text: from text_folder.

    Raises:
        UserError: if it is missing, or belongs to another CLIP.
    """
    part: dict[str, Any] = config.model["text_cfg"]
    at = f"{found.called}: text_cfg."
    length, vocabulary = _whole(part, "context_length", POSITIONS, at), _whole(part, "vocab_size", VOCABULARY, at)
    name, given = part.get("hf_tokenizer_name"), part.get("tokenizer_kwargs") or {}
    if not isinstance(given, dict):
        raise UserError(f"{at}tokenizer_kwargs must be an object, got {str(given)[:40]}")
    if part.get("tokenizer_mode"):
        raise UserError(f"{at}tokenizer_mode is {part['tokenizer_mode']!r}: only plain texts are supported")
    if not name:
        if text is not None or vocabulary != VOCABULARY:
            raise UserError(
                f"{found.called}: its config names no tokenizer (text_cfg.hf_tokenizer_name), and CLIP's does not fit "
                "this text side"
            )
        read_by({}, given, f"{at}tokenizer_kwargs.")
        return ClipTokenizer(length)
    asked = read_by(_TOKENIZER_RULES, given, f"{at}tokenizer_kwargs.")
    padding, end = None, None
    if text is not None:
        path = text / TRANSFORMERS_FILE
        of_text = read_config(path)
        vocabulary = _whole(of_text, "vocab_size", 0, f"{path}: ")
        padding = of_text.get("pad_token_id", _usual_padding(of_text))
        most = _whole(of_text, "max_position_embeddings", _MOST_IDS, f"{path}: ")
        most -= _UNUSED.get(str(of_text.get("model_type")), 0)
        if length > most:
            raise UserError(f"{at}context_length is {length}, but its text side has {most} positions ({path})")
    elif part.get("pool_type") == "eos":
        end = part.get("eos_id", 2)
    if part.get("embed_cls"):
        padding = part.get("pad_id", 0)
    plan = TokenizerPlan(length, asked["clean"], vocabulary, asked["strip_sep_token"], padding, end)
    lacking = f"it needs the tokenizer of {name} in its folder: copy its {_COPIED}"
    return FileTokenizer(_tokenizer_folder(found, str(name), lacking), plan)


def _whole(part: dict[str, Any], key: str, usual: int, at: str) -> int:
    """A number of ids in a config."""
    value = part.get(key, usual)
    most = _MOST_IDS if key == "context_length" else config_files.MOST
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= most:
        raise UserError(f"{at}{key} must be a whole number from 1 to {most}, got {str(value)[:40]}")
    return value


def transformers_tokenizer(found: Source, config: TransformersConfig) -> Tokenizer:
    """The tokenizer of one of transformers' dual encoders, whose files are in its config's folder.

    Raises:
        UserError: if it is missing, or belongs to another CLIP.
    """
    assert found.weights is not None
    padding = None if config.kind == "siglip" else config.padding
    plan = TokenizerPlan(config.length, file_tokenizer.NO_CLEANING, config.vocabulary, False, padding, config.end)
    folder = found.weights.parent
    if not found.file:
        repo, commit = hub.parse(found.name)
        folder = hub.snapshot(repo, commit, file_tokenizer.wanted).folder
        tell(found, repo, commit, file_tokenizer.wanted(_there(folder)))
    elif not any((folder / one).is_file() for one in file_tokenizer.CARRIERS):
        raise UserError(f"{found.called}: it needs its tokenizer in its folder: copy its {_COPIED}")
    return FileTokenizer(folder, plan)


def _usual_padding(config: dict[str, Any]) -> int:
    """transformers' default where a text side's config gives no padding id."""
    return 0 if config.get("model_type") == "bert" else 1


def _tokenizer_folder(found: Source, name: str, lacking: str) -> Path:
    assert found.weights is not None
    own = found.weights.parent
    if found.file and any((own / one).is_file() for one in file_tokenizer.CARRIERS):
        return own
    return _named(found, name, file_tokenizer.wanted, lacking)


def _named(found: Source, name: str, choose: Callable[[Sequence[str]], list[str]], lacking: str) -> Path:
    """The snapshot of a repository that a config names; for a file or folder only if the cache has it."""
    repo, _ = hub.of_user(f"{_OWNERS[name]}/{name}" if name in _OWNERS else name)
    if not found.file:
        snapshot = hub.snapshot(repo, "", choose)
        tell(found, repo, snapshot.commit, choose(_there(snapshot.folder)))
        return snapshot.folder
    cached = hub.cached(repo)
    if cached is None or not _has(cached.folder, choose):
        raise UserError(f"{found.called}: {lacking}")
    tell(found, repo, cached.commit, choose(_there(cached.folder)))
    return cached.folder


def tell_weights(found: Source) -> None:
    """Say which commit a name's weights come from, and its configs, unless a tag's row replaces them."""
    if found.commit and found.weights is not None and not found.file:
        folder, of_row = found.weights.parent, found.row
        configs = [one for one in _CONFIGS if of_row is None and (folder / one).is_file()]
        repo = hub.parse(found.name)[0] if of_row is None else of_row.source
        tell(found, repo, found.commit, [found.weights.name, *configs])


def tell(found: Source, repo: str, commit: str, files: Sequence[str]) -> None:
    """Say which commit of a repository a CLIP's files come from, at a level that is shown without a logging setup."""
    LOG.warning("%s: %s of %s at commit %s", found.called, ", ".join(files), repo, commit)


def _has(folder: Path, choose: Callable[[Sequence[str]], list[str]]) -> bool:
    there = _there(folder)
    try:
        return set(choose(there)) <= set(there)
    except UserError:
        return False


def _there(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir() if one.is_file())
