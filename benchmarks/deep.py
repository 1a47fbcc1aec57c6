"""Compare training steps of methods that change layers with their repositories: time and peak memory on a CPU.

    python -m benchmarks.deep --mmrl DIR --mma DIR --clip-lora DIR --twosfs DIR --lightra DIR --tda DIR
    python -m benchmarks.deep --mmrl DIR --classes 5 50 1000

DIR is a checkout of the repository. Methods without a checkout are skipped. The default numbers of classes are 5 and
50. The settings and batch sizes are the published ones, with a CLIP of the shape of ViT-B/16, random weights and fp32.
CLIP-LoRA and 2SFS (TwoSFS is the first stage, TwoSFS 2 the second stage) run their own training loops; the other
methods run the training step of their trainers. benchmarks/pairs.py explains the measurement. LightRA has ten
artificial class descriptions per class. A step of TDA classifies 5,000 image features; modprompt processes them in
batches of 100.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.cases import class_names, vit_b16
from benchmarks.pairs import MOST, compared, flags, limit, on_a_cpu, our_step, row, seconds_of, stepping, told
from benchmarks.reference import as_it_is, import_from
from modprompt.compat import find as compat
from modprompt.io.records import parse_yaml
from modprompt.programs import report

TEMPLATE = "a photo of a {}."
LAYERS = list(range(6, 13))
STEPS, ROUNDS = 3, 3
IMAGES, WIDTH = 5000, 512  # of a test by TDA
_HELD: list[Any] = []  # the stage of a training that a process is in, as long as it lives
LORA_MOST = 1.1  # our time over theirs
BATCHES = {"MMRL": 4, "MMRLpp": 4, "MultiModalAdapter": 16, "CLIPLoRA": 32, "TwoSFS": 32, "TwoSFS 2": 32, "LightRA": 16}
READ = {"rep_layers": LAYERS, "template": TEMPLATE, "literal_scale": 100.0}
SETTINGS: dict[str, dict[str, Any]] = {
    "MMRL": READ,
    "MMRLpp": READ,
    "MultiModalAdapter": {
        "text_ctx_init": "a photo of a", "adapter_start": 5, "adapter_end": 12, "adapter_dim": 32,
        "adapter_scale": 0.001,
    },
    "CLIPLoRA": {"literal_scale": 100.0},
    "TwoSFS": {},
    "TwoSFS 2": {},
    "LightRA": {"cos_weight": 3.5, "loss_weight": 9.0},
}  # fmt: skip


def batch_of(method: str, classes: int) -> tuple[Tensor, Tensor]:
    """Images (B, 3, 224, 224) and labels (B,)."""
    torch.manual_seed(1)
    return torch.randn(BATCHES[method], 3, 224, 224), torch.arange(BATCHES[method]) % classes


@contextlib.contextmanager
def sentences(classes: int) -> Iterator[str]:
    """A file of ten sentences of each class."""
    of_class = [f"which has {n} parts that are easy to see, and a surface of its own" for n in range(10)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sentences.json"
        path.write_text(json.dumps(dict.fromkeys(class_names(classes), of_class)))
        yield str(path)


def ours(method: str, classes: int, path: str) -> Callable[[], None]:
    """A function that makes a step."""
    import modprompt

    name, _, second = method.partition(" ")
    more = {"sentences": path} if method == "LightRA" else {}
    model = getattr(modprompt, name)(**SETTINGS[method], **more).on(vit_b16(), class_names(classes)).train()
    model.limit_text()
    _HELD.append(model.in_stage(int(bool(second))))
    _HELD[0].__enter__()
    kind = torch.optim.SGD if method == "MultiModalAdapter" else torch.optim.AdamW
    optimiser = kind(model.parameter_groups(1e-3))
    return our_step(model, optimiser, batch_of(method, classes))


def _nodes(method: str, defaults: Any, path: str) -> Any:
    """The config of a trainer of Dassl's family."""
    from yacs.config import CfgNode

    cfg = defaults()
    cfg.MODEL.BACKBONE.NAME, cfg.DATASET.NAME, cfg.TASK = "ViT-B/16", "Caltech101", "B2N"
    read = {"ALPHA": 0.7, "REG_WEIGHT": 1.0, "REP_LAYERS": LAYERS, "REP_DIM": 512, "N_REP_TOKENS": 5, "PREC": "fp32"}
    cfg.TRAINER.MMRL = CfgNode(read)
    cfg.TRAINER.MMRLpp = CfgNode({**read, "BETA": 0.9, "PROJ_LORA_DIM": 64, "RES_LORA_DIM": 4})
    adapters = {key.upper(): value for key, value in SETTINGS["MultiModalAdapter"].items()}
    cfg.TRAINER.MMADAPTER = CfgNode({**adapters, "PREC": "fp32"})
    weights = {"COS_WEIGHT": 3.5, "LOSS_WEIGHT": 9, "VISION_DEPTH": 12, "TEXT_DEPTH": 12}
    cfg.TRAINER.LightRA = CfgNode({**weights, "N_CTX_VISION": 4, "N_CTX_TEXT": 4, "PREC": "fp32"})
    cfg.DATASET.PROMPT_PATH, cfg.DATASET.PROMPT_TEMPLATE = path, "A photo of a {},"
    cfg.OPTIM.NAME, cfg.OPTIM.LR = ("sgd" if method == "MultiModalAdapter" else "adamw"), 1e-3
    cfg.OPTIM.MAX_EPOCH = 5
    return cfg


