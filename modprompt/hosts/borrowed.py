"""What --host uses of a codebase: its readers, its data sets' configs, the keys of its `extend_cfg`, its `clip`.

The program, its loop, checkpoints, evaluation and results are ours. Of the codebase's own program only that one
function runs, cut out together with the plain imports that it names.
"""

import ast
import contextlib
import hashlib
import importlib
import os
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.clip import package as clip_package
from modprompt.errors import UserError
from modprompt.hosts.codebase import PROGRAM, READERS, find, is_codebase
from modprompt.hosts.launch import put_host_first
from modprompt.hosts.rows import rows_of
from modprompt.io.settings import READER, Given, Settings
from modprompt.programs import import_modules, one_line


class Host(NamedTuple):
    """A codebase whose parts are importable.

    Attributes:
        folder: where its train.py is.
    """

    folder: Path

    def config_of(self, word: str) -> str:
        """The path of its config of a data set, by name or path; the word itself if it has none."""
        named = self.folder / "configs" / READERS / f"{word}.yaml"
        for path in (named, self.folder / word):
            if word and not Path(word).is_file() and path.is_file():
                return str(path)
        return word

    def add_keys(self, trainer: str) -> None:
        """Give Dassl's defaults the keys that its `extend_cfg` adds, where they are missing; a message if that fails.

        Args:
            trainer: the run's; for one of the codebase's own, all settings of trainers are the codebase's.
        """
        from dassl.config import cfg_default, get_cfg_default

        from modprompt.hosts.foreign import is_our_name
        from modprompt.trainers.config_nodes import add_missing

        theirs = get_cfg_default()
        try:
            function = _function(self.folder / PROGRAM, "extend_cfg")
            if function is not None:
                function(theirs)
                if not is_our_name(trainer):
                    cfg_default.TRAINER = theirs.TRAINER.clone()
                add_missing(cfg_default, theirs)
        except Exception as error:  # whatever their code raises; a reader that wants a key says so
            print(f"{self.folder / PROGRAM}: the keys of its extend_cfg are left out ({one_line(error)})")

    def completed(self, settings: Settings) -> Settings:
        """Settings with the reader that the run uses from this codebase; its config keys are known from now on.

        Raises:
            UserError: as with_reader.
        """
        self.add_keys(str(settings["TRAINER.NAME"].value) if "TRAINER.NAME" in settings else "")
        return self.with_reader(settings)

    def import_modules(self, names: Sequence[str]) -> None:
        """As programs.import_modules, for modules of the codebase: its trainers and readers keep their names."""
        from modprompt.trainers.registration import give_way

        give_way()
        with _registered_over_ours():
            import_modules(names)

    def take_reader(self, name: str) -> str | None:
        """Use its reader of a data set in place of ours.

        Args:
            name: under which it is registered.

        Returns:
            What tells that reader from another: its file, and a hash of all readers and of all else in the codebase
            that it imports. None if it has no such reader; a message says so.

        Raises:
            UserError: if several have this name, or it cannot be imported.
        """
        from dassl.data.datasets import DATASET_REGISTRY

        files = [path for path in sorted((self.folder / READERS).rglob("*.py")) if _registers(path, name)]
        if not files:
            print(f"{self.folder} has no reader {name}: it is read by ours")
            return None
        if len(files) > 1:
            raise UserError(f"--host: {' and '.join(map(str, files))} both register {name}")
        module = ".".join(files[0].relative_to(self.folder).with_suffix("").parts)
        ours = DATASET_REGISTRY.get(name) if name in DATASET_REGISTRY.registered_names() else None
        before = {*sys.modules}
        with _registered_over_ours():
            try:
                importlib.import_module(module)
            except (Exception, SystemExit) as error:  # their code: a failure is theirs to fix
                raise UserError(f"--host: {files[0]} cannot be imported ({one_line(error)})") from error
        if getattr(ours, "only_tests", False):
            DATASET_REGISTRY.get(name).only_tests = True  # ImageNet's variants, whoever reads them
        return f"{files[0].name} {self._hash_of_readers({*sys.modules} - before)}"

    def _hash_of_readers(self, modules: Collection[str]) -> str:
        """Hash of all readers, and of those of these modules that belong to the codebase."""
        found = {path.resolve() for path in (self.folder / READERS).rglob("*.py")}
        paths = (Path(str(getattr(sys.modules[name], "__file__", None) or "")) for name in modules)
        found |= {path.resolve() for path in paths if self.folder in path.resolve().parents}
        digest = hashlib.sha256()
        for file in sorted(found):
            digest.update(f"{os.path.relpath(file, self.folder)}\n".encode())
            digest.update(file.read_bytes())
        return digest.hexdigest()[:12]

    def with_reader(self, settings: Settings) -> Settings:
        """A run's settings, with the reader that it uses from this codebase.

        Raises:
            UserError: as take_reader, or if no data set is named.
        """
        given = settings.get("DATASET.NAME")
        reader = self.take_reader(str(given.value)) if given else None
        found = {} if reader is None else {READER: reader, **self._asked_of_data(settings)}
        return Settings((*settings.given, *((key, Given(value, "flag --host")) for key, value in found.items())))

    def _asked_of_data(self, settings: Settings) -> dict[str, str]:
        """Settings that its readers need for one of our trainers and that nobody gave; a message names them."""
        from dassl.config import cfg_default

        from modprompt.hosts.foreign import is_our_name

        if "TRAINER.NAME" in settings and not is_our_name(str(settings["TRAINER.NAME"].value)):
            return {}
        found: dict[str, str] = {}
        for row in rows_of((self.folder / PROGRAM).read_bytes()):
            wanted = {key: value for key, value in row.pairs.items() if key not in settings}
            news = {key: value for key, value in wanted.items() if _has(cfg_default, key)}
            for key, value in news.items():
                print(f"note: {self.folder / PROGRAM}: {row.why}; added: {key} {value}")
            found.update(news)
        return found


