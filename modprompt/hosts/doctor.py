"""Diagnose the installation: report the versions and paths in use, and test whether MPL trains in this folder.

    cd CODEBASE && modprompt doctor [--root DATA] [--seconds 120]
    modprompt doctor --zero-shot RN50 ViT-B/16 --root DATA    compare zero-shot CLIP with published results

Run this command first if something does not work, and attach the report to a bug report. The command trains MPL for one
epoch on generated images in the layout of EuroSAT with a small CLIP. In a codebase the training is started with
`modprompt launch`, and if that fails with `modprompt train --host`; outside a codebase with `modprompt train`. All
files are removed afterwards.
Exit code 0: MPL trains. Exit code 1: MPL cannot train. Exit code 2: the training could not be tested.
"""

import argparse
import contextlib
import importlib
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from modprompt import places
from modprompt.clip.package import own_folder
from modprompt.errors import UserError
from modprompt.hosts import codebase
from modprompt.hosts.codebase import (
    PROGRAM,
    READERS,
    TRAINERS,
    find,
    lacking,
    our_trainer,
    python_files,
    spec_of,
)
from modprompt.hosts.install import CONFIG, has_line
from modprompt.io.program_text import dassl_name, flags_of
from modprompt.programs import Parser, report, signals_handled
from modprompt.use import zero_shot

LAUNCHER, HOST, OWN = "launcher", "--host", "train"  # ways, as the report names them
WELL, UNTRIED = "MPL trains and is tested", "not tried: "
CANNOT = 1  # exit code
_ALONE = {HOST: ", but only with --host", OWN: " with `modprompt train`"}
CLASSES = (
    "AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial",
    "Pasture", "PermanentCrop", "Residential", "River", "SeaLake",
)  # fmt: skip
_NEEDED = {"torch": "torch", "torchvision": "torchvision", "yacs": "yacs", "numpy": "numpy", "PIL": "Pillow"}
_ERROR = re.compile(r"^(?:\S*py: )?(?:error: (.+)|((?:\w+\.)*[A-Z]\w*(?:Error|Exception|Exit|Interrupt)\b.*))$")
_TOLD = re.compile(r"note: |kept: |This codebase imports the module ")


def say(what: str, state: object, advice: str = "") -> None:
    """Print an entry of the report: what is looked at, what there is, and what to do about it, if anything."""
    print(f"{what:<10}{state}")
    if advice:
        print(f"{'':<10}-> {advice}")
    sys.stdout.flush()


def has_needed() -> bool:
    """Say which Python, PyTorch and device; whether all that our programs need is there."""
    say("Python", f"{platform.python_version()} at {sys.executable}")
    missing = [name for module, name in _NEEDED.items() if spec_of(module) is None]
    if missing:
        say("packages", f"missing: {', '.join(missing)}", f"Run `pip install {' '.join(missing)}`.")
        return False
    import torch  # where that fails, the error is the report's last line

    has_no_gpu = torch.version.cuda and not torch.cuda.is_available()
    advice = "This PyTorch was built with CUDA, but finds no GPU." if has_no_gpu else ""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    say("PyTorch", f"{torch.__version__} at {Path(torch.__file__).parent}, on {device}", advice)
    return True


def say_parts(host: Path | None, root: Path) -> None:
    """Say which Dassl, clip and data are in use; of a codebase also what it lacks, and which ways in there are."""
    name = dassl_name(host / PROGRAM) if host else "dassl"
    dassl, clip = (Path(str(spec.origin)).parent if spec else None for spec in map(spec_of, (name, "clip")))
    clip = (own_folder(host) if host else None) or clip
    version = "" if dassl is None else getattr(importlib.import_module(name), "__version__", "of unknown version")
    advice = f"The launcher and {PROGRAM} need Dassl on PYTHONPATH. `modprompt train` contains a small replacement."
    say("Dassl", f"{version} at {dassl}" if dassl else "not found", "" if dassl else advice)
    say("clip", clip or "not found", "" if clip else "Run `pip install clip-anytorch`.")
    names = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    advice = "" if names else "Set the folder of the data sets with --root."
    say("data", f"{root.resolve()}: {', '.join(names) or 'no data set'}", advice)
    if host is None:
        return
    say_ways(host, dassl)


