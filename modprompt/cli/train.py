"""Train and evaluate prompt-learning methods for CLIP, with the flags of the CoOp family.

python train.py --trainer MPL                 the embedded small CLIP on handwritten digits; needs no download
python train.py --trainer MPL --root data --seed 1 --output-dir output/run
    --config-file configs/trainers/MPL/vit_b4_c1_add2_rm1.yaml --dataset-config-file configs/datasets/eurosat.yaml
    DATASET.NUM_SHOTS 16 DATASET.SUBSAMPLE_CLASSES base
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import traceback
import warnings
from pathlib import Path

from modprompt.compat import find as compat  # noqa: E402

compat.add_to_path()

import torch  # noqa: E402
from dassl.config import get_cfg_default  # noqa: E402
from dassl.data.datasets import DATASET_REGISTRY, build_dataset  # noqa: E402
from dassl.engine import TRAINER_REGISTRY, build_trainer  # noqa: E402
from dassl.utils import collect_env_info, set_random_seed, setup_logger  # noqa: E402

import modprompt.data.readers.all  # noqa: E402, F401
from modprompt import places  # noqa: E402
from modprompt.checks import check_name  # noqa: E402
from modprompt.data.storage import find_recorded  # noqa: E402
from modprompt.programs import left_as_found  # noqa: E402
from modprompt.runs import folder as run_folder  # noqa: E402
from modprompt.runs import result as results  # noqa: E402
from modprompt.runs.settings import given, pairs, read_settings  # noqa: E402
from modprompt.trainers.once import describe_model, finished_before  # noqa: E402
from modprompt.trainers.registration import register_all  # noqa: E402
from modprompt.trainers.result import ResultRecorder  # noqa: E402
from modprompt.trainers.settings import check_values, merge_file, merge_options, warn_of_other_nodes  # noqa: E402

register_all()

EXPECTED = (ValueError, OSError, FloatingPointError, ImportError)  # what a user can put right


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The family's flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
    add("--backbone", default="", help="name of the CLIP, e.g. ViT-B/16")
    add("--head", default="", help="name of the head")
    add("--once", action="store_true", help="do nothing if --output-dir holds this very run, finished")
    add("--eval-only", action="store_true", help="evaluate --model-dir, do not train")
    add("--model-dir", default="", help="output folder of the run to evaluate")
    add("--load-epoch", type=int, help="epoch of the checkpoint to evaluate")
    add("--no-train", action="store_true", help="build everything, do not train")
    add("opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs of the configuration")
    return parser.parse_args(argv)


def use_embedded_default(args: argparse.Namespace, shots: int) -> None:
    """Without any config file: the embedded model on the digits, seed 1."""
    folder = "CoOp" if args.trainer.startswith("Zeroshot") else args.trainer
    config = places.configs() / "trainers" / folder / "glyph.yaml"
    if args.config_file or args.dataset_config_file or not folder or not config.is_file():
        return
    args.config_file = str(config)
    args.dataset_config_file = str(places.configs() / "datasets" / "digits.yaml")
    args.seed = 1 if args.seed is None else args.seed
    args.output_dir = args.output_dir or str(Path("output") / "digits" / args.trainer / f"seed{args.seed}")
    args.opts = ["DATASET.NUM_SHOTS", str(shots), *args.opts]


def apply_flags(cfg, args: argparse.Namespace) -> None:
    """Flags that were given, over what the files say."""
    cfg.DATASET.ROOT = args.root or cfg.DATASET.ROOT or os.environ.get("DATA", "data")
    cfg.OUTPUT_DIR = args.output_dir or cfg.OUTPUT_DIR
    cfg.RESUME = args.resume or cfg.RESUME
    cfg.TRAINER.NAME = args.trainer or cfg.TRAINER.NAME
    cfg.MODEL.BACKBONE.NAME = args.backbone or cfg.MODEL.BACKBONE.NAME
    cfg.MODEL.HEAD.NAME = args.head or cfg.MODEL.HEAD.NAME
    cfg.DATASET.SOURCE_DOMAINS = tuple(args.source_domains or cfg.DATASET.SOURCE_DOMAINS)
    cfg.DATASET.TARGET_DOMAINS = tuple(args.target_domains or cfg.DATASET.TARGET_DOMAINS)
    cfg.INPUT.TRANSFORMS = tuple(args.transforms or cfg.INPUT.TRANSFORMS)
    cfg.SEED = cfg.SEED if args.seed is None else args.seed


def setup_cfg(args: argparse.Namespace, shots: int = 16):
    """Defaults, then the data set's file, the method's file, the flags, and the trailing options.

    Args:
        args: what parse_args gave.
        shots: training images per class where no file is given; -1 for all.
    """
    use_embedded_default(args, shots)
    cfg = get_cfg_default()
    keys = args.opts[::2]
    for path in (args.dataset_config_file, args.config_file):
        if path:
            keys = keys + merge_file(cfg, path)
    apply_flags(cfg, args)
    merge_options(cfg, args.opts)
    check_name(cfg.TRAINER.NAME, TRAINER_REGISTRY.registered_names(), "--trainer")
    check_name(cfg.DATASET.NAME, DATASET_REGISTRY.registered_names(), "DATASET.NAME")
    check_values(cfg)
    cfg.TEST.ONLY = args.eval_only or not getattr(TRAINER_REGISTRY.get(cfg.TRAINER.NAME), "node_name", "")
    warn_of_other_nodes(keys, cfg.TRAINER.NAME, getattr(TRAINER_REGISTRY.get(cfg.TRAINER.NAME), "node_name", ""))
    cfg.freeze()
    return cfg


def given_settings(args: argparse.Namespace) -> dict[str, str]:
    """What files, flags and options set, over Dassl's and the method's defaults (see modprompt/runs/settings.py)."""
    files = [read_settings(path) for path in (args.dataset_config_file, args.config_file) if path]
    flags = {
        "TRAINER.NAME": args.trainer,
        "SEED": args.seed,
        "MODEL.BACKBONE.NAME": args.backbone,
        "MODEL.HEAD.NAME": args.head,
        "DATASET.SOURCE_DOMAINS": args.source_domains,
        "DATASET.TARGET_DOMAINS": args.target_domains,
        "INPUT.TRANSFORMS": args.transforms,
    }
    flags = {key: value for key, value in flags.items() if value not in ("", None)}
    return given([*files, flags, dict(pairs(args.opts))])


def is_finished(args: argparse.Namespace, cfg, settings: dict[str, str]) -> bool:
    """Whether --once finds the run in its output folder, finished; see modprompt/trainers/once.py."""
    root = Path(cfg.DATASET.ROOT).expanduser().absolute()
    find, model_dir = functools.partial(find_recorded, root), args.model_dir if args.eval_only else ""
    return finished_before(
        cfg, settings, cfg.TEST.ONLY, find, lambda: split_of(build_dataset(cfg)), model_dir, args.load_epoch
    )


def split_of(dataset) -> str:
    """The hash of a data set's split; empty if its reader does not tell it."""
    return getattr(dataset, "split_facts", {}).get("hash", "")


