"""Run a codebase's train.py as its user would, in a process of its own, and keep a record of how far it comes.

    python trial_program.py SPEC.json

Started by its path, since the program itself is to decide when modprompt is imported: with an installation that is late,
behind the codebase's own imports. A package that the codebase's files import, and that is not there, is put down in the
record, and an empty one stands in for it, so that all of them are found in one go.
"""

import importlib
import importlib.machinery
import importlib.util
import json
import os
import runpy
import sys
import traceback
import types
from typing import Any, Callable, Dict, List, Optional

OURS = "modprompt.trainers.mpl"
SETS = "dassl.data.datasets"
WATCHED = ("__init__", "build_data_loader", "build_model", "load_model", "train", "test")
MADE_UP = "ModpromptTrial"  # name of the data set that is entered in Dassl's registry


class Record:
    """What is known of the run so far; the file is written whole at every change.

    at: the last part of our trainer that was entered; "imports" before, "program" once all is imported.
    missing: {package that is not there: file that imports it}.
    error: the first one that left a part of our trainer, or else the one that ended the program.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.content: Dict[str, Any] = {"at": "imports", "missing": {}, "steps": 0, "done": [], "error": None}

    def put(self, **news: Any) -> None:
        self.content.update(news)
        with open(self._path + ".part", "w") as file:
            json.dump(self.content, file)
        os.replace(self._path + ".part", self._path)

    def fail(self, error: BaseException, part: str) -> None:
        """Note an error, unless one is noted already; sys.exit() inside an `except` stands for what was caught."""
        while isinstance(error, SystemExit) and error.__context__ is not None:
            error = error.__context__
        if self.content["error"] is None:
            frames = traceback.extract_tb(error.__traceback__)
            where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
            found = {"type": type(error).__name__, "text": str(error), "where": where, "part": part}
            found["module"] = str(getattr(error, "name", None) or "") if isinstance(error, ImportError) else ""
            found["file"] = str(getattr(error, "filename", None) or "")
            self.put(error=found)


class Nothing(type):
    """What an empty module has under every name: it can be called, decorated with, asked for more, and derived from."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Empty


class _Empty(metaclass=Nothing):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _Empty()

    def __getattr__(self, name: str) -> Any:
        return getattr(_Empty, name)

    def __getitem__(self, key: Any) -> Any:
        return _Empty()

    def __iter__(self) -> Any:
        return iter(())

    def __lt__(self, other: Any) -> bool:
        return False

    __gt__ = __le__ = __ge__ = __lt__

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: Any) -> None:
        pass


class _EmptyModule(types.ModuleType):
    __version__ = "999"

    def __getattr__(self, name: str) -> Any:
        return getattr(_Empty, name)


class Absent:
    """The last finder: puts down what the codebase asks for in vain, and lets it go on with an empty module."""

    def __init__(self, record: Record, folders: List[str]) -> None:
        self._record, self._folders, self._empty = record, folders, set()  # type: ignore[var-annotated]

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Optional[importlib.machinery.ModuleSpec]:
        top = name.partition(".")[0]
        if top not in self._empty:
            importer = "" if "." in name else self._importer(name)
            if not importer:
                return None
            self._empty.add(top)
            self._record.put(missing={**self._record.content["missing"], top: importer})
        loader: Any = self
        return importlib.machinery.ModuleSpec(name, loader, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _EmptyModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """There is nothing in it, but for the one name that all ask the last of these for."""
        if module.__name__ == "pkg_resources" and importlib.util.find_spec("packaging"):
            importlib.import_module("packaging.version")
            module.packaging = sys.modules["packaging"]  # type: ignore[attr-defined]

    def _importer(self, name: str) -> str:
        """The file that imports; empty where it is none of the codebase's, or it goes on without what is not there."""
        frame: Optional[types.FrameType] = sys._getframe(2)
        while frame is not None and _is_machinery(frame.f_code.co_filename):
            if frame.f_code.co_name == "find_spec":  # a question, not an import
                return ""
            frame = frame.f_back
        importer = frame.f_code.co_filename if frame is not None else ""
        of_tensorboard = name == "tensorboard" and importer.replace(os.sep, "/").endswith("utils/tensorboard/__init__.py")
        if not (of_tensorboard or self._is_near(importer)):
            return ""
        while frame is not None:  # whoever catches it may stand further out
            file = frame.f_code.co_filename
            if self._is_near(file) and _is_caught(file, frame.f_lineno):
                return ""
            frame = frame.f_back
        return importer

    def _is_near(self, file: str) -> bool:
        for folder in self._folders:
            inside = os.path.realpath(file)[len(folder) :] if os.path.realpath(file).startswith(folder + os.sep) else ""
            if inside and not {"site-packages", "dist-packages"} & set(inside.split(os.sep)):
                return True
        return False


def _is_machinery(file: str) -> bool:
    return file.startswith("<frozen ") or "importlib" in file.split(os.sep) or file == __file__


def _is_caught(file: str, line: int) -> bool:
    """Whether a line of a file stands in a `try` that catches a failed import."""
    import ast

    try:
        with open(file, "rb") as source:
            tree = ast.parse(source.read())
    except (OSError, SyntaxError, ValueError):
        return False
    for node in ast.walk(tree):
        if isinstance(node, ast.Try) and node.body[0].lineno <= line <= (node.body[-1].end_lineno or line):
            for handler in node.handlers:
                kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
                names = {kind.id for kind in kinds if isinstance(kind, ast.Name)}
                if handler.type is None or names & {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}:
                    return True
    return False


class _After:
    """A loader that is another one, and calls a function with the module behind it."""

    def __init__(self, plain: Any, then: Callable[[Any], None]) -> None:
        self._plain, self._then = plain, then

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)

    def create_module(self, spec: Any) -> Any:
        return self._plain.create_module(spec)

    def exec_module(self, module: Any) -> None:
        module.__loader__ = module.__spec__.loader = self._plain
        self._plain.exec_module(module)
        self._then(module)


