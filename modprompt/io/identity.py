"""Whether two runs are the same run: the facts that decide a run's results, and the comparison of these facts.

A fact has a name and a string. The name is the dotted key of a setting, or says what the content of a file or of a CLIP
model is used for, for example "the teacher"; the string is then a hash of this content, so the file may be moved.
Training states, checkpoints, results and rounds store facts, and every decision whether a run is the requested run is
made by comparing facts with the functions of this module. No heavy package is imported, so that thousands of results
are compared quickly.
"""

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

from modprompt.io.files import PathLike, sha256_of

# names of facts: what content is used for
CLIP, TOKENIZER = "the weights of CLIP", "the tokenizer of CLIP"
SHOTS, INITIAL = "the shots by class", "the initial weights"
DESCRIPTIONS, SENTENCES = "the descriptions", "the sentences"
TEACHER, TEACHER_CKPT = "the teacher", "the teacher's prompts"  # a CLIP model, and a checkpoint
BLENDED = "the CLIP that is blended in"
PROMPTS_BEFORE, ENHANCED_BASE = "the prompts before the head", "the enhanced base"
IMAGES = "the images"  # compared with the image files only, not with a text
TRAINING_IMAGES, CHOSEN_BY = "the training images", "the images to choose by"

CLIPS = (TEACHER, BLENDED)  # content that is a second CLIP model, known by its fingerprint
OF_METHODS = (
    DESCRIPTIONS,
    TEACHER,
    TEACHER_CKPT,
    PROMPTS_BEFORE,
    ENHANCED_BASE,
)  # a checkpoint is used only with these
# the facts behind settings of every run; settings of methods declare theirs in `fields.setting(content=...)`
NAMED_BY_ALL = {"MODEL.INIT_WEIGHTS": INITIAL, "DATASET.SHOTS_BY_CLASS": SHOTS}

# texts with a meaning
CLIPS_OWN = "CLIP's own"  # the tokenizer of OpenAI's CLIP
NOT_READ = "not read"  # content that does not affect the results of the run
_GIVEN = "given"  # a setting whose content is compared instead of its path

# keys of a result, a method record, a training state or a checkpoint
IDENTITY = "identity"  # in a result: see `record`
CLIP_FILES = "clip_files"  # in a result: size and time of the files of its CLIP models, by fact
SOURCES = "sources"  # in a method record: the hash of each custom module that defines the method, by module name
BEGAN_FROM = "began_from"  # the checkpoint from which a training began with a new optimiser

# settings that do not affect the results of a training
FREE = {
    "OUTPUT_DIR", "RESUME", "DATASET.ROOT", "VERBOSE", "TRAIN.PRINT_FREQ", "TRAIN.CHECKPOINT_FREQ",
    "MODEL.BACKBONE.PATH", "DATALOADER.TEST.BATCH_SIZE", "DATALOADER.TEST.SAMPLER", "TEST.PER_CLASS_RESULT",
    "TEST.COMPUTE_CMAT", "TEST.NO_TEST", "TEST.ONLY", "TEST.EVALUATOR", "TEST.IMAGE_CACHE",
    "MODEL.TEXT_CHUNK", "DATALOADER.KEEP_IMAGES", "MODEL.BACKBONE.ACTIVATION", "MODEL.BACKBONE.HEADS",
    "MODEL.BACKBONE.MODEL",
    "DATASET.CHOOSE_BY", "TEST.KEEP_FEATURES", "TEST.FEATURES_OF", "TEST.OOD", "SEARCH.RUNS",
}  # fmt: skip
_FREE_IN_TESTS = ("DATALOADER.NUM_WORKERS",)  # in a training, the random augmentation depends on this setting
_TEST_CHANGES_MODEL = ".TESTS_WRITE"  # the end of the key of a setting: each batch of a test changes the model
_MOST_SHOWN, _BEFORE = 100, 30  # characters of a value in a message, and of these before the first difference

_IS_SETTING = re.compile(r"[A-Z][A-Z0-9_]*(\.\w+)*")

Look = Callable[[str], str]  # receives the recorded text of a fact; returns what has changed, or ""


# ---- collecting facts


def decisive(settings: Mapping[str, str], more_free: Collection[str] = ()) -> dict[str, str]:
    """Return the settings that influence the results of a run.

    Args:
        settings: settings as strings, by dotted key.
        more_free: keys of further settings that do not affect the results.
    """
    free = FREE.union(more_free)
    if any(text == "True" and key.endswith(_TEST_CHANGES_MODEL) for key, text in settings.items()):
        free.discard("DATALOADER.TEST.BATCH_SIZE")
    return {key: text for key, text in settings.items() if key not in free}


