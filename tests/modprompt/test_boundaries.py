"""Nothing imports what is above it, in a circle, or PyTorch where it is not needed; what is below says nothing by itself."""

import ast
import graphlib
import re
import subprocess
import sys

import pytest

from modprompt.feature import FEATURES, features
from modprompt.methods import table
from tests.conftest import ROOT

FLOORS = (
    {"errors", "checks", "fields", "feature", "programs", "places", "version"},
    {"io"},
    {"clip"},
    {"engine"},
    {"methods"},
    {"compat"},
    {"data"},
    {"trainers"},
    {"active"},
    {"use"},
    {"experiments", "hosts"},
    {"cli"},
    {"__init__", "launch", "install", "doctor", "__main__"},
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# files of a feature that stand on the floor of this room, beside it: no file but its own feature.py asks for them
ABOVE = {
    "methods/search/run.py": "trainers",
    "methods/heads/run.py": "trainers",
    "active/plan.py": "experiments",
    "active/report.py": "experiments",
    "active/command.py": "cli",
}
DASSL = {"compat", "trainers", "data", "active"}  # rooms that know it
OTHERS_WITH_DASSL = {
    "hosts/borrowed.py",
    "hosts/foreign.py",
    "hosts/synthetic_set.py",
    "experiments/plan/check.py",
    "experiments/plan/present.py",
}
PACKAGE = ROOT / "modprompt"
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "stand_in" not in path.parts)
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}
PRINTING = {"programs", "trainers", "data", "active", "compat", "hosts", "experiments", "cli", *FLOORS[-1]} - {
    "__init__"
}
WITH_TORCH = {
    "io": ("checkpoint", "checkpoint_schema", "tensors", "torch_files"),
    "experiments": ("plan.check", "reporting.attention_pictures", "reporting.embedding"),
}


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


GROUND = FLOORS[0]


def room(module):
    """The room of a dotted name in the package; a name of the package itself is none."""
    parts = module.split(".")
    return parts[1] if parts[0] == "modprompt" and len(parts) > 1 and parts[1] in FLOOR else None


def test_imports_point_down():
    for path in FILES:
        name = path.relative_to(PACKAGE).as_posix()
        own = path.relative_to(PACKAGE).with_suffix("").parts[0]
        modules = set(imported(ast.parse(path.read_text())))
        fronts = {"trainers", "datasets", "experiments", "tools", "train"}
        assert not {module.split(".")[0] for module in modules} & fronts, path
        others = {module for module in modules if room(module) not in (None, own)}
        beside = ABOVE.get(name, own)
        above = {module for module in others if FLOOR[room(module)] >= FLOOR[beside] and room(module) != beside}
        assert not {module for module in above if not {room(module), own} <= GROUND}, path
        asked = {module.replace(".", "/").partition("/")[2] + ".py" for module in modules} & {*ABOVE} - {name}
        assert not asked or path.name == "feature.py" or name in ABOVE, path
        assert all(path.parent == (PACKAGE / one).parent for one in asked), path
        if own not in DASSL and name not in OTHERS_WITH_DASSL:
            assert not {module for module in modules if module.split(".")[0] in ("dassl", "yacs")}, path


FOLDERS = [name.rpartition(".")[0] for name in FEATURES]
DOORS = {"doctor", "install", "launch"}  # each is one of a feature's own programs, under a name that stays


def words_of(one):
    """What a record alone says: settings, facts, words of stages, sentences; its name is an English word, too."""
    contents = [word for content in one.contents for word in (content.fact, content.key.lstrip("."))]
    sentences = [text for text in vars(type(one)).values() if isinstance(text, str) and " " in text]
    return {word for word in (*one.stage, *contents, *sentences) if isinstance(word, str)} - {one.name, ""}


def named_in(path):
    """What a file says of a feature that lies in another room: its modules, kind of methods, config node, and words."""
    tree, own = ast.parse(path.read_text()), path.relative_to(PACKAGE).with_suffix("").parts[0]
    others = [one for one in features() if room(type(one).__module__) != own]
    kinds = [f"{table.__name__}.{name}" for name, kind in vars(table).items() if kind in [one.kind for one in others]]
    named = [*(folder for folder in FOLDERS if room(folder) != own), *kinds]
    yield from (name for name in imported(tree) for one in named if f"{name}.".startswith(f"{one}."))
    nodes = "|".join(one.node for one in others if one.node)
    words = "|".join(sorted({re.escape(word) for one in others for word in words_of(one)}, key=len, reverse=True))
    words = rf"(?<!\w)(?:{words or '(?!)'})(?!\w)"
    parts = {part for one in others for part in one.chosen}
    docstrings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and re.fullmatch(rf"{nodes}|{words}", node.attr):
            yield ast.unparse(node)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings:
            yield from re.findall(rf"\b(?:{nodes})(?:\.[A-Z]\w*|$)|{words}", node.value)
            yield from parts & {node.value}


