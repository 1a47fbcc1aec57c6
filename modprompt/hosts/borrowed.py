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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.clip import package as clip_package
from modprompt.errors import UserError
from modprompt.hosts import codebase
from modprompt.hosts.codebase import PROGRAM, READERS, TRAINERS, find, how_to_get, lacking, python_files
from modprompt.hosts.launch import put_host_first
from modprompt.hosts.rows import rows_of
from modprompt.io.program_text import dassl_name, imports_of
from modprompt.io.settings import READER, Given, Settings, flat
from modprompt.programs import import_modules, one_line


class Host(NamedTuple):
    """A codebase whose parts are importable."""

    folder: Path  # where its train.py is

    def config_of(self, word: str) -> str:
        """The path of its config of a data set, by name or path; the word itself if it has none."""
        named = self.folder / "configs" / READERS / f"{word}.yaml"
        for path in (named, self.folder / word):
            if word and not Path(word).is_file() and path.is_file():
                return str(path)
        return word

    def completed(self, settings: Settings) -> Settings:
        """Settings with the reader that the run uses from this codebase, whose config keys are known from now on.

        Raises as take_reader.
        """
        from modprompt.hosts.foreign import is_our_name

        trainer = str(settings["TRAINER.NAME"].value) if "TRAINER.NAME" in settings else ""
        is_ours = not trainer or is_our_name(trainer)
        self.add_keys(is_ours)
        settings = self._of_files(settings) if is_ours else settings
        given = settings.get("DATASET.NAME")
        reader = self.take_reader(str(given.value)) if given else None
        if reader is None:
            return settings
        more = {READER: reader, **(self._asked_of_data(settings) if is_ours else {})}
        return Settings((*settings.given, *((key, Given(value, "flag --host")) for key, value in more.items())))

    def add_keys(self, is_ours: bool) -> None:
        """Give Dassl's defaults the keys that its `extend_cfg` adds, where they are missing; a message if that fails.

        For a trainer of the codebase, none of ours, all settings of trainers are the codebase's.
        """
        from dassl.config import cfg_default, get_cfg_default

        from modprompt.trainers.config import add_missing

        theirs = get_cfg_default()
        try:
            function = _function(self.folder / PROGRAM, "extend_cfg")
            if function is not None:
                function(theirs)
                if not is_ours:
                    cfg_default.TRAINER = theirs.TRAINER.clone()
                add_missing(cfg_default, theirs)
        except Exception as error:  # whatever their code raises; a reader that wants a key says so
            print(
                f"note: extend_cfg in {self.folder / PROGRAM} fails ({one_line(error)}), so the config keys that "
                "extend_cfg adds are not available."
            )

    def _of_files(self, settings: Settings) -> Settings:
        """Settings without those of its trainers that its config of the data set has and it has no key for.

        Messages name these, and what that config sets besides the data.
        """
        from dassl.config import cfg_default

        from modprompt.compat.defaults import DEFAULTS

        place, known, unknown = self.folder / "configs" / READERS, flat(cfg_default), set[str]()
        for key, given in settings.items():
            file = given.source.removeprefix("file ")
            if file == given.source or place not in Path(file).resolve().parents:
                continue
            if key.startswith("TRAINER.") and key not in known:
                unknown.add(key)
            elif key in flat(DEFAULTS) and key != "DATASET.NAME":
                print(f"note: {file} sets {key} to {given.value}.")
        if unknown:
            print(f"note: settings that this codebase does not have are ignored: {', '.join(sorted(unknown))}.")
        return Settings(tuple(pair for pair in settings.given if pair[0] not in unknown))

    def import_modules(self, names: Sequence[str]) -> None:
        """As programs.import_modules, for modules of the codebase: its trainers and readers keep their names."""
        from modprompt.trainers.registration import give_way

        give_way()
        with _registered_over_ours():
            import_modules(names)

    def take_reader(self, name: str) -> str | None:
        """Use its reader of a data set, registered under this name, in place of ours.

        Returns:
            What tells that reader from another: its file, and a hash of all readers and of all else in the codebase
            that it imports. None if it has no such reader; a message says so.

        Raises:
            UserError: if several have this name, or it cannot be imported, or is entered in another registry.
        """
        from dassl.data.datasets import DATASET_REGISTRY

        readers = python_files(self.folder / READERS)
        files = [path for path in readers if _registers(path, name)]
        if not files:
            print(f"note: {self.folder} contains no reader for the data set {name}, so modprompt's own reader is used.")
            return None
        if len(files) > 1:  # the program's
            named = {".".join(parts) for parts in imports_of(self.folder / PROGRAM, self.folder)}
            files = [path for path in files if self._module(path) in named] or files
        if len(files) > 1:
            paths = " and ".join(map(str, files))
            raise UserError(
                f"--host: the readers in {paths} are both registered as {name}. Remove one of these readers."
            )
        module = self._module(files[0])
        registered, before = DATASET_REGISTRY.registered_names(), {*sys.modules}
        only_tests = name in registered and getattr(DATASET_REGISTRY.get(name), "only_tests", False)
        with _registered_over_ours():
            try:
                importlib.import_module(module)
            except (Exception, SystemExit) as error:  # their code: a failure is theirs to fix
                how = how_to_get(lacking(self.folder, files))
                if isinstance(error, ImportError) and str(error.name).startswith("dassl"):
                    how = ". If the codebase contains a copy of Dassl, use that copy with --host-dassl."
                raise UserError(f"--host: {files[0]} cannot be imported ({one_line(error)}){how}") from error
        theirs: Any = DATASET_REGISTRY.get(name) if name in DATASET_REGISTRY.registered_names() else None
        if getattr(theirs, "__module__", "") != module:
            raise UserError(
                f"--host: {files[0]} does not register {name} in Dassl's DATASET_REGISTRY, so the reader cannot be "
                "used. Add @DATASET_REGISTRY.register() to the class of the reader."
            )
        if only_tests:
            theirs.only_tests = True  # ImageNet's variants, whoever reads them
        imported = {file for file in map(_file_of, {*sys.modules} - before) if self.folder in file.parents}
        digest = hashlib.sha256()
        for file in sorted({*imported, *(path.resolve() for path in readers)}):
            digest.update(f"{os.path.relpath(file, self.folder)}\n".encode())
            digest.update(file.read_bytes())
        return f"{files[0].name} {digest.hexdigest()[:12]}"

    def _module(self, file: Path) -> str:
        return ".".join(file.relative_to(self.folder).with_suffix("").parts)

    def _asked_of_data(self, settings: Settings) -> dict[str, str]:
        """Settings that its readers need for one of our trainers and that nobody gave; a message names each."""
        from dassl.config import cfg_default

        program, more = self.folder / PROGRAM, dict[str, str]()
        for row in rows_of(program.read_bytes()):
            for key, value in row.pairs.items():
                if key.startswith("DATASET.") and key not in settings and key in flat(cfg_default):
                    print(f"note: {program}: {row.why}, so modprompt added the setting {key} {value}")
                    more[key] = value
        return more


