"""Whether two runs are the same: the facts that decide a run's numbers, and the one comparison of them.

A fact is a name and a text: a setting by its dotted key, or something that is known by its content, wherever it lies.
Results, training states, checkpoints and rounds keep facts, and all who ask whether a run is the one that is wanted ask
here. What lies on disk is looked at once all else agrees: sizes and times first, contents if these differ. Nothing
heavy is imported here, so that thousands of results are compared quickly.
"""

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from modprompt.errors import UserError
from modprompt.io.program_text import find_module, source_hash
from modprompt.io.records import file_hash
from modprompt.io.settings import Difference, changes, decisive

CLIP, TOKENIZER = "the weights of CLIP", "the tokenizer of CLIP"  # the second only if it is not CLIP's own
CLIPS_OWN = "CLIP's own"
SHOTS = "the shots by class"
IMAGES = "the images"  # which only a look tells
INITIAL = "the initial weights"
DESCRIPTIONS, SENTENCES = "the descriptions", "the sentences"
TEACHER, TEACHER_CKPT = "the teacher", "the teacher's prompts"  # a CLIP, and a checkpoint
BLENDED = "the CLIP that is blended in"
NOT_READ = "not read"  # in place of the hash of content that does not affect the run's numbers
PROMPTS_BEFORE, ENHANCED_BASE = "the prompts before the head", "the enhanced base"
# how the keys of the settings end that name these: a folder may be moved, and another content is another run
NAMED: dict[str, tuple[str, ...]] = {
    DESCRIPTIONS: (".ASPATH", ".AEPATH"),
    SENTENCES: (".SENTENCES",),
    TEACHER_CKPT: (".TEACHER_CKPT",),
    PROMPTS_BEFORE: (".PROMPTS_FROM",),
    ENHANCED_BASE: (".ENHANCED_BASE",),
    INITIAL: ("MODEL.INIT_WEIGHTS",),
    SHOTS: ("DATASET.SHOTS_BY_CLASS",),
    TEACHER: (".KDPL.TEACHER", ".PROMPTKD.TEACHER_NAME"),
    BLENDED: (".HICROPL.TEACHER_NAME",),
}
CLIPS = (TEACHER, BLENDED)  # of these the fingerprint counts
OF_METHODS = (DESCRIPTIONS, TEACHER, TEACHER_CKPT, PROMPTS_BEFORE, ENHANCED_BASE)  # that a checkpoint fits only with
CLIP_FILES = "clip_files"  # in a result: what the files of its CLIPs looked like, by fact
SOURCES = "sources"  # in a method's record: the hash of each custom module that it is made of, by the module's name
BEGAN_FROM = "began_from"  # in a result, a state and a checkpoint: the checkpoint that a training went on from

_GIVEN = "given"  # in place of what is known by its content
_FREE_IN_TESTS = ("DATALOADER.NUM_WORKERS",)  # a training's augmentation depends on it
_IS_SETTING = re.compile(r"[A-Z][A-Z0-9_]*(\.\w+)*")
_SHOTS = re.compile(r"(?:^|/)shots_(\d+)(?:/|$)|_(\d+)shots(?:/|$)")
_SEED = re.compile(r"(?:^|/)seed(\d+)(?:_[^/]*)?$")
_EVALUATION = re.compile(r"/crossdataset/evaluation/|/evaluation/[^/]+/[^/]+shots/nctx")
_IN_TRAINING = re.compile(r"/tests/[^/]+$")
_CLASSES = re.compile(r"(?:^|/)base2new/(?:train|test)_(base|new)/")

Look = Callable[[str], str]  # gets a recorded text; says what is not so now, empty if it is


def facts(result: Mapping[str, Any]) -> dict[str, str]:
    """The facts that a result recorded."""
    files = {f"files/{name}": str(digest) for name, digest in (result.get("files") or {}).items()}
    images = of_images(result.get("input") or {})
    clip = {CLIP: str(result["backbone_hash"])} if result.get("backbone_hash") else {}
    clip |= {TOKENIZER: tokenizer_of(result.get("clip") or {}) or CLIPS_OWN} if clip else {}
    settings = wanted(result.get("settings") or {}, result)
    sources = of_sources((result.get("method") or {}).get(SOURCES) or {})
    return {**settings, **named_in(result), **sources, **files, **images, **clip, IMAGES: ""}


def wanted(settings: Mapping[str, str], result: Mapping[str, Any]) -> dict[str, str]:
    """The facts that a wanted run's given settings say, without the names of what a result knows by its content."""
    ends = tuple(end for name in named_in(result) for end in NAMED[name])
    return {key: _GIVEN if text and key.endswith(ends) else text for key, text in settings.items()}


def of_sources(sources: Mapping[str, Any]) -> dict[str, str]:
    """Return the facts of the source of custom methods, from hashes by module."""
    return {f"the source of {module}": str(digest) for module, digest in sources.items()}


def of_images(made: Mapping[str, Any]) -> dict[str, str]:
    """The facts of how images are made, by the settings of INPUT."""
    return {f"{key} of the images": str(text) for key, text in made.items()}


