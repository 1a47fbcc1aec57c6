"""The flags of the CoOp family, for train.py and what takes the same; and the settings that they give."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from modprompt import places
from modprompt.methods.schedule_files import expanded
from modprompt.methods.table import BY_NAME, configs_of
from modprompt.runs.settings import FLAGS, Settings, name_of_flag


def parse_args(argv: list[str] | None = None, description: str = "") -> argparse.Namespace:
    """The family's flags, and ours."""
    parser = argparse.ArgumentParser(
        description=description, epilog=_settings_help(argv), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--root", default="", help="folder of the data sets (default: $DATA or ./data)")
    add("--output-dir", default="", help="folder of logs and checkpoints")
    add("--resume", default="", help="folder to resume from, if not the output folder")
    add("--seed", type=int, default=None, help="random seed, from 0 up; without it the run is not seeded")
    add("--source-domains", nargs="+", help="source domains")
    add("--target-domains", nargs="+", help="target domains")
    add("--transforms", nargs="+", help="image transforms, in place of INPUT.TRANSFORMS")
    add("--config-file", default="", help="YAML of the method")
    add("--dataset-config-file", default="", help="YAML of the data set")
    add("--trainer", default="", help="name of the trainer, e.g. MPL")
    add(
        "--backbone",
        default="",
        help="name of the CLIP: ViT-B/16, ViT-H-14/dfn5b (modprompt backbones lists them), hf-hub:owner/name; "
        "a file or folder: MODEL.BACKBONE.PATH",
    )
    add("--head", default="", help="name of the head")
    add("--import", dest="imports", action="append", default=[], metavar="MODULE",
        help="import this module first: a trainer or reader of yours that registers itself, in the current folder "
        "or installed; may be given more than once")  # fmt: skip
    add("--once", action="store_true", help="do nothing if --output-dir holds this very run, finished")
    add("--eval-only", action="store_true", help="evaluate --model-dir, do not train")
    add("--model-dir", default="", help="output folder of the run to evaluate")
    add("--load-epoch", type=int, help="epoch of the checkpoint to evaluate")
    add("--no-train", action="store_true", help="build everything, do not train")
    add("opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs of the configuration")
    return parser.parse_args(argv)


def _settings_help(argv: list[str] | None) -> str:
    """For --help: the settings of the method that --trainer names; without one how to ask for them."""
    words = sys.argv[1:] if argv is None else argv
    if not {"-h", "--help"} & set(words):
        return ""
    named = next((after for word, after in zip(words, words[1:]) if word == "--trainer"), "")
    if named not in BY_NAME:
        return "--trainer MPL --help lists the settings of MPL; the same for every trainer"
    method = BY_NAME[named].method
    text = method.help_text()
    prec = f"and {method.node}.PREC, how the run computes: fp16 (the default), fp32, amp or bf16"
    if not text:
        return f"{named} has no settings"
    second = "" if method.second_node is None else f"\n{method.second_node.help_text()}"
    found = f"settings of {named}, as KEY VALUE:\n{text}{second}\n{prec}"
    if not BY_NAME[named].sides or method.not_searched:
        return found
    from modprompt.methods.search import Search

    return f"{found}\nits search for a schedule (docs/search.md):\n{Search.help_text()}"


def _in_rounds(args: argparse.Namespace) -> bool:
    """Whether a run chooses what is labelled, so that all training images are its pool."""
    given = dict(zip(args.opts[0::2], args.opts[1::2])).get("ACTIVE.ROUNDS")
    return given != "0" if given else args.trainer in BY_NAME and BY_NAME[args.trainer].rounds


def use_embedded_default(args: argparse.Namespace, shots: int) -> None:
    """Without any config file: the embedded model on the digits, seed 1; in rounds, all of them, apart."""
    folder = configs_of(args.trainer)
    config = places.configs() / "trainers" / folder / "glyph.yaml"
    if args.config_file or args.dataset_config_file or not folder or not config.is_file():
        return
    args.config_file = str(config)
    args.dataset_config_file = str(places.configs() / "datasets" / "digits.yaml")
    args.seed = 1 if args.seed is None else args.seed
    kind, shots = ("digits_active", -1) if _in_rounds(args) else ("digits", shots)
    args.output_dir = args.output_dir or str(Path("output") / kind / args.trainer / f"seed{args.seed}")
    args.opts = ["DATASET.NUM_SHOTS", str(shots), *args.opts]


def settings_of(args: argparse.Namespace, shots: int = 16) -> Settings:
    """What the data set's file, the method's file, the flags and the trailing options give, in this order.

    Files named in place of a schedule are read: their numbers stand where their names stood.

    Args:
        args: what parse_args gave.
        shots: training images per class where no file is given; -1 for all, as always in rounds.

    Raises:
        UserError: as Settings.read and expanded.
    """
    use_embedded_default(args, shots)
    flags = {key: getattr(args, name_of_flag(flag)) for key, flag in FLAGS.items()}
    return expanded(Settings.read([args.dataset_config_file, args.config_file], flags, args.opts))
