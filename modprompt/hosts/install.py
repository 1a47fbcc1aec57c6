"""Put MPL into a codebase of the CoOp family: files of its own, and one import line in train.py.

    python -m modprompt.install CODEBASE              install, or bring up to date
    python -m modprompt.install CODEBASE --dry-run    show what would change
    python -m modprompt.install CODEBASE --uninstall  put every byte back

Nothing that is not its own is written over. An installation that was cut off is finished by the same command, or taken
out by --uninstall. modprompt/installed.json in the codebase lists what belongs to it.
"""

import argparse
import ast
import contextlib
import difflib
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional

from modprompt.errors import UserError
from modprompt.hosts import ship
from modprompt.places import PACKAGE
from modprompt.storage.lock import NoLocks, take_folder
from modprompt.storage.opening import read_text
from modprompt.storage.parts import part_of, remove_parts
from modprompt.storage.paths import inside, inside_without_links, is_inside, is_link

MANIFEST = "modprompt/installed.json"
STATEMENT = "import modprompt.trainers.mpl"
LINE = f"{STATEMENT}  # MPL; `python -m modprompt.install . --uninstall` takes this line out"
AGAIN = "A first installation was taken back; else the same command, or --uninstall, goes on from here"
OLD_ASIDE = ".modprompt-part"  # of files that versions before this one left when they were killed
# what an installer writes to: a list that names anything else is not followed
ROOMS = ("modprompt", "configs/trainers/MPL", "configs/trainers/ModMPL", "scripts/mpl", "scripts/modmpl")
SCRIPTS = ("base2new_train", "base2new_test", "few_shot", "xd_train", "xd_test")
BY_HAND = """{folder} does not look like a codebase of the CoOp family ({reason}). By hand:
  1. copy {package} to {folder}/modprompt
  2. in the program that calls dassl's build_trainer, behind its imports of trainers: import modprompt.trainers.mpl
  3. start it with --trainer MPL and a config file of {configs}
or change nothing: python -m modprompt.launch PROGRAM --trainer MPL ..."""


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Host(NamedTuple):
    """A codebase: its folder, the bytes of its train.py, and whether it has a trainer MPL of its own."""

    folder: Path
    program: bytes
    has_mpl: bool


def read_host(folder: Path) -> Host:
    """The codebase in a folder.

    Raises:
        UserError: if there is none; it says what to do by hand.
    """

    def unknown(reason):
        return UserError(
            BY_HAND.format(
                folder=folder,
                reason=reason,
                package=PACKAGE,
                configs=ship.configs_folder(),
            )
        )

    if (folder / "modprompt").resolve() == PACKAGE and not (folder / MANIFEST).is_file():
        raise UserError(f"{folder} is modprompt itself, which has MPL")
    program = folder / "train.py"
    if not folder.is_dir():
        raise unknown("there is no such folder")
    if not program.is_file():
        raise unknown("it has no train.py")
    content = program.read_bytes()
    if b"dassl" not in content or b"build_trainer" not in content:
        raise unknown("its train.py does not call dassl's build_trainer")
    return Host(folder, content, (folder / "trainers" / "mpl.py").is_file())


def files_for(host: Host) -> Dict[str, bytes]:
    """What belongs into a codebase, by path in it."""
    package, name = PACKAGE, "ModMPL" if host.has_mpl else "MPL"
    files = {}
    for path in _package_files(package):
        inside = path.relative_to(package)
        if inside.parts[0] != "configs":
            files[f"modprompt/{inside.as_posix()}"] = path.read_bytes()
    for path in ship.config_files():
        files[f"modprompt/configs/{path.name}"] = files[f"configs/trainers/{name}/{path.name}"] = path.read_bytes()
    script = (ship.scripts_folder() / "run.sh").read_bytes()
    for protocol in SCRIPTS:
        files[f"scripts/{name.lower()}/{protocol}.sh"] = script
    return files


def _package_files(package: Path) -> List[Path]:
    """The engine's files; of a copy in a codebase those that were installed, not what a user put beside them."""
    manifest = read_manifest(package.parent)
    if manifest is not None:
        return sorted(package.parent / path for path in manifest["files"] if path.startswith("modprompt/"))
    return ship.package_files()


