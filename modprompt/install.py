"""Put MPL into a codebase of the CoOp family: files of its own, and one import line in train.py.

    python -m modprompt.install CODEBASE              install, or bring up to date
    python -m modprompt.install CODEBASE --dry-run    show what would change
    python -m modprompt.install CODEBASE --uninstall  put every byte back

Nothing that is not its own is written over. An installation that was cut off is finished by the same command, or taken
out by --uninstall. modprompt/installed.json in the codebase lists what belongs to it.
"""

import argparse
import ast
import difflib
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

from modprompt import shipped
from modprompt.errors import UserError

MANIFEST = "modprompt/installed.json"
LINE = "import modprompt.trainers.mpl  # MPL; `python -m modprompt.install . --uninstall` takes this line out"
ASIDE = ".modprompt-part"
SCRIPTS = ("base2new_train", "base2new_test", "few_shot", "xd_train", "xd_test")
BY_HAND = """{folder} does not look like a codebase of the CoOp family ({reason}). By hand:
  1. copy {package} to {folder}/modprompt,
     and {trainers}/mpl.py to {folder}/modprompt/trainers/, with an empty __init__.py beside it
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
                package=Path(__file__).parent,
                trainers=shipped.trainers_folder(),
                configs=shipped.configs_folder(),
            )
        )

    program = folder / "train.py"
    if not folder.is_dir():
        raise unknown("there is no such folder")
    if not program.is_file():
        raise unknown("it has no train.py")
    content = program.read_bytes()
    if b"dassl" not in content or b"build_trainer" not in content:
        raise unknown("its train.py does not call dassl's build_trainer")
    if (folder / "modprompt").resolve() == Path(__file__).resolve().parent and not (folder / MANIFEST).is_file():
        raise UserError(f"{folder} is modprompt itself, which has MPL")
    return Host(folder, content, (folder / "trainers" / "mpl.py").is_file())


def files_for(host: Host) -> Dict[str, bytes]:
    """What belongs into a codebase, by path in it."""
    package, name = Path(__file__).resolve().parent, "ModMPL" if host.has_mpl else "MPL"
    files = {}
    for path in sorted(package.rglob("*")):
        inside = path.relative_to(package)
        if path.is_file() and "__pycache__" not in inside.parts and inside.parts[0] not in ("trainers", "configs"):
            files[f"modprompt/{inside.as_posix()}"] = path.read_bytes()
    files.pop(MANIFEST, None)
    for module in ("__init__", "mpl"):
        files[f"modprompt/trainers/{module}.py"] = (shipped.trainers_folder() / f"{module}.py").read_bytes()
    for path in shipped.config_files():
        files[f"modprompt/configs/{path.name}"] = files[f"configs/trainers/{name}/{path.name}"] = path.read_bytes()
    script = (shipped.scripts_folder() / "run.sh").read_bytes()
    for protocol in SCRIPTS:
        files[f"scripts/{name.lower()}/{protocol}.sh"] = script
    return files


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
    lines = program.splitlines(keepends=True)
    eol = b"\r\n" if lines[0].endswith(b"\r\n") else b"\n"
    head = b"".join(lines[:last])
    line = LINE.encode() + eol if head.endswith((b"\n", b"\r")) else eol + LINE.encode()
    return head + line + b"".join(lines[last:])


def _modules(node) -> List[str]:
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]


def without_line(program: bytes) -> bytes:
    """A train.py without the line, byte for byte as it was."""
    line = LINE.encode()
    for present in (line + b"\r\n", line + b"\n"):
        if present in program:
            return program.replace(present, b"", 1)
    for present in (b"\r\n" + line, b"\n" + line):
        if program.endswith(present):
            return program[: -len(present)]
    return program


def read_manifest(folder: Path) -> Optional[dict]:
    """What an earlier installation wrote: {"files": {path: digest}, "folders": [...]}; None if there was none.

    Raises:
        UserError: if the file is damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        return {"files": dict(manifest["files"]), "folders": list(manifest["folders"])}
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is damaged: delete {folder / 'modprompt'} and the import line in train.py") from None


def _write(path: Path, content: bytes) -> None:
    aside = path.with_name(path.name + ASIDE)
    try:
        aside.write_bytes(content)
        if path.exists():
            shutil.copymode(str(path), str(aside))
        elif path.suffix == ".sh":
            aside.chmod(0o755)
        aside.replace(path)
    finally:
        if aside.exists():
            aside.unlink()


