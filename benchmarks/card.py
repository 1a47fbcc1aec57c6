"""Check on a GPU that losses, kernel launches, time and memory of training steps meet their bounds, and write a table.

    make card                                   runs the quick cases
    make card FULL=1                            runs more numbers of classes
    python -m benchmarks.card --reference DIR   compares with a checkout of the official MPL repository, too
    python -m benchmarks.card --only losses     runs one type of cases: losses, or steps (time, memory, launches, waits)
    python -m benchmarks.card --dry-run         runs all cases with tiny sizes on a CPU; its numbers have no meaning

The cases use random weights of the size of ViT-B/16, batches of 4 images (1 for CoCoOp) and PREC fp16. Losses are also
compared with a CPU in fp32. modprompt ("ours") is compared with benchmarks/plain.py and with the official code. The
table is written to benchmarks/results/. The exit code is 1 if a bound does not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import functools
import gc
import platform
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.benchmark import Timer
from tqdm import tqdm

from benchmarks.cases import class_names, random_clip
from benchmarks.plain import PlainCLIP
from benchmarks.reference import PUBLISHED, reference_model, require_checkout
from modprompt.clip.cast import cast_products
from modprompt.clip.towers import CLIP
from modprompt.engine import precision
from modprompt.errors import UserError
from modprompt.io.files import write_whole
from modprompt.methods.model import PromptedModel
from modprompt.methods.records import view_of
from modprompt.methods.table import row_of
from modprompt.programs import one_line, report

RESULTS = Path(__file__).parent / "results"
HEADING = "| quantity | required | measured | | values of both sides |\n| --- | --- | ---: | --- | --- |"
METHODS: dict[str, dict[str, Any]] = {  # their published settings where they are no defaults
    "MPL": {"n_ctx": 1},
    "MaPLe": {},
    "CoOp": {},
    "CoCoOp": {"ctx_init": "a photo of a"},
    "PromptSRC": {},
}
DEPTHS = {"MPL": ["prompt_depth"], "MaPLe": ["prompt_depth"], "PromptSRC": ["prompt_depth_text", "prompt_depth_vision"]}
KINDS = ("losses", "steps")
OURS, AGAIN, PLAIN, OFFICIAL = "ours", "ours once more", "plain", "official"
BOUNDS = {"ms": 1.03, "launches": 0.75, "peak MiB": 1.0}  # ours over another side
LAUNCH, WAIT = ("cudaLaunchKernel", "cuLaunchKernel"), "called a synchronizing"  # the latter is PyTorch's warning


class Place(NamedTuple):
    """Where cases run: the device, a checkout of the official repository or "", and whether it is a dry run."""

    device: torch.device
    reference: str
    dry_run: bool


Step = Callable[[Tensor, Tensor], Tensor]  # one of training on images (B, 3, H, W) and labels (B,); gives the loss


class Row(NamedTuple):
    """A row: the figure, its bound or "", its value, whether it holds (None: no bound), and what it comes from."""

    figure: str
    asked: str
    measured: str
    holds: bool | None
    detail: str = ""

    def __str__(self) -> str:
        verdict = {True: "met", False: "NOT MET", None: ""}[self.holds]
        return f"| {self.figure} | {self.asked} | {self.measured} | {verdict} | {self.detail} |"


@functools.cache
def _clip(dry_run: bool) -> CLIP:
    clip_model = random_clip(2, 32) if dry_run else random_clip()
    cast_products(clip_model, torch.float16)  # and back: OpenAI's matrices are exact in half precision
    return clip_model.float()


def build(name: str, method: str, classes: int, prec: str, place: Place) -> Step:
    """A step of a side of a method; all begin with the same CLIP and the same prompts."""
    clip_model, half = copy.deepcopy(_clip(place.dry_run)), precision.resolve(prec, place.device).half_weights
    if half:
        cast_products(clip_model, torch.float16)
    depth, names = 2 if place.dry_run else 9, class_names(classes)
    torch.manual_seed(1)
    settings = {**METHODS[method], **dict.fromkeys(DEPTHS.get(method, ()), depth)}
    model: PromptedModel = row_of(method).method(**settings).on(clip_model, names)
    learner: Any = model.prompt_learner
    loss: Step
    if name == OURS:
        model.to(place.device).cast(prec)
        model.limit_text()
        loss = model.loss
    elif name == PLAIN:
        learner.cast(torch.float16 if half else torch.float32)
        plain = PlainCLIP(learner, model.clip_model, names).to(place.device)
        loss = lambda images, labels: F.cross_entropy(plain(images).float(), labels)  # noqa: E731
    else:
        prompts, weights = view_of(model.method, learner).state_dict(), _clip(place.dry_run).state_dict()
        kind, size = ("fp32", 32) if place.dry_run else (prec, 224)
        with contextlib.redirect_stdout(None):
            loss = reference_model(place.reference, weights, names, method, kind, size, depth)
        learner = loss.to(place.device).get_submodule("prompt_learner")
        with torch.no_grad():
            for key, parameter in learner.named_parameters():
                parameter.copy_(prompts[key] if key in prompts else prompts[f"prompt_learner.{key}"])
    optimiser = torch.optim.SGD(learner.parameters(), lr=0.0035, momentum=0.9, weight_decay=5e-4)

    def step(images: Tensor, labels: Tensor) -> Tensor:
        found = loss(images, labels)
        optimiser.zero_grad()
        found.backward()
        optimiser.step()
        return found.detach() if name == OURS else torch.tensor(found.item())  # published trainers read every loss

    return step


def others(method: str, place: Place) -> list[str]:
    """The sides that ours is compared with."""
    return ([PLAIN, *([OFFICIAL] if place.reference else [])]) if method in PUBLISHED else []


def batch(method: str, classes: int, place: Place, number: int = 0) -> tuple[Tensor, Tensor]:
    """Images (B, 3, H, W) and labels (B,), the same for every side and device."""
    draws, count = torch.Generator().manual_seed(number), 1 if method == "CoCoOp" else 4
    size = 32 if place.dry_run else 224
    images = torch.randn(count, 3, size, size, generator=draws)
    return images.to(place.device), torch.randint(classes, (count,), generator=draws).to(place.device)


def losses(method: str, prec: str, place: Place) -> Iterator[Row]:
    """Losses of some steps: ours once more, a CPU's in fp32, the other sides' in fp16."""
    count, curves = 3 if place.dry_run else 20, {}
    cpu = place._replace(device=torch.device("cpu"))
    sides = {OURS: place, AGAIN: place}
    sides |= {"a CPU": cpu} if prec == "fp32" else dict.fromkeys(others(method, place), place)
    for name, where in sides.items():
        step = build(name if name in (PLAIN, OFFICIAL) else OURS, method, 5, prec, where)
        curves[name] = [float(step(*batch(method, 5, where, number))) for number in range(count)]
    for name in [name for name in curves if name != OURS]:
        apart = (torch.tensor(curves[OURS]) - torch.tensor(curves[name])).abs().max().item()  # NaN does not hold
        most = 0 if name == AGAIN else {"fp32": 1e-3, "fp16": 1e-2}[prec]
        figure = f"losses of {count} steps, {method}, {prec}: apart from {name}, at most"
        yield Row(figure, f"<= {most:g}", f"{apart:.1e}", apart <= most, f"ours end at {curves[OURS][-1]:.4f}")


def figures(step: Step, inputs: tuple[Tensor, Tensor], place: Place) -> dict[str, float]:
    """Of a side's step: launches, waits, peak memory and milliseconds; a dry run has the last alone."""
    timer = Timer("step(*inputs)", globals={"step": step, "inputs": inputs})
    found = {"ms": 1000 * timer.blocked_autorange(min_run_time=0.01 if place.dry_run else 1).median}
    if place.dry_run:
        return found
    torch.cuda.reset_peak_memory_stats()
    step(*inputs)
    found["peak MiB"] = torch.cuda.max_memory_allocated() / 2**20
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        step(*inputs)
        torch.cuda.synchronize()
    found["launches"] = sum(event.name.startswith(LAUNCH) for event in seen.events() or [])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        step(*inputs)
        torch.cuda.set_sync_debug_mode("default")
    return {**found, "waits": sum(WAIT in str(one.message) for one in said)}


