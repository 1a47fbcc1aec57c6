"""The command `modprompt`: train, prepare data, run experiments, and work in other codebases.

Each command's module is imported when it is called, so that help and reports do not import PyTorch.
"""

import importlib
import os
import sys
from typing import NamedTuple

from modprompt.checks import check_name
from modprompt.programs import COMPLETES, Parser, complete, report
from modprompt.version import __version__


class Command(NamedTuple):
    """A command: the module with its main, and what it does."""

    module: str
    does: str


COMMANDS: dict[str, Command] = {
    "train": Command("modprompt.cli.train", "train or evaluate a method"),
    "active": Command("modprompt.cli.active", "train with active learning, which selects the images to label"),
    "heads": Command("modprompt.cli.heads", "train and test heads on precomputed image features"),
    "predict": Command("modprompt.cli.predict", "classify images with a trained model"),
    "export": Command("modprompt.cli.export", "write a trained model as an ONNX or safetensors file"),
    "show": Command("modprompt.cli.show", "serve a web page that classifies images and shows the attention"),
    "interpret": Command("modprompt.cli.interpret", "print the nearest words to each learned text vector"),
    "push": Command("modprompt.cli.push", "upload a run or an experiment to a Hugging Face hub"),
    "pull": Command("modprompt.cli.pull", "download a run or an experiment from a Hugging Face hub"),
    "prepare": Command("modprompt.data.prepare.__main__", "download, arrange and check data sets"),
    "experiment run": Command("modprompt.experiments.running.run", "run the unfinished runs of an experiment"),
    "experiment report": Command(
        "modprompt.experiments.reporting.report", "write the tables and figures of an experiment"
    ),
    "experiment choose": Command(
        "modprompt.experiments.reporting.choose", "select hyperparameters on validation images"
    ),
    "experiment status": Command(
        "modprompt.experiments.running.status", "print the state of the runs of an experiment"
    ),
    "backbones": Command("modprompt.cli.backbones", "list the CLIP models and the methods that they support"),
    "doctor": Command("modprompt.hosts.doctor", "diagnose the installation"),
    "install": Command("modprompt.hosts.install", "add MPL to another codebase with one import line"),
    "launch": Command("modprompt.hosts.launch", "run the program of another codebase with MPL added"),
}
_GROUP = "experiment"  # whose commands have two words


def help_text(start: str = "") -> str:
    """The usage of the commands that begin with a word, or of all."""
    lines = [f"  {name:<20}{command.does}" for name, command in COMMANDS.items() if name.startswith(start)]
    usage = f"usage: modprompt [-h] [--version] {start or 'COMMAND'} ..."
    return "\n".join([usage, "", *lines, "", "modprompt COMMAND --help lists the flags of a command."])


def parse(words: list[str]) -> tuple[str, list[str]]:
    """The name of a command and the words after it; UserError if there is no such command."""
    length = 2 if words[0] == _GROUP else 1
    name = " ".join(words[:length])
    if name not in COMMANDS:
        known = [command.split() for command in COMMANDS]
        check_name(words[0], [*{command[0]: None for command in known}], "modprompt", "command")
        commands = [command[1] for command in known if command[1:]]
        check_name("".join(words[1:2]), commands, f"modprompt {_GROUP}", "command")
    return name, words[length:]


def _complete() -> None:
    """Let the parser of the command that is being typed complete the words after it, or complete the command."""
    typed = os.environ.get("COMP_LINE", "")[: int(os.environ.get("COMP_POINT", "0"))].split(" ")
    first = int(os.environ[COMPLETES])  # the number of words that start this program: modprompt, python -m modprompt
    words = [word for word in typed[first:-1] if word]
    length = 2 if words[:1] == [_GROUP] else 1
    name = " ".join(words[:length])
    if name in COMMANDS:
        os.environ[COMPLETES] = str(first + length)
        importlib.import_module(COMMANDS[name].module).main([])
    names = [one.removeprefix(_GROUP).split()[0] if words else one.split()[0] for one in COMMANDS if name in one]
    os.environ[COMPLETES] = str(first + len(words))
    parser = Parser(add_help=False)
    parser.add_argument("command", choices=[*dict.fromkeys(names)] if words in ([], [_GROUP]) else [])
    complete(parser)


def _main(words: list[str]) -> int:
    if COMPLETES in os.environ:
        _complete()
    if words[:1] == ["--version"]:
        print(f"modprompt {__version__}")
        return 0
    start = _GROUP if words[:1] == [_GROUP] else ""
    if not words or {"-h", "--help"} & set(words[1:2] if start else words[:1]):
        print(help_text(start), file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    name, rest = parse(words)
    sys.argv[0] = f"modprompt {name}"  # its name in the command's own help
    code: int = importlib.import_module(COMMANDS[name].module).main(rest)
    return code


def main(argv: list[str] | None = None) -> int:
    """Exit code: the command's, or one of programs.report."""
    return report(_main, sys.argv[1:] if argv is None else argv)