def by_own_clip(settings: Mapping[str, str], named: Mapping[str, str]) -> dict[str, str]:
    """Replace the name of a second CLIP model by "" if it is the name of the backbone.

    Args:
        settings: settings as strings, by dotted key.
        named: the facts behind settings, by dotted key.
    """
    backbone = "" if settings.get("MODEL.BACKBONE.PATH") else settings.get("MODEL.BACKBONE.NAME")
    return {key: "" if text == backbone and named.get(key) in CLIPS else text for key, text in settings.items()}


def of_sources(sources: Mapping[str, Any]) -> dict[str, str]:
    """Return the hashes of custom source files with names for messages."""
    return {f"the source of {module}": str(digest) for module, digest in sources.items()}


def of_images(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings of the image preprocessing with names for messages."""
    return {f"{key} of the images": str(text) for key, text in settings.items()}


def tokenizer_of(clip: Mapping[str, Any]) -> str:
    """Return a string that identifies the tokenizer of a CLIP model, or "" for the tokenizer of OpenAI's CLIP.

    Args:
        clip: the record of the CLIP model (`ClipFacts.as_record`).
    """
    tokenizer = clip.get("tokenizer") or {}
    return " ".join(f"{key}={tokenizer[key]}" for key in sorted(tokenizer))


def of_clip(fingerprint: str, clip: Mapping[str, Any]) -> dict[str, str]:
    """Return facts that identify a CLIP model: its weights, and its tokenizer if that is not the one of OpenAI's CLIP.

    Args:
        fingerprint: the fingerprint of the weights.
        clip: the record of the CLIP model (`ClipFacts.as_record`).
    """
    tokenizer = tokenizer_of(clip)
    return {CLIP: fingerprint, **({TOKENIZER: tokenizer} if tokenizer else {})}


def made_with(method: Mapping[str, Any], clip: Mapping[str, str]) -> dict[str, str]:
    """Return the settings and hashes that must be equal in a checkpoint and in the model that loads the checkpoint.

    Args:
        method: the record of the method (`records.method_record`).
        clip: the facts of the CLIP model, see `of_clip`.
    """
    methods = [one for one in (method, method.get("beside")) if one]
    return {
        **{f"{one['node']}.{key}": str(value) for one in methods for key, value in one["config"].items()},
        **{f"SEARCH.{field.upper()}": str(value) for field, value in method.get("search", {}).items()},
        **{name: method[name] for name in OF_METHODS if name in method},
        **{"the method": method["learner"], **clip},
    }


def record(contents: Mapping[str, str], named: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return the entry "identity" of result.json.

    Args:
        contents: the facts of the run that are not settings, as its training state and its checkpoints store them.
        named: the facts behind settings of the method, by dotted key.
    """
    return {"contents": dict(contents), "named": dict(named)}


def contents_of(result: Mapping[str, Any]) -> dict[str, str]:
    """Return the hashes of files, CLIP models and source code that result.json recorded, by name."""
    return dict((result.get(IDENTITY) or {}).get("contents") or {})


def named_by(result: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings of a run whose values are paths or CLIP models: {dotted key: name of the recorded hash}."""
    return {**NAMED_BY_ALL, **((result.get(IDENTITY) or {}).get("named") or {})}


def facts(result: Mapping[str, Any]) -> dict[str, str]:
    """Return all settings and hashes in a result.json that identify its run."""
    contents = contents_of(result)
    return {
        **wanted(result.get("settings") or {}, result),
        **({TOKENIZER: CLIPS_OWN} if CLIP in contents else {}),
        **contents,
        **{f"files/{name}": str(digest) for name, digest in (result.get("files") or {}).items()},
        **of_images(result.get("input") or {}),
        IMAGES: "",
    }


def wanted(settings: Mapping[str, str], result: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings of a requested run in the same form as `facts`, so that both can be compared.

    Args:
        settings: the explicit settings as strings, by dotted key.
        result: the result; the content that it recorded is compared instead of the paths in the settings.
    """
    contents, named = contents_of(result), named_by(result)
    settings = by_own_clip(settings, named)
    return {key: _GIVEN if text and named.get(key) in contents else text for key, text in settings.items()}


# ---- comparing facts


class Difference(NamedTuple):
    """A setting or hash that differs between two runs."""

    name: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.name[:_MOST_SHOWN]} {' -> '.join(apart(self.old, self.new))}"


def apart(*texts: str) -> Iterator[str]:
    """Shorten long values for a message to the part around the first character in which they differ."""
    start = max(len(os.path.commonprefix(texts)) - _BEFORE, 0)
    for text in texts:
        end = "..." if len(text) > start + _MOST_SHOWN else ""
        long = ("..." if start else "") + text[start : start + _MOST_SHOWN] + end
        yield text if len(text) <= _MOST_SHOWN else long


def changes(
    old: Mapping[str, str], new: Mapping[str, str], defaults: Mapping[str, str] | None = None
) -> list[Difference]:
    """Return the differences between two sets of settings or hashes, sorted by name.

    Args:
        old: the first set.
        new: the second set.
        defaults: the texts of names that one set lacks; "not set" if there is no default.
    """
    sides = [{**dict.fromkeys({**old, **new}, "not set"), **(defaults or {}), **side} for side in (old, new)]
    found = (Difference(name, sides[0][name], sides[1][name]) for name in sorted({**old, **new}))
    return [one for one in found if one.old != one.new]


def differing(
    then: Mapping[str, str],
    now: Mapping[str, str],
    *,
    defaults: Mapping[str, str] | None = None,
    tests: bool = False,
    whole: bool = False,
) -> list[Difference]:
    """Return the differences between an existing run and a requested run, sorted by name.

    Args:
        then: the facts of the existing run.
        now: the facts of the requested run.
        defaults: the texts of settings that one run lacks.
        tests: whether the runs only test, so that fewer settings affect the results.
        whole: whether both runs have all their facts. If not, facts that are not settings are compared only if both
            runs have them.
    """
    old, new = (decisive(side, _FREE_IN_TESTS if tests else ()) for side in (then, now))
    if not whole:
        alone = {name for name in old.keys() ^ new.keys() if not _IS_SETTING.fullmatch(name)}
        old, new = ({name: text for name, text in side.items() if name not in alone} for side in (old, new))
    return changes(old, new, defaults)


def differences(
    then: Mapping[str, str],
    now: Mapping[str, str],
    looks: Mapping[str, Look] | None = None,
    *,
    defaults: Mapping[str, str] | None = None,
    tests: bool = False,
) -> list[str]:
    """Return the differences between an existing and a requested run as strings; compare files if nothing else differs.

    Args:
        then: the facts of the existing run.
        now: the facts of the requested run.
        looks: functions that compare recorded facts with the current files, by fact.
        defaults: as for `differing`.
        tests: as for `differing`.
    """
    found = list(map(str, differing(then, now, defaults=defaults, tests=tests)))
    if found:
        return found
    for name, look in (looks or {}).items():
        if name in then and not (found and name == IMAGES):  # a changed list of images says it already
            found += filter(None, [look(then[name])])
    return found


# ---- comparing checkpoints


def _hash_of_checkpoint(result: Mapping[str, Any]) -> str:
    return str((result.get("checkpoint") or {}).get("hash") or "")


def is_of(result: Mapping[str, Any], file: PathLike, epoch: int | None = None) -> bool:
    """Return True if the result of a training run was computed with a checkpoint in the folder of the training.

    Args:
        result: the result.
        file: the path of the checkpoint.
        epoch: the epoch that was requested, or None for the checkpoint that a test of the training loads.
    """
    stated = _hash_of_checkpoint(result)
    return sha256_of(file) == stated if stated else epoch is None


def of_other_weights(
    result: Mapping[str, Any], weights_now: Callable[[], str | None], trained: Mapping[str, Any] | None = None
) -> bool:
    """Return True if the result of a test was not computed with the current checkpoint of the training.

    Args:
        result: the result of the test.
        weights_now: returns the SHA-256 of the checkpoint that a test would load now, or None if there is none.
        trained: the result of the training, if the test is one of its best or last epoch.
    """
    before = trained or {}
    if "prompts_hash" in result and "prompts_hash" in before:
        return bool(result["prompts_hash"] != before["prompts_hash"])
    stated = _hash_of_checkpoint(result)
    if not stated:  # a trainer of another codebase that saves no checkpoint
        return trained is None or bool(_hash_of_checkpoint(before))
    return (_hash_of_checkpoint(before) or weights_now()) != stated


def differing_beginning(recorded: str | None, now: str, resume: str) -> list[str]:
    """Return a list with one string if a training run began from another checkpoint than requested, else [].

    Args:
        recorded: the SHA-256 of the checkpoint from which the training began, "" for none, or None if it is unknown.
        now: the SHA-256 of the checkpoint in `resume`, "" for none.
        resume: the setting RESUME of the requested run.
    """
    if recorded is None or recorded == now or (recorded and resume and not now):
        return []
    other = "the run started from the checkpoint of another training (--resume)"
    return [f"the run did not start from the checkpoint in {resume}" if now else other]