def entered(folder: str | None, its_dassl: bool = False) -> Host | None:
    """The codebase of --host, its parts importable from now on. Call this before our modules import `clip` and Dassl.

    Args:
        folder: as --host gives it; None for none. If the current folder looks like a codebase, a message says so, and
            nothing is imported from there.
        its_dassl: whether its own Dassl is used, too.

    Raises:
        UserError: as find, or if it has no Dassl of its own, or a `clip` that cannot be imported.
    """
    here = Path.cwd() if is_codebase(Path.cwd()) else None
    if folder is None:
        if its_dassl:
            raise UserError("--its-dassl uses a codebase's own Dassl: name the codebase with --host FOLDER")
        if here is not None:
            print("note: this folder is a codebase of the family; its readers and its clip are used with --host .")
            _leave_out(here)
        return None
    if not folder:
        raise UserError("--host: the folder of a codebase is missing")
    host = find(Path(folder).expanduser(), "--host ")
    _use_clip(host)
    _leave_out(host, *([] if here is None else [here]))
    if its_dassl:
        sys.path.insert(0, str(_own_dassl(host)))
    importlib.import_module("modprompt.compat.find").add_to_path()
    importlib.import_module("dassl")  # now: the codebase's folder may hold another one, which was not asked for
    put_host_first(host)
    for name in (READERS, "trainers"):
        _use_package(host, name)
    return Host(host)


def _use_clip(host: Path) -> None:
    try:
        clip_package.use_folder(host)
    except Exception as error:  # their code
        raise UserError(f"--host: {host / 'clip'} cannot be imported ({one_line(error)})") from error


def _use_package(host: Path, name: str) -> None:
    """Make a name mean the codebase's package: ours may be imported already, and an installed one may win."""
    for one in [one for one in sys.modules if one.partition(".")[0] == name]:
        if host not in Path(str(getattr(sys.modules[one], "__file__", None) or ".")).resolve().parents:
            del sys.modules[one]
    if (host / name).is_dir() and not (host / name / "__init__.py").is_file():
        clip_package.load_package(host / name)


def _leave_out(*folders: Path) -> None:
    """Let nothing be imported from these folders."""
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() not in folders]


def _has(cfg: Any, key: str) -> bool:
    """Whether a configuration has a setting of data sets."""
    node, _, name = key.partition(".")
    return node == "DATASET" and name in cfg.DATASET


def require_no_reader(settings: Settings) -> None:
    """Raise UserError if settings name the reader: only --host may."""
    if READER in settings:
        raise UserError(f"{settings[READER].where}: {READER} is set by --host FOLDER and cannot be given")


def _own_dassl(host: Path) -> Path:
    """The folder that holds a codebase's own package `dassl`."""
    for folder in (host, *sorted(one for one in host.iterdir() if one.is_dir())):
        if (folder / "dassl" / "__init__.py").is_file():
            return folder
    raise UserError(f"--its-dassl: {host} has no Dassl of its own")


def _registers(path: Path, name: str) -> bool:
    text = path.read_text(encoding="utf-8", errors="replace")
    return (
        re.search(rf"^@DATASET_REGISTRY\.register\(.*\)\s*\nclass {re.escape(name)}\b", text, re.MULTILINE) is not None
    )


@contextlib.contextmanager
def _registered_over_ours() -> Iterator[None]:
    """In this context a reader that registers itself replaces one of the same name."""
    from dassl.data.datasets import DATASET_REGISTRY

    plain = DATASET_REGISTRY.register

    def register(obj: Any = None, force: bool = False) -> Any:
        return plain(force=True) if obj is None else plain(obj, force=True)

    DATASET_REGISTRY.register = register
    try:
        yield
    finally:
        del DATASET_REGISTRY.register  # the class has its own


def _function(program: Path, name: str) -> Any:
    """A function of a program, with the program's imports and plain values that it names; None if there is none."""
    tree = ast.parse(program.read_bytes(), str(program))
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    if not found:
        return None
    named = {node.id for node in ast.walk(found[0]) if isinstance(node, ast.Name)}
    needed: list[ast.stmt] = [node for node in tree.body if _names(node) & named]
    module = ast.Module(body=[*needed, found[0]], type_ignores=[])
    names: dict[str, Any] = {"__name__": program.stem, "__file__": str(program)}
    exec(compile(module, str(program), "exec"), names)  # noqa: S102 - the codebase's own, which --host names
    return names[name]


def _names(node: ast.stmt) -> frozenset[str]:
    """The names that a statement of a module defines."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return frozenset((one.asname or one.name.partition(".")[0]) for one in node.names)
    if isinstance(node, ast.Assign):
        return frozenset(one.id for one in node.targets if isinstance(one, ast.Name))
    return frozenset()
