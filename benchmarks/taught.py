"""Compare training steps of DePT, PromptKD, KDPL and HiCroPL with their repositories: time and peak memory on a CPU.

    python -m benchmarks.taught --dept DIR --promptkd DIR --kdpl DIR --hicropl DIR
    python -m benchmarks.taught --dept DIR --classes 5 50 1000 --most 300           limits each side to 300 CPU seconds

DIR is a checkout of the repository. Methods without a checkout are skipped. The settings are the published ones. The
batch sizes are 4 images for DePT on CoOp, 8 for PromptKD, 32 for KDPL on CoOp and for HiCroPL (--batch sets another).
The CLIPs have the shape of ViT-B/16 (the teacher of PromptKD: ViT-L/14), random weights and fp32. Trainers run their
own training step; benchmarks/pairs.py explains the measurement. Seconds are CPU time, so that other programs have
little influence.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from benchmarks.cases import class_names, vit_b16
from benchmarks.pairs import MOST, compared, flags, limit, our_step, row, seconds_of, stepping, told
from benchmarks.reference import import_from
from modprompt.clip.package import import_clip
from modprompt.clip.towers import CLIP
from modprompt.compat import find as compat
from modprompt.programs import report

STEPS, ROUNDS = 2, 1
WORDS = "a photo of a"
BATCHES = {"DePT": 4, "PromptKD": 8, "KDPL": 32, "HiCroPL": 32}
OPTIMISERS: dict[str, dict[str, Any]] = {
    "DePT": {"LR": 0.0035, "STAGED_LR": True, "NEW_LAYERS": ["linear_probe", "film"], "BASE_LR_MULT": 1.0},
    "PromptKD": {"LR": 0.005},
    "KDPL": {"LR": 0.002},
    "HiCroPL": {"NAME": "adam", "LR": 0.0025},
}


def vit_l14() -> CLIP:
    """A CLIP of ViT-L/14's shape with random weights."""
    import_clip()
    torch.manual_seed(1)
    made: CLIP = importlib.import_module("clip.model").CLIP(768, 224, 24, 1024, 14, 77, 49408, 768, 12, 12)
    return made.eval().requires_grad_(False)


def batch_of(count: int, classes: int) -> tuple[Tensor, Tensor]:
    """Images (B, 3, 224, 224) and labels (B,)."""
    torch.manual_seed(1)
    return torch.randn(count, 3, 224, 224), torch.arange(count) % classes


# ------------------------------ ours


def _taught(kind: Any, teacher: CLIP, method: Any, **settings: Any) -> Any:
    from modprompt.methods.parts.teachers import Teacher

    made = Teacher(teacher, method, None, "", "random", "")
    return kind(teacher_ckpt="none", **settings).replace_private(teacher=made)


def _method(method: str) -> Any:
    import modprompt
    from modprompt.methods.parts.teachers import PUBLISHED

    if method == "DePT":
        return modprompt.DePT().over(modprompt.CoOp(n_ctx=16, ctx_init=""))
    if method == "KDPL":
        return _taught(modprompt.KDPL, vit_b16(), modprompt.ZeroshotCLIP()).over(
            modprompt.CoOp(n_ctx=4, ctx_init=WORDS)
        )
    if method == "PromptKD":
        return _taught(modprompt.PromptKD, vit_l14(), PUBLISHED, kd_weight=1000.0)
    return modprompt.HiCroPL(n_ctx=16, prompt_depth=12, cross_layer=6, lambd=12.0, sentences="template")


def ours(method: str, classes: int, batch: int) -> Callable[[], None]:
    """A function that makes a step."""
    model = _method(method).on(vit_b16(), class_names(classes), dataset="Caltech101").train()
    model.limit_text()
    groups, rate = model.parameter_groups(1e-3), OPTIMISERS[method]["LR"]
    optimiser = torch.optim.Adam(groups, rate) if method == "HiCroPL" else torch.optim.SGD(groups, rate, momentum=0.9)
    return our_step(model, optimiser, batch_of(batch, classes))


# ------------------------------ theirs


def _nodes(method: str, defaults: Any) -> Any:
    """The config of a repository's trainer."""
    from yacs.config import CfgNode

    cfg = defaults()
    cfg.MODEL.BACKBONE.NAME, cfg.DATASET.NAME = "ViT-B/16", "Caltech101"
    cfg.DATASET.SUBSAMPLE_CLASSES = "base" if method == "DePT" else "all"
    coop = {"CSC": False, "CLASS_TOKEN_POSITION": "end", "PREC": "fp32"}
    nodes: dict[str, dict[str, Any]] = {
        "DePT": {
            "COOP": {**coop, "N_CTX": 16, "CTX_INIT": ""},
            "LINEAR_PROBE": {"TYPE": "linear", "WEIGHT": 0.7, "TEST_TIME_FUSION": True},
            "FILM": {"LINEAR_PROBE": True},
        },
        "KDPL": {
            "COOP": {**coop, "N_CTX": 4, "CTX_INIT": WORDS},
            "KDPL": {"TEACHER": "ViT-H-14-quickgelu", "CLASS_AGNOSTIC": False, "K_MAX": 1000, "PREC": "fp32"},
        },
        "PromptKD": {
            "PROMPTKD": {
                "N_CTX_VISION": 4, "N_CTX_TEXT": 4, "CTX_INIT": WORDS, "PREC": "fp32", "PROMPT_DEPTH_VISION": 9,
                "PROMPT_DEPTH_TEXT": 9, "TEMPERATURE": 1.0, "KD_WEIGHT": 1000.0, "TEACHER_NAME": "ViT-L/14",
            },
        },
        "HiCroPL": {
            "HICROPL": {
                "N_CTX": 16, "CROSS_LAYER": 6, "CTX_INIT": WORDS, "PREC": "fp32", "PROMPT_DEPTH": 12,
                "TEACHER_NAME": "ViT-B/16", "LAMBD": 12.0,
            },
            "IVLP": {"PREC": "fp32"},
        },
    }  # fmt: skip
    cfg.TRAINER.NAME, cfg.TRAINER.MODAL = method, "cross"
    cfg.TRAINER.NAMES_TO_UPDATE = ["prompt_learner", "linear_probe", "film"]
    for name, node in nodes[method].items():
        cfg.TRAINER[name] = CfgNode(node)
    for key, value in {"NAME": "sgd", "MAX_EPOCH": 10, "LR_EXP": 6.5, **OPTIMISERS[method]}.items():
        cfg.OPTIM[key] = value
    return cfg


