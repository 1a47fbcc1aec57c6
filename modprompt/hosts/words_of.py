"""What a codebase's train.py does with its words, read from its syntax: nothing of it is run.

It starts at the module's own statements and follows calls of functions that the codebase itself has, with what is
handed over: `args`, `cfg` or a part of them, under whatever name the function has for it.
"""

import ast
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from modprompt.errors import UserError

_DEEPEST = 8  # calls within calls that are followed
_NOT_ITS_OWN = ("dassl", "my_dassl", "clip", "modprompt")
_TO_SKIP = "try"  # stands among guards for a try with handlers


class Flag(NamedTuple):
    """A flag of its parser; default: None if it has none, ... if it is no plain value."""

    name: str
    required: bool
    default: Any
    choices: Tuple[str, ...]


class Words:
    """What a program does with its words.

    flags: by name in `args`.
    copied: key of the config: (name in `args` it is set from, whether under a condition on that).
    looked_up: keys that it looks for among the KEY VALUE options, and cannot do without.
    allowed: values that are asserted of "args.NAME", "cfg.KEY" or "option KEY".
    defaults: key of the config: the last plain value that it sets it to.
    """

    def __init__(self) -> None:
        self.flags: Dict[str, Flag] = {}
        self.copied: Dict[str, Tuple[str, bool]] = {}
        self.looked_up: List[str] = []
        self.allowed: Dict[str, Tuple[str, ...]] = {}
        self.defaults: Dict[str, Any] = {}


