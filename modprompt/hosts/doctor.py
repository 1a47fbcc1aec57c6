"""Try whether MPL runs in a codebase; list what is in use there, from where, and what to do.

    cd CODEBASE && modprompt doctor [--root DATA] [--backbone NAME_OR_PATH] [--seconds 55]

Run this first when something does not work, and send its report along. MPL trains for one epoch on made-up data and is
tested: by our program with the codebase's readers (--host), by the launcher, and by `python train.py` if that has the
import line. No file stays.
Exit code 0: it works, by `python train.py` if that has the import line, else by --host. 1: it cannot run, and why.
2: it could not be tried, and why.
"""

import argparse
import importlib
import importlib.util
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from modprompt.errors import UserError
from modprompt.hosts import trial
from modprompt.hosts.codebase import PROGRAM, find, is_this_project, our_trainer
from modprompt.hosts.train_line import has_line
from modprompt.hosts.which_clip import require_own_clip
from modprompt.io.files import of_user
from modprompt.programs import signals_handled

# modules, and their names for pip: those that all runs need, and those of the real Dassl and the clip package
NEEDED = {"yacs": "yacs", "torchvision": "torchvision", "numpy": "numpy", "PIL": "Pillow", "tqdm": "tqdm"}
OF_DASSL = {
    "sklearn": "scikit-learn",
    **{name: name for name in ("scipy", "tabulate", "tensorboard", "gdown", "pandas")},
}
OF_CLIP = {name: name for name in ("ftfy", "regex", "packaging")}
OF_HUB = ("huggingface_hub", "safetensors")


class Finding(NamedTuple):
    """An entry of the report: a word for what is looked at, what there is, and what to do ("" if all is well).

    fatal: whether MPL cannot run as it is.
    """

    what: str
    state: str
    advice: str = ""
    fatal: bool = False


