"""A codebase's own program with our trainers in it: by the import line in its train.py, or by the launcher.

Messages say which of the user's settings it changes (settings.py), and what the user can correct when it fails.
"""

import atexit
import os
import sys
import traceback
import types
from pathlib import Path
from typing import NoReturn

from dassl.engine import TRAINER_REGISTRY

from modprompt.checks import known_names
from modprompt.clip.package import own_folder
from modprompt.errors import UserError
from modprompt.hosts import settings as host_settings
from modprompt.hosts.codebase import spec_of
from modprompt.io import program_words
from modprompt.io.program_text import flags_of
from modprompt.methods import own
from modprompt.places import OUR_CODE
from modprompt.programs import one_line
from modprompt.trainers import mistakes
from modprompt.trainers.prompt_trainer import PromptTrainer
from modprompt.trainers.registration import PREFIX, give_way, is_ours


def asks_for_ours() -> bool:
    """Whether this program was started with one of our trainers."""
    return is_our_name(program_words.user_words().trainer())


def is_our_name(name: str) -> bool:
    """Whether a name is that of one of our trainers, or will be once the codebase has entered its own of that name."""
    names = TRAINER_REGISTRY.registered_names()
    known = name if name in names else name.removeprefix(PREFIX)
    return known in names and is_ours(TRAINER_REGISTRY.get(known))


def is_imported_by_a_program(module: types.FrameType) -> bool:
    """Whether a statement of a program, not another module, imports the module of this frame."""
    frame: types.FrameType | None = module.f_back
    while frame is not None and str(frame.f_globals.get("__name__", "")).startswith(("importlib", "_frozen_importlib")):
        frame = frame.f_back
    return frame is not None and frame.f_globals.get("__name__") == "__main__"


def enter() -> None:
    """Prepare the words of a codebase's own program: without our flag, and with our config file where it has none."""
    words = [word for word in sys.argv[1:] if word != program_words.KEEP]
    if program_words.KEEP in sys.argv:
        os.environ[program_words.KEEPS] = "1"
    spelled = flags_of(Path(sys.argv[0]))
    program_words.enter(words, spelled)
    if asks_for_ours():
        words = host_settings.with_our_config(words, spelled)
        program_words.enter(words, spelled)
    sys.argv[1:] = words


def leave() -> str:
    """Note that the program has ended; the message if it was to build one of our trainers, and has not, else empty."""
    name = program_words.user_words().trainer()
    is_asked = program_words.in_codebase() and is_our_name(name) and not {"-h", "--help"} & {*sys.argv}
    if program_words.leave() or not is_asked:
        return ""
    return (
        f"{sys.argv[0]} did not build the trainer {name} of modprompt, and may have used a trainer of its own. Use "
        "`modprompt train --host .` instead."
    )


def say_which_clip(folder: Path) -> None:
    """Print where this process has `clip` from; a program's own folder may lose to an installed one, or to a hook."""
    own = own_folder(folder)
    spec = spec_of("clip")
    if spec is not None and spec.submodule_search_locations:  # else what builds a model says so
        place = Path([*spec.submodule_search_locations][0]).resolve()
        other = "" if own in (None, place) else f", not {own}. To use {own}, start the program with `modprompt launch`."
        print(f"clip: {place}{other}")


def enter_by_line() -> None:
    """What the import line does besides registering, for the rest of the codebase's process."""

    def begin() -> None:
        enter()
        if asks_for_ours():
            say_which_clip(Path(sys.argv[0]).parent)

    give_way()
    begin()  # again, when a method of the user's is registered that is the one asked for
    own.each(lambda method: begin() if method.__name__ == program_words.user_words().trainer() else None)
    before, leaving, reasons = sys.excepthook, sys.exit, list[object]()

    def exit_with(code: str | int | None = None) -> NoReturn:
        reasons.append(code or sys._getframe(1).f_globals.get("__name__") == "argparse")  # after its help
        leaving(code)

    def hook(kind: type[BaseException], error: BaseException, trace: types.TracebackType | None) -> None:
        mistake = mistake_of(error)
        program_words.leave()
        if not mistake or os.environ.get("MODPROMPT_TRACEBACK"):
            before(kind, error, trace)
            return
        sys.stdout.flush()
        print(f"error: {mistake}", file=sys.stderr)
        raise SystemExit(UserError.exit_code)  # becomes the exit code from a hook, too

    def end() -> None:
        if (unbuilt := leave()) and not any(reasons[-1:]):
            sys.stdout.flush()
            print(f"error: {unbuilt}", file=sys.stderr, flush=True)
            os._exit(UserError.exit_code)  # only so has a program that ended well another exit code

    sys.excepthook, sys.exit = hook, exit_with
    atexit.register(end)


def mistake_of(error: BaseException) -> str:
    """The message on a user's mistake, from the error that ends a program; empty if the program is at fault.

    Some programs catch all errors and raise a plain Exception (DePT): then the error that it came from decides.
    """
    line = _line_of(error)
    if line or type(error) not in (Exception, RuntimeError):
        return line
    inner = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    line = "" if inner is None else _line_of(inner)
    return f"{line} ({one_line(error)})" if line else ""


def _line_of(error: BaseException) -> str:
    if isinstance(error, UserError):
        return one_line(error)
    if isinstance(error, FloatingPointError):
        return one_line(error) if _is_raised_by_us(error) else ""
    name, known = program_words.user_words().trainer(), TRAINER_REGISTRY.registered_names()
    if is_our_name(name) and _raised_in(error)[0].startswith(("yacs.", "yaml.")):  # a file or option that does not fit
        return mistakes.said_by(error) if isinstance(error, KeyError) else one_line(error)
    is_asked = isinstance(error, AttributeError) and str(error).startswith(f"{name!r} object has no attribute ")
    called = _its_own_call(error)
    if (is_asked or called) and is_our_name(name) and not _is_raised_by_us(error):
        what = one_line(error)
        if called:
            what = f"This program calls {called}(), which only the trainers of its own codebase have ({what})"
        else:
            what = f"{what}, but this program needs the attribute"
        return f"{what}. Use `modprompt train --host .` instead."
    if isinstance(error, ValueError) and name and name not in known and repr(name)[1:-1] in str(error):
        return f"--trainer: unknown name {name!r}{known_names(name, known)}"  # what Dassl's build_trainer raises
    return ""


def _its_own_call(error: BaseException) -> str:
    """The method that a program called in vain and that only its own Dassl's trainers have; empty if there is none."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    last = max((at for at, frame in enumerate(frames) if frame.f_globals.get("__name__") == "__main__"), default=0)
    methods = (frame.f_code.co_name for frame in frames[last:] if is_ours(type(frame.f_locals.get("self"))))
    called = next(methods, "")
    return "" if called in vars(PromptTrainer) else called


def _raised_in(error: BaseException) -> tuple[str, str]:
    """The name and the file of the module that raised an error."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][-1:]
    return next(((str(one.f_globals.get("__name__", "")), one.f_code.co_filename) for one in frames), ("", ""))


def _is_raised_by_us(error: BaseException) -> bool:
    return _raised_in(error)[1].startswith(OUR_CODE)