def say_ways(host: Path, dassl: Path | None) -> None:
    """Print each way to train MPL in a codebase, and which packages are missing for it.

    The launcher and train.py need a Dassl (its folder, or None if there is none); --host brings a small one, and
    uses a Dassl that is installed outside of the codebase.
    """
    program, clip, spec = host / PROGRAM, own_folder(host), spec_of("dassl")
    engine = [Path(place, "engine", "__init__.py") for place in (spec and spec.submodule_search_locations) or ()]
    unused = {TRAINERS, "dassl", dassl_name(program)}  # --host loads none of these from the codebase
    of_host = lacking(host, [*engine, *((clip / "__init__.py", clip / "clip.py") if clip else ())], unused)
    of_readers = sorted({*lacking(host, python_files(host / READERS), unused)} - {*of_host})
    of_launcher, of_program = lacking(host, [program]), lacking(host, [program], without=())
    packages = sorted({*of_host, *of_readers, *of_launcher, *of_program})
    if packages:
        say("missing", ", ".join(packages), f"Run `pip install {' '.join(packages)}`.")
    ours = f"{PROGRAM} --trainer {our_trainer(host)} ..."
    line = "the import line is installed" if has_line(program.read_bytes()) else f"after `modprompt install {host}`"
    no_dassl = ["Dassl"] if dassl is None else []
    ways = {
        f"modprompt train --host {host} --trainer MPL ...": (of_host, of_readers),
        f"modprompt launch {ours}": ([*no_dassl, *of_launcher], []),
        f"python {ours} ({line})": ([*no_dassl, *of_program], []),
    }
    for number, (way, (missing, missing_for_readers)) in enumerate(ways.items()):
        advice = f"This command cannot run without {', '.join(missing)}." if missing else ""
        if missing_for_readers and not missing:
            names = ", ".join(missing_for_readers)
            advice = f"This command runs, but data sets whose reader imports {names} cannot be read."
        say("" if number else "commands", way, advice)


def write_made_up(folder: Path) -> None:
    """Write eight small pictures of each class, laid out as EuroSAT, and the embedded CLIP with all words known."""
    import torch
    from PIL import Image

    from modprompt.clip.read import read_embedded

    for number, name in enumerate(CLASSES):
        of_class = folder / "data" / "eurosat" / "2750" / name
        of_class.mkdir(parents=True)
        for picture in range(1, 9):
            colour = (25 * number, 30 * picture, 250 - 25 * number)
            Image.new("RGB", (32, 32), colour).save(of_class / f"{name}_{picture}.jpg")
    state = read_embedded()
    words = state["token_embedding.weight"]
    noise = 0.01 * torch.randn(words.shape, generator=torch.Generator().manual_seed(1)).to(words)
    state["token_embedding.weight"] = torch.where(words.any(1, keepdim=True), words, noise)
    torch.save(state, folder / "clip.pt")


