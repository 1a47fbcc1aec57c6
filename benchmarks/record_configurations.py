"""Record the configurations of training commands, and compare two records.

    python -m benchmarks.record_configurations make OUT [--checkout DIR]
    python -m benchmarks.record_configurations compare BEFORE AFTER [--texts]

`make` reads some 600 commands with the checkout DIR (default: this one) and writes one JSON object per command to the
file OUT: the frozen configuration, the hash of the explicit settings, the error, and all notes and warnings. The
commands are every config file with its trainer, every trainer on two data sets with two CLIP models, every data set,
every flag, tests of a trained model, and 200 random combinations of settings. Nothing is trained except the two models
that the tests read.

`compare` maps the names that version 0.3.0 changed and prints every configuration, hash and error that differs.
Settings that only one of the two versions has are named once and not compared.
`--texts` also prints notes, warnings and the texts of errors. The exit code is 1 if a configuration or a hash differs,
or if a command fails in one record only.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from modprompt.checks import RENAMED
from modprompt.io.files import write_whole

ROOT = Path(__file__).resolve().parent.parent
SEED, COMBINATIONS = 72, 200
DATASETS, CLIPS = ("digits", "imagenet"), ("glyph-clip", "ViT-B/16")
MODELS = {  # folder of a model that is trained for the tests: the arguments of its training
    "mpl": ("--trainer", "MPL", "--dataset-config-file", "digits", "--backbone", "glyph-clip"),
    "lightra": ("--trainer", "LightRA", "--dataset-config-file", "digits", "--backbone", "glyph-clip"),
}
FLAGS: tuple[tuple[str, ...], ...] = (
    ("--seed", "-1"), ("--seed", "7"), ("--seed", "4294967296"), ("--once",), ("--no-train",), ("--eval-only",),
    ("--eval-only", "--model-dir", "nowhere"), ("--resume", "nowhere"), ("--load-epoch", "3"), ("--head", "mlp"),
    ("--transforms", "random_flip", "normalize"), ("--transforms", "rotate"), ("--source-domains", "a", "b"),
    ("--target-domains", "a"), ("--output-dir", "1"), ("--root", "1"), ("--backbone", "RN50"),
    ("--backbone", "ViT-B-16/laion2b_s34b_b88k"), ("--backbone", "nothing"), ("--trainer", "MLP"),
    ("--dataset-config-file", "nothing"), ("--config-file", "nothing"), ("--config-file", "glyph_selfreg"),
    ("--hyperparameters", "nothing.yaml"),
)  # fmt: skip
OPTIONS: tuple[tuple[str, ...], ...] = (  # key, values from which a random combination draws one
    ("OPTIM.LR", "0.5", "1", "-1", "much", "None"), ("OPTIM.MAX_EPOCH", "3", "2.0", "0", "0.5"),
    ("OPTIM.WARMUP_EPOCH", "2", "-1"), ("OPTIM.LR_SCHEDULER", "cosine", "single_step"), ("OPTIM.STEPSIZE", "(2, 4)"),
    ("DATASET.NUM_SHOTS", "-1", "0", "1", "16"), ("DATASET.SUBSAMPLE_CLASSES", "base", "new", "all", "most"),
    ("DATASET.TRAIN_ON_VAL", "True", "False"), ("DATASET.VAL_FROM_TEST", "True"), ("DATASET.READER", "a.py 0123"),
    ("DATASET.SHOTS_BY_CLASS", "nowhere.csv"), ("TEST.BASE_NEW", "True"), ("TEST.OOD", "new", "DTD", "nothing"),
    ("TEST.SPLIT", "val", "test", "train"), ("TEST.FINAL_MODEL", "best_val", "last_step"), ("TEST.NO_TEST", "True"),
    ("ACTIVE.ROUNDS", "2", "-1"), ("ACTIVE.METHOD", "badge", "oracle"), ("INPUT.SIZE", "(64, 64)", "[32, 32]", "7"),
    ("INPUT.TRANSFORMS", "('random_flip', 'normalize')", "[]"), ("INPUT.RESIZE_MODE", "squash"), ("INPUT.GB_K", "4"),
    ("INPUT.PIXEL_MEAN", "[0.1, 0.2, 0.3]"), ("DATALOADER.TRAIN_X.BATCH_SIZE", "4", "4.0", "none"), ("SEED", "3"),
    ("MODEL.BACKBONE.PATH", "nowhere.pt"), ("MODEL.TEXT_CHUNK", "8"), ("MODEL.DETERMINISTIC", "True"),
    ("SEARCH.ON", "True"), ("SEARCH.SCHEDULE", "nowhere.json"), ("TRAINER.KDPL.ON", "True"), ("OPTIM.LRR", "1"),
    ("TRAINER.DEPT.ON", "True"), ("TRAINER.MPL.PROMPT_DEPTH", "3", "0"), ("TRAINER.MPL.N_CTX", "4", "many"),
    ("TRAINER.MPL.TEXT_LOSS_WEIGHT", "1", "0.5"), ("TRAINER.COOP.N_CTX", "16"), ("TRAINER.COOP.CSC", "True"),
    ("TRAINER.MAPLE.PROMPT_DEPTH", "3"), ("TRAINER.KGCOOP.CTX_INIT", "True", "one two"), ("TRAINER.MMRL.PREC", "fp32"),
    ("TRAINER.MMRL.PER_DATASET", "published"), ("TRAINER.PROMPTSRC.GPA_STD", "0", "7"), ("OPTIM.NAME", "adamw"),
)  # fmt: skip

# runs in the other checkout, in an empty folder; it stops each run where the output folder would be taken
READ = r"""
import contextlib, io, json, sys, warnings