def _missing_folders(folder: Path, paths) -> List[str]:
    wanted = {parent for path in paths for parent in Path(path).parents if parent != Path()}
    return sorted(parent.as_posix() for parent in wanted if not (folder / parent).is_dir())


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
    own = set(manifest["files"]) if manifest else set()
    foreign = [path for path in files if path not in own and (host.folder / path).exists()]
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise UserError(f"{host.folder / foreign[0]}{more} is there already and not this installer's: move it away")
    has_line = LINE.encode() in host.program
    if not has_line and not even_if_changed and _uncommitted(host.folder):
        raise UserError(
            f"{host.folder / 'train.py'} has changes that are not committed: commit them, or add --even-if-changed "
            "(one line is added, and taken out again by --uninstall)"
        )


def show(host: Host, files: Dict[str, bytes], program: bytes) -> None:
    """Print what would change."""
    for path, content in sorted(files.items()):
        target = host.folder / path
        state = "same" if target.is_file() and target.read_bytes() == content else "write"
        print(f"{state:<6}{path} ({len(content):,} bytes)")
    before, after = (text.decode(errors="replace").splitlines(keepends=True) for text in (host.program, program))
    sys.stdout.writelines(difflib.unified_diff(before, after, "a/train.py", "b/train.py"))


def install(host: Host, files: Dict[str, bytes], manifest: Optional[dict]) -> int:
    """Write what differs, the import line last; returns the number of files written.

    Raises:
        OSError: if something cannot be written; a first installation is taken back then.
    """
    folder = host.folder
    has_line = LINE.encode() in host.program
    program = host.program if has_line else with_line(host.program)
    differing = [path for path in files if not _same(folder / path, files[path])]
    gone = [path for path in (manifest or {"files": {}})["files"] if path not in files]
    if not differing and not gone and has_line:
        return 0
    folders = _missing_folders(folder, files)
    owned = {**(manifest["files"] if manifest else {}), **{path: _digest(content) for path, content in files.items()}}
    kept = {"files": owned, "folders": sorted({*folders, *(manifest["folders"] if manifest else [])})}
    try:
        for name in folders:
            (folder / name).mkdir()
        _write(folder / MANIFEST, json.dumps(kept, indent=1).encode())  # first: what is written from now on is ours
        for path in differing:
            _write(folder / path, files[path])
        for path in gone:
            if (folder / path).is_file():
                (folder / path).unlink()
        if gone:
            kept["files"] = {path: owned[path] for path in files}
            _write(folder / MANIFEST, json.dumps(kept, indent=1).encode())
        if not has_line:
            _write(folder / "train.py", program)
    except (OSError, KeyboardInterrupt):
        if manifest is None:
            remove(folder, kept)
        raise
    return len(differing) + len(gone) + (not has_line)


def _same(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


def remove(folder: Path, manifest: dict) -> List[str]:
    """Take an installation out; returns the files that were changed since and are therefore kept."""
    program = folder / "train.py"
    if program.is_file() and LINE.encode() in program.read_bytes():
        _write(program, without_line(program.read_bytes()))
    present = [path for path in manifest["files"] if (folder / path).is_file()]
    changed = [path for path in present if _digest((folder / path).read_bytes()) != manifest["files"][path]]
    asides = [path + ASIDE for path in (*manifest["files"], MANIFEST, "train.py")]
    for path in {*present, *asides, MANIFEST} - set(changed):
        if (folder / path).exists():
            (folder / path).unlink()
    _remove_empty(folder, manifest["folders"])
    return changed


def _remove_empty(folder: Path, names: List[str]) -> None:
    for name in sorted(names, key=len, reverse=True):
        cache = folder / name / "__pycache__"
        if cache.is_dir():
            shutil.rmtree(str(cache))
        if (folder / name).is_dir() and not any((folder / name).iterdir()):
            (folder / name).rmdir()


def uninstall(folder: Path) -> None:
    """Put every byte of a codebase back.

    Raises:
        UserError: if nothing is installed there, or files of the installation were changed; those are kept.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise UserError(f"nothing is installed in {folder}: it has no {MANIFEST}")
    changed = remove(folder, manifest)
    if changed:
        raise UserError(f"taken out, but kept because they were changed: {', '.join(changed)}")
    print(f"{folder} is as it was")


def run(args) -> None:
    """Do what the arguments ask for."""
    folder = Path(args.folder).resolve()
    if args.uninstall:
        uninstall(folder)
        return
    host = read_host(folder)
    manifest = read_manifest(folder)
    files = files_for(host)
    check(host, files, manifest, args.even_if_changed)
    if args.dry_run:
        show(host, files, host.program if LINE.encode() in host.program else with_line(host.program))
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
    except OSError as error:
        print(f"error: cannot write {error.filename} ({error.strerror}); train.py is as it was", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; nothing is left behind", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
