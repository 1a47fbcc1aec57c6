"""Which classes a model tells apart."""

from typing import NamedTuple, Tuple


class Classes(NamedTuple):
    """What is told apart: class names in label order, and the data set's name, which may have a template of its own.

    which: of the data set's classes of its name each is, from 0 on, since a name may be that of several, in other
        halves too; empty where no data set has said it.
    """

    names: Tuple[str, ...]
    dataset: str = ""
    which: Tuple[int, ...] = ()
