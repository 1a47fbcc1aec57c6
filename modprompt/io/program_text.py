"""What the text of another codebase's program tells: how it spells the family's flags, and the name of its Dassl."""

import ast
import re
from pathlib import Path

from modprompt.io.settings import FLAGS

_FLAGS = (*FLAGS.values(), "--config-file", "--dataset-config-file", "--model-dir", "--load-epoch", "--eval-only")


def flags_of(program: Path) -> dict[str, str]:
    """The family's flags that a program has, {as the family spells it: as the program does}.

    The program's text tells what it does with a flag: `cfg.DATASET.ROOT = args.data`, `cfg.merge_from_file(args.file)`.
    One that names no flag, since its parser is elsewhere, counts as having all.
    """
    try:
        nodes = [*ast.walk(ast.parse(program.read_bytes()))]
    except (OSError, SyntaxError, ValueError):  # said when it runs
        nodes = []
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    spelled = {_attribute(text): text for text in texts if re.fullmatch(r"--\w[\w-]*", text)}
    if not spelled:
        return {flag: flag for flag in _FLAGS}
    flags = {flag: spelled[_attribute(flag)] for flag in _FLAGS if _attribute(flag) in spelled}
    for node in nodes:
        use, value = "", None
        if isinstance(node, ast.Assign):
            use, value = FLAGS.get(ast.unparse(node.targets[0]).partition(".")[2], ""), node.value
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".merge_from_file") and node.args:
            value = node.args[0]
            use = "--dataset-config-file" if "data" in ast.unparse(value) else "--config-file"
        if use and isinstance(value, ast.Attribute) and value.attr in spelled:
            flags.setdefault(use, spelled[value.attr])
    return flags


def _attribute(flag: str) -> str:
    """The name that argparse gives a flag's value."""
    return flag.lstrip("-").replace("-", "_")


def dassl_name(program: Path) -> str:
    """The package whose build_trainer a program imports: dassl, or a copy that the codebase has under another name."""
    named = re.search(rb"^from (\w+)\.engine import .*\bbuild_trainer\b", program.read_bytes(), re.MULTILINE)
    name = named[1].decode() if named else "dassl"
    return name if (program.parent / name).is_dir() else "dassl"
