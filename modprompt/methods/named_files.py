"""What settings of methods name, looked at on disk: descriptions, sentences, prompts, weights, a second CLIP.

PyTorch is imported only where a CLIP's weights are read.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from modprompt.clip import known
from modprompt.errors import UserError
from modprompt.io import descriptions
from modprompt.io.checkpoint import checkpoint_at
from modprompt.io.files import of_user
from modprompt.io.records import file_hash
from modprompt.io.same_run import (
    BLENDED,
    CLIP,
    CLIP_FILES,
    CLIPS,
    CLIPS_OWN,
    DESCRIPTIONS,
    ENHANCED_BASE,
    INITIAL,
    NAMED,
    NOT_READ,
    PROMPTS_BEFORE,
    SENTENCES,
    SHOTS,
    SOURCES,
    TEACHER,
    TEACHER_CKPT,
    TOKENIZER,
    Look,
    look_at_source,
    named_in,
    of_sources,
    tokenizer_of,
)

NONE = "none"  # as a teacher's checkpoint: a teacher without prompts
FRONT = "behind"  # in a head's record: the method of the prompts that it is put on
DIGITS = 12  # of the hash of a checkpoint with prompts
Identity = Callable[[known.Asked], tuple[str, Mapping[str, Any]] | None]  # None: not known without reading it


def prompts_hash(path: str) -> str:
    """Twelve hex digits that tell the checkpoint of one training from another's; of NONE it is NONE.

    Raises:
        OSError, UserError: if there is none that can be read.
    """
    return NONE if path == NONE else file_hash(checkpoint_at(path))[:DIGITS]


_CONTENT = "the content of"
_HASHES: dict[str, tuple[Callable[[str], str], str]] = {  # by fact: of a path, and what that holds
    DESCRIPTIONS: (lambda path: descriptions.read(path).hash, _CONTENT),
    TEACHER_CKPT: (prompts_hash, "the teacher's prompts in"),
    PROMPTS_BEFORE: (prompts_hash, "the prompts in"),
    ENHANCED_BASE: (file_hash, _CONTENT),
    INITIAL: (file_hash, _CONTENT),
    SHOTS: (lambda path: file_hash(of_user(path)), _CONTENT),
}


def backbone_of(settings: Mapping[str, Any]) -> known.Asked:
    """The CLIP of a run's settings, as texts by dotted key."""
    texts = [str(settings.get(f"MODEL.BACKBONE.{key}", "")) for key in ("NAME", "PATH", "ACTIVATION", "MODEL")]
    heads = "".join(one if one.isdecimal() else " " for one in str(settings.get("MODEL.BACKBONE.HEADS", "")))
    name, path, activation, model = texts
    return known.Asked("" if path else name, path, activation, tuple(map(int, heads.split())), model)


def clips_of(settings: Mapping[str, str], facts: Mapping[str, str]) -> dict[str, known.Asked]:
    """The CLIPs of a run by fact: its own, and of second ones those that `facts` has."""
    second = {fact: one for fact in CLIPS if fact in facts for one in _second(settings, fact)}
    return {CLIP: backbone_of(settings), **second}


def _second(settings: Mapping[str, str], fact: str) -> list[known.Asked]:
    other = ".KDPL.TEACHER" if settings.get("TRAINER.NAME") == "PromptKD" else ".PROMPTKD.TEACHER_NAME"  # not read
    texts = (text for key, text in settings.items() if key.endswith(NAMED[fact]) and not key.endswith(other))
    return [known.named(text) for text in dict.fromkeys(filter(None, texts))]