def named_in(result: Mapping[str, Any]) -> dict[str, str]:
    """What a result's settings named, by the hash or fingerprint of its content."""
    of_run = {INITIAL: result.get("init_weights"), SHOTS: result.get("shots_by_class")}
    stated = {**(result.get("method") or {}), **of_run}
    found = {name: str(stated[name]) for name in NAMED if stated.get(name)}
    if DESCRIPTIONS in found:
        found[DESCRIPTIONS] = found[DESCRIPTIONS].rpartition(" ")[2]  # behind its mode
    if SENTENCES in found:  # a template alone is the data set's: a setting says which data set
        found[SENTENCES] = found[SENTENCES].partition(" ")[0]
    blends = any(key.endswith(NAMED[BLENDED]) and text for key, text in (result.get("settings") or {}).items())
    if blends and BLENDED not in found and result.get("trainer") == "HiCroPL":  # the backbone, under another name
        found[BLENDED] = str(result.get("backbone_hash") or "")
    return found


def by_own_clip(settings: Mapping[str, str]) -> dict[str, str]:
    """Settings with "" for a second CLIP that is the backbone by its own name: both mean the backbone."""
    name = "" if settings.get("MODEL.BACKBONE.PATH") else settings.get("MODEL.BACKBONE.NAME")
    ends = tuple(end for fact in CLIPS for end in NAMED[fact])
    return {key: "" if text == name and key.endswith(ends) else text for key, text in settings.items()}


def differing(
    then: Mapping[str, str],
    now: Mapping[str, str],
    *,
    defaults: Mapping[str, str] | None = None,
    tests: bool = False,
    whole: bool = False,
) -> list[Difference]:
    """In which facts a run that is there differs from the one that is wanted, in the order of their names.

    A setting that one side lacks has its default. Unless both sides are `whole`, other facts are compared where both
    have them. If a run only `tests`, some settings decide nothing.
    """
    old, new = (decisive(by_own_clip(side), _FREE_IN_TESTS if tests else ()) for side in (then, now))
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
    """As differing, in words; if all else is the same, `looks` looks at what is on disk, by fact."""
    found = list(map(str, differing(then, now, defaults=defaults, tests=tests)))
    if found:
        return found
    for name, look in (looks or {}).items():
        if name in then and not (found and name == IMAGES):  # which are read by their lists
            found += filter(None, [look(then[name])])
    return found


def tokenizer_of(clip: Mapping[str, Any]) -> str:
    """What tells the tokenizer of a CLIP (ClipFacts as a record) from others; empty if it is CLIP's own."""
    said = clip.get("tokenizer") or {}
    return " ".join(f"{key}={said[key]}" for key in sorted(said))


def of_tokenizer(clip: Mapping[str, Any]) -> dict[str, str]:
    """The fact of a CLIP's tokenizer; none if it is CLIP's own."""
    tokenizer = tokenizer_of(clip)
    return {TOKENIZER: tokenizer} if tokenizer else {}


def look_at_file(name: str, find: Callable[[str], str | None]) -> Look:
    """Whether a recorded split file or few-shot list, found by its name, is as it was."""

    def look(recorded: str) -> str:
        path = find(name)
        try:
            if path is None or not os.path.isfile(path):
                return f"{name} does not exist any more"
            return "" if file_hash(path) == recorded else f"{name} has changed"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"

    return look


def look_at_source(module: str) -> Look:
    """Return a function that says that a custom method's source has changed; empty if its module is not found."""

    def look(recorded: str) -> str:
        file = find_module(module)
        try:
            same = file is None or source_hash(module, file) == recorded
        except OSError as error:
            return f"the source of {module} cannot be read ({error.strerror}: {error.filename})"
        return "" if same else f"{file}, or a module next to it that it imports, has changed"

    return look


def has_split_file(result: Mapping[str, Any]) -> bool:
    """Whether a split file is among a run's recorded files; a split that folders or listings make has none."""
    return any(name.rpartition("/")[2].startswith("split_") for name in result.get("files") or {})


def another_run(folder: str, found: list[str], or_delete: str, most: int = 4) -> UserError:
    """The error for a finished run that is not the one asked for; or_delete ends its advice."""
    more = f" and {len(found) - most} more differences" if len(found) > most else ""
    return UserError(
        f"{folder} contains a different finished run ({'; '.join(found[:most])}{more}). "
        f"Use another output folder{or_delete}."
    )


def require_folder_agrees(folder: str, shots: int, seed: int, classes: str) -> None:
    """Raise UserError if an output folder's name, as the family's scripts make it, states others than its run has."""
    path = os.path.abspath(folder).replace(os.sep, "/")
    for key, value, pattern, of_model in (  # in folders of the last kind it is the model that had these
        ("DATASET.NUM_SHOTS", str(shots), _SHOTS, _EVALUATION),
        ("SEED", str(seed), _SEED, None),
        ("DATASET.SUBSAMPLE_CLASSES", classes, _CLASSES, _IN_TRAINING),
    ):
        stated = [next(filter(None, match.groups())) for match in pattern.finditer(path)]
        if stated and stated[-1] != value and not (of_model and of_model.search(path)):
            raise UserError(
                f"{key} is {value}, but the name of the output folder {folder} says {stated[-1]}. Do not set {key} as "
                "an option. Change the corresponding argument or variable of the script, which also changes the name "
                "of the folder."
            )