def theirs_in_dassl(method: str, checkout: str, classes: int, path: str) -> Callable[[], None]:
    """A function that makes a step of a repository's trainer."""
    compat.add_to_path()
    from dassl.config import get_cfg_default  # before the checkout's own dassl, which is not whole in LightRA's

    module = {"MMRL": "mmrl", "MMRLpp": "mmrlpp", "MultiModalAdapter": "mmadapter", "LightRA": "lightra"}[method]
    state = vit_b16().state_dict()
    package = import_from(checkout, module)
    found = importlib.import_module(f"trainers.{module}")
    with mock.patch.object(package, "_download", return_value=""):
        cfg = _nodes(method, get_cfg_default, path)
        return stepping(getattr(found, method), cfg, classes, batch_of(method, classes), lambda _: state)


def theirs_alone(method: str, checkout: str, classes: int, steps: int) -> list[float]:
    """Seconds of `steps` steps of CLIP-LoRA's or 2SFS's own loop: from one loss to the next."""
    sys.path.insert(0, str(Path(checkout).resolve()))
    for name in [one for one in sys.modules if one.partition(".")[0] in ("clip", "utils", "datasets", "fs")]:
        del sys.modules[name]
    clip, loop = (importlib.import_module(name) for name in ("clip", "lora" if method == "CLIPLoRA" else "fs.twostage"))
    at: list[float] = []

    def ids(names: list[str]) -> Tensor:  # its own function asks for a GPU
        made: Tensor = clip.tokenize([TEMPLATE.format(name) for name in names])
        return made

    def entropy(logits: Tensor, target: Tensor) -> Tensor:
        at.append(time.perf_counter())
        return nn.functional.cross_entropy(logits, target)

    images, labels = batch_of(method, classes)
    few = [(images[:1], labels[:1])]
    data = SimpleNamespace(template=[TEMPLATE], classnames=class_names(classes))
    args = SimpleNamespace(
        encoder="both", params=["q", "k", "v"], position="all", r=2, alpha=1, dropout_rate=0.25, lr=2e-4, shots=1,
        n_iters=steps + 2, backbone="ViT-B/16", save_path=None, eval_only=False,
        peft="ln", ln_modality="both", ln_text_start=0, ln_vision_start=0, n_iters_frac=float(method == "TwoSFS"),
        wd=0.01, debug=False, setting="standard",
    )  # fmt: skip
    state = vit_b16().state_dict()
    with on_a_cpu(lambda _: state), mock.patch.object(clip.clip, "_download", return_value=""):
        model, _ = clip.load("ViT-B/16", "cpu")
        functions = SimpleNamespace(cross_entropy=entropy)
        accuracy = mock.patch.object(loop, "cls_acc", return_value=0.0)
        texts = mock.patch.object(loop, "tokenize_texts", lambda template, classnames: ids(classnames), create=True)
        with mock.patch.object(loop, "F", functions), accuracy, texts, contextlib.redirect_stdout(None):
            run = loop.run_lora if method == "CLIPLoRA" else loop.run_twostage
            run(args, model.float(), 100, data, [(images, labels)] * (steps + 2), few, few)
    return [after - before for before, after in zip(at[1:], at[2:])]  # the first is slower