def tried(way: str, host: Path | None, work: Path, seconds: float, classes: str = "base") -> tuple[str, list[str]]:
    """Train MPL for an epoch: what came of it, and what the run said of what it left out or changed.

    `work` has what is made up, and gets all that the run writes. After `seconds` it is ended with all that it started.
    """
    configs = host.glob(f"configs/{READERS}/**/eurosat.yaml") if host else ()
    config = min(configs, key=lambda path: (len(path.parts), path), default=None)
    if way == LAUNCHER and config is None:
        return f"{UNTRIED}the codebase has no configs/{READERS}/eurosat.yaml", []
    out = work / way
    flags = {"--root": work / "data", "--seed": 1, "--output-dir": out, "--config-file": CONFIG}
    flags["--trainer"] = our_trainer(host) if host and way == LAUNCHER else "MPL"
    flags["--dataset-config-file"] = config or "eurosat"
    options = {"OPTIM.MAX_EPOCH": 1, "DATASET.NUM_SHOTS": 1, "DATASET.SUBSAMPLE_CLASSES": classes}
    options |= {"INPUT.SIZE": (32, 32), "DATALOADER.NUM_WORKERS": 0, "TRAINER.MPL.PREC": "fp32"}
    options |= {"TRAINER.MPL.PROMPT_DEPTH": 6, "MODEL.BACKBONE.PATH": work / "clip.pt"}
    options |= {"MODEL.BACKBONE.ACTIVATION": "quick_gelu", "MODEL.BACKBONE.HEADS": (1, 2)}
    if host and way == LAUNCHER:
        spelled = flags_of(host / PROGRAM)
        if "--trainer" not in spelled:
            return f"{UNTRIED}{PROGRAM} of the codebase has no flag for the trainer", []
        flags = {spelled[flag]: value for flag, value in flags.items() if flag in spelled}
    words = [str(word) for pair in [*flags.items(), *options.items()] for word in pair]
    starts = {
        LAUNCHER: ["launch", PROGRAM, *words, "--keep-settings"],
        HOST: ["train", "--host", str(host), *words],
        OWN: ["train", *words],
    }
    with (work / "said.txt").open("wb") as file:
        process = subprocess.Popen(
            places.program(*starts[way]), cwd=host if host and way == LAUNCHER else work, stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **places.environment()}, stdout=file,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(max(0.1, seconds))
        except subprocess.TimeoutExpired:
            return f"{UNTRIED}the time limit was reached (--seconds)", []
        finally:
            with contextlib.suppress(OSError, AttributeError):  # all that it started have ended; Windows has no groups
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.wait()
    logs = [*out.glob("**/log.txt*"), work / "said.txt"]  # some programs print into a log alone
    said = "\n".join(path.read_text(errors="replace") for path in logs).replace(str(work), "TEMP").splitlines()
    told = list(dict.fromkeys(line for line in said if _TOLD.match(line)))
    if not code and any("* accuracy:" in line for line in said):
        return WELL, told
    errors = [match[1] or match[2] for match in map(_ERROR.match, said) if match] or [f"exit code {code}"]
    is_untried = "No such file or directory: TEMP/data" in errors[-1]  # its reader wants another layout
    return f"{UNTRIED if is_untried else 'MPL cannot run: '}{errors[-1][:300]}", told


def examine(args: argparse.Namespace) -> int:
    """Print what is in use in the current folder, and what came of trying MPL there; the exit code."""
    until, folder, host, ways = time.monotonic() + args.seconds, Path.cwd(), None, [OWN]
    try:
        host, ways = find(folder), [LAUNCHER, HOST]
        say("codebase", host)
    except UserError as error:
        several = codebase.codebases_below(folder)
        advice = "Start the doctor in the folder of one codebase." if several else ""
        say("codebase", error if several else f"none: {error}", advice)
        if several:
            return UserError.exit_code
    sys.path.insert(0, str(host or folder))
    if not has_needed():
        print("MPL cannot run in this codebase. Follow the advice after the arrows (->) in the list above.")
        return CANNOT
    say_parts(host, Path(args.root))
    with tempfile.TemporaryDirectory(prefix="modprompt-doctor-") as work:
        write_made_up(Path(work))
        for way in ways:
            state, told = tried(way, host, Path(work).resolve(), until - time.monotonic())
            if "does not support DATASET.SUBSAMPLE_CLASSES" in state:
                say(way, state, "The training is repeated on all classes.")
                state, told = tried(way, host, Path(work).resolve(), until - time.monotonic(), "all")
            say(way, state)
            for line in told:
                print(f"{'':<10}-> {line}")
            if state == WELL:
                print(f"MPL can run here{_ALONE.get(way, '')}.")
                return 0
    untried = state.startswith(UNTRIED)
    print(f"{'The training could not be tested' if untried else 'MPL cannot run here'}. The reasons are listed above.")
    return UserError.exit_code if untried else CANNOT


def _main(argv: list[str] | None) -> int:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--root", default=os.environ.get("DATA", "data"), help="folder of the data sets (default: $DATA or ./data)")
    add("--seconds", type=float, default=120, help="time limit of the training in seconds (default: %(default)s)")
    what = "test zero-shot CLIP with these models (names, or paths of weights) instead of training MPL"
    add("--zero-shot", nargs="+", metavar="CLIP", help=what)
    args = parser.parse_args(argv)
    sys.dont_write_bytecode = True  # nothing is left in a codebase
    with signals_handled([signal.SIGTERM], signal.default_int_handler):  # ends as if interrupted
        return zero_shot.check(Path(args.root), args.zero_shot) if args.zero_shot else examine(args)


def main(argv: list[str] | None = None) -> int:
    """Print the report; exit code as above."""
    return report(_main, argv)