from modprompt.cli import train
train.import_all()
from modprompt.cli.flags import parse_args
from modprompt.io import folder
from modprompt.io.settings import settings_hash


class Stop(BaseException):
    pass


def stop(*args, **kwargs):
    raise Stop


folder.hold = stop
with open(sys.argv[1]) as cases, open(sys.argv[2], "w") as out:
    for line in cases:
        words, record, said = json.loads(line), {}, io.StringIO()
        with warnings.catch_warnings(record=True) as warned, contextlib.redirect_stdout(said):
            warnings.simplefilter("always")
            try:
                with contextlib.redirect_stderr(io.StringIO()):
                    train._run(parse_args(words), None, None)
            except Stop as error:
                trace = error.__traceback__
                while trace.tb_frame.f_code.co_name != "run" or "cfg" not in trace.tb_frame.f_locals:
                    trace = trace.tb_next
                names = trace.tb_frame.f_locals
                texts = names["settings"].texts()
                record = {"config": names["cfg"].dump(), "settings": texts, "hash": settings_hash(texts)}
            except (Exception, SystemExit) as error:
                record = {"error": type(error).__name__, "text": str(error)}
        record["said"] = [*said.getvalue().splitlines(), *sorted(f"warning: {one.message}" for one in warned)]
        out.write(json.dumps([words, record]) + "\n")
