"""What runs must have in common to be averaged (what `_of_mean` lists, and nothing else) and to be compared."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modprompt.clip.known import whose
from modprompt.data.published import OURS
from modprompt.experiments.plan.experiment import BASE2NEW, Experiment
from modprompt.experiments.plan.protocols import ALONE
from modprompt.experiments.plan.stages import unused
from modprompt.io.image_files import FAMILY
from modprompt.io.images import AS_TRAINING, HELD_OUT, NOT_KNOWN, READ_AS, WHOLE
from modprompt.io.settings import READER

if TYPE_CHECKING:
    from modprompt.experiments.reporting.results import Line, Results

Parted = Mapping[str, Mapping[str, Collection[str]]]  # by what differs, its values and the runs that have each
READING, WEIGHTS, IMAGES, DRAWN = "image decoding", "CLIP weights", "images", "few-shot images"
_SHORT = 14  # characters of a hash that are shown
_EASIER = (  # what makes a split easier than it looks, as its reader reported
    ("classes", "some classes of the published data set are missing"),
)


# the status of a split, as reports show it
SPLIT_STATUS = {OURS: "drawn by modprompt", NOT_KNOWN: "of unknown origin"}


def split_facts(result: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a result says about its split; nothing if there is none."""
    return (result or {}).get("split") or {}


def _reading(result: Mapping[str, Any]) -> str:
    """The rule by which a run has read its images."""
    return str((result.get("input") or {}).get(READ_AS, FAMILY))


def _version(digest: str) -> str:
    """What tells hashes of one rule from those of another, which cannot be compared."""
    return digest.partition(":")[0] if ":" in digest else ""


