"""A program's flags; how it ends: one message on what a user can correct, an exit code; modules of --import."""

import argparse
import contextlib
import difflib
import importlib
import io
import itertools
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

from modprompt.checks import known_names, renamed
from modprompt.errors import UserError

# what a user can correct
EXPECTED = (ValueError, OSError, FloatingPointError, ImportError, MemoryError, OverflowError)
COMPLETES = "_ARGCOMPLETE"  # in the environment: argcomplete's shell function asks for completions
UNREAD = 141  # exit code where nobody reads the output: that of shells for a program that SIGPIPE ended


def one_line(error: BaseException) -> str:
    """The message of an error in one line; for an error of a data-loader worker, its last line."""
    if isinstance(error, OSError) and error.strerror and not error.filename:  # of a file, stream or connection
        return f"a file, stream or connection could not be read or written ({error.strerror})"
    text = str(error).strip() or ("not enough memory" if isinstance(error, MemoryError) else type(error).__name__)
    if "Traceback (most recent call last)" in text:
        text = text.splitlines()[-1].partition(": ")[2]
    return " ".join(text.split())


class End:
    """How a program ended."""

    code = 0


@contextlib.contextmanager
def ending(interrupted: str = "Interrupted.") -> Iterator[End]:
    """How a program ends: a warning, or a mistake that a user can correct, is one message; `code` is its exit code.

    The code is the program's own, if it has set one; 2 after a message on what is wrong (MODPROMPT_TRACEBACK=1 shows
    where), or the error's own (3, 4); 130 if interrupted. Our own faults come out, as Python shows them.

    Args:
        interrupted: the message if it is interrupted.
    """
    end = End()
    for stream in (sys.stdout, sys.stderr):  # PYTHONIOENCODING=ascii, names that are not UTF-8
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: _say(f"warning: {message}")
        try:
            yield end
        except SystemExit:  # argparse has shown its help
            end.code = _unwritten()
            if not end.code:
                raise
        except KeyboardInterrupt:
            _end_bars()
            _say(interrupted, log=True)
            end.code = 130
        except EXPECTED as error:
            end.code = _told(error)
        except Exception:
            _log(traceback.format_exc().rstrip())
            raise
        unwritten = _unwritten(told=end.code != 0)
        end.code = end.code or unwritten


def report(program: Callable[..., Any], *args: Any) -> int:
    """Run a program within `ending`; its exit code, the program's own if it gives one."""
    with ending() as end:
        code = program(*args)
        end.code = code if type(code) is int else 0
    return end.code


def _told(error: BaseException) -> int:
    if isinstance(error, BrokenPipeError) and _unwritten(more="\n"):
        return UNREAD
    if os.environ.get("MODPROMPT_TRACEBACK"):
        traceback.print_exc()
    _end_bars()
    _say(f"{getattr(error, 'kind', UserError.kind)}: {one_line(error)}", log=True)
    return int(getattr(error, "exit_code", UserError.exit_code))


def _unwritten(told: bool = False, more: str = "") -> int:
    """0, or an exit code if standard output cannot be written: then the rest is discarded, without Python's complaint.

    Args:
        told: whether an error was printed already; else this prints one, unless nobody reads (`| head`).
        more: text to write: where nothing is buffered, only that shows whether somebody reads.
    """
    try:
        print(end=more, flush=True)
        return 0
    except OSError as error:
        unread = isinstance(error, BrokenPipeError)
        if not (told or unread):
            _say(f"error: cannot write the output ({error.strerror}).")
    with contextlib.suppress(AttributeError, OSError, ValueError):  # it is not a file
        os.dup2(os.open(os.devnull, os.O_WRONLY), getattr(sys.stdout, "console", sys.stdout).fileno())
    return UNREAD if unread else UserError.exit_code


def _end_bars() -> None:
    """End progress bars that an error left: their loops live on in its traceback, and our message would follow them."""
    for bar in list(getattr(getattr(sys.modules.get("tqdm"), "tqdm", None), "_instances", ())):
        bar.close()


def _say(text: str, log: bool = False) -> None:
    with contextlib.suppress(OSError):  # nobody reads
        print(text, file=sys.stderr)
    if log:
        _log(text)


def _log(text: str) -> None:
    log = getattr(sys.stdout, "file", None)  # on Dassl's logger
    if log is not None:
        with contextlib.suppress(OSError):  # the disk is full, perhaps just the error
            log.write(text + "\n")


def close_log(console: TextIO) -> None:
    """Restore standard output and close the log file of Dassl's logger."""
    log, sys.stdout = sys.stdout, console
    if log is not console:
        try:
            log.close()
        except OSError as error:  # the disk is full
            print(f"warning: the log of this run is incomplete ({error.strerror}).", file=sys.stderr)


def signals_here(*names: str) -> tuple[signal.Signals, ...]:
    """The signals of these names that this system has: Windows lacks SIGHUP and others."""
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


