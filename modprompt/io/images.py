"""Which images a run has seen: hashes of lists, what their files hold, its split's status, what anything was chosen by.

Lists hold objects with impath, label and classname (Dassl's Datum, or a reader's own record). A data set of this
project's readers has what only a reader knows in the attributes image_root, split_facts, few_shot_hash,
own_validation and selected_on; one of a host's reader has none of them, and then the lists themselves are examined.
"""

import contextlib
import hashlib
import os
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from modprompt.io.files import sha256_of

READ_AS = "INPUT.DECODING"  # in a run's record: the rule of its images; without it "family"
NOT_KNOWN = "not known"  # a split's status
VALIDATION, HELD_OUT, TEST = "validation", "held out", "test"
WHOLE = "the whole validation split"
AS_TRAINING = "as many validation images as of training"
BEYOND_THE_RULE = (TEST, WHOLE, AS_TRAINING)  # a result that was chosen by these is marked with them
TRAIN_ON_VAL = "DATASET.TRAIN_ON_VAL"
SHOTS_BY_CLASS, BY_CLASS = "DATASET.SHOTS_BY_CLASS", "by class"  # a setting; in place of a number of shots
# of the validation images: as few as the few-shot list has, the whole split, or as many as of training
FEW, ALL, AS_MANY = "few", "all", "as many"

_RULE = "2:"  # the version of the rule, before a hash
_MANY = 10_000  # images from which on a progress bar is shown
_READERS = 8  # files that are read at a time
Lists = Mapping[str, Sequence[Any]]  # images by what they are for
Shots = int | Mapping[int, int]  # images of each class: of all the same number, or by label
IMAGE_FILES = "image_files"  # in a result: what its images' files looked like and held
_WHEN, _FOLDER = "seen_ns", "folder"  # in it: when they were looked at, and in which folder
_CLOCKS_NS = 60 * 10**9  # by which a file server's clock may be behind
_content_hashes: dict[tuple[str, str], str] = {}  # of lists, by their root and stamp