class Finder:
    """The first finder: modprompt from where an installation would have it, and a word behind some modules."""

    def __init__(self, package: str, hooks: Dict[str, Callable[[Any], None]]) -> None:
        self._package, self._hooks, self._asking = package, hooks, False

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Optional[importlib.machinery.ModuleSpec]:
        if name == "modprompt" and self._package:
            init = os.path.join(self._package, "__init__.py")
            return importlib.util.spec_from_file_location(name, init, submodule_search_locations=[self._package])
        if name not in self._hooks:
            return None
        for finder in [one for one in sys.meta_path if one is not self]:
            spec = finder.find_spec(name, path, target) if hasattr(finder, "find_spec") else None
            if spec is not None:
                if spec.loader is not None:
                    after: Any = _After(spec.loader, self._hooks[name])
                    spec.loader = after
                return spec
        return None


def watch(trainer: type, record: Record) -> None:
    """Have our trainer put down where it is, train for one epoch alone, and count its steps."""

    def watched(name: str) -> None:
        plain = getattr(trainer, name)

        def part(self: Any, *args: Any, **kwargs: Any) -> Any:
            record.put(at=name)
            if name == "train":
                self.max_epoch = 1  # a codebase may set another number behind all options
            try:
                given = plain(self, *args, **kwargs)
            except BaseException as error:
                record.fail(error, name)
                raise
            record.put(done=[*record.content["done"], name])
            return given

        setattr(trainer, name, part)

    for name in WATCHED:
        watched(name)
    step = trainer.forward_backward  # type: ignore[attr-defined]

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        given = step(self, *args, **kwargs)
        record.put(steps=record.content["steps"] + 1)
        return given

    trainer.forward_backward = counted  # type: ignore[attr-defined]


def enter_made_up(module: Any, record: Record) -> None:
    """Enter a data set of ours in Dassl's registry: pictures in folders of their class, the first of each to test."""

    def init(self: Any, cfg: Any) -> None:
        root, items = str(cfg.DATASET.ROOT), {"train": [], "test": []}  # type: ignore[var-annotated]
        pictures = os.path.join(root, "eurosat", "2750")
        for label, name in enumerate(sorted(os.listdir(pictures))[:5]):
            for number, file in enumerate(sorted(os.listdir(os.path.join(pictures, name)))[:2]):
                datum = module.Datum(os.path.join(pictures, name, file), label, classname=name)
                items["train" if number else "test"].append(datum)
        record.put(done=[*record.content["done"], MADE_UP])
        module.DatasetBase.__init__(self, train_x=items["train"], val=items["test"], test=items["test"])

    module.DATASET_REGISTRY.register()(type(MADE_UP, (module.DatasetBase,), {"__init__": init}))


def _noted(plain: Callable[..., Any], record: Record) -> Callable[..., Any]:
    """A function whose errors are put down, before anybody makes a line of them."""

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return plain(*args, **kwargs)
        except BaseException as error:
            if not (isinstance(error, SystemExit) and not error.code):
                record.fail(error, "program")
            raise

    return call


def run(spec: Dict[str, Any], record: Record) -> int:
    """The program's exit code; what it raises is put down, and raised."""
    hooks = {OURS: lambda module: watch(module.MPL, record), SETS: lambda module: enter_made_up(module, record)}
    way, folder, words, root = spec["way"], spec["folder"], spec["words"], os.path.dirname(spec["package"])
    finder: Any = Finder(spec["package"] if way == "installer" and not spec["installed"] else "", hooks)
    absent: Any = Absent(record, spec["near"])
    sys.meta_path.insert(0, finder)
    sys.meta_path.append(absent)
    safe = getattr(sys.flags, "safe_path", False)
    if not safe:
        del sys.path[0]  # the folder of this file
    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry) != spec["without"]]
    if way != "installer" and root not in sys.path:
        sys.path.insert(0, root)
    if way == "launcher":
        runpy.run_path = _noted(runpy.run_path, record)  # type: ignore[assignment]
        launch = importlib.import_module("modprompt.hosts.launch")
        return int(launch.main(["train.py", *words]))
    if way == "own":
        sys.argv = ["modprompt", "train", "--import", OURS, *words]
        runpy.run_module("modprompt", run_name="__main__", alter_sys=True)
        return 0
    if not safe:
        sys.path.insert(0, folder)
    sys.argv = ["train.py", *words]
    main = types.ModuleType("__main__")
    main.__file__ = os.path.join(folder, "train.py")
    sys.modules["__main__"] = main
    with open(spec["program"], "rb") as file:
        code = compile(file.read(), main.__file__, "exec")
    exec(code, vars(main))
    return 0


def start(path: str) -> int:
    """Run what a file asks for; Python's own exit code."""
    with open(path) as file:
        spec = json.load(file)
    record = Record(spec["record"])
    record.put()
    return int(_noted(run, record)(spec, record))


if __name__ == "__main__":
    __name__ = "importlib_of_a_trial"  # the program is another; who looks for an importer passes this one over
    sys.exit(start(sys.argv[1]))