def with_line(program: bytes) -> bytes:
    """A train.py with the line behind its last import of trainers, or else its last import.

    Raises:
        UserError: if it is no Python.
    """
    try:
        tree = ast.parse(program)
    except (SyntaxError, ValueError) as error:
        raise UserError(f"train.py is not a Python program ({error})") from None
    imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    ours = [node for node in imports if any(name.split(".")[0] == "trainers" for name in _modules(node))]
    if not imports:
        raise UserError("train.py imports nothing: put the import line in by hand: import modprompt.trainers.mpl")
    last = max(node.end_lineno for node in (ours or imports))
    for node in tree.body:  # a statement may share the line, and go on behind it
        if node.lineno <= last:
            last = max(last, node.end_lineno)
    lines = program.splitlines(keepends=True)
    eol = b"\r\n" if lines[0].endswith(b"\r\n") else b"\n"
    head = b"".join(lines[:last])
    line = LINE.encode() + eol if head.endswith((b"\n", b"\r")) else eol + LINE.encode()
    return head + line + b"".join(lines[last:])


def has_line(program: bytes) -> bool:
    """Whether a train.py imports the trainer, in a line of its own that is no comment."""
    return any(line.startswith(STATEMENT.encode()) for line in program.splitlines())


def _modules(node) -> List[str]:
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]


def without_line(program: bytes) -> bytes:
    """A train.py without the line, byte for byte as it was."""
    lines = program.splitlines(keepends=True)
    kept = [line for line in lines if not line.strip().startswith(STATEMENT.encode())]
    if len(kept) < len(lines) and not lines[-1].endswith((b"\n", b"\r")) and kept and kept[-1] is not lines[-1]:
        kept[-1] = kept[-1].rstrip(b"\r\n")  # the line was put behind a last one without an end
    return b"".join(kept)


def read_manifest(folder: Path) -> Optional[dict]:
    """What an earlier installation wrote, None if there was none.

    {"files": {path: digest}, "folders": [...], "earlier": {path: digest before, of an update that was cut off}}.

    Raises:
        UserError: if the file is damaged.
        ForeignList: if it names what no installer writes.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        manifest = json.loads(read_text(path))
        found = {
            "files": dict(manifest["files"]),
            "folders": list(manifest["folders"]),
            "earlier": dict(manifest.get("earlier", {})),
        }
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UserError(f"{path} is damaged: --uninstall first") from None
    for name in (*found["files"], *found["earlier"]):
        _require_ours(folder, name, any(f"{name}".startswith(f"{room}/") for room in ROOMS))
    for name in found["folders"]:
        _require_ours(
            folder, name, any(f"{room}/".startswith(f"{name}/") or f"{name}/".startswith(f"{room}/") for room in ROOMS)
        )
    return found


class ForeignList(UserError):
    """A list of installed files that no installer wrote."""


def _require_ours(folder: Path, name: object, is_ours: bool) -> None:
    """Raise ForeignList unless a path of the list is one that an installer writes to."""
    if not is_inside(name) or name == MANIFEST or not is_ours:
        raise ForeignList(
            f"{folder / MANIFEST} names {str(name)[:120]!r}, which no installation writes: nothing is done by it; "
            "delete that file, and --uninstall takes out what this version installs"
        )


def require_no_links(folder: Path, names: Iterable[str]) -> None:
    """Raise UserError if a file of an installation, or a folder on the way to it, is a link."""
    for name in names:
        inside_without_links(folder, name, folder / MANIFEST)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One installer at a time in a codebase."""
    try:
        lock = take_folder(folder)
    except NoLocks as error:
        print(f"warning: {error.strerror}: do not start a second installation beside this one", file=sys.stderr)
        lock = -1
    if lock is None:
        raise UserError(f"another installation is at work in {folder}: wait for it, then run again")
    try:
        yield
    finally:
        if lock >= 0:
            os.close(lock)


def _remove_leftovers(folder: Path, names: Iterable[str]) -> None:
    """Remove what killed installations left beside the files of these names; only for whoever is alone there."""
    for name in (*names, MANIFEST):
        path = inside(folder, name, folder / MANIFEST)
        remove_parts(path.parent, (path.name,))
        old = path.with_name(path.name + OLD_ASIDE)
        if old.exists():
            old.unlink()
    program = (folder / "train.py").resolve()
    remove_parts(program.parent, (program.name,))
    if program.with_name(program.name + OLD_ASIDE).exists():
        program.with_name(program.name + OLD_ASIDE).unlink()


def _write(path: Path, content: bytes) -> None:
    path = path.resolve() if path.name == "train.py" else path  # a linked train.py stays a link
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o755 if path.suffix == ".sh" else None
    with part_of(path) as file:
        file.write(content)
        if mode is not None and hasattr(os, "fchmod"):
            os.fchmod(file.fileno(), mode)


