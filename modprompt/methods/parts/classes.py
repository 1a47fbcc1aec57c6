"""The classes that a model tells apart: their names, checked, and where they come from."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from modprompt.errors import UserError
from modprompt.io.checkpoint import Checkpoint


class Classes(NamedTuple):
    """Class names in label order, and the name of the data set, which may have a template of its own.

    which: number of each class, from 0 on, among the data set's classes with the same name, in all halves; empty
        if no data set has said it.
    """

    names: tuple[str, ...]
    dataset: str = ""
    which: tuple[int, ...] = ()


def trained_classes(content: Checkpoint) -> Classes:
    """The classes that a checkpoint was trained on; none if it does not say them."""
    stated = content.record.get("classes", {})
    which = () if "trained_on" in stated else stated.get("which", ())
    return Classes(content.trained_on, stated.get("dataset", ""), tuple(which))


def classes_of(names: Iterable[str], dataset: str = "", which: Sequence[int] = ()) -> Classes:
    """Class names, checked; `which` is as in Classes.

    Raises:
        UserError: if there are none, or one is empty or not a text.
    """
    if isinstance(names, str) or not isinstance(names, Iterable):
        what = f"the text {names!r}" if isinstance(names, str) else repr(names)
        raise UserError(f"names must be a list of class names, got {what}")
    classes = Classes(tuple(names), dataset, tuple(which))
    if not classes.names:
        raise UserError("names: no class names are given")
    wrong = [name for name in classes.names if not isinstance(name, str) or not name.strip()]
    if wrong:
        raise UserError(f"names: a class name must be a text that is not empty, got {wrong[0]!r}")
    return classes
