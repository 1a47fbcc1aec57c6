"""A training step of methods that reach into layers, against their repositories: time and peak memory, on a CPU.

    python -m benchmarks.deep --mmrl DIR --mma DIR --clip-lora DIR          checkouts; what has none is left out
    python -m benchmarks.deep --mmrl DIR --classes 5 50 1000                 5 and 50 are what it does without

Published settings and batch, a CLIP of ViT-B/16's shape with random weights, fp32. Each measurement is a process of its
own, both sides in turn. MMRL's and MMA's trainers run their own step, CLIP-LoRA its own loop; in these processes
`.half()` and `.cuda()` do nothing. A side that ends for lack of memory is said so.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Iterator
from unittest import mock

import torch
from torch import Tensor, nn

from benchmarks.cases import class_names, vit_b16
from benchmarks.reference import as_it_is, import_from
from modprompt.compat import find as compat
from modprompt.programs import report

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = "a photo of a {}."
LAYERS = list(range(6, 13))
STEPS, ROUNDS = 3, 3
LORA_MOST, MOST = 1.1, 1.0  # of ours over theirs
BATCHES = {"MMRL": 4, "MMRLpp": 4, "MultiModalAdapter": 16, "CLIPLoRA": 32}
READ = {"rep_layers": LAYERS, "template": TEMPLATE, "literal_scale": 100.0}
SETTINGS: dict[str, dict[str, Any]] = {
    "MMRL": READ,
    "MMRLpp": READ,
    "MultiModalAdapter": {
        "text_ctx_init": "a photo of a", "adapter_start": 5, "adapter_end": 12, "adapter_dim": 32,
        "adapter_scale": 0.001,
    },
    "CLIPLoRA": {"literal_scale": 100.0},
}  # fmt: skip


def batch_of(method: str, classes: int) -> tuple[Tensor, Tensor]:
    """Images (B, 3, 224, 224) and labels (B,)."""
    torch.manual_seed(1)
    return torch.randn(BATCHES[method], 3, 224, 224), torch.arange(BATCHES[method]) % classes


def ours(method: str, classes: int) -> Callable[[], None]:
    """A function that does a step."""
    import modprompt
    from modprompt.engine.memory import keep_freed_memory

    keep_freed_memory()
    model = getattr(modprompt, method)(**SETTINGS[method]).on(vit_b16(), class_names(classes)).train()
    model.limit_text()
    kind = torch.optim.SGD if method == "MultiModalAdapter" else torch.optim.AdamW
    optimiser = kind(model.parameter_groups(1e-3))
    images, labels = batch_of(method, classes)

    def step() -> None:
        optimiser.zero_grad()
        model.loss(images, labels).backward()
        optimiser.step()

    return step


@contextlib.contextmanager
def on_a_cpu(state: dict[str, Tensor]) -> Iterator[None]:
    """What the repositories ask of a card does nothing, and what they load are these weights."""
    with contextlib.ExitStack() as stack:
        for kind, name in ((Tensor, "half"), (nn.Module, "half"), (Tensor, "cuda"), (nn.Module, "cuda")):
            stack.enter_context(mock.patch.object(kind, name, as_it_is))
        stack.enter_context(mock.patch("torch.jit.load", side_effect=RuntimeError))
        stack.enter_context(mock.patch("torch.load", side_effect=lambda *_, **__: dict(state)))
        yield


def _nodes(method: str, defaults: Any) -> Any:
    """The config of a trainer of Dassl's family."""
    from yacs.config import CfgNode

    cfg = defaults()
    cfg.MODEL.BACKBONE.NAME, cfg.DATASET.NAME, cfg.TASK = "ViT-B/16", "Caltech101", "B2N"
    read = {"ALPHA": 0.7, "REG_WEIGHT": 1.0, "REP_LAYERS": LAYERS, "REP_DIM": 512, "N_REP_TOKENS": 5, "PREC": "fp32"}
    cfg.TRAINER.MMRL = CfgNode(read)
    cfg.TRAINER.MMRLpp = CfgNode({**read, "BETA": 0.9, "PROJ_LORA_DIM": 64, "RES_LORA_DIM": 4})
    adapters = {key.upper(): value for key, value in SETTINGS["MultiModalAdapter"].items()}
    cfg.TRAINER.MMADAPTER = CfgNode({**adapters, "PREC": "fp32"})
    cfg.OPTIM.NAME, cfg.OPTIM.LR = ("sgd" if method == "MultiModalAdapter" else "adamw"), 1e-3
    cfg.OPTIM.MAX_EPOCH = 5
    return cfg


def theirs_in_dassl(method: str, checkout: str, classes: int) -> Callable[[], None]:
    """A function that does a step of a repository's trainer."""
    compat.add_to_path()
    module = {"MMRL": "mmrl", "MMRLpp": "mmrlpp", "MultiModalAdapter": "mmadapter"}[method]
    state = vit_b16().state_dict()
    package = import_from(checkout, module)
    from dassl.config import get_cfg_default

    found = importlib.import_module(f"trainers.{module}")
    trainer: Any = object.__new__(getattr(found, method))
    trainer._models, trainer._optims, trainer._scheds = {}, {}, {}
    trainer.cfg, trainer.device = _nodes(method, get_cfg_default), torch.device("cpu")
    trainer.dm = SimpleNamespace(dataset=SimpleNamespace(classnames=class_names(classes)), num_classes=classes)
    trainer.batch_idx, trainer.num_batches = 0, 1 << 30
    with on_a_cpu(state), mock.patch.object(package, "_download", return_value=""), contextlib.redirect_stdout(None):
        trainer.build_model()
    images, labels = batch_of(method, classes)
    trainer.set_model_mode("train")

    def step() -> None:
        with on_a_cpu(state):
            trainer.forward_backward({"img": images, "label": labels})

    return step


