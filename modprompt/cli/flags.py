"""The flags of the CoOp family, for train.py and programs with the same flags; and the settings that they give."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from modprompt.cli.defaults import completed
from modprompt.data.rounds import Active
from modprompt.io.settings import Settings, read_settings
from modprompt.methods.search.file import expanded
from modprompt.methods.table import BY_NAME, ZERO_SHOT, config_of, configs_by_clip, kind_of, unread_of
from modprompt.programs import Parser, import_modules, take_imports

# other programs' names for them
_MEANT = {
    "--epochs": "OPTIM.MAX_EPOCH", "--lr": "OPTIM.LR", "--batch-size": "DATALOADER.TRAIN_X.BATCH_SIZE",
    "--shots": "DATASET.NUM_SHOTS", "--data": "--root", "--data-dir": "--root", "--dataset": "--dataset-config-file",
    "--model": "--backbone", "--clip": "--backbone",
}  # fmt: skip
_SHOWN = ("glyph-clip", "ViT-B/16")  # CLIPs whose configs --help shows: the one that comes along, and most papers'
_FIRST = {  # the settings that people change first: what they are
    "OPTIM.LR": "learning rate",
    "OPTIM.MAX_EPOCH": "number of epochs",
    "DATALOADER.TRAIN_X.BATCH_SIZE": "batch size of the training",
    "OPTIM.WARMUP_EPOCH": "number of warm-up epochs, which are part of OPTIM.MAX_EPOCH",
    "OPTIM.WARMUP_CONS_LR": "learning rate during the warm-up",
}


def parse_args(argv: list[str] | None = None, description: str = "") -> argparse.Namespace:
    """The family's flags, and ours; UserError on an unknown flag, with a similar one, or on one without its value."""
    parser = Parser(
        description,
        _MEANT,
        epilog=_settings_help(sys.argv[1:] if argv is None else argv),
        usage="%(prog)s --trainer NAME [--root DIR] [--dataset-config-file NAME] [--backbone NAME] [flags] [KEY VALUE]",
        allow_abbrev=False,  # --model would be --model-dir, and --data a config file
    )
    add = parser.add_argument_group("main flags").add_argument
    help_text = "name of the method's trainer, for example MPL; --trainer MPL --help lists the settings of MPL"
    trainer = add("--trainer", default="", help=help_text)
    trainer.completer = lambda **_: list(BY_NAME)  # type: ignore[attr-defined]  # argcomplete reads it
    add("--root", default="", help="folder of the data sets, or of your own images (default: $DATA or ./data)")
    add("--dataset-config-file", default="", help="data set, as a name (eurosat) or the path of a YAML file")
    what = "config file of the method, as a name in configs/trainers (glyph, MPL/glyph) or the path of a YAML file "
    what += "(default: the config file for the CLIP)"
    add("--config-file", default="", help=what)
    what = (
        "file with the hyperparameters that `modprompt experiment choose` selected for this trainer; the "
        "hyperparameters override the config file, and KEY VALUE settings override the hyperparameters"
    )
    add("--hyperparameters", default="", metavar="FILE", help=what)
    what = (
        "CLIP model, as a name (ViT-B/16, ViT-H-14/dfn5b; `modprompt backbones` lists all names), as "
        "hf-hub:owner/name, or as the path of a file or folder of weights. If MODEL.BACKBONE.PATH FILE is also set, "
        "the name gives the architecture of the weights in FILE"
    )
    add("--backbone", default="", help=what)
    what = "output folder of logs and checkpoints (default: output/DATA/shots_N/TRAINER/CONFIG/seed1)"
    add("--output-dir", default=None, help=what)
    add("--seed", type=int, default=None, help="random seed; -1 sets no seed (default: 1)")
    add(
        "opts",
        nargs=argparse.REMAINDER,
        default=[],
        help="settings as KEY VALUE pairs after all flags, for example OPTIM.LR 0.01",
    )
    add = parser.add_argument_group("flags for testing a trained model").add_argument
    add("--eval-only", action="store_true", help="evaluate the model in --model-dir without training")
    add("--model-dir", default="", help="output folder of the run to evaluate, or a folder that save_pretrained wrote")
    add("--load-epoch", type=int, help="epoch of the checkpoint to evaluate (default: the best or the last epoch)")
    more = parser.add_argument_group("other flags")
    add = more.add_argument
    add(
        "--once",
        action="store_true",
        help="skip the run if the output folder already contains the finished run with the same settings",
    )
    add("--no-train", action="store_true", help="build the model and the data loaders without training")
    add("--resume", default="", help="folder of the run to resume (default: the output folder)")
    add("--transforms", nargs="+", help="image transforms that replace INPUT.TRANSFORMS")
    add("--source-domains", nargs="+", help="names of the source domains, for data sets with several domains")
    add("--target-domains", nargs="+", help="names of the target domains, for data sets with several domains")
    add("--head", default="", help="name of the classification head, for trainers of Dassl")
    take_imports(more)
    what = "folder of a Dassl-based codebase, such as CoOp; its data-set readers, data-set config files, config keys "
    what += "and clip package replace those of modprompt"
    add("--host", default=None, metavar="FOLDER", help=what)
    add("--host-dassl", action="store_true", help="use the copy of Dassl in the --host codebase, too")
    args: argparse.Namespace = parser.parse_args(argv)
    return args