def read_words(program: Path) -> Words:
    """What a codebase's program does with its words; what it imports is looked for beside it.

    Raises:
        UserError: if it is not there, or no Python.
    """
    try:
        tree = ast.parse(program.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {program} ({error.strerror})") from None
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{program} is not a Python program ({error})") from None
    reader = _Reader(program.parent)
    module = _Module(tree)
    reader.statements(tree.body, module, {}, [], 0)
    return reader.words


class _Module:
    """A file: its functions, what it imports by which name, its constants."""

    def __init__(self, tree: ast.Module):
        self.functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        self.imported: Dict[str, Tuple[str, str]] = {}  # name here: module, name there ("" for the module itself)
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self.imported[alias.asname or alias.name] = (alias.name, "")
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    self.imported[alias.asname or alias.name] = (node.module, alias.name)
        self.constants = {
            target.id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }

    def strings(self, node: ast.AST) -> Tuple[str, ...]:
        """The strings of a list, tuple or set, or of a constant that is one; () if it is something else."""
        node = self.constants.get(node.id, node) if isinstance(node, ast.Name) else node
        if not isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            return ()
        values = [part.value for part in node.elts if isinstance(part, ast.Constant)]
        return tuple(value for value in values if isinstance(value, str)) if len(values) == len(node.elts) else ()


Names = Dict[str, str]  # of a function's variables: "args", "cfg", "cfg.KEY", "args.NAME", "option KEY"


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    base = _dotted(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{base}.{node.attr}" if base and isinstance(node, ast.Attribute) else ""


def _looked_up(node: ast.AST, names: Names) -> str:
    """KEY of an `args.opts.index(KEY)`, else ""."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "index" and node.args:
        key = node.args[0]
        if _meaning(node.func.value, names) == "args.opts" and isinstance(key, ast.Constant):
            return str(key.value)
    return ""


def _meaning(node: Optional[ast.AST], names: Names) -> str:
    """What an expression is: a key of `Names`' values, or "" for anything else."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id if node.id in ("args", "cfg") else "")
    if isinstance(node, ast.Attribute):
        base = _meaning(node.value, names)
        return f"{base}.{node.attr}" if base else ""
    if isinstance(node, ast.Subscript) and _meaning(node.value, names) == "args.opts":
        keys = [key for key in (_looked_up(part, names) for part in ast.walk(node)) if key]
        return f"option {keys[0]}" if keys else ""
    if isinstance(node, ast.Call):
        called = _dotted(node.func).split(".")[-1] or getattr(node.func, "attr", "")
        return {"parse_args": "args", "get_cfg_default": "cfg"}.get(called, "")
    return ""


class _Reader:
    def __init__(self, folder: Path):
        self.folder = folder
        self.words = Words()
        self.modules: Dict[str, Optional[_Module]] = {}
        self.returned: Dict[Tuple[int, Tuple[Tuple[str, str], ...]], str] = {}  # by function and what it was handed

    def statements(self, body: Sequence[ast.stmt], module: _Module, names: Names, guards: List[Any], depth: int) -> str:
        """Read statements; the meaning of what they return, "" if none is known."""
        returned = ""
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                continue
            for expression in ast.iter_child_nodes(node):
                if isinstance(expression, ast.expr):
                    self.expression(expression, module, names, guards, depth)
            if isinstance(node, ast.Assign):
                self.assign(node, module, names, guards, depth)
            elif isinstance(node, ast.Return):
                returned = _meaning(node.value, names) or returned
            self.refusal(node, module, names)
            inner = [*guards, *_guards(node)]
            for part in ("body", "orelse", "finalbody"):
                returned = self.statements(getattr(node, part, []), module, names, inner, depth) or returned
        return returned

    def refusal(self, node: ast.stmt, module: _Module, names: Names) -> None:
        """Note the values that a statement leaves to something, if it ends the program for all others."""
        if isinstance(node, ast.Assert):
            found = _values(node.test, module, names, False)
        elif isinstance(node, ast.If) and isinstance(node.body[-1], ast.Raise):
            found = _values(node.test, module, names, True)
        else:
            return
        for subject, values in found:
            self.words.allowed.setdefault(subject, values)

    def assign(self, node: ast.Assign, module: _Module, names: Names, guards: List[Any], depth: int) -> None:
        value = _meaning(node.value, names)
        if not value and isinstance(node.value, ast.Call):
            value = self.call(node.value, module, names, guards, depth)
        for target in node.targets:
            place = _meaning(target, names)
            if isinstance(target, ast.Name) and value:
                names[target.id] = value
            elif place.startswith("cfg."):
                key = place[len("cfg.") :]
                if isinstance(node.value, ast.Constant):
                    self.words.defaults[key] = node.value.value
                elif value.startswith("args."):
                    name = value[len("args.") :]
                    self.words.copied[key] = (name, self.is_guarded(name, value, guards, names))

    def is_guarded(self, word: str, meaning: str, guards: List[Any], names: Names) -> bool:
        """Whether one of the conditions around a place looks at a word, by its meaning or as a string."""
        parts = [part for guard in guards if isinstance(guard, ast.AST) for part in ast.walk(guard)]
        return any(
            _meaning(part, names) == meaning or (isinstance(part, ast.Constant) and part.value == word)
            for part in parts
        )

    def expression(self, node: ast.expr, module: _Module, names: Names, guards: List[Any], depth: int) -> None:
        for part in ast.walk(node):
            if isinstance(part, ast.IfExp):
                guards = [*guards, part.test]
            key = _looked_up(part, names)
            if key and not (_TO_SKIP in guards or self.is_guarded(key, f"option {key}", guards, names)):
                self.words.looked_up += [] if key in self.words.looked_up else [key]
            if isinstance(part, ast.Call):
                if isinstance(part.func, ast.Attribute) and part.func.attr == "add_argument":
                    self.flag(part, module)
                else:
                    self.call(part, module, names, guards, depth)

    def flag(self, node: ast.Call, module: _Module) -> None:
        spelled = [part.value for part in node.args if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        given = {word.arg: word.value for word in node.keywords if word.arg}
        long = [name for name in spelled if name.startswith("--")] or [name for name in spelled if name[:1] == "-"]
        if not long:
            return
        plain = {name: value.value if isinstance(value, ast.Constant) else ... for name, value in given.items()}
        name = str(plain.get("dest", long[0].lstrip("-").replace("-", "_")))
        choices = module.strings(given["choices"]) if "choices" in given else ()
        default = plain.get("default", False if str(plain.get("action", "")).startswith("store_") else None)
        self.words.flags[name] = Flag(long[0], plain.get("required") is True, default, choices)

    def call(self, node: ast.Call, module: _Module, names: Names, guards: List[Any], depth: int) -> str:
        """Read the function that is called if it is the codebase's own; the meaning of what it returns."""
        found = self.function(_dotted(node.func), module)
        if found is None or depth == _DEEPEST:
            return ""
        function, home = found
        parameters = [parameter.arg for parameter in (*function.args.args, *function.args.kwonlyargs)]
        handed = dict(zip(parameters, (_meaning(value, names) for value in node.args)))
        handed.update((word.arg, _meaning(word.value, names)) for word in node.keywords if word.arg in parameters)
        inside = {name: handed.get(name, "") for name in parameters}
        key = (id(function), tuple(sorted(inside.items())))
        if key not in self.returned:
            self.returned[key] = ""  # of a function that calls itself
            self.returned[key] = self.statements(function.body, home, inside, guards, depth + 1)
        return self.returned[key]

    def function(self, dotted: str, module: _Module) -> Optional[Tuple[ast.FunctionDef, _Module]]:
        """A function of the codebase, and the file that it stands in."""
        if dotted in module.functions:
            return module.functions[dotted], module
        base, _, last = dotted.rpartition(".")
        source, name = module.imported.get(base, ("", "")) if base else module.imported.get(dotted, ("", ""))
        if base and name:
            source, name = f"{source}.{name}", last  # from package import module
        elif base:
            name = last
        home = self.module(source) if source and name else None
        return (home.functions[name], home) if home and name in home.functions else None

    def module(self, name: str) -> Optional[_Module]:
        if name not in self.modules:
            self.modules[name] = self.read(name)
        return self.modules[name]

    def read(self, name: str) -> Optional[_Module]:
        if name.split(".")[0] in _NOT_ITS_OWN:
            return None
        path = self.folder.joinpath(*name.split("."))
        for file in (path.with_name(f"{path.name}.py"), path / "__init__.py"):
            try:
                return _Module(ast.parse(file.read_bytes()))
            except (OSError, SyntaxError, ValueError):
                continue
        return None


def _guards(node: ast.stmt) -> List[Any]:
    """What stands between the way to a statement and what is inside it."""
    if isinstance(node, (ast.If, ast.While)):
        return [node.test]
    return [_TO_SKIP] if isinstance(node, ast.Try) and node.handlers else []


def _values(test: ast.expr, module: _Module, names: Names, negated: bool) -> List[Tuple[str, Tuple[str, ...]]]:
    """(what, its values) that must hold so that a condition does, or does not if negated; [] if nothing is known."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return _values(test.operand, module, names, not negated)
    if isinstance(test, ast.BoolOp):
        parts = [_values(part, module, names, negated) for part in test.values]
        if isinstance(test.op, ast.And) != negated:  # each of them must hold
            return [one for part in parts for one in part]
        if all(len(part) == 1 for part in parts) and len({part[0][0] for part in parts}) == 1:
            return [(parts[0][0][0], tuple(value for part in parts for value in part[0][1]))]
        return []
    if not isinstance(test, ast.Compare) or len(test.ops) != 1:
        return []
    operator, other = test.ops[0], test.comparators[0]
    wanted = (ast.NotIn, ast.NotEq) if negated else (ast.In, ast.Eq)
    subject = _meaning(test.left, names)
    if not subject or not isinstance(operator, wanted):
        return []
    is_one = isinstance(operator, (ast.Eq, ast.NotEq))
    one = (other.value,) if isinstance(other, ast.Constant) and isinstance(other.value, str) else ()
    values = one if is_one else module.strings(other)
    return [(subject, values)] if values else []