"""


def commands() -> list[list[str]]:
    """Return the arguments of all commands that are recorded; the same in every checkout of the project."""
    folder, found = ROOT / "configs", []
    datasets = sorted(path.stem for path in (folder / "datasets").glob("*.yaml"))
    trainers = sorted(path.name for path in (folder / "trainers").iterdir() if path.is_dir())
    methods = [*trainers, "ZeroshotCLIP", "ZeroshotCLIP2"]
    for path in sorted((folder / "trainers").glob("*/*.yaml")):
        for dataset in ("eurosat", "digits"):
            found.append(_words(path.parent.name, dataset, "--config-file", f"{path.parent.name}/{path.stem}"))
    for name in methods:
        found += [_words(name, dataset, "--backbone", clip) for dataset in DATASETS for clip in CLIPS]
    found += [_words("MPL", dataset) for dataset in datasets]
    found += [_words("MPL", "digits", *flags) for flags in FLAGS]
    found += [_words("ZeroshotCLIP", "digits", *flags) for flags in FLAGS]
    for name, words in MODELS.items():
        for more in ((), ("TEST.SPLIT", "val"), ("TEST.BASE_NEW", "True"), ("TRAINER.LightRA.MEAN", "unit")):
            found.append([*words, "--eval-only", "--model-dir", f"models/{name}", *more])
    draw = random.Random(SEED)
    for _ in range(COMBINATIONS):
        options = [
            word for key, *values in draw.sample(OPTIONS, draw.randint(1, 4)) for word in (key, draw.choice(values))
        ]
        clip = draw.choice([(), ("--backbone", "glyph-clip"), ("--backbone", "ViT-B/16")])
        found.append(_words(draw.choice(methods), draw.choice(datasets), *clip, *options))
    return found


def _words(trainer: str, dataset: str, *more: str) -> list[str]:
    return ["--trainer", trainer, "--dataset-config-file", dataset, "--output-dir", "out", *more]


def make(out: Path, checkout: Path) -> None:
    """Write a record of all commands, as a checkout reads them.

    Args:
        out: the file of the record; one JSON list [arguments, record] per line.
        checkout: the checkout whose programs read the commands.

    Raises:
        subprocess.CalledProcessError: if a training of MODELS fails, or the commands cannot be read.
    """
    with tempfile.TemporaryDirectory() as empty:
        environment = {**os.environ, "PYTHONPATH": str(checkout.resolve()), "MODPROMPT_EXPERIMENT": ""}
        for name, words in MODELS.items():
            options = ["DATASET.NUM_SHOTS", "1", "OPTIM.MAX_EPOCH", "1", "TEST.NO_TEST", "True"]
            command = [sys.executable, "-m", "modprompt", "train", *words, "--output-dir", f"models/{name}", *options]
            subprocess.run(command, cwd=empty, env=environment, check=True, stdout=subprocess.DEVNULL)
        cases, found = Path(empty, "cases.jsonl"), Path(empty, "found.jsonl")
        cases.write_text("".join(json.dumps(words) + "\n" for words in commands()))
        subprocess.run([sys.executable, "-c", READ, cases, found], cwd=empty, env=environment, check=True)
        text = found.read_text().replace(str(checkout.resolve()), "<checkout>").replace(empty, "<folder>")
    write_whole(out, text)
    print(f"{len(text.splitlines())} commands are recorded in {out}.")


def _renamed(config: str) -> dict[str, str]:
    """Return a configuration as {dotted key: text} with the current names of its settings."""
    found, path = dict[str, str](), list[str]()
    for line in config.splitlines():
        name, _, value = line.strip().partition(":")
        depth = (len(line) - len(line.lstrip())) // 2
        if line.lstrip().startswith("- "):
            found[".".join(path)] += f" {line.strip()}"
            continue
        path[depth:] = [name]
        key = ".".join(path)
        found[RENAMED.get(key, key)] = {"dassl": "family", "photo": "people"}.get(value.strip(), value.strip())
    return found


def _differences(old: dict[str, Any], new: dict[str, Any], keys: set[str]) -> list[str]:
    """Return in what the records of a command differ, besides texts; `keys` are the settings that are compared."""
    if old.get("error") != new.get("error"):
        return [f"error {old.get('error')}: {old.get('text')} -> {new.get('error')}: {new.get('text')}"]
    if "error" in old:
        return []
    left, right = _renamed(old["config"]), _renamed(new["config"])
    rows = [f"{key}: {left.get(key)} -> {right.get(key)}" for key in sorted(keys) if left.get(key) != right.get(key)]
    return rows if old["hash"] == new["hash"] else [*rows, f"hash of {old['settings']} -> {new['settings']}"]


def compare(before: Path, after: Path, with_texts: bool) -> bool:
    """Print in what two records differ.

    Args:
        before: the file of the older record.
        after: the file of the newer record.
        with_texts: whether notes, warnings and the texts of errors are compared, too.

    Returns:
        True if a configuration or a hash differs, or if a command fails in one record only.
    """
    olds, news = ([json.loads(line) for line in path.read_text().splitlines()] for path in (before, after))
    if [words for words, _ in olds] != [words for words, _ in news]:
        raise SystemExit("The two records are of different commands. Make both with the same version of this script.")
    known = [{key for _, record in records for key in _renamed(record.get("config", ""))} for records in (olds, news)]
    for whose, keys in (("older", known[0] - known[1]), ("newer", known[1] - known[0])):
        if keys:
            print(f"Settings that only the {whose} version has: {', '.join(sorted(keys))}")
    differ = False
    for (words, old), (_, new) in zip(olds, news):
        if {*words} & (known[0] ^ known[1]):
            continue  # the command sets what one of the versions does not have
        rows = _differences(old, new, known[0] & known[1])
        differ = differ or bool(rows)
        if with_texts:
            left, right = ([*one.get("said", ()), one.get("text", "")] for one in (old, new))
            rows += [f"  - {text}" for text in left if text not in right]
            rows += [f"  + {text}" for text in right if text not in left]
        if rows:
            print(" ".join(words), *rows, sep="\n    ")
    print("The records differ." if differ else "Configurations, hashes and errors are equal.")
    return differ


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    programs = parser.add_subparsers(dest="program", required=True)
    one = programs.add_parser("make")
    one.add_argument("out", type=Path)
    one.add_argument("--checkout", type=Path, default=ROOT)
    two = programs.add_parser("compare")
    two.add_argument("before", type=Path)
    two.add_argument("after", type=Path)
    two.add_argument("--texts", action="store_true")
    args: Any = parser.parse_args()
    if args.program == "compare":
        return int(compare(args.before, args.after, args.texts))
    make(args.out, args.checkout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