def clip_files(settings: Mapping[str, str], facts: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """What the files of a run's CLIPs looked like when they were read, for its result."""
    return {fact: known.when_read(one) for fact, one in clips_of(settings, facts).items()}


def looks(result: Mapping[str, Any], settings: Mapping[str, str], identity: Identity) -> dict[str, Look]:
    """How to look at what a result's settings named, and at its CLIP, by fact.

    Args:
        result: the result; its custom methods are looked at, too.
        settings: the wanted ones, which say where things are now.
        identity: gives fingerprint and tokenizer of a CLIP whose files look otherwise than the result saw them.
    """
    facts = {fact: text for fact, text in named_in(result).items() if text != NOT_READ}
    made_with = result.get("settings") or {}
    found = {
        fact: _look(*_HASHES[fact], _paths(settings, fact), _paths(made_with, fact))
        for fact in facts
        if fact in _HASHES
    }
    if SENTENCES in facts:
        found[SENTENCES] = _look_at_sentences(result, _paths(settings, SENTENCES) or [""], _paths(made_with, SENTENCES))
    seen = result.get(CLIP_FILES) or {}
    for fact in (TEACHER, BLENDED):
        own = _second(settings, fact) if fact in facts else []
        if own:
            found[fact] = look_at_clips(fact, own, seen.get(fact), identity)
    backbone = backbone_of(settings)
    sources = (result.get("method") or {}).get(SOURCES) or {}
    found |= {fact: look_at_source(module) for module in sources for fact in of_sources({module: ""})}
    found[CLIP] = look_at_clips("CLIP", [backbone], seen.get(CLIP), identity)
    tokenizer = look_at_clips(TOKENIZER, [backbone], None, lambda clip: _tokenizer(identity(clip)))
    # one of its own may lie in another repository, whose commit no file of the weights tells
    found[TOKENIZER] = lambda recorded: "" if recorded == CLIPS_OWN else tokenizer(recorded)
    return found


def _tokenizer(found: tuple[str, Mapping[str, Any]] | None) -> tuple[str, Mapping[str, Any]] | None:
    return None if found is None else (tokenizer_of({"tokenizer": found[1]}) or CLIPS_OWN, {})


def _paths(settings: Mapping[str, str], fact: str) -> list[str]:
    return [str(text) for key, text in settings.items() if key.endswith(NAMED[fact]) and text]


def _look(hash_of: Callable[[str], str], what: str, paths: list[str], made_with: list[str]) -> Look:
    """Return a function that says that none of these paths has the recorded content; empty if one of them has it.

    Args:
        hash_of: returns the hash of a path's content.
        what: what a path holds, for messages.
        paths: those that are set now; a method may read another node than the one that is set.
        made_with: those that were set when the run was made; empty if they are not known.
    """
    has = "have" if "prompts" in what else "has"
    before = [Path.cwd() / of_user(path) for path in made_with]

    def said(path: str, recorded: str) -> str:
        try:
            if hash_of(path) == recorded:
                return ""
            now = Path.cwd() / of_user(path)
            if not before or now in before:
                return f"{what} {path or 'the class descriptions'} {has} changed"
            another = f"is another {'folder' if now.is_dir() else 'file'} and " if now.exists() else ""
            return f"the run was made with {' or '.join(made_with)}, but {path} {another}has other content"
        except OSError as error:
            return f"{path} cannot be read ({error.strerror})"
        except UserError as error:
            return str(error)

    return _one_of(said, paths)


def _one_of(said: Callable[[Any, str], str], there: Sequence[Any]) -> Look:
    """Whether one of several things is what was recorded, by what is said of each; empty if it is."""

    def look(recorded: str) -> str:
        found = [said(one, recorded) for one in there]
        return "" if "" in found else "; ".join(found)

    return look


def _look_at_sentences(result: Mapping[str, Any], texts: list[str], made_with: list[str]) -> Look:
    dataset, trainer = str(result.get("dataset", "")), str(result.get("trainer", ""))

    def hash_of(setting: str) -> str:
        try:
            found = descriptions.read_sentences(setting, dataset, trainer)
        except UserError as error:
            raise UserError(f"SENTENCES{error}") from None
        return descriptions.TEMPLATE if found is None else found.hash

    return _look(hash_of, _CONTENT, texts, made_with)


def look_at_clips(name: str, clips: list[known.Asked], seen: Any, identity: Identity) -> Look:
    """Whether one of these CLIPs is the recorded one, by what its files looked like (`seen`), else by its weights."""

    def said(clip: known.Asked, recorded: str) -> str:
        now = known.seen(clip)
        if now["looks"] and now == seen:
            return ""
        try:
            found = identity(clip)
        except UserError as error:
            return f"{name}: {error}"
        return "" if found is None or found[0] == recorded else f"{name} {recorded} -> {found[0]}"

    return _one_of(said, clips)
