"""Comparing what a result recorded with the files of today: descriptions, prompts, weights, CLIP models, source code.

Each function returns functions (`identity.Look`) that compare a recorded fact with the current file. PyTorch is
imported only if the weights of a CLIP model have to be read.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from modprompt.clip import lookup, spec
from modprompt.errors import UserError
from modprompt.io import descriptions, identity
from modprompt.io.checkpoint import checkpoint_at
from modprompt.io.files import of_user
from modprompt.io.identity import (
    CLIP,
    CLIP_FILES,
    CLIPS,
    CLIPS_OWN,
    DESCRIPTIONS,
    ENHANCED_BASE,
    INITIAL,
    NOT_READ,
    PROMPTS_BEFORE,
    SENTENCES,
    SHOTS,
    SOURCES,
    TEACHER_CKPT,
    TOKENIZER,
    Look,
)
from modprompt.io.program_text import find_module, source_hash
from modprompt.io.records import file_hash

NONE = "none"  # as a teacher's checkpoint: a teacher without prompts
FRONT = "behind"  # in the record of a head: the method of the prompts that the head is trained on
DIGITS = 12  # of the hash of a checkpoint with prompts
# returns fingerprint and tokenizer of a CLIP model; None if they are unknown without reading the weights
Identity = Callable[[spec.ClipSpec], tuple[str, Mapping[str, Any]] | None]


_SHORT = {  # names of data sets in the files of HiCroPL, if they are not the names in lower case
    "Caltech101": "caltech", "DescribableTextures": "dtd", "FGVCAircraft": "fgvc", "ImageNetA": "imagenet_a",
    "ImageNetR": "imagenet_r", "ImageNetSketch": "imagenet_sketch", "OxfordFlowers": "oxford_flowers",
    "OxfordPets": "oxford_pets", "StanfordCars": "stanford_cars",
}  # fmt: skip


def default_sentences(dataset: str, trainer: str) -> Path:
    """Return the path of the class descriptions of a data set in the original repository of HiCroPL or LightRA."""
    if trainer == "LightRA":
        return Path("prompts") / f"{'ImageNet' if dataset.startswith('ImageNet') else dataset}.json"
    return Path("gpt_file") / f"{_SHORT.get(dataset, dataset.lower())}_prompt.json"


def prompts_hash(path: str) -> str:
    """Return twelve hex digits of the hash of a checkpoint or of the checkpoint in a run folder; "none" stays "none".

    Raises:
        OSError, UserError: if there is no checkpoint that can be read.
    """
    return NONE if path == NONE else file_hash(checkpoint_at(path))[:DIGITS]


_CONTENT = "the content of"
_HASHES: dict[str, tuple[Callable[[str], str], str]] = {  # by fact: the hash of the content of a path, and its name
    DESCRIPTIONS: (lambda path: descriptions.read(path).hash, _CONTENT),
    TEACHER_CKPT: (prompts_hash, "the teacher's prompts in"),
    PROMPTS_BEFORE: (prompts_hash, "the prompts in"),
    ENHANCED_BASE: (file_hash, _CONTENT),
    INITIAL: (file_hash, _CONTENT),
    SHOTS: (lambda path: file_hash(of_user(path)), _CONTENT),
}


def _recorded_hash(fact: str, text: str) -> str:
    """Return the hash in a recorded string, without the other words of the string."""
    if fact == DESCRIPTIONS:
        return text.rpartition(" ")[2]
    return text.partition(" ")[0] if fact == SENTENCES else text


def backbone_of(settings: Mapping[str, Any]) -> spec.ClipSpec:
    """Return the CLIP model that the settings of a run name.

    Args:
        settings: settings as strings, by dotted key.
    """
    texts = [str(settings.get(f"MODEL.BACKBONE.{key}", "")) for key in ("NAME", "PATH", "ACTIVATION", "MODEL")]
    heads = "".join(one if one.isdecimal() else " " for one in str(settings.get("MODEL.BACKBONE.HEADS", "")))
    name, path, activation, model = texts
    return spec.ClipSpec("" if path else name, path, activation, tuple(map(int, heads.split())), model)


def clip_files(settings: Mapping[str, str], result: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return the size and modification time of the files of all CLIP models of a run, at the time they were read.

    Args:
        settings: all settings of the run as strings, by dotted key.
        result: the result of the run.
    """
    read = [fact for fact in CLIPS if fact in identity.contents_of(result)]
    second = {fact: one for fact in read for one in map(lookup.named, _paths(settings, fact, result))}
    return {fact: lookup.when_read(one) for fact, one in {CLIP: backbone_of(settings), **second}.items()}