def _settings_help(words: Sequence[str]) -> str:
    """For --help: the settings of the method of --trainer; without one, how to list them."""
    if not {"-h", "--help"} & set(words):
        return ""
    pairs = list(zip(words, words[1:]))
    named = next((value for flag, value in pairs if flag == "--trainer"), "")
    if named not in BY_NAME:
        import_modules([value for flag, value in pairs if flag == "--import"])
    if named not in BY_NAME:
        return "--trainer MPL --help lists the settings of MPL. Replace MPL by the name of any other trainer."
    from modprompt.methods.search import over as search  # late: it imports PyTorch

    method = BY_NAME[named].method
    own, second = method.help_text(), method.repository.second_node
    if not own:
        return f"{named} has no settings."
    parts = [
        _first_settings(named, method.node),
        f"settings of {named}, given as KEY VALUE, with their defaults:\n{own}",
        second.help_text() if second else "",
        f"{method.node}.PREC sets the precision of the computation: fp16 (default), fp32, amp or bf16.",
        search.help_text(method),
        f"settings of active learning, which selects the images to label in rounds "
        f"(docs/active.md):\n{Active.help_text()}",
    ]
    return "\n".join(filter(None, parts))


def shown_configs(trainer: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Of a few CLIPs, the path below the project of the config that a trainer has for one, and what that sets."""
    names, found = configs_by_clip(trainer), {}
    for clip in _SHOWN if kind_of(trainer) != ZERO_SHOT else ():
        if clip in names:
            path = config_of(trainer, names[clip])
            found[clip] = f"configs/trainers/{path.parent.name}/{path.name}", read_settings(str(path))
    return found


def _first_settings(trainer: str, node: str) -> str:
    """The settings that people change first, with the values of a trainer's configs; empty if these set none of them.

    Its own settings, at `node` (TRAINER.NAME), are listed too where configs give them a value.
    """
    read = [key for key in _FIRST if key not in unread_of(trainer)]
    configs = {clip: one for clip, one in shown_configs(trainer).items() if {*read} & {*one[1]}}
    if not configs:
        return ""
    rows = [("", [f"for {clip}" for clip in configs], "")]
    for key in read:
        if any(key in settings for _, settings in configs.values()):
            rows.append((key, [str(settings.get(key, "")) for _, settings in configs.values()], _FIRST[key]))
    shots = "number of training images per class; -1 for all images. Papers use 16, or 1, 2, 4, 8, 16"
    rows.append(("DATASET.NUM_SHOTS", ["-1"] * len(configs), shots))
    lines = [f"  {key:<32}{''.join(f'{value:<16}' for value in values)}{what}".rstrip() for key, values, what in rows]
    for clip, (path, settings) in configs.items():
        own = {key: value for key, value in settings.items() if key.startswith(f"{node}.")}
        said = ", ".join(f"{key.removeprefix(f'{node}.')} {value!r}" for key, value in own.items())
        lines.append(f"for {clip}: {path}{f', with {node}: {said}' if own else ''}")
    return "\n".join(["common settings, given as KEY VALUE, with their values in the config files:", *lines, ""])


def settings_of(args: argparse.Namespace, takes_all: bool = False) -> Settings:
    """What the data set's file, the method's file, the flags and the trailing options give, in this order.

    What they do not name gets a default (defaults.completed, which explains `takes_all`). A file named in place of a
    schedule is read: its numbers replace its name. Raises UserError as completed, and on such files.
    """
    return expanded(completed(args, takes_all))