def _sentences(classes: int) -> None:
    """HiCroPL's file of sentences, in this folder."""
    Path("gpt_file").mkdir()
    Path("gpt_file/caltech_prompt.json").write_text(
        json.dumps({name: [f"a photo of a {name}."] for name in class_names(classes)})
    )


def _stand_ins(clip: Any, state: Mapping[str, Tensor]) -> None:
    """Substitutes for their other imports; KDPL's teacher comes from open_clip."""

    def create(*_: Any, **__: Any) -> tuple[Any, None, None]:
        depths = dict.fromkeys(("vision_depth", "language_depth", "vision_ctx", "language_ctx"), 0)
        return clip.build_model(dict(state), {"trainer": "CoOp", **depths}), None, None

    for name in ("plotnine", "pandas", "open_clip", "dassl.optim.radam"):
        sys.modules.setdefault(name, ModuleType(name))
    sys.modules["open_clip"].__dict__["create_model_and_transforms"] = create
    for name, lacks in (("dassl.engine.trainer", "SummaryWriter"), ("dassl.optim.radam", "RAdam")):  # of a small Dassl
        importlib.import_module(name).__dict__.setdefault(lacks, None)


def theirs(method: str, checkout: str, classes: int, batch: int) -> Callable[[], None]:
    """A function that makes a step of a repository's trainer, in a folder that is removed when the process ends."""
    root = Path(checkout) / "src" if method == "KDPL" else Path(checkout)
    module, name = {
        "DePT": ("elp_coop", "ExtrasLinearProbeCoOp"),
        "PromptKD": ("promptkd", "PromptKD"),
        "KDPL": ("coop_kdpl", "CoOp_KDPL"),
        "HiCroPL": ("hicropl", "HiCroPL"),
    }[method]
    students = vit_b16().state_dict()
    teachers = vit_l14().state_dict() if method == "PromptKD" else students
    compat.add_to_path()
    from dassl.config import get_cfg_default

    clip = import_from(str(root), module)
    _stand_ins(clip, students)
    found = importlib.import_module(f"trainers.{module}")
    found.__dict__["load_checkpoint"] = lambda _: {"state_dict": {}}  # a teacher's prompts stay random
    _sentences(classes)

    def weights(path: str) -> Mapping[str, Tensor]:
        return teachers if "L-14" in path else students

    with mock.patch.object(clip, "_download", return_value=""):
        cfg = _nodes(method, get_cfg_default)
        return stepping(getattr(found, name), cfg, classes, batch_of(batch, classes), weights)


# ------------------------------ both


def measure(method: str, classes: int, checkout: str, batch: int, steps: int) -> list[float]:
    """CPU seconds of steps."""
    if not checkout:
        return seconds_of(ours(method, classes, batch), steps, time.process_time)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            return seconds_of(theirs(method, checkout, classes, batch), steps, time.process_time)
        finally:
            os.chdir("/")


def rows(args: argparse.Namespace) -> Iterator[tuple[str, bool]]:
    """A row for each method with a checkout and number of classes."""
    checkouts = {"DePT": args.dept, "PromptKD": args.promptkd, "KDPL": args.kdpl, "HiCroPL": args.hicropl}
    for method, checkout in checkouts.items():
        for classes in args.classes if checkout else ():
            case = method, classes, str(Path(checkout).resolve()), args.batch or BATCHES[method], args.steps
            yield row("benchmarks.taught", case, args.rounds, most_s=args.most)


def run(args: argparse.Namespace) -> int:
    """Print the table; 1 if a bound does not hold."""
    return compared(rows(args), f"CPU time and memory are at most {MOST} times those of the repository")


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 if all bounds hold, 1 if not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags(parser, ("dept", "promptkd", "kdpl", "hicropl"), ROUNDS)
    parser.add_argument(
        "--steps",
        type=int,
        default=STEPS,
        help="steps per measurement after a warm-up step; 0 measures the first step (default: %(default)s)",
    )
    parser.add_argument("--batch", type=int, default=0, help="batch size (default: the published batch size)")
    parser.add_argument(
        "--most",
        type=int,
        default=0,
        help="limit of CPU seconds for each side of a case; 0 means no limit (default: 0)",
    )
    args = parser.parse_args(argv)
    if args.one:
        limit(args.most)
        print(told(measure(*json.loads(args.one))))
        return 0
    return report(run, args)


if __name__ == "__main__":
    sys.exit(main())