def looks(result: Mapping[str, Any], settings: Mapping[str, str], identity_of: Identity) -> dict[str, Look]:
    """Return functions that check whether files and CLIP models have changed since a result was written.

    Args:
        result: the result; the source code of custom methods is compared, too.
        settings: the settings of the requested run, which contain the current paths.
        identity_of: returns fingerprint and tokenizer of a CLIP model whose files have another size or time than the
            result recorded.
    """
    then, seen = result.get("settings") or {}, result.get(CLIP_FILES) or {}
    found: dict[str, Look] = {}
    for fact, recorded in identity.contents_of(result).items():
        paths, before = _paths(settings, fact, result), _paths(then, fact, result)
        if recorded == NOT_READ:
            continue
        if fact in _HASHES:
            found[fact] = _look(fact, *_HASHES[fact], paths, before)
        elif fact == SENTENCES:
            found[fact] = _look(fact, _hash_of_sentences(result), _CONTENT, paths or [""], before)
        elif fact in CLIPS and paths:
            found[fact] = look_at_clips(fact, list(map(lookup.named, paths)), seen.get(fact), identity_of)
    sources = (result.get("method") or {}).get(SOURCES) or {}
    found |= {fact: look_at_source(module) for module in sources for fact in identity.of_sources({module: ""})}
    backbone = backbone_of(settings)
    found[CLIP] = look_at_clips("CLIP", [backbone], seen.get(CLIP), identity_of)
    tokenizer = look_at_clips(TOKENIZER, [backbone], None, lambda clip: _tokenizer(identity_of(clip)))
    # another tokenizer may be in another repository, whose commit the files of the weights do not tell
    found[TOKENIZER] = lambda recorded: "" if recorded == CLIPS_OWN else tokenizer(recorded)
    return found


def _tokenizer(found: tuple[str, Mapping[str, Any]] | None) -> tuple[str, Mapping[str, Any]] | None:
    return None if found is None else (identity.tokenizer_of({"tokenizer": found[1]}) or CLIPS_OWN, {})


def _paths(settings: Mapping[str, str], fact: str, result: Mapping[str, Any]) -> list[str]:
    """Return the paths or model names in those settings whose content has a given name."""
    named = identity.named_by(result)
    return list(dict.fromkeys(str(text) for key, text in settings.items() if named.get(key) == fact and text))


def _look(fact: str, hash_of: Callable[[str], str], what: str, paths: list[str], before: list[str]) -> Look:
    """Return a function that compares files with the hash that a result recorded; one matching file is enough.

    Args:
        fact: the name of the fact.
        hash_of: returns the hash of the content of a path.
        what: what a path contains, for messages.
        paths: the current paths.
        before: the paths that were set when the run was made; empty if they are not known.
    """
    has = "have" if "prompts" in what else "has"
    places = [Path.cwd() / of_user(path) for path in before]

    def difference(path: str, recorded: str) -> str:
        try:
            if hash_of(path) == _recorded_hash(fact, recorded):
                return ""
            now = Path.cwd() / of_user(path)
            if not places or now in places:
                return f"{what} {path or 'the class descriptions'} {has} changed"
            another = f"is another {'folder' if now.is_dir() else 'file'} and " if now.exists() else ""
            return f"the run was made with {' or '.join(before)}, but {path} {another}has other content"
        except OSError as error:
            return f"{path} cannot be read ({error.strerror})"
        except UserError as error:
            return str(error)

    return _one_of(difference, paths)


def _one_of(difference: Callable[[Any, str], str], candidates: Sequence[Any]) -> Look:
    """Return a function that reports a change unless one of several files or CLIP models has the recorded hash."""

    def look(recorded: str) -> str:
        found = [difference(one, recorded) for one in candidates]
        return "" if "" in found else "; ".join(found)

    return look


def _hash_of_sentences(result: Mapping[str, Any]) -> Callable[[str], str]:
    """Return a function that returns the hash of the class descriptions for a value of the setting SENTENCES."""
    dataset, trainer = str(result.get("dataset", "")), str(result.get("trainer", ""))

    def hash_of(setting: str) -> str:
        try:
            found = descriptions.read_sentences(setting, dataset, default_sentences(dataset, trainer))
        except UserError as error:
            raise UserError(f"SENTENCES{error}") from None
        return descriptions.TEMPLATE if found is None else found.hash

    return hash_of


def look_at_clips(name: str, clips: list[spec.ClipSpec], seen: Any, identity_of: Identity) -> Look:
    """Return a function that compares the fingerprint of a CLIP model with the one in result.json.

    Args:
        name: the name of the fact in messages.
        clips: the CLIP models.
        seen: size and time of the files when the run was made; if they are equal now, the weights are not read.
        identity_of: returns fingerprint and tokenizer of a CLIP model.
    """

    def difference(clip: spec.ClipSpec, recorded: str) -> str:
        now = lookup.seen(clip)
        if now["looks"] and now == seen:
            return ""
        try:
            found = identity_of(clip)
        except UserError as error:
            return f"{name}: {error}"
        return "" if found is None or found[0] == recorded else f"{name} {recorded} -> {found[0]}"

    return _one_of(difference, clips)


def look_at_file(name: str, find: Callable[[str], str | None]) -> Look:
    """Return a function that checks if a split file or few-shot list has changed.

    Args:
        name: the recorded name of the file.
        find: returns the path of a file by its recorded name, or None if there is no such file.
    """

    def look(recorded: str) -> str:
        path = find(name)
        try:
            if path is None or not Path(path).is_file():
                return f"{name} does not exist any more"
            return "" if file_hash(path) == recorded else f"{name} has changed"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"

    return look


def look_at_source(module: str) -> Look:
    """Return a function that checks if the source code of a custom method has changed."""

    def look(recorded: str) -> str:
        file = find_module(module)
        try:
            same = file is None or source_hash(module, file) == recorded
        except OSError as error:
            return f"the source of {module} cannot be read ({error.strerror}: {error.filename})"
        return "" if same else f"{file}, or a module next to it that it imports, has changed"

    return look
