"""Put MPL into a codebase of the CoOp family: files of its own, and one import line in train.py.

    python -m modprompt.install CODEBASE              install, or bring up to date
    python -m modprompt.install CODEBASE --dry-run    show what would change
    python -m modprompt.install CODEBASE --uninstall  put every byte back

Nothing that is not its own is written over. An installation that was cut off is finished by the same command, or taken
out by --uninstall. modprompt/installed.json in the codebase lists what belongs to it.
"""

import argparse
import contextlib
import difflib
import shlex
import sys
from pathlib import Path
from typing import ContextManager, Dict, List, Optional

from modprompt.errors import UserError
from modprompt.hosts.host import Host, is_uncommitted, read_host
from modprompt.hosts.manifest import (
    MANIFEST,
    ForeignList,
    Installed,
    digest,
    folders_of,
    read_manifest,
    require_no_links,
)  # fmt: skip
from modprompt.hosts.program import asks_of
from modprompt.hosts.ship import files_for
from modprompt.hosts.train_line import STATEMENT, has_line, with_line
from modprompt.hosts.which_clip import require_own_clip
from modprompt.hosts.writing import install, is_same, no_longer, remove
from modprompt.storage import lock

AGAIN = "A first installation was taken back; else the same command, or --uninstall, goes on from here"


def _alone(folder: Path) -> ContextManager[bool]:
    """One installer at a time in a codebase."""

    def warn(why: str) -> None:
        print(f"warning: {why}: do not start a second installation beside this one", file=sys.stderr)

    taken = f"another installation is at work in {folder}: wait for it, then run again"
    return lock.alone(folder, taken, folder=True, without=warn)


def check(host: Host, files: Dict[str, bytes], installed: Optional[Installed], even_if_changed: bool) -> None:
    """Raise UserError if installing would touch what belongs to the user."""
    own = installed or Installed({}, [])
    require_no_links(host.folder, {**own.files, **files})
    there = [path for path in files if (host.folder / path).exists()]
    differing = [path for path in there if not is_same(host.folder / path, files[path])]
    foreign = [path for path in differing if path not in own.files]
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise UserError(f"{host.folder / foreign[0]}{more} is there already and not this installer's: move it away")
    edited = [path for path in differing if not own.is_untouched(host.folder, path)]
    if edited:
        raise UserError(
            f"{host.folder / edited[0]} was changed since the installation: move it away, then install again"
        )
    if not has_line(host.program) and not even_if_changed and is_uncommitted(host.folder):
        raise UserError(
            f"{host.folder / 'train.py'} has changes that are not committed: commit them, or add --even-if-changed "
            "(one line is added, and taken out again by --uninstall)"
        )


def show(host: Host, files: Dict[str, bytes], installed: Optional[Installed]) -> None:
    """Print what would change."""
    for path in no_longer(host.folder, files, installed):
        untouched = installed is not None and installed.is_untouched(host.folder, path)
        print(f"remove {path}" if untouched else f"keep   {path} (it was changed)")
    for path, content in sorted(files.items()):
        state = "same" if is_same(host.folder / path, content) else "write"
        print(f"{state:<7}{path} ({len(content):,} bytes)")
    program = host.program if has_line(host.program) else with_line(host.program)
    before, after = (text.decode(errors="replace").splitlines(keepends=True) for text in (host.program, program))
    sys.stdout.writelines(difflib.unified_diff(before, after, "a/train.py", "b/train.py"))


def put_in(folder: Path, dry_run: bool, even_if_changed: bool) -> None:
    """Install into a codebase, or show what that would change."""
    host = read_host(folder)
    installed = read_manifest(folder)
    require_own_clip(folder)
    files = files_for(host.trainer)
    check(host, files, installed, even_if_changed)
    if dry_run:
        show(host, files, installed)
        return
    written = install(host, files, installed)
    print(f"{written} files written" if written else "nothing to do: it is installed and up to date")
    kept = no_longer(folder, files, installed)
    if kept:
        print(f"kept, though no longer part of it, because they were changed: {', '.join(kept)}")
    for line in how_to_start(host):
        print(line)


def how_to_start(host: Host) -> List[str]:
    """Lines on how a run is started in a codebase, with what its train.py asks for."""
    asks = asks_of(host.folder, host.trainer)
    config = f"configs/trainers/{host.trainer}/vit_b4_c1_add2_rm1.yaml"
    words = [
        "python",
        "train.py",
        "--trainer",
        asks.trainer,
        "--config-file",
        config,
        *asks.flags,
        "...",
        *asks.options,
    ]
    lines = [
        f"Start with: {' '.join(map(shlex.quote, words))}",
        f"        or: bash scripts/{host.trainer.lower()}/base2new_train.sh eurosat 1",
    ]
    if asks.flags or asks.options:
        asked = " ".join(map(shlex.quote, (*asks.flags, *asks.options)))
        lines.append(f"   because: train.py asks for {asked} (EuroSAT, base to new); the scripts give it by themselves")
    if asks.trainer != host.trainer:
        lines.append(f"            it lets --trainer {asks.trainer} through; TRAINER.NAME {host.trainer} is what runs")
    if asks.unknown:
        lines.append(f"  but give: {', '.join(asks.unknown)}: train.py needs that too, with a value that only you know")
    return lines


def uninstall(folder: Path) -> None:
    """Put every byte of a codebase back.

    Raises:
        UserError: if nothing is installed there, or files of the installation were changed; those are kept.
    """
    installed = _listed(folder)
    changed = remove(folder, installed or _likely(folder))
    if changed:
        raise UserError(f"taken out, but kept because they were changed: {', '.join(changed)}")
    if STATEMENT.encode() in (folder / "train.py").read_bytes():
        raise UserError(f"taken out, but {folder / 'train.py'} still names modprompt.trainers.mpl: see there")
    if installed is None and (folder / "modprompt").exists():
        raise UserError(
            f"taken out what this version installs, but without its list nobody knows whose the rest of "
            f"{folder / 'modprompt'} is: look through it, and delete what is not yours"
        )
    print(f"{folder} is as it was")


def _listed(folder: Path) -> Optional[Installed]:
    """What an installation wrote, by its list; None if that is lost."""
    try:
        return read_manifest(folder)
    except ForeignList:
        raise
    except UserError:
        return None


def _likely(folder: Path) -> Installed:
    """What this version would have written."""
    host = read_host(folder)
    if not has_line(host.program) and not (folder / "modprompt").is_dir():
        raise UserError(f"nothing is installed in {folder}: it has no {MANIFEST}")
    files = files_for(host.trainer)
    return Installed({path: digest(content) for path, content in files.items()}, folders_of(files))


def run(args: argparse.Namespace) -> None:
    """Do what the arguments ask for."""
    folder = Path(args.folder).resolve()
    with _alone(folder) if folder.is_dir() and not args.dry_run else contextlib.nullcontext():
        if args.uninstall:
            uninstall(folder)
        else:
            put_in(folder, args.dry_run, args.even_if_changed)


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