def steps(method: str, classes: int, place: Place) -> Iterator[Row]:
    """All of them, ours over each other side's; a side that does not fit into memory is named."""
    found: dict[str, dict[str, float]] = {}
    what = f"{method}, {classes} classes, fp16"
    for name in [OURS, *others(method, place)]:
        gc.collect()
        try:
            found[name] = figures(build(name, method, classes, "fp16", place), batch(method, classes, place), place)
        except torch.OutOfMemoryError as error:
            yield Row(f"{what}: {name}", "", "does not fit", False if name == OURS else None, one_line(error)[:80])
    own = found.pop(OURS, {})
    if "waits" in own:
        yield Row(f"waits of a step, {what}: ours", "0", f"{own['waits']:.0f}", own["waits"] == 0)
    for name, other in found.items():
        for unit, most in BOUNDS.items():
            if unit in own:
                ratio, judged = own[unit] / other[unit], not place.dry_run and (name == OFFICIAL or unit != "launches")
                holds, bound = (ratio <= most, f"<= {most:g}") if judged else (None, "")
                figure = f"{unit} of a step, {what}: ours / {name}"
                yield Row(figure, bound, f"{ratio:.2f}", holds, f"{own[unit]:.4g} / {other[unit]:.4g}")


def cases(full: bool, dry_run: bool) -> Iterator[tuple[str, Callable[[Place], Iterator[Row]]]]:
    """Kind and function of each case."""
    for prec in ("fp32", "fp16"):
        for method in METHODS:
            yield "losses", functools.partial(losses, method, prec)
    for classes in (3,) if dry_run else (50, 1000, 5, 200) if full else (50, 1000):
        for method in METHODS:
            yield "steps", functools.partial(steps, method, classes)


