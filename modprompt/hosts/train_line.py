"""The one line that an installation adds to a codebase's train.py, and removes again."""

import ast

from modprompt.errors import UserError

STATEMENT = "import modprompt.trainers.mpl"
LINE = f"{STATEMENT}  # MPL; `modprompt install . --uninstall` takes this line out"
_ENDS = (b"\n", b"\r")


def has_line(program: bytes) -> bool:
    """Whether a train.py imports the trainer, in a line of its own that is not a comment."""
    return any(line.startswith(STATEMENT.encode()) for line in program.splitlines())


def with_line(program: bytes) -> bytes:
    """A train.py with the line after its last import of trainers, or else after its last import.

    Raises:
        UserError: if it is not valid Python, or imports nothing.
    """
    lines = program.splitlines(keepends=True)
    last = _last_import(program)
    eol = b"\r\n" if lines[0].endswith(b"\r\n") else b"\n"
    head = b"".join(lines[:last])
    line = LINE.encode() + eol if head.endswith(_ENDS) else eol + LINE.encode()
    return head + line + b"".join(lines[last:])


def without_line(program: bytes) -> bytes:
    """A train.py without the line, byte for byte as it was."""
    lines = program.splitlines(keepends=True)
    kept = [line for line in lines if not line.strip().startswith(STATEMENT.encode())]
    if len(kept) < len(lines) and not lines[-1].endswith(_ENDS) and kept and kept[-1] is not lines[-1]:
        kept[-1] = kept[-1].rstrip(b"\r\n")  # ours came after a last line without a newline
    return b"".join(kept)


def _last_import(program: bytes) -> int:
    """Number of the line in which the last import of trainers, or else the last import, ends."""
    try:
        tree = ast.parse(program)
    except (SyntaxError, ValueError) as error:
        raise UserError(f"train.py is not a Python program ({error})") from None
    imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    if not imports:
        raise UserError(f"train.py imports nothing: add the import line by hand: {STATEMENT}")
    ours = [node for node in imports if any(name.split(".")[0] == "trainers" for name in _modules(node))]
    last = max(node.end_lineno or node.lineno for node in (ours or imports))
    for node in tree.body:  # another statement may begin in that line and end in a later one
        if node.lineno <= last:
            last = max(last, node.end_lineno or node.lineno)
    return last


def _modules(node: ast.Import | ast.ImportFrom) -> list[str]:
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