def test_no_other_room_names_a_feature():
    apart = {*(path for path in FILES if path.stem in DOORS)}
    found = {path: list(named_in(path)) for path in FILES if path not in apart}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    ("code", "named"),
    [
        ("from modprompt.active import rounds", ["modprompt.active", "modprompt.active.rounds"]),
        ("def f():\n    import modprompt.methods.search.run", ["modprompt.methods.search.run"]),
        ("cfg.SEARCH.ON", ["cfg.SEARCH"]),
        ("raise UserError(f'ACTIVE.ROUNDS: {why}')", ["ACTIVE.ROUNDS"]),
        ("'Of ACTIVE.ROUNDS.'", []),
        ("cfg['MODEL']", []),
        ("from modprompt.methods.table import HEADS", ["modprompt.methods.table.HEADS"]),
        ("method.prompts_from", ["method.prompts_from"]),
        ("f'{node}.PROMPTS_FROM'", ["PROMPTS_FROM"]),
        ("ABOUT = 'a share of a search, or of several searches'", ["a search", "searches"]),
        ("result['searched'], 'searched first'", ["searched"]),
    ],
)
def test_names_of_features_are_found(code, named, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    (tmp_path / "use").mkdir()
    (tmp_path / "use" / "one.py").write_text(code)
    assert list(named_in(tmp_path / "use" / "one.py")) == named


def test_programs_of_the_checkout_and_its_tests_ask_the_parts_and_not_the_program():
    """modprompt.cli.train is imported by train.py, and by tests, which run it whole and take nothing but main."""
    for folder in ("lpclip", "tools", "benchmarks", "experiments", "trainers", "datasets", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text()
            of_it = {name for name in imported(ast.parse(text)) if name and name.startswith("modprompt.cli.train")}
            assert folder == "tests" or not of_it, path
            assert not of_it or set(re.findall(r"\btrain\.([a-z_]+)\(", text)) <= {"main"}, path


def test_light_parts_need_no_torch():
    """Flags, settings and the end of a program are there at once: --help waits for nothing."""
    text = "import sys, modprompt.cli.flags, modprompt.io.compare, modprompt.programs\n"
    text += "assert not {'torch', 'dassl', 'yacs', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", text], check=True, cwd=ROOT)


def test_every_room_has_a_floor():
    there = {path.stem for path in PACKAGE.iterdir() if path.name != "__pycache__" and path.suffix in ("", ".py")}
    assert there - {"configs"} <= set(FLOOR)


def imports_of(name):
    """Modules of this package that a module imports anywhere in it; a package only where a name of its own is taken."""
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield from [inner] if inner in MODULES else [node.module] if node.module in MODULES else []


def test_no_modules_import_each_other():
    assert set(imports_of("modprompt.io.compare")) >= {"modprompt.io.checksum"}
    try:
        graphlib.TopologicalSorter({name: set(imports_of(name)) for name in MODULES}).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(reversed(error.args[1])))


def modules_of(room, *names):
    """Modules of a room: these, or all but those that need PyTorch."""
    whole = [name for name in MODULES if name.startswith(f"modprompt.{room}.")]
    needing = {f"modprompt.{room}.{name}" for name in WITH_TORCH.get(room, ())}
    return [f"modprompt.{room}.{name}" for name in names] or [name for name in whole if name not in needing]


TORCHLESS = {
    "package": ["modprompt"],
    "ground": [f"modprompt.{name}" for name in sorted(GROUND)],
    "io": modules_of("io"),
    "schedule": modules_of("engine", "schedule"),
    "methods": modules_of(
        "methods", "table", "search.file", "search.alphas_file", "search.space", "search.schedule_files"
    ),
    "experiments": modules_of("experiments"),
    "features": [*FEATURES, *modules_of("active", "settings")],
}
CHILD = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    if "torch" in sys.modules:
        sys.exit(f"{name} imports torch")
"""


@pytest.mark.parametrize("modules", TORCHLESS.values(), ids=TORCHLESS)
def test_nothing_imports_torch_that_has_no_tensors(modules):
    ended = subprocess.run([sys.executable, "-c", CHILD, *modules], cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_child_notices_torch():
    words = [sys.executable, "-c", CHILD, "modprompt.io.text", "modprompt.io.tensors"]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (1, "modprompt.io.tensors imports torch\n")


def sayings(tree):
    """(line, what) of calls that print, or log under another name than the package's."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef) and node.name == "print_trainable_parameters":
            continue  # asked for by its name
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("print", "sys.stdout.write", "sys.stderr.write"):
                yield node.lineno, called
            if called.split(".")[-1] == "getLogger" and [ast.unparse(word) for word in node.args] != ["'modprompt'"]:
                yield node.lineno, ast.unparse(node)
        yield from sayings(node)


QUIET = [
    path
    for path in FILES
    if path.relative_to(PACKAGE).with_suffix("").parts[0] not in PRINTING
    and path.relative_to(PACKAGE).as_posix() not in ABOVE
]


def test_what_a_library_says_is_logged():
    found = {path: list(sayings(ast.parse(path.read_text()))) for path in QUIET}
    assert {path: said for path, said in found.items() if said} == {}


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def f():\n    if True:\n        print('x')", [(3, "print")]),
        ("sys.stderr.write('x')", [(1, "sys.stderr.write")]),
        ("logging.getLogger(__name__)", [(1, "logging.getLogger(__name__)")]),
        ("logging.getLogger('modprompt').info('x')", []),
        ("class M:\n    def print_trainable_parameters(self):\n        print('x')", []),
    ],
)
def test_sayings_are_found(code, said):
    assert list(sayings(ast.parse(code))) == said