def warn_of_another_split(dataset, model_dir: str) -> None:
    """Warn if a model was trained on another split of the data set that it is tested on."""
    trained = (results.read(model_dir).result or {}).get("split")
    mine = getattr(dataset, "split_facts", None)
    if (
        mine
        and isinstance(trained, dict)
        and trained.get("name") == mine["name"]
        and trained.get("hash") != mine["hash"]
    ):
        warnings.warn(
            f"{model_dir} was trained on another split of {mine['name']} than it is tested on: "
            "it may have seen some of the images",
            stacklevel=2,
        )


def run(args: argparse.Namespace) -> None:
    """Build the trainer, train or evaluate it, and leave result.json."""
    cfg = setup_cfg(args)
    settings = given_settings(args)  # now: the files may be edited while the run runs
    if args.once and is_finished(args, cfg, settings):
        return
    with run_folder.hold(cfg.OUTPUT_DIR):
        run_held(args, cfg, settings)


def run_held(args: argparse.Namespace, cfg, settings: dict[str, str]) -> None:
    """The run itself, its output folder being this process's."""
    if cfg.SEED >= 0:
        set_random_seed(cfg.SEED)
    setup_logger(cfg.OUTPUT_DIR)
    print(f"Seed: {cfg.SEED if cfg.SEED >= 0 else 'none (numbers will differ from run to run)'}")
    print(f"** Config **\n{cfg}\n** System **\n{collect_env_info()}")
    if torch.cuda.is_available() and cfg.USE_CUDA:
        torch.backends.cudnn.benchmark = True
    trainer = build_trainer(cfg)
    recorder = ResultRecorder(trainer)
    if args.eval_only:
        trainer.load_model(args.model_dir, epoch=args.load_epoch)
        warn_of_another_split(trainer.dm.dataset, args.model_dir)
        trainer.test()
    elif not args.no_train:
        trainer.train()
    evaluated = describe_model(args.model_dir, args.load_epoch) if args.eval_only else ""
    path = recorder.write(cfg, evaluated, settings, args.model_dir if evaluated else "")
    if path:
        print(f"Result: {path}")


def one_line(error: BaseException) -> str:
    """The message of an error; of one that came out of a data-loader worker, the last line of what it says."""
    text = str(error).strip() or type(error).__name__
    if "Traceback (most recent call last)" in text:
        text = text.splitlines()[-1].partition(": ")[2]
    return " ".join(text.split())


def report(program, *args) -> int:
    """Run a program; turn warnings, and what a user can put right, into one line each, and this into an exit code."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
            program(*args)
    except EXPECTED as error:
        if os.environ.get("MODPROMPT_TRACEBACK"):
            traceback.print_exc()
        message = f"error: {one_line(error)}"
        print(message, file=sys.stderr)
        if getattr(sys.stdout, "file", None) is not None:
            sys.stdout.file.write(message + "\n")
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on after the last whole epoch", file=sys.stderr)
        return 130
    return 0


def close_log(console) -> None:
    """Give standard output back to the console and close the log file behind Dassl's logger."""
    log, sys.stdout = sys.stdout, console
    if log is not console:
        log.close()


@left_as_found()
def main(argv: list[str] | None = None) -> int:
    """Exit code: 0, or 2 after one line on what is wrong (MODPROMPT_TRACEBACK=1 shows where), or 130."""
    args = parse_args(argv)
    console = sys.stdout
    try:
        return report(run, args)
    finally:
        close_log(console)
