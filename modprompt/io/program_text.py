"""Read the source of Python programs and modules without running them.

The text of another codebase's program tells how it spells the family's flags, and the name of its Dassl. The source of
a custom method's module, with the modules next to it that it imports, is part of a run and known by a hash.
"""

import ast
import functools
import hashlib
import os
import re
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

from modprompt.io.files import sha256_of
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


def imports_of(file: Path, root: Path, everywhere: bool = False) -> Iterator[list[str]]:
    """Yield the parts of the names that a file imports; `from a import b` may mean a.b.

    Args:
        file: the file; one that is not Python imports nothing, since whatever loads it says so.
        root: the folder from which relative imports are resolved.
        everywhere: also read imports inside functions and other statements.
    """
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = file.relative_to(root).parts[: -node.level] if node.level else ()
            parts = [*package, *(node.module or "").split(".")]
            yield from ([*filter(None, parts), alias.name] for alias in node.names)


def find_module(name: str) -> Path | None:
    """Return the file of a module, or None if there is none. Nothing is imported.

    A module that is not imported yet is searched for in the current folder first and then on sys.path.
    """
    if name in sys.modules:
        file = getattr(sys.modules[name], "__file__", None)
    else:
        file, folders = None, [str(Path.cwd()), *sys.path]
        for end in range(1, name.count(".") + 2):
            spec = PathFinder.find_spec(".".join(name.split(".")[:end]), folders)
            if spec is None:
                return None
            file, folders = spec.origin, list(spec.submodule_search_locations or ())
    return Path(file).absolute() if file and os.path.isfile(file) else None


@functools.lru_cache(maxsize=4096)
def _source_of(file: Path, root: Path, version: tuple[int, ...]) -> tuple[str, tuple[tuple[str, ...], ...]]:
    """Return the hash of a file and the names that it imports; `version` tells its versions apart."""
    return sha256_of(file), tuple(map(tuple, imports_of(file, root, everywhere=True)))


def source_hash(name: str, file: Path) -> str:
    """Return sixteen hex digits that tell one source of a module from another.

    The modules next to it that it imports count too, at any depth, wherever the folder lies. modprompt itself does not
    count. For an installed module (below site-packages) only its own package counts.

    Args:
        name: the dotted name of the module.
        file: its file.

    Raises:
        OSError: if a file cannot be read.
    """
    top, *inner = name.split(".")
    root = file.parents[len(inner) + (file.name == "__init__.py")]
    installed = root.name in ("site-packages", "dist-packages")
    waiting, digests = [file], dict[str, str]()
    while waiting:
        path = waiting.pop()
        key = path.relative_to(root).as_posix()
        if key in digests or not path.is_file():
            continue
        facts = path.stat()
        version = (facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
        digests[key], imports = _source_of(path, root, version)
        for parts in imports:
            if not parts or parts[0] == "modprompt" or (installed and parts[0] != top):
                continue
            places = [root.joinpath(*parts[:count]) for count in range(1, len(parts) + 1)]
            waiting += [found for place in places for found in (place / "__init__.py", Path(f"{place}.py"))]
    text = "".join(f"{key}\t{digest}\n" for key, digest in sorted(digests.items()))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