def _of_mean(dataset: str, result: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """What all runs of a mean must have in common, by what it is and the version of a hash; empty if unknown."""
    weights = str(result.get("backbone_hash") or "")
    return {
        (f"{READING} of {dataset}", ""): _reading(result),
        (WEIGHTS, _version(weights)): weights,
        (f"reader of {dataset}", ""): str((result.get("settings") or {}).get(READER, "modprompt's reader")),
        (f"split of {dataset}", ""): str(split_facts(result).get("hash") or ""),
    }


def parted(runs: Iterable[tuple[str, str, Mapping[str, Any]]]) -> Parted:
    """In what runs differ that cannot be averaged; empty if they can.

    Args:
        runs: data set of each, what it is called, and its result.
    """
    names: dict[tuple[str, str], dict[str, dict[str, None]]] = {}  # the runs in order, each once
    for dataset, name, result in runs:
        for what, value in _of_mean(dataset, result).items():
            if value:
                names.setdefault(what, {}).setdefault(value, {})[name] = None
    return {what: values for (what, _), values in names.items() if len(values) > 1}


def in_words(differing: Parted, whole: bool = True) -> str:
    """Why there is no mean of some runs, in a sentence, which names the runs if `whole`. Empty if there is one."""
    if not differing:
        return ""
    text = f"no mean because the runs differ in {' and '.join(differing)}"
    if not whole:
        return text
    who = (" / ".join(f"{value[:_SHORT]}: {', '.join(of)}" for value, of in one.items()) for one in differing.values())
    return f"{text} ({'; '.join(who)})"


def _of_pair(dataset: str, seed: int, result: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """What compared numbers must have in common: its kind, of what, the version of a hash; and its value."""
    split, weights = split_facts(result), str(result.get("backbone_hash"))
    images = str(result.get("images_hash") or result.get("split_hash"))
    if split and "active" in result:  # one that chose among the images of the split
        images = str(split.get("hash"))
    chosen = str(result.get("selected_on"))  # by validation images, which are in the hash and measure nothing
    choice = chosen if chosen in (HELD_OUT, WHOLE, AS_TRAINING) else ""
    drawn = str((result.get("few_shot") or {}).get("hash") or "").partition("/")[0]
    place = (dataset, str(result.get("classes")), str(result.get("shots")), str(seed))
    yield (READING, dataset, ""), _reading(result)
    yield (IMAGES, *place, f"{_version(images)}{choice}"), images
    if drawn and split:
        yield (DRAWN, *place, ""), f"{drawn} {split.get('hash')}"
    yield (WEIGHTS, str((result.get("settings") or {}).get("MODEL.BACKBONE.NAME", "")), _version(weights)), weights


def differing(results: Results, one: Line, other: Line, datasets: Sequence[str]) -> list[str]:
    """In what two methods' runs on some data sets differ, so that their difference is not due to the methods alone."""
    runs = [run for line in (one, other) for run in results.all(line, datasets)]
    known = [(line, dataset, seed, run.result) for line, dataset, _, seed, run in runs if run.result is not None]
    different = parted(((dataset, line.label, result) for line, dataset, _, result in known))
    values: dict[tuple[str, ...], set[str]] = {}
    for _, dataset, seed, result in known:
        for key, value in _of_pair(dataset, seed, result):
            if key[0] in (IMAGES, DRAWN):
                values.setdefault(key, set()).add(value)
    shots = ["numbers of shots per class"] * (one.trains and other.trains and one.shots_file != other.shots_file)
    return list(dict.fromkeys([*different, *shots, *(key[0] for key, own in values.items() if len(own) > 1)]))


def warnings(results: Results) -> list[str]:
    """Numbers that cannot be compared: other images of one data set, half, seed and shots, or another CLIP; and what a
    reader must know about a split or a setting."""
    labels: dict[tuple[Any, ...], dict[str, list[str]]] = {}
    of_splits, of_settings = dict[str, None](), dict[str, None]()
    for line, dataset, _, seed, outcome in results.all():
        if (result := outcome.result) is None:
            continue
        split = split_facts(result)
        of_splits.update({f"{dataset}: {what} ({split[key]}).": None for key, what in _EASIER if split.get(key)})
        if text := unused(str(result.get("trainer")), result.get("settings") or {}):
            of_settings[f"{line.label}: {text.rstrip('.')}."] = None
        for key, value in _of_pair(dataset, seed, result):
            labels.setdefault(key, {}).setdefault(value, []).append(line.label)
    texts = list(of_splits)
    for (what, *where, _), hashes in labels.items():
        if len(hashes) > 1:
            methods = " / ".join(", ".join(dict.fromkeys(own)) for own in hashes.values())
            place = " ".join(filter(None, where))
            if len(where) > 1:
                dataset, classes, shots, seed = where
                place = f"{dataset}, {classes} classes, {shots} shots, seed {seed}"
            texts.append(f"The runs of these methods differ in {what} ({place}) and cannot be compared: {methods}.")
    return [*texts, *of_settings]


def clips(results: Results) -> list[str]:
    """The CLIPs that numbers were made with, a line each: what each is, how it is run, and which methods have it."""
    labels: dict[str, dict[str, None]] = {}
    for line, _, _, _, outcome in results.all():
        clip = (outcome.result or {}).get("clip") or {}
        if clip.get("fingerprint"):
            labels.setdefault(_clip_line(clip), {})[line.label] = None
    everybody = {line.label for line in results.lines}
    return [f"{text}." if {*own} == everybody else f"{text}: {', '.join(own)}." for text, own in labels.items()]


def _clip_line(clip: dict[str, Any]) -> str:
    weights = whose(str(clip.get("name") or ""), str(clip.get("dialect") or ""))
    how = [f"weights: {weights}"] if weights else []
    how += [f"activation {clip['activation']}"] if clip.get("activation") else []
    how += [f"{' and '.join(map(str, clip['heads']))} attention heads"] if clip.get("heads") else []
    commit = str(clip.get("commit") or "")
    name = str(clip.get("file") or clip.get("name") or "CLIP without a name")
    pinned = f"@{commit}" if commit and commit not in name else ""
    return f"{name}{pinned} ({', '.join([*how, 'fingerprint'])} {clip['fingerprint']})"


def class_notes(experiment: Experiment, results: Results) -> list[str]:
    """A line for each reason why methods have no number on classes without training images, or not their own."""
    bound, others = list[str](), list[str]()
    if experiment.protocol == BASE2NEW:
        bound = [line.label for line in results.lines if not all(results.is_asked(line, column) for column in ALONE)]
    if experiment.protocol in (BASE2NEW, "cross_dataset") or experiment.added is not None:
        others = [line.label for line, _, _, _, one in results.all() if (one.result or {}).get("class_bound")]
    told = {
        "These methods have no results on new classes, because their learned parameters belong to the training "
        "classes": bound,
        "When these methods are tested on new classes only, the parameters learned for single classes have no effect, "
        "and the accuracy is that of the features without these parameters": others,
    }
    return [f"{text}: {', '.join(dict.fromkeys(labels))}." for text, labels in told.items() if labels]
