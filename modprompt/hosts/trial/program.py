"""Run a codebase's train.py as its user would, in a process of its own, and keep a record of how far it comes.

    python program.py SPEC.json

Started by its path, since the program itself is to decide when modprompt is imported: with an installation that is
late, behind the codebase's own imports. Packages that are not there are put down (absent.py).
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
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

OURS = "modprompt.trainers.mpl"
SETS = "dassl.data.datasets"
WATCHED = ("__init__", "build_data_loader", "build_model", "load_model", "train", "test")
MADE_UP = "ModpromptTrial"  # name of the data set that is entered in Dassl's registry
_NAME = "importlib_of_a_trial"  # the program is another file; who looks for an importer passes this one over


class Record:
    """What is known of the run so far; the file is written whole at every change.

    at: the last part of our trainer that was entered; "program" before the first.
    missing: {package that is not there: file that imports it}.
    error: the first one that left a part of our trainer, or else the one that ended the program.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.content: Dict[str, Any] = {"at": "program", "missing": {}, "steps": 0, "done": [], "error": None}

    def put(self, **news: Any) -> None:
        """Note something."""
        self.content.update(news)
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps(self.content))
        part.replace(self._path)

    def lacks(self, package: str, importer: str) -> None:
        """Note a package that is not there."""
        self.put(missing={**self.content["missing"], package: importer})

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
        self._package, self._hooks = package, hooks

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Optional[importlib.machinery.ModuleSpec]:
        if name == "modprompt" and self._package:
            init = str(Path(self._package, "__init__.py"))
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
        items: Dict[str, List[Any]] = {"train": [], "test": []}
        folders = sorted(Path(str(cfg.DATASET.ROOT), "eurosat", "2750").iterdir())
        for label, folder in enumerate(folders[:5]):
            for part, path in zip(("test", "train"), sorted(folder.iterdir())):
                items[part].append(module.Datum(str(path), label, classname=folder.name))
        record.put(done=[*record.content["done"], MADE_UP])
        module.DatasetBase.__init__(self, train_x=items["train"], val=items["test"], test=items["test"])

    module.DATASET_REGISTRY.register()(type(MADE_UP, (module.DatasetBase,), {"__init__": init}))


def _beside(name: str) -> Any:
    """A file beside this one, as a module."""
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"{_NAME}_{name}", str(path))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
    way, folder, words, root = spec["way"], spec["folder"], spec["words"], str(Path(spec["package"]).parent)
    finder: Any = Finder(spec["package"] if way == "installer" and not spec["installed"] else "", hooks)
    absent: Any = _beside("absent").Absent(record.lacks, spec["near"])
    sys.meta_path.insert(0, finder)
    sys.meta_path.append(absent)
    safe = getattr(sys.flags, "safe_path", False)
    if not safe:
        del sys.path[0]  # the folder of this file
    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry) != spec["without"]]
    if way != "installer" and root not in sys.path:
        sys.path.insert(0, root)
    if way == "launcher":
        runpy.run_path = _noted(runpy.run_path, record)
        launch = importlib.import_module("modprompt.hosts.launch")
        return int(launch.main(["train.py", *words]))
    if way == "trial":
        sys.argv = ["modprompt", "train", "--import", OURS, *words]
        runpy.run_module("modprompt", run_name="__main__", alter_sys=True)
        return 0
    if not safe:
        sys.path.insert(0, folder)
    sys.argv = ["train.py", *words]
    main = types.ModuleType("__main__")
    main.__file__ = str(Path(folder, "train.py"))
    sys.modules["__main__"] = main
    exec(compile(Path(spec["program"]).read_bytes(), main.__file__, "exec"), vars(main))
    return 0


def start(path: str) -> int:
    """Run what a file asks for; Python's own exit code."""
    spec = json.loads(Path(path).read_text())
    record = Record(Path(spec["record"]))
    record.put()
    return int(_noted(run, record)(spec, record))


if __name__ == "__main__":
    __name__ = _NAME
    sys.exit(start(sys.argv[1]))
