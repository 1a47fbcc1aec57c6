"""From a recipe to the tree that the readers expect. What is there already is left alone."""

from __future__ import annotations

import shutil
from pathlib import Path

from modprompt.data.prepare.download import download, verify
from modprompt.data.prepare.recipe import Archive, File, Recipe
from modprompt.data.prepare.unpack import unpack
from modprompt.errors import UserError

_WORK = ".prepare"  # folder of archives and of what is being unpacked; gone when the tree is complete


def _get_file(step: File, folder: Path) -> None:
    target = folder / step.target
    if not target.exists():
        download(target, url=step.url, drive=step.drive, digest=step.digest)
        print(f"{target}: ready")
        return
    try:
        verify(target, step.digest)
    except UserError as error:
        print(f"note: {target} is yours and is left alone, but it is not the published file ({error})")


def _get_archive(step: Archive, folder: Path) -> None:
    if all((folder / target).exists() for target in step.moves.values()):
        return
    work = folder / _WORK
    work.mkdir(exist_ok=True)
    archive = work / step.name
    if not archive.exists():
        try:
            download(archive, url=step.url, drive=step.drive, digest=step.digest)
        except UserError as error:
            raise UserError(f"{error} ({step.note})" if step.note else str(error)) from None
    unpacked = work / f"{step.name}.unpacked"
    if unpacked.exists():  # left by a killed run
        shutil.rmtree(unpacked)
    unpack(archive, unpacked)
    for source, target in step.moves.items():
        inner = _inner(unpacked, source)
        if not inner.exists():
            raise UserError(f"{step.name} has no {source}: the publisher changed it, please report; it is at {archive}")
        if not (folder / target).exists():
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            inner.rename(folder / target)
            print(f"{folder / target}: ready")
    shutil.rmtree(unpacked)
    archive.unlink()


def _inner(unpacked: Path, source: str) -> Path:
    """A path in an unpacked archive; `inner.tar//path` is one in an archive inside it."""
    archive, nested, path = source.partition("//")
    if not nested:
        return unpacked / source
    inside = unpacked / f"{archive}.unpacked"
    if not inside.exists() and (unpacked / archive).exists():
        unpack(unpacked / archive, inside)
    return inside / path


def prepare(recipe: Recipe, root: Path) -> list[str]:
    """Make the tree of one data set what its reader expects.

    Args:
        recipe: where it comes from.
        root: folder of the data sets.

    Returns:
        What must be done by hand, a text each; empty if the tree is complete.

    Raises:
        UserError: if a step fails; what was done stays, and the next call resumes.
    """
    folder = root / recipe.folder
    by_hand, failed = [], []
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {folder} ({error.strerror})") from None
    for step in recipe.steps:
        try:
            if isinstance(step, File):
                _get_file(step, folder)
            elif isinstance(step, Archive):
                _get_archive(step, folder)
            elif not (folder / step.target).exists():
                by_hand.append(f"by hand: {step.how.format(folder=folder, target=step.target)}")
        except (UserError, OSError) as error:
            failed.append(str(error))
    work = folder / _WORK
    if work.is_dir() and not any(work.iterdir()):
        work.rmdir()
    if failed:
        raise UserError(" | ".join([*failed, *by_hand]))
    return by_hand