def entered(folder: str | None, host_dassl: bool = False) -> Host | None:
    """The codebase of --host, its parts importable from now on. Call this before our modules import `clip` and Dassl.

    Args:
        folder: as --host gives it; None for none. If the current folder looks like a codebase, a message says so, and
            nothing is imported from there.
        host_dassl: whether its own Dassl is used, too.

    Raises:
        UserError: as find, or if it has no Dassl of its own, or a `clip` that cannot be imported.
    """
    here = Path.cwd() if codebase.is_codebase(Path.cwd()) else None
    if folder is None:
        if host_dassl:
            raise UserError("--host-dassl needs a codebase. Specify the codebase with --host FOLDER.")
        if here is not None:
            print(
                "note: the current folder is a Dassl-based codebase. Add `--host .` to use its data-set readers and "
                "its clip package."
            )
            _leave_out(here)
        return None
    if not folder:
        raise UserError("--host is empty. Specify the folder of a codebase.")
    host = find(Path(folder).expanduser(), "--host ")
    name, compat = dassl_name(host / PROGRAM), importlib.import_module("modprompt.compat.find")
    _leave_out(host, *([] if here is None else [here]))
    if host_dassl:
        dassl = [path for depth in ("", "*/", "*/*/") for path in sorted(host.glob(f"{depth}{name}/__init__.py"))]
        if not dassl:
            raise UserError(f"--host-dassl: {host} contains no copy of Dassl. Remove --host-dassl.")
        sys.path.insert(0, str(dassl[0].parents[1]))
    if name != "dassl":
        compat.also_named(*((name, "dassl") if host_dassl else ("dassl", name)))
    compat.add_to_path()
    importlib.import_module("dassl")  # now: the codebase's folder may hold another one, which was not asked for
    put_host_first(host)
    for package in (READERS, TRAINERS):
        _use_package(host, package)
    try:
        clip_package.use_folder(host)  # last: it may import all of these
    except Exception as error:  # their code
        how = how_to_get(lacking(host, python_files(host / "clip")))
        raise UserError(f"--host: {host / 'clip'} cannot be imported ({one_line(error)}){how}") from error
    return Host(host)


def _file_of(module: str) -> Path:
    """The file of an imported module; the root of all folders if it has none."""
    return Path(str(getattr(sys.modules.get(module), "__file__", None) or "/")).resolve()


def _use_package(host: Path, name: str) -> None:
    """Make a name mean the codebase's package: ours may be imported already, and an installed one may win."""
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        if host not in _file_of(module).parents:
            del sys.modules[module]
    if (host / name).is_dir() and not (host / name / "__init__.py").is_file():
        clip_package.load_package(host / name)


def _leave_out(*folders: Path) -> None:
    """Let nothing be imported from these folders."""
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() not in folders]


def require_no_reader(settings: Settings) -> None:
    """Raise UserError if settings name the reader: only --host may."""
    if READER in settings:
        raise UserError(f"{settings[READER].where}: {READER} cannot be set directly. Use --host FOLDER.")


def _registers(path: Path, name: str) -> bool:
    text = path.read_text(encoding="utf-8", errors="replace")
    pattern = rf"^@DATASET_REGISTRY\.register\(.*\)\s*\nclass {re.escape(name)}\b"
    return re.search(pattern, text, re.MULTILINE) is not None


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
    function = next((node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name), None)
    if function is None:
        return None
    named = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
    needed: list[ast.stmt] = [node for node in tree.body if _names(node) & named]
    module = ast.Module(body=[*needed, function], type_ignores=[])
    names: dict[str, Any] = {"__name__": program.stem, "__file__": str(program)}
    exec(compile(module, str(program), "exec"), names)  # noqa: S102 - the codebase's own, which --host names
    return names[name]


def _names(node: ast.stmt) -> frozenset[str]:
    """The names that a statement of a module defines."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return frozenset((alias.asname or alias.name.partition(".")[0]) for alias in node.names)
    targets = node.targets if isinstance(node, ast.Assign) else []
    return frozenset(target.id for target in targets if isinstance(target, ast.Name))
