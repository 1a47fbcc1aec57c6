"""From a recipe to the tree that a reader expects, where what is there is left alone; and the check of a tree."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY

from modprompt.data import published
from modprompt.data.images import undecodable
from modprompt.data.prepare.download import differing, download
from modprompt.data.prepare.recipes import Step
from modprompt.data.prepare.unpack import unpack
from modprompt.data.reader_facts import own_validation
from modprompt.data.splits import PARTS
from modprompt.errors import UserError
from modprompt.io.result import NOT_KNOWN

_WORK = ".prepare"  # folder of archives and of what is being unpacked; gone when the tree is complete
_SAYS = {
    published.PUBLISHED: "is the published split",
    published.OURS: "was drawn by modprompt",
    NOT_KNOWN: "is neither the published split nor a split drawn by modprompt",
}


def _get_file(step: Step, target: Path) -> None:
    if not target.exists():
        download(target, step.url, step.digest)
        print(f"{target} is ready.")
    elif wrong := differing(target, step.digest):
        print(f"note: {target} differs from the published file ({wrong}). The existing file is kept.")


def _get_archive(step: Step, folder: Path) -> None:
    archive = folder / _WORK / step.name
    archive.parent.mkdir(exist_ok=True)
    if not archive.exists():
        download(archive, step.url, step.digest)
    unpacked = archive.with_name(f"{step.name}.unpacked")
    if unpacked.exists():  # left by a killed run
        shutil.rmtree(unpacked)
    unpack(archive, unpacked)
    for source, target in step.moves.items():
        outer, nested, path = source.partition("//")
        inner = unpacked / outer
        if nested and inner.is_file():
            unpack(inner, unpacked / "nested")
            inner = unpacked / "nested" / path
        if not inner.exists():
            raise UserError(
                f"The archive {archive} does not contain {source}, because the publisher has changed the archive. "
                "Report this to the modprompt project."
            )
        if not (folder / target).exists():
            inner.rename(folder / target)
            print(f"{folder / target} is ready.")
    shutil.rmtree(unpacked)
    archive.unlink()


def prepare(steps: Sequence[Step], folder: Path) -> list[str]:
    """Make the tree of one data set what its reader expects.

    Args:
        steps: where it comes from.
        folder: where it goes.

    Returns:
        What must be done by hand, a text each; empty if the tree is complete.

    Raises:
        UserError: if a step fails; what was done stays, and the next call resumes.
        OSError: if the folder cannot be made.
    """
    by_hand, failed = [], []
    folder.mkdir(parents=True, exist_ok=True)
    for step in steps:
        missing = not all((folder / target).exists() for target in step.targets)
        try:
            if step.url and not step.moves:
                _get_file(step, folder / step.name)
            elif step.url and missing:
                _get_archive(step, folder)
            elif missing:
                by_hand.append(
                    f"{folder / step.name} must be added by hand. {step.note.format(folder=folder, target=step.name)}"
                )
        except (UserError, OSError) as error:
            failed.append(f"{error} {step.note}" if step.note else str(error))
    work = folder / _WORK
    if work.is_dir() and not any(work.iterdir()):
        work.rmdir()
    if failed:
        raise UserError(" | ".join([*failed, *by_hand]))
    return by_hand


def check(name: str, steps: Sequence[Step], folder: Path, *, images: bool = True) -> list[str]:
    """Faults of the tree of a data set (by its registered name), a message each; what is as it should be is printed.

    With `images` every image is read, too.
    """
    if not folder.is_dir():
        return [f"The folder {folder} is missing."]
    targets = [folder / target for step in steps for target in step.targets]
    faults = [f"{target} is missing." for target in targets if not target.exists()]
    try:
        split, status, path = DATASET_REGISTRY.get(name).look(folder)
    except (UserError, OSError) as error:
        return [*faults, str(error)]
    known = name in published.SPLIT_SHA256 or name in published.FEW_SHOT_SHA256
    if known and status != published.PUBLISHED and path is not None:
        faults.append(
            f"The split {_SAYS[status]}, so accuracies are not comparable with published results. Move {path} "
            f"elsewhere and run `modprompt prepare {name}` to download the published split."
        )
    else:
        print(f"{name}: The split {_SAYS[status]}." + ("" if known else " No published split is registered."))
    if not own_validation(split):
        print(f"{name}: the split contains no validation images.")
    for part, listed, size in zip(PARTS, split, published.SIZES.get(name, (None, None, None))):
        number = len(listed or [])
        if size is not None and number != size:
            faults.append(f"The {part} split has {number:,} images, but the published {part} split has {size:,}.")
        elif number:
            as_published = " (as published)" if status == published.PUBLISHED else ""
            print(f"{name} {part}: {number:,} images{as_published}")
    bad = undecodable(image for part in split for image in part or []) if images else []
    return faults + [f"The image {image} cannot be decoded ({fault})." for image, fault in bad]
