"""A codebase's own program with our trainers in it: by the import line in its train.py, or by the launcher.

Its configuration is watched (merging.py), --keep-settings is taken out of its words (asked.py), and what its user can
put right is one line.
"""

import os
import sys
import types
from typing import Any, List, Optional, Sequence, Type

from dassl.engine import TRAINER_REGISTRY

from modprompt.errors import UserError
from modprompt.programs import one_line
from modprompt.trainers import asked, merging
from modprompt.trainers.registration import is_ours

_IMPORTERS = ("importlib", "_frozen_importlib")


def trainer_of(words: Sequence[str]) -> str:
    """The name of the trainer that a program's words ask for; empty if they name none."""
    name = ""
    for before, word in zip(("", *words), words):
        if before in ("--trainer", "TRAINER.NAME"):
            name = word
        elif word.startswith("--trainer="):
            name = word.partition("=")[2]
    return name


def asks_for_ours() -> bool:
    """Whether this program's words ask for one of our trainers."""
    return is_our_name(trainer_of(sys.argv[1:]))


def is_our_name(name: str) -> bool:
    """Whether a name in Dassl's registry is that of one of our trainers."""
    return name in TRAINER_REGISTRY.registered_names() and is_ours(TRAINER_REGISTRY.get(name))


def is_imported_by_a_program() -> bool:
    """Whether a statement of a program, not another module, imports the module that asks."""
    frame: Optional[types.FrameType] = sys._getframe(2)
    while frame is not None and str(frame.f_globals.get("__name__", "")).startswith(_IMPORTERS):
        frame = frame.f_back
    return frame is not None and frame.f_globals.get("__name__") == "__main__"


def watch() -> None:
    """Note who changes a configuration from now on."""
    merging.watch(asks_for_ours)


def unwatch() -> None:
    """The end of watch."""
    merging.unwatch()


def enter_by_line() -> None:
    """What the import line does beside registering, for the rest of a process that is the codebase's."""
    asked.take_flag(sys.argv)
    watch()
    before = sys.excepthook

    def hook(kind: Type[BaseException], error: BaseException, trace: Optional[types.TracebackType]) -> None:
        mistake = mistake_of(error)
        if mistake is None or os.environ.get("MODPROMPT_TRACEBACK"):
            before(kind, error, trace)
            return
        sys.stdout.flush()
        print(f"error: {one_line(mistake)}", file=sys.stderr)
        raise SystemExit(UserError.exit_code)  # from here too it becomes the exit code

    sys.excepthook = hook


def mistake_of(error: Any) -> Optional[BaseException]:
    """What a user can put right, of an error or of those that it came out of; None if there is nothing of the kind."""
    seen: List[Any] = []
    while error is not None and all(error is not one for one in seen):
        if isinstance(error, UserError) or (isinstance(error, FloatingPointError) and asks_for_ours()):
            return error
        seen.append(error)
        error = error.__cause__ or error.__context__
    return None