def tests_of_features(checkout: str, classes: int) -> Callable[[], None]:
    """A function that answers all images of a test by TDA's caches."""
    from modprompt import TDA

    torch.manual_seed(1)
    images, text = (F.normalize(torch.randn(count, WIDTH), dim=1) for count in (IMAGES, classes))
    if not checkout:
        head, scale = TDA().head(class_names(classes), WIDTH), torch.tensor(100.0)

        def ours() -> None:
            answer = head.begin()
            for batch in images.split(100):
                answer(batch, text, scale)

        return torch.no_grad()(ours)
    sys.path.insert(0, str(Path(checkout).resolve()))
    sys.modules["wandb"] = mock.MagicMock()
    program = importlib.import_module("tda_runner")
    vars(program)["cls_acc"] = lambda logits, label: 0.0  # its own takes an array for a number
    config = parse_yaml(Path(checkout, "configs/imagenet.yaml").read_text())
    clip = SimpleNamespace(encode_image=torch.clone)

    def theirs() -> None:
        on_cpu = mock.patch.object(Tensor, "cuda", as_it_is), mock.patch.object(Tensor, "half", Tensor.float)
        with on_cpu[0], on_cpu[1], contextlib.redirect_stdout(None):
            each = [(one[None], torch.zeros(1)) for one in images]
            program.run_test_tda(config["positive"], config["negative"], each, clip, text.t())

    return theirs


def measure(method: str, classes: int, checkout: str) -> list[float]:
    """Seconds of steps."""
    if method == "TDA":
        return seconds_of(tests_of_features(checkout, classes), STEPS, time.perf_counter)
    if checkout and method.partition(" ")[0] in ("CLIPLoRA", "TwoSFS"):
        return theirs_alone(method, checkout, classes, STEPS)
    with sentences(classes) as path:
        step = theirs_in_dassl(method, checkout, classes, path) if checkout else ours(method, classes, path)
    return seconds_of(step, STEPS, time.perf_counter)


def rows(args: argparse.Namespace) -> Iterator[tuple[str, bool]]:
    """A row for each method with a checkout and number of classes."""
    checkouts = {"MMRL": args.mmrl, "MMRLpp": args.mmrl, "MultiModalAdapter": args.mma, "CLIPLoRA": args.clip_lora}
    checkouts.update(dict.fromkeys(("TwoSFS", "TwoSFS 2"), args.twosfs))
    checkouts.update(LightRA=args.lightra, TDA=args.tda)
    for method, checkout in checkouts.items():
        for classes in args.classes if checkout else ():
            case = method, classes, str(Path(checkout).resolve())
            yield row("benchmarks.deep", case, args.rounds, LORA_MOST if method == "CLIPLoRA" else MOST)


def run(args: argparse.Namespace) -> int:
    """Print the table; 1 if a bound does not hold."""
    return compared(rows(args), f"time and memory ratios are at most {MOST} (time of CLIP-LoRA: {LORA_MOST})")


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 if all bounds hold, 1 if not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags(parser, ("mmrl", "mma", "clip-lora", "twosfs", "lightra", "tda"), ROUNDS)
    args = parser.parse_args(argv)
    if args.one:
        limit()
        print(told(measure(*json.loads(args.one))))
        return 0
    return report(run, args)


if __name__ == "__main__":
    sys.exit(main())