@contextlib.contextmanager
def signals_handled(numbers: Sequence[int], handler: Callable[[int, Any], Any]) -> Iterator[None]:
    """Call a function at these signals while the block runs, except for those that are ignored (under nohup).

    Only the main thread can do that: in another one nothing changes.
    """
    asks = threading.current_thread() is threading.main_thread()
    earlier: dict[int, Any] = {}
    try:
        for number in numbers if asks else ():
            if signal.getsignal(number) != signal.SIG_IGN:
                earlier[number] = signal.signal(number, handler)
        yield
    finally:  # else later forks of this process would not end when told to
        for number, before in earlier.items():
            signal.signal(number, signal.SIG_DFL if before is None else before)  # None: set by no Python code


def complete(parser: argparse.ArgumentParser) -> NoReturn:
    """Print the words that can follow on a command line that a shell completes, and end this process.

    Without argcomplete nothing is printed, and the command that is only being typed does not run.
    """
    try:
        import argcomplete
    except ImportError:
        raise SystemExit(1) from None
    argcomplete.autocomplete(parser)
    raise SystemExit(1)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one message without a page of usage, and name the nearest flag or choice.

    Args:
        description: the program's help, which is printed as it stands.
        meant: names that other programs have for flags or settings of this one, as {"--lr": "OPTIM.LR"}.
        **facts: as argparse.ArgumentParser.

    Raises:
        UserError: from parse_args and parse_known_args, on words that are no flags, choices or values of this program.
    """

    def __init__(self, description: str | None = None, meant: Mapping[str, str] = {}, **facts: Any) -> None:
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter, **facts)
        self._meant = meant

    def error(self, message: str) -> NoReturn:
        """Raise UserError with the message."""
        raise UserError(f"{message.removesuffix('.')}. Use --help to list all flags.")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Return the values of all flags and arguments, or complete the command that is typed in a shell."""
        if COMPLETES in os.environ:
            complete(self)
        words = sys.argv[1:] if args is None else list(args)
        try:
            parsed, unknown = self.parse_known_args(words, namespace)
        except UserError:  # a misspelt flag can also leave a required argument without a value
            flags = (word for word in itertools.takewhile(lambda word: word != "--", words) if word.startswith("--"))
            unknown = [flag for flag in flags if not self._get_option_tuples(flag)]
            unknown = [flag for flag in unknown if flag.partition("=")[0] not in self._option_string_actions]
            if not unknown:
                raise
        if not unknown:
            return parsed
        word = next((word for word in unknown if word.startswith("-")), "")
        if not word:
            self.error(f"Unexpected argument {unknown[0]!r}")
        if hint := renamed(word.partition("=")[0], self._option_string_actions):
            raise UserError(f"Unknown flag {word}{hint}")
        name = word.partition("=")[0].replace("_", "-").strip("-")
        flags_by_name = {flag.strip("-"): flag for flag in self._option_string_actions}
        by_name = {**{flag.strip("-"): meant for flag, meant in self._meant.items()}, **flags_by_name}
        near = difflib.get_close_matches(name, by_name, n=1)
        if not near:
            self.error(f"Unknown flag {word}")
        meant = by_name[near[0]]
        if meant.startswith("-"):
            raise UserError(f"Unknown flag {word}. Did you mean {meant}?")
        raise UserError(f"Unknown flag {word}. Did you mean the setting {meant}? Add {meant} VALUE after all flags.")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = known_names(str(value), [str(choice) for choice in action.choices])
            raise argparse.ArgumentError(action, f"unknown value {value!r}{known}")


def take_imports(parser: argparse._ActionsContainer) -> None:
    """Give a program, or a group of its flags, the flag --import, for import_modules."""
    parser.add_argument(
        "--import", dest="imports", action="append", default=[], metavar="MODULE",
        help="import this Python module first, for example a custom method, trainer or data-set reader that registers "
        "itself. MODULE is the name of a module in the current folder or of an installed module, or FOLDER/NAME. The "
        "flag can be repeated",
    )  # fmt: skip


def import_modules(names: Sequence[str]) -> None:
    """Import a user's modules, which register trainers or readers; the current folder is searched first.

    Args:
        names: names of modules, or FOLDER/NAME for a module that is in a folder.

    Raises:
        UserError: if one is missing, imports something missing, or registers a name that exists already, or another
            module of its name is imported already.
    """
    here = str(Path.cwd())
    if names and here not in sys.path:
        sys.path.insert(0, here)
    for name in names:
        folder = Path(name).absolute().parent if os.sep in name else None
        if folder is not None:
            sys.path.insert(0, str(folder))
        try:
            module = importlib.import_module(Path(name).name.removesuffix(".py") if folder else name)
        except ImportError as error:
            raise UserError(
                f"--import {name}: the module cannot be imported ({error}). Python searched {folder or here} "
                "first, then the installed packages."
            ) from None
        except KeyError as error:  # from Dassl's registry
            said = str(error.args[0] if error.args else "")
            if "registered" not in said:
                raise
            raise UserError(
                f"--import {name}: the module registers a data set or trainer under a name that is already used "
                f"({said}). Choose another name. To use a codebase's own data-set readers, set --host FOLDER."
            ) from None
        if folder is not None:
            source = folder.resolve().joinpath(*module.__name__.split("."))
            if Path(str(module.__file__)).resolve().with_suffix("") not in (source, source / "__init__"):
                raise UserError(
                    f"--import {name}: another module with this name is already imported, {module.__file__}. Rename "
                    "one of the two modules."
                )