def theirs_alone(checkout: str, classes: int, steps: int) -> list[float]:
    """Seconds of so many steps of CLIP-LoRA's own loop: from one loss to the next."""
    sys.path.insert(0, str(Path(checkout).resolve()))
    for name in [one for one in sys.modules if one.partition(".")[0] in ("clip", "utils", "datasets")]:
        del sys.modules[name]
    clip, lora = (importlib.import_module(name) for name in ("clip", "lora"))
    at: list[float] = []

    def entropy(logits: Tensor, target: Tensor) -> Tensor:
        at.append(time.perf_counter())
        return nn.functional.cross_entropy(logits, target)

    images, labels = batch_of("CLIPLoRA", classes)
    few = [(images[:1], labels[:1])]
    data = SimpleNamespace(template=[TEMPLATE], classnames=class_names(classes))
    args = SimpleNamespace(
        encoder="both", params=["q", "k", "v"], position="all", r=2, alpha=1, dropout_rate=0.25, lr=2e-4, shots=1,
        n_iters=steps + 2, backbone="ViT-B/16", save_path=None, eval_only=False,
    )  # fmt: skip
    with on_a_cpu(vit_b16().state_dict()), mock.patch.object(clip.clip, "_download", return_value=""):
        model, _ = clip.load("ViT-B/16", "cpu")
        functions = SimpleNamespace(cross_entropy=entropy)
        accuracy = mock.patch.object(lora, "cls_acc", return_value=0.0)
        with mock.patch.object(lora, "F", functions), accuracy, contextlib.redirect_stdout(None):
            lora.run_lora(args, model.float(), 100, data, [(images, labels)] * (steps + 2), few, few)
    return [after - before for before, after in zip(at[1:], at[2:])]  # the first is slower


def measure(method: str, classes: int, checkout: str) -> dict[str, Any]:
    """Seconds of steps, and peak memory of this process in GiB."""
    if checkout and method == "CLIPLoRA":
        seconds = theirs_alone(checkout, classes, STEPS)
    else:
        step = theirs_in_dassl(method, checkout, classes) if checkout else ours(method, classes)
        step()
        seconds = []
        for _ in range(STEPS):
            start = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - start)
    return {"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def in_a_process(method: str, classes: int, checkout: str) -> dict[str, Any] | None:
    """`measure` in a process of its own; None if memory did not suffice."""
    words = [sys.executable, "-W", "ignore", "-m", "benchmarks.deep", "--one", json.dumps([method, classes, checkout])]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    lines = done.stderr.strip().splitlines()
    if done.returncode in (-9, 137) or (done.returncode and "allocate memory" in lines[-1]):
        return None
    if done.returncode:
        raise RuntimeError(f"{method}, {classes} classes, {checkout or 'ours'}: {lines[-1:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def row(method: str, classes: int, checkout: str, rounds: int) -> tuple[str, bool]:
    """A row of the table, and whether what is asked for holds."""
    sides: dict[str, list[dict[str, Any] | None]] = {"": [], checkout: []}
    for _ in range(rounds):
        for side, found in sides.items():
            found.append(in_a_process(method, classes, side))
    told = []
    for found in sides.values():
        done = [one for one in found if one is not None]
        seconds = [one for each in done for one in each["seconds"]]
        told.append((statistics.median(seconds), max(one["peak"] for one in done)) if done else None)
    mine, theirs = told
    words = ["no memory" if one is None else f"{one[0]:.2f} s, {one[1]:.2f} GiB" for one in told]
    if mine is None or theirs is None:
        return f"| {method} | {classes} | {words[0]} | {words[1]} | - | - |", mine is not None
    time_ratio, memory = mine[0] / theirs[0], mine[1] / theirs[1]
    holds = time_ratio <= (LORA_MOST if method == "CLIPLoRA" else MOST) and memory <= MOST
    return f"| {method} | {classes} | {words[0]} | {words[1]} | {time_ratio:.2f} | {memory:.2f} |", holds


def run(args: argparse.Namespace) -> int:
    """Print the table; 1 if something that is asked for does not hold."""
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, ViT-B/16's size\n")
    print("| method | classes | ours | theirs | time, ours / theirs | peak memory |")
    print("| --- | ---: | --- | --- | ---: | ---: |")
    checkouts = {"MMRL": args.mmrl, "MMRLpp": args.mmrl, "MultiModalAdapter": args.mma, "CLIPLoRA": args.clip_lora}
    every = True
    for method, checkout in checkouts.items():
        for classes in args.classes if checkout else ():
            text, holds = row(method, classes, str(Path(checkout).resolve()), args.rounds)
            every &= holds
            print(text, flush=True)
    print(f"\nasked: time and memory at most {MOST}, CLIP-LoRA's time {LORA_MOST}: {'held' if every else 'NOT HELD'}")
    return 0 if every else 1


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 if what is asked for holds, 1 if not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("mmrl", "mma", "clip-lora"):
        parser.add_argument(f"--{name}", default="", help="a checkout of its repository")
    parser.add_argument("--classes", nargs="+", type=int, default=(5, 50))
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of both sides, three steps each")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.one:
        print(json.dumps(measure(*json.loads(args.one))))
        return 0
    return report(run, args)


if __name__ == "__main__":
    sys.exit(main())