def _digits(texts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def common_root(lists: Iterable[Sequence[Any] | None]) -> str:
    """Return the folder that all images of the lists have in common; empty if there is none."""
    folders = {os.path.dirname(image.impath) for images in lists for image in images or []}
    try:
        return os.path.commonpath(list(folders)) if folders else ""
    except ValueError:  # absolute and relative ones, or several drives
        return ""


def below(path: str, root: str) -> str:
    """A path below a folder, with forward slashes, as text; the whole path if it is not below it."""
    folder = root.rstrip(os.sep) + os.sep
    return (path[len(folder) :] if root and path.startswith(folder) else path).replace(os.sep, "/")


def file_hashes(paths: list[str]) -> list[str]:
    """Return the SHA-256 (hex) of each file's bytes, several read at a time; raise OSError if one cannot be read."""
    from tqdm import tqdm  # late: it takes a moment

    silent = None if len(paths) > _MANY else True  # None: where standard error is a terminal
    with ThreadPoolExecutor(_READERS) as pool:
        return list(tqdm(pool.map(sha256_of, paths), "hashing images", len(paths), disable=silent, unit="image"))


def images_hash(*lists: Sequence[Any] | None, root: str = "", first_by_content: bool = False) -> str:
    """A hash that tells lists of images (None: no list) from others, wherever they are: path, label and size in bytes.

    root: the folder that paths are relative to; empty: the one that they have in common. first_by_content: the first
    list's images are told by their content, not by their size.
    """
    root = root or common_root(lists)

    def rows() -> Iterable[str]:
        for number, images in enumerate(lists):
            paths = (image.impath for image in images or [])
            by_content = first_by_content and number == 0
            marks: Iterable[Any] = file_hashes(list(paths)) if by_content else map(os.path.getsize, paths)
            yield from (f"{below(one.impath, root)}\t{one.label}\t{mark}\n" for one, mark in zip(images or [], marks))
            yield "\n"

    return _RULE + _digits(rows())[:16]


class ReaderFacts(NamedTuple):
    """What a reader says of its data set besides the images; defaults are for another project's, which says nothing.

    image_root: the folder that image paths are relative to.
    split_facts: name, status and hash of the split.
    shots_hash: of the file of unequal shots; empty if all classes have the same number.
    few_shot_hash: of the few-shot lists of all classes; empty if all images are used.
    own_validation: whether it has validation images of its own.
    selected_on: which images are chosen by; empty if nothing chooses.
    notes: what a result says of its images.
    record_files: split file and few-shot list, as {name in results: path}.
    which: as in Classes.
    picked: whether rounds picked its training images.
    has_test: whether it has test images.
    """

    image_root: str = ""
    split_facts: Mapping[str, Any] = {}
    shots_hash: str = ""
    few_shot_hash: str = ""
    own_validation: bool | None = None
    selected_on: str = ""
    notes: Sequence[str] = ()
    record_files: Mapping[str, str] = {}
    which: Sequence[int] = ()
    picked: bool = False
    has_test: bool = True


def reader_facts(dataset: Any) -> ReaderFacts:
    """What the reader of a data set says of it."""
    return ReaderFacts(**{name: getattr(dataset, name) for name in ReaderFacts._fields if hasattr(dataset, name)})


def only_tests(cfg: Any) -> bool:
    """Whether a run only tests; a codebase's configuration may not say it."""
    return bool(getattr(cfg.TEST, "ONLY", False))


def _choose_by(cfg: Any) -> str:
    return str(getattr(cfg.DATASET, "CHOOSE_BY", ""))


def lists_of(dataset: Any, cfg: Any) -> Lists:
    """The images by which a run's numbers come about, by what they are for."""
    by_validation = cfg.TEST.SPLIT == "val" and bool(dataset.val)
    found: dict[str, Any] = {} if cfg.TEST.NO_TEST else {TEST: dataset.val if by_validation else dataset.test}
    if not only_tests(cfg):
        found["training"] = dataset.train_x
        if selected_on(dataset, cfg) not in ("", TEST):
            found[VALIDATION] = dataset.val
    return {name: images for name, images in found.items() if images}


def image_files(lists: Lists, root: str) -> dict[str, Any]:
    """What the files of lists of images look like and hold, for a result; `root` is empty for a host's reader."""
    root = root or common_root(lists.values())
    seen = {_WHEN: time.time_ns(), _FOLDER: _identity(root)}
    held = {name: {"looks": stamps(one, root)[1], "holds": content_hash(one, root)} for name, one in lists.items()}
    return {**seen, **held}


def differing_images(recorded: Mapping[str, Any], lists: Lists, root: str) -> list[str]:
    """Return which lists of a result have images with other contents now, in words.

    Contents are read only if the stamp of a list has changed.
    """
    root = root or common_root(lists.values())
    found = []
    for name, images in lists.items():
        one = recorded.get(name)
        try:
            if isinstance(one, Mapping) and one.get("looks") != stamps(images, root)[1]:
                found += [] if one.get("holds") == content_hash(images, root) else [f"the {name} images have changed"]
        except OSError as error:
            found.append(f"the {name} images cannot be read ({error.strerror}: {error.filename})")
    return found


def unchanged_since(recorded: Mapping[str, Any], root: str, newest_ns: int) -> bool:
    """Whether a result saw this very folder, after the newest change in it."""
    there, seen_ns = _identity(root), recorded.get(_WHEN)
    return bool(there) and there == recorded.get(_FOLDER) and newest_ns < (seen_ns or 0) - _CLOCKS_NS


def newest_change_ns(root: str) -> int:
    """When something below a folder was changed last, by its inode, which no copying sets back; raises OSError."""
    newest, folders, known = os.stat(root).st_ctime_ns, [root], set()
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                found = entry.stat()
                newest = max(newest, found.st_ctime_ns, entry.stat(follow_symlinks=False).st_ctime_ns)
                if entry.is_dir() and (found.st_dev, found.st_ino) not in known:  # links may go round in a circle
                    known.add((found.st_dev, found.st_ino))
                    folders.append(entry.path)
    return newest


def _identity(folder: str) -> str:
    with contextlib.suppress(OSError):
        found = os.stat(folder)
        return f"{found.st_dev}:{found.st_ino}"
    return ""


def file_stamps(path: str) -> tuple[str, str]:
    """Return a file's size and modification time as text, and these with its inode and change time; raise OSError.

    `mv` and `cp -p` preserve size and modification time. Inode and change time differ after them, but also after
    harmless steps such as chmod, so that they only tell when contents must be compared.
    """
    status = os.stat(path)
    times = f"{status.st_size}\t{status.st_mtime_ns}"
    return times, f"{times}\t{status.st_ino}\t{status.st_ctime_ns}"


def _distinct_paths(images: Sequence[Any]) -> list[str]:
    return list(dict.fromkeys(image.impath for image in images))


def stamps(images: Sequence[Any], root: str) -> tuple[str, str]:
    """Return 16 hex digits each of the two stamps of images (`file_stamps`) with their paths below `root`.

    Raises:
        OSError: if a file is missing.
    """
    digests = hashlib.sha256(), hashlib.sha256()
    for path in _distinct_paths(images):
        for digest, text in zip(digests, file_stamps(path)):
            digest.update(f"{below(path, root)}\t{text}\n".encode("utf-8", "surrogatepass"))
    times, stamp = (digest.hexdigest()[:16] for digest in digests)
    return times, stamp


def content_hash(images: Sequence[Any], root: str) -> str:
    """Return 16 hex digits of the paths below `root` and the contents of images; raise OSError if a file is missing.

    A process reads the contents of a list again only if its stamp has changed.
    """
    key = root, stamps(images, root)[1]
    if key not in _content_hashes:
        paths = _distinct_paths(images)
        rows = (f"{below(path, root)}\t{digest}\n" for path, digest in zip(paths, file_hashes(paths)))
        _content_hashes[key] = _digits(rows)[:16]
    return _content_hashes[key]


def list_hash(images: Iterable[Any], root: str) -> str:
    """Twelve hex digits of a list's paths, labels and class names, as few-shot lists were published by their hashes."""
    return _digits(f"{below(one.impath, root)}\t{one.label}\t{one.classname}\n" for one in images)[:12]


def own_validation(dataset: Any) -> bool:
    """Whether a data set has validation images of its own, which are not its test images under another name."""
    known = reader_facts(dataset).own_validation
    if known is not None:
        return bool(known)
    if not dataset.val or dataset.val is dataset.test:
        return False
    test = {image.impath for image in dataset.test or []}
    return not all(image.impath in test for image in dataset.val)


def must_choose(cfg: Any) -> bool:
    """Whether a run needs validation images: to choose by, or to measure on so that something else can choose."""
    best = cfg.TEST.FINAL_MODEL == "best_val" or _choose_by(cfg) == AS_MANY
    chooses = best or getattr(getattr(cfg, "SEARCH", None), "RUNS", False)
    return (chooses and not only_tests(cfg)) or cfg.TEST.SPLIT == "val"


def chooses_by_validation(cfg: Any) -> bool:
    """Whether a run chooses by validation images, if there are any, or measures on them."""
    return must_choose(cfg) or bool(_choose_by(cfg) and not only_tests(cfg))


def chosen_by(cfg: Any) -> str:
    """How many validation images a method chooses by: FEW, ALL (also for them with all shots), AS_MANY, "" or TEST."""
    by = _choose_by(cfg)
    if by == TEST:
        return by
    measured = by == FEW and only_tests(cfg)  # nothing is chosen then
    return ALL if by and not measured and not is_few_shot(cfg) else by


def selected_on(dataset: Any, cfg: Any) -> str:
    """Which images a run chooses by: "" (it does not), VALIDATION or more of them, HELD_OUT (of training) or TEST."""
    if not chooses_by_validation(cfg):
        return ""
    own = WHOLE if chosen_by(cfg) == ALL else VALIDATION
    return reader_facts(dataset).selected_on or (own if own_validation(dataset) else TEST)


def labels_of_choice(dataset: Any, cfg: Any) -> int:
    """How many images besides those of training a run chooses by, whose labels no round asks for; no test images."""
    chooses = cfg.TEST.FINAL_MODEL == "best_val" or _choose_by(cfg)
    return len(dataset.val) if chooses and selected_on(dataset, cfg) not in ("", TEST) else 0


def mark(*chosen: str) -> str:
    """The mark of a result that was chosen by these images; empty if all are within the project's rule."""
    return next((f"selected on {one}" for one in chosen if one in BEYOND_THE_RULE), "")


def mark_of(result: Mapping[str, Any]) -> str:
    """The mark of a result, also if it is not written yet; empty for none."""
    return str(result.get("selected_on_test") or mark(str(result.get("selected_on") or "")))


def by_label(images: Iterable[Any]) -> dict[int, list[Any]]:
    """{label: images}, labels in order of first appearance."""
    groups: dict[int, list[Any]] = {}
    for image in images:
        groups.setdefault(image.label, []).append(image)
    return groups


def of_label(shots: Shots, label: int) -> int:
    """How many images of one class."""
    return shots if isinstance(shots, int) else shots.get(label, 0)


def hold_out(pool: Iterable[Any], taken: Iterable[Any], per_class: Shots, seed: int) -> list[Any]:
    """Up to so many images of each label that are not taken, to choose by; from a generator of their own."""
    rng = random.Random(f"held out {seed}")
    used = {image.impath for image in taken}
    groups = by_label(image for image in pool if image.impath not in used)
    return [
        image
        for label in sorted(groups)
        for image in rng.sample(groups[label], min(of_label(per_class, label), len(groups[label])))
    ]


def images_hash_of(dataset: Any, cfg: Any, *names: str) -> str:
    """The hash of lists of a data set's images, default all; the first, if few-shot, by content. Computed once."""
    names = names or ("train_x", "val", "test")
    kept: dict[tuple[str, ...], str] = dataset.__dict__.setdefault("_images_hashes", {})
    if names not in kept:
        lists = [getattr(dataset, name) for name in names]
        by_content = is_few_shot(cfg)
        kept[names] = images_hash(*lists, root=reader_facts(dataset).image_root, first_by_content=by_content)
    return kept[names]


def shots_file(cfg: Any) -> str:
    """The file of unequal shots that a run asks for; empty for none. A codebase's configuration may not have it."""
    return str(getattr(cfg.DATASET, SHOTS_BY_CLASS.rpartition(".")[2], ""))


def is_few_shot(cfg: Any) -> bool:
    """Whether a run trains on few images of each class."""
    return bool(cfg.DATASET.NUM_SHOTS >= 1 or shots_file(cfg))


def shots_of(cfg: Any) -> int | str:
    """How many training images of each class a run asks for; -1 for all, BY_CLASS if that differs."""
    if shots_file(cfg):
        return BY_CLASS
    return int(cfg.DATASET.NUM_SHOTS) if cfg.DATASET.NUM_SHOTS >= 1 else -1


def facts_of(dataset: Any, cfg: Any) -> dict[str, Any]:
    """What result.json says about the images: split, few-shot list, hash of all, which anything was chosen by."""
    said, unknown = reader_facts(dataset), {"name": cfg.DATASET.NAME, "status": NOT_KNOWN, "hash": ""}
    return {
        "split": dict(said.split_facts or unknown),
        "few_shot": {"hash": said.few_shot_hash},
        **({"shots_by_class": said.shots_hash} if said.shots_hash else {}),
        "images_hash": images_hash_of(dataset, cfg),
        "selected_on": selected_on(dataset, cfg),
    }