def _present(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return sys.modules.get(module) is not None


def _missing(modules: Mapping[str, str]) -> list[str]:
    """The names for pip of those that are missing."""
    return [name for module, name in modules.items() if not _present(module)]


def python() -> list[Finding]:
    """The interpreter."""
    return [Finding("Python", f"{platform.python_version()} at {sys.executable}")]


def pytorch() -> list[Finding]:
    """PyTorch and its device."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a library of CUDA is missing
        return [Finding("PyTorch", f"does not import ({error})", "install it: pip install torch torchvision", True)]
    found = [Finding("PyTorch", f"{torch.__version__} at {Path(torch.__file__).parent}")]
    if tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2]) < (2, 6):
        found[0] = found[0]._replace(advice="2.6 is the oldest that works", fatal=True)
    if torch.cuda.is_available():
        free, total = (amount / 2**30 for amount in torch.cuda.mem_get_info())
        found.append(Finding("device", f"{torch.cuda.get_device_name()}, {free:.1f} of {total:.1f} GiB free"))
    else:
        advice = "this PyTorch has CUDA, but sees no GPU" if torch.version.cuda else ""
        found.append(Finding("device", f"CPU, {(count := torch.get_num_threads())} thread{'s' * (count != 1)}", advice))
    return found


def packages() -> list[Finding]:
    """The other packages that all runs need."""
    missing = _missing(NEEDED)
    if missing:
        return [Finding("packages", f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}", True)]
    return [Finding("packages", ", ".join(NEEDED.values()))]


def dassl() -> list[Finding]:
    """Which Dassl, and what was fixed in it."""
    if not _present("dassl"):
        advice = "for its own program install the one that it needs, or put its folder on PYTHONPATH"
        return [Finding("Dassl", "not found; our program (--host) brings a small one", advice)]
    missing = _missing(OF_DASSL)
    try:
        from modprompt.compat import mends
    except ImportError as error:
        advice = f"pip install {' '.join(missing)}" if missing else ""
        return [Finding("Dassl", f"does not import ({error})", advice)]  # the trial names all that is missing
    module = importlib.import_module("dassl")
    version = getattr(module, "__version__", "of unknown version")
    return [
        Finding("Dassl", f"{version} at {Path(str(module.__file__)).parent}"),
        *(Finding("fixed", line) for line in mends.apply()),
    ]


def clip(folder: Path, host: Path | None) -> list[Finding]:
    """Which clip package. In a codebase no other is advised: its own must stay in use."""
    from modprompt.clip import package as clip_package

    try:
        clip_package.use_folder(host or folder)
        module = clip_package.import_clip()
    except Exception as error:  # their code
        missing = _missing(OF_CLIP) or ([] if host else ["clip-anytorch"])
        advice = f"pip install {' '.join(missing)}" if missing else ""
        return [Finding("clip", f"does not import ({error})", advice)]
    found = [Finding("clip", str(Path(str(module.__file__)).parent))]
    cache = of_user("~/.cache/clip")
    weights = sorted(path.name for path in cache.glob("*.pt")) if cache.is_dir() else []
    advice = "" if weights else "downloaded when a name is first used; or give MODEL.BACKBONE.PATH"
    found.append(Finding("weights", f"{cache}: {', '.join(weights) or 'none'}", advice))
    missing = [name for name in OF_HUB if not _present(name)]
    state = f"lacks {' and '.join(missing)}" if missing else "huggingface_hub and safetensors are there"
    advice = f"for CLIPs of a hub and .safetensors: pip install {' '.join(missing)}" if missing else ""
    return [*found, Finding("hub", state, advice)]


def backbone(asked: str) -> list[Finding]:
    """The CLIP of a name, file or folder."""
    from modprompt.clip.known import named, whose
    from modprompt.clip.load import find, images_of

    clip = named(asked)
    try:
        pixels, found = images_of(clip).size, find(clip)
        return [Finding("CLIP", f"{asked}: {whose(found.name, found.dialect)} weights, {pixels} pixels")]
    except UserError as error:
        return [Finding("CLIP", f"{asked} is not here, or does not run", str(error), True)]


def codebase(folder: Path, host: Path | None, why: str) -> list[Finding]:
    """The codebase in a folder or a subfolder, or why there is none."""
    if is_this_project(folder):
        return [Finding("codebase", f"{folder}, this project")]
    if host is None:
        advice = "start this in a codebase's folder to try that one; `modprompt train` needs none"
        return [Finding("codebase", f"none: {why}", advice)]
    name = our_trainer(host)
    found = [
        Finding("codebase", str(host), "" if name == "MPL" else f"it has an MPL of its own; ours is --trainer {name}")
    ]
    try:
        require_own_clip(host)
    except UserError as error:
        found.append(Finding("its clip", str(error)))
    return found


def data(root: Path) -> list[Finding]:
    """The data sets in a folder."""
    if not root.is_dir():
        return [Finding("data", f"no folder {root}", "give it with --root, or set DATA")]
    names = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    return [Finding("data", f"{root.resolve()}: {', '.join(names) or 'empty'}", "" if names else "no data set in it")]


def examine(folder: Path, host: Path | None, why: str, root: Path) -> list[Finding]:
    """What is in use; after a fatal finding the later ones, which need it, are left out."""
    steps: list[Callable[[], list[Finding]]] = [
        python, pytorch, packages, dassl, lambda: clip(folder, host), lambda: codebase(folder, host, why),
    ]  # fmt: skip
    found: list[Finding] = []
    for step in steps:
        found += step()
        if any(finding.fatal for finding in found):
            break
    return [*found, *data(root)]


def show(finding: Finding) -> None:
    """Print a finding, and arrows for what to do."""
    print(f"{finding.what:<10}{finding.state}")
    for line in finding.advice.splitlines():
        print(f"{'':<10}-> {line}")
    sys.stdout.flush()


def summary(verdicts: dict[str, trial.Verdict], in_use: str) -> str:
    """The last line: whether MPL runs by the way in use."""
    if verdicts[in_use].code == trial.CANNOT:
        return "MPL cannot run here as it is: see the arrows"
    if verdicts[in_use].code == trial.UNTRIED:
        return "whether MPL can run here could not be tried: see above"
    well = [way for way, verdict in verdicts.items() if verdict.code == trial.WELL]
    return "MPL can run here" if len(well) == len(verdicts) else f"MPL can run here, by {' and '.join(well)} alone"


def main(argv: list[str] | None = None) -> int:
    """Print the report; exit code as above."""
    start = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="", help="also look at this CLIP: a name, a file or a folder")
    parser.add_argument("--root", default=os.environ.get("DATA", "data"), help="folder of the data sets")
    parser.add_argument("--seconds", type=float, default=55, help="time limit of the whole (55)")
    args = parser.parse_args(argv)
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # nothing is left in a codebase
    try:
        with signals_handled([signal.SIGTERM], signal.default_int_handler):  # ends as if interrupted
            return report(Path.cwd(), Path(args.root), args.backbone, start + args.seconds)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        sys.dont_write_bytecode = writes


def report(folder: Path, root: Path, asked: str, until: float) -> int:
    """Print what is in use in a folder, and what came of trying it.

    Args:
        folder: the current one.
        root: of the data sets.
        asked: a CLIP to look at as well; may be empty.
        until: time.monotonic() at which all must be over.

    Returns:
        The exit code.
    """
    host, why = None, ""
    try:
        host = find(folder)
    except UserError as error:
        why = str(error)
    sys.path.insert(0, str(host or folder))
    if host is None and not _present("dassl"):  # our own programs bring a small one
        importlib.import_module("modprompt.compat.find").add_to_path()
    found = examine(folder, host, why, root)
    fatal = any(finding.fatal for finding in found)
    if asked and not fatal:
        found += backbone(asked)
    for finding in found:
        show(finding)
    ways = [trial.OWN]
    if host is not None:
        line = [trial.LINE] if has_line((host / PROGRAM).read_bytes()) else []
        ways = [*line, trial.HOST, trial.LAUNCHER]
    before = _entries(folder)
    unseen = trial.Verdict("MPL cannot run: see the arrows above", [], trial.CANNOT)
    verdicts = {way: unseen for way in ways} if fatal else trial.try_out(host, ways, until)
    for way in ways:
        show(Finding(way, verdicts[way].state, "\n".join(verdicts[way].advice)))
    if _entries(folder) - before:
        show(Finding("left", f"by the codebase's own program: {', '.join(sorted(_entries(folder) - before))}"))
    print(summary(verdicts, ways[0]))
    return max(verdicts[ways[0]].code, int(any(finding.fatal for finding in found)))


def _entries(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