def run(args: argparse.Namespace, outcome: list[int]) -> None:
    """Run the cases, print each row as it comes, and write the table."""
    if not args.dry_run and not torch.cuda.is_available():
        raise UserError("PyTorch finds no GPU on this machine. Use --dry-run to run all cases on a CPU.")
    place = Place(torch.device("cpu" if args.dry_run else "cuda"), args.reference, args.dry_run)
    if args.reference:
        require_checkout(args.reference)
    precision.set_products()
    name = "NO GPU (dry run)" if args.dry_run else torch.cuda.get_device_name()
    head = f"{name}, CUDA {torch.version.cuda}, torch {torch.__version__}, python {platform.python_version()}"
    chosen = [case for kind, case in cases(args.full, args.dry_run) if kind in args.only]
    rows: list[Row] = []
    for case in tqdm(chosen, file=sys.stderr):
        try:
            found = list(case(place))
        except RuntimeError as error:  # one case's fault is a row, the others go on
            found = [Row(str(case), "it ends", "failed", False, one_line(error)[:200])]
        rows += found
        tqdm.write("\n".join(map(str, found)), file=sys.stdout)
        text = "\n".join([head, "", HEADING, *map(str, rows), ""])
        write_whole(RESULTS / ("card-dry-run.md" if args.dry_run else "card.md"), text)
    outcome.append(1 if any(row.holds is False for row in rows) else 0)


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0, 1 if a bound does not hold, 2 after a message on what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="run more numbers of classes")
    parser.add_argument("--reference", default="", metavar="DIR", help="a checkout of the official MPL repository")
    parser.add_argument(
        "--only", nargs="+", choices=KINDS, default=KINDS, help="run only these types of cases (default: all)"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="run all cases with tiny sizes on a CPU (the numbers have no meaning)"
    )
    outcome: list[int] = []
    return report(run, parser.parse_args(argv), outcome) or outcome[0]


if __name__ == "__main__":
    sys.exit(main())