def _folders_of(paths) -> List[str]:
    return sorted({parent.as_posix() for path in paths for parent in Path(path).parents if parent != Path()})


def _uncommitted(folder: Path) -> bool:
    git = ["git", "-C", str(folder), "status", "--porcelain", "--", "train.py"]
    try:
        done = subprocess.run(git, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    except OSError:  # no git
        return False
    state = done.stdout.decode(errors="replace").strip()
    return done.returncode == 0 and bool(state) and not state.startswith("??")


def check(host: Host, files: Dict[str, bytes], manifest: Optional[dict], even_if_changed: bool) -> None:
    """Raise UserError if installing would touch what belongs to the user."""
    own = manifest["files"] if manifest else {}
    require_no_links(host.folder, {**own, **files})
    differing = [path for path in files if (host.folder / path).exists() and not _same(host.folder / path, files[path])]
    foreign = [path for path in differing if path not in own]
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise UserError(f"{host.folder / foreign[0]}{more} is there already and not this installer's: move it away")
    edited = [path for path in differing if not _as_installed(host.folder, path, manifest)]
    if edited:
        raise UserError(
            f"{host.folder / edited[0]} was changed since the installation: move it away, then install again"
        )
    if not has_line(host.program) and not even_if_changed and _uncommitted(host.folder):
        raise UserError(
            f"{host.folder / 'train.py'} has changes that are not committed: commit them, or add --even-if-changed "
            "(one line is added, and taken out again by --uninstall)"
        )


def show(host: Host, files: Dict[str, bytes], manifest: Optional[dict], program: bytes) -> None:
    """Print what would change."""
    for path in _obsolete(host.folder, files, manifest):
        print(f"remove {path}")
    for path, content in sorted(files.items()):
        state = "same" if _same(host.folder / path, content) else "write"
        print(f"{state:<7}{path} ({len(content):,} bytes)")
    before, after = (text.decode(errors="replace").splitlines(keepends=True) for text in (host.program, program))
    sys.stdout.writelines(difflib.unified_diff(before, after, "a/train.py", "b/train.py"))


def _as_installed(folder: Path, path: str, manifest: dict) -> bool:
    if not (folder / path).is_file():  # a pipe would be waited for
        return False
    digest = _digest((folder / path).read_bytes())
    return digest in (manifest["files"].get(path), manifest.get("earlier", {}).get(path))


def _obsolete(folder: Path, files: Dict[str, bytes], manifest: Optional[dict]) -> List[str]:
    """Files of an earlier installation that belong to this one no more and are as they were installed."""
    earlier = manifest["files"] if manifest else {}
    present = [path for path in earlier if path not in files and (folder / path).is_file()]
    return [path for path in present if _as_installed(folder, path, manifest)]


def install(host: Host, files: Dict[str, bytes], manifest: Optional[dict]) -> int:
    """Write what differs, the import line last; returns the number of files written.

    Raises:
        OSError: if something cannot be written; a first installation is taken back then.
    """
    folder = host.folder
    differing = [path for path in files if not _same(folder / path, files[path])]
    obsolete = _obsolete(folder, files, manifest)
    complete = manifest is not None and set(manifest["files"]) == set(files) and has_line(host.program)
    if complete and not differing:
        _remove_leftovers(folder, files)
        return 0
    missing = [name for name in _folders_of(files) if not (folder / name).is_dir()]
    new = {path: _digest(content) for path, content in files.items()}
    folders = sorted({"modprompt", *missing, *(manifest["folders"] if manifest else [])})
    earlier = manifest["files"] if manifest else {}
    owned = {"files": {**earlier, **new}, "folders": folders, "earlier": earlier}
    try:
        (folder / "modprompt").mkdir(exist_ok=True)
        _remove_leftovers(folder, owned["files"])
        _write(folder / MANIFEST, json.dumps(owned, indent=1).encode())  # first: what is written from now on is ours
        for name in missing:
            (folder / name).mkdir(exist_ok=True)
        for path in differing:
            _write(folder / path, files[path])
        for path in obsolete:
            (folder / path).unlink()
        _write(folder / MANIFEST, json.dumps({"files": new, "folders": folders}, indent=1).encode())
        if not has_line(host.program):
            _write(folder / "train.py", with_line(host.program))
    except (OSError, KeyboardInterrupt):
        if manifest is None:
            remove(folder, owned)
        raise
    return len(differing) + len(obsolete) + (not has_line(host.program))


def _same(path: Path, content: bytes) -> bool:
    return not is_link(path) and path.is_file() and path.read_bytes() == content


def remove(folder: Path, manifest: dict) -> List[str]:
    """Take an installation out, its list last; returns the files that were changed since and are therefore kept.

    Raises:
        UserError: if the way to one leads through a link; nothing is removed then.
    """
    require_no_links(folder, (*manifest["files"], *manifest["folders"], MANIFEST))
    program = folder / "train.py"
    if program.is_file() and without_line(program.read_bytes()) != program.read_bytes():
        _write(program, without_line(program.read_bytes()))
    present = [path for path in manifest["files"] if (folder / path).is_file()]
    changed = [path for path in present if not _as_installed(folder, path, manifest)]
    for path in set(present) - set(changed):
        (folder / path).unlink()
    _remove_leftovers(folder, manifest["files"])
    _remove_empty(folder, [name for name in manifest["folders"] if name != "modprompt"])
    if (folder / MANIFEST).exists():
        (folder / MANIFEST).unlink()
    _remove_empty(folder, ["modprompt"])
    return changed


def _remove_empty(folder: Path, names: List[str]) -> None:
    for name in sorted(names, key=len, reverse=True):
        cache = folder / name / "__pycache__"
        if cache.is_dir() and not is_link(cache):
            shutil.rmtree(str(cache))
        if (folder / name).is_dir() and not any((folder / name).iterdir()):
            (folder / name).rmdir()


def _installed_or_likely(folder: Path) -> dict:
    """What an installation wrote: from its list, or where that is lost what this version would write."""
    try:
        manifest = read_manifest(folder)
    except ForeignList:
        raise
    except UserError:
        manifest = None
    if manifest is not None:
        return manifest
    host = read_host(folder)
    if not has_line(host.program) and not (folder / "modprompt").is_dir():
        raise UserError(f"nothing is installed in {folder}: it has no {MANIFEST}")
    files = files_for(host)
    return {"files": {path: _digest(content) for path, content in files.items()}, "folders": _folders_of(files)}


def uninstall(folder: Path) -> None:
    """Put every byte of a codebase back.

    Raises:
        UserError: if nothing is installed there, or files of the installation were changed; those are kept.
    """
    changed = remove(folder, _installed_or_likely(folder))
    if changed:
        raise UserError(f"taken out, but kept because they were changed: {', '.join(changed)}")
    if STATEMENT.encode() in (folder / "train.py").read_bytes():
        raise UserError(f"taken out, but {folder / 'train.py'} still names modprompt.trainers.mpl: see there")
    print(f"{folder} is as it was")


def run(args) -> None:
    """Do what the arguments ask for."""
    folder = Path(args.folder).resolve()
    with _alone(folder) if folder.is_dir() and not args.dry_run else contextlib.nullcontext():
        if args.uninstall:
            uninstall(folder)
        else:
            put_in(folder, args)


def put_in(folder: Path, args) -> None:
    """Install into a codebase, or show what that would change."""
    host = read_host(folder)
    manifest = read_manifest(folder)
    files = files_for(host)
    check(host, files, manifest, args.even_if_changed)
    if args.dry_run:
        show(host, files, manifest, host.program if has_line(host.program) else with_line(host.program))
        return
    written = install(host, files, manifest)
    name = "ModMPL" if host.has_mpl else "MPL"
    print(f"{written} files written" if written else "nothing to do: it is installed and up to date")
    config = f"configs/trainers/{name}/vit_b4_c1_add2_rm1.yaml"
    print(f"Start with: python train.py --trainer {name} --config-file {config} ...")
    print(f"        or: bash scripts/{name.lower()}/base2new_train.sh eurosat 1")


def main(argv: Optional[List[str]] = None) -> int:
    """Exit code 0, or 2 after what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="the codebase, with its train.py")
    parser.add_argument("--dry-run", action="store_true", help="show what would change")
    parser.add_argument("--uninstall", action="store_true", help="put every byte back")
    parser.add_argument("--even-if-changed", action="store_true", help="also with uncommitted changes in train.py")
    try:
        run(parser.parse_args(argv))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # nobody reads on
        return 0
    except OSError as error:
        print(f"error: cannot write {error.filename} ({error.strerror}). {AGAIN}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted. {AGAIN}", file=sys.stderr)
        return 130
    return 0
