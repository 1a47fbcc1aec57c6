"""Run the train.py of a codebase with the trainer MPL, without changing any file of the codebase.

    cd CODEBASE && modprompt launch train.py --trainer MPL --config-file configs/trainers/MPL/NAME.yaml ...

All flags after train.py are flags of the codebase, except --keep-settings. A config file of MPL that the codebase does
not contain is read from modprompt (--config-file vit_b4_c1_add2_rm1, or the path above). If the codebase has its own
trainer MPL, the trainer of modprompt is called ModMPL. Trainers of the codebase that cannot be imported are skipped,
and a message lists these trainers.
"""

import argparse
import contextlib
import importlib
import os
import runpy
import sys
from pathlib import Path

from modprompt.clip import package as clip_package
from modprompt.errors import UserError
from modprompt.hosts.codebase import how_to_get, lacking
from modprompt.hosts.rows import More, with_rows
from modprompt.hosts.tolerant import tolerated
from modprompt.io.program_text import dassl_name, flags_of
from modprompt.places import ROOT
from modprompt.programs import Parser, import_modules, one_line, take_imports

NO_DASSL = "Add the folder of Dassl.pytorch to PYTHONPATH, or use `modprompt train --host`."


def put_host_first(folder: Path) -> None:
    """Make module names such as trainers, datasets and clip mean the codebase's, whatever else is on the path."""
    checkout = ROOT if (ROOT / "train.py").is_file() else None  # else it is where pip installs packages
    kept = [entry for entry in sys.path if Path(entry or ".").resolve() not in (checkout, folder)]
    sys.path[:] = [str(folder), *kept]


def prepare(program: Path) -> None:
    """Make the parts of a program's codebase importable, fix its Dassl and register the trainer.

    Raises UserError if there is no Dassl or no clip, or one that cannot be imported.
    """
    folder, name = program.parent, dassl_name(program)
    put_host_first(folder)
    try:
        if name != "dassl":
            importlib.import_module("modprompt.compat.find").also_named(name, "dassl")
        from modprompt.trainers.registration import give_way  # fixes Dassl, before a `clip` may import it

        clip_package.use_folder(folder)
        clip_package.import_clip()
    except Exception as error:  # their code
        is_dassl = isinstance(error, ImportError) and error.name == "dassl"
        how = f". {NO_DASSL}" if is_dassl else how_to_get(lacking(folder, [program]))
        raise UserError(
            f"Could not import clip or Dassl for the codebase in the current folder: {one_line(error)}{how}"
        ) from error
    give_way()
    importlib.import_module("modprompt.trainers.mpl")


def _mistake_of(error: BaseException, script: Path) -> str:
    """The message on what a user can correct; empty if the program is at fault."""
    if isinstance(error, UserError):  # perhaps raised before PyTorch can be imported
        return one_line(error)
    from modprompt.hosts.foreign import asks_for_ours, mistake_of

    packages = lacking(script.parent, [script]) if isinstance(error, ModuleNotFoundError) else []
    mistake = f"{one_line(error)}{how_to_get(packages)}" if packages else mistake_of(error)
    if not mistake and asks_for_ours() and b"build_trainer" not in script.read_bytes():
        mistake = (
            f"{one_line(error)}. The error comes from a trainer of the codebase, because {script.name} does not call "
            "Dassl's build_trainer."
        )
    return mistake


def _run(script: Path, words: list[str]) -> None:
    """Run a program with its words, and with what else it needs to start our trainer; a message says what.

    Raises UserError if it ends well, was to build a trainer of ours, and has not.
    """
    from modprompt.hosts import foreign
    from modprompt.io import program_words

    configs, flag = script.parent / "configs" / "datasets", "--dataset-config-file"  # by name, too, as in ours
    words = [
        str(path) if before == flag and (path := configs / f"{word}.yaml").is_file() else word
        for before, word in zip(["", *words], words)
    ]
    trainer = program_words.words_of(words, flags_of(script)).trainer()
    more = with_rows(words, script, trainer) if foreign.is_our_name(trainer) else More(words)
    if more.added:
        print(f"note: {script.name}: {more.why}, so modprompt added these arguments: {more.added}")
    sys.argv[:] = [str(script), *more.words]
    foreign.enter()
    try:
        with tolerated(script) if foreign.asks_for_ours() else contextlib.nullcontext():
            runpy.run_path(str(script), run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    finally:
        unbuilt = foreign.leave()
    if unbuilt:
        raise UserError(unbuilt)


def main(argv: list[str] | None = None) -> int:
    """The exit code: that of the program, or 2 after a message on what is wrong, or 130 when interrupted."""
    parser = Parser(__doc__)
    parser.add_argument("--keep-settings", action="store_true", help="restore the settings that the program overrides")
    take_imports(parser)
    parser.add_argument("program", help="path of the train.py of the codebase")
    parser.add_argument("words", nargs=argparse.REMAINDER, help="flags and options of the program")
    script = Path()
    try:
        args = parser.parse_args(argv)
        script = Path(args.program).resolve()
        if not script.is_file():
            raise UserError(
                f"{script} does not exist. Run this command in the root folder of a codebase that contains a train.py."
            )
        prepare(script)
        import_modules(args.imports)
        _run(script, args.words + ["--keep-settings"] * args.keep_settings)
    except KeyboardInterrupt:
        print("Interrupted. Start the program again to continue after the last completed epoch.", file=sys.stderr)
        return 130
    except Exception as error:
        mistake = _mistake_of(error, script)
        if not mistake or os.environ.get("MODPROMPT_TRACEBACK"):
            raise
        print(f"error: {mistake}", file=sys.stderr)
        return 2
    return 0
