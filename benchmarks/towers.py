"""Measure large CLIPs with random weights on a CPU: zero-shot CLIP, a head, and CoOp in the text encoder of SigLIP.

    python -m benchmarks.towers                          all models; the text encoder of SigLIP with 5, 50, 1000 classes
    python -m benchmarks.towers --only EVA02-B-16        one model
    python -m benchmarks.towers --classes 5              one number of classes for the text encoder; 0 skips this part

open_clip builds each model from its config. The weights and the config are kept in a temporary folder of up to 1.5 GB.
Each measurement runs in a separate process. The head and the image encoder are compared with ViT-B/16, whose image
encoder has as many parameters as those of SigLIP and EVA.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from modprompt.places import ROOT
from modprompt.programs import report

MODELS = ("ViT-B-16", "ViT-B-16-SigLIP2", "EVA02-B-16", "ViTamin-S", "convnext_base", "MobileCLIP2-S0")
USUAL = MODELS[0]  # the others are compared with it
SIGLIP = MODELS[1]
CLASSES = (5, 50, 1000)
MOST = 1.2  # bound of a head's step, over that of ViT-B/16
IMAGES = 8
LETTERS = str.maketrans("0123456789", "acdefghilo")  # a small tokenizer has no digits
STEPS, REPEATS = 200, 5
GIB = 2**30
SQUASH = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}


def names_of(count: int) -> list[str]:
    """Class names that SigLIP's small tokenizer tells apart."""
    return [f"photo {number}".translate(LETTERS) for number in range(count)]


def write(folder: Path, name: str) -> None:
    """Write a model's random weights with their config."""
    from safetensors.torch import save_file

    from modprompt.clip import package
    from tests import small_tokenizers

    open_clip = package.open_clip()
    config = open_clip.get_model_config(name)
    torch.manual_seed(0)
    model = open_clip.create_model(name, load_weights=False)
    save_file(
        {key: one.contiguous() for key, one in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    images = SQUASH if name == SIGLIP else {}
    text = json.dumps({"model_cfg": config, "preprocess_cfg": images})
    (folder / "open_clip_config.json").write_text(text, encoding="utf-8")
    if name == SIGLIP:
        small_tokenizers.write(folder, "gemma")


def _median(function: Callable[[], Any], repeats: int = REPEATS) -> float:
    """Seconds of a call, the first of which does not count."""
    taken = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        function()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


def memory_of(what: str) -> int:
    """Bytes of this process now ("VmRSS"), or the most so far ("VmHWM")."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(next(line for line in status.splitlines() if line.startswith(what)).split()[1])


def measure(folder: str) -> dict[str, float]:
    """Seconds of class features and of an image, and of a step of a head on kept features."""
    import modprompt

    clip_model, _ = modprompt.load_clip(folder, "cpu")
    pixels = torch.randn(IMAGES, 3, clip_model.visual.input_resolution, clip_model.visual.input_resolution)
    labels, names = torch.arange(IMAGES), names_of(10)
    plain = modprompt.ZeroshotCLIP().on(clip_model, names)
    with torch.no_grad():
        image = _median(lambda: plain(pixels)) / IMAGES
        kept = plain.encode_image(pixels)
    model: Any = modprompt.TaskRes().on(clip_model, names)
    model.made.build(model.bank([kept], labels), model.scale())
    optimiser = torch.optim.SGD(model.prompt_parameters(), lr=1e-3)

    def steps() -> None:
        for _ in range(STEPS):
            optimiser.zero_grad()
            F.cross_entropy(model.of_features(kept).logits, labels).backward()
            optimiser.step()

    return {"image": image, "head": _median(steps) / STEPS}


def measure_text(folder: str, classes: int) -> dict[str, float]:
    """Seconds of a training step of CoOp's text side, and the bytes of this process beyond those from before."""
    import modprompt

    clip_model, _ = modprompt.load_clip(folder, "cpu")
    model = modprompt.CoOp(n_ctx=4, ctx_init="").on(clip_model, names_of(classes))
    model.limit_text()
    features = torch.randn(IMAGES, model.class_features().shape[1])
    labels: Tensor = torch.arange(IMAGES) % classes
    Path("/proc/self/clear_refs").write_text("5")  # the peak of loading does not count
    before = memory_of("VmRSS")

    def step() -> None:
        F.cross_entropy(model.of_features(features).logits, labels).backward()

    seconds = _median(step, 3 if classes < 100 else 1)
    return {"seconds": seconds, "peak": memory_of("VmHWM") - before}


def _apart(*words: str) -> dict[str, float]:
    """This program's measurement in a separate process."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.towers", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        last_line = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise RuntimeError(f"benchmarks.towers {' '.join(words)} failed: {last_line}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def run(args: argparse.Namespace) -> int:
    """Print the figures; 1 if a bound does not hold."""
    print(f"{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    print("| model | ms per image | ms per step of TaskRes on stored features, ratio to ViT-B/16 |")
    print("| --- | --- | --- |")
    usual, held, texts = 0.0, True, []
    for name in dict.fromkeys((USUAL, *args.only)):
        with tempfile.TemporaryDirectory(dir=args.folder) as place:
            write(Path(place), name)
            found = _apart("--measure", place)
            usual = usual or found["head"]
            ratio = found["head"] / usual
            held &= ratio <= MOST
            print(f"| {name} | {found['image'] * 1e3:.0f} | {found['head'] * 1e3:.2f}, {ratio:.2f} |")
            for count in args.classes if name == SIGLIP else ():
                if count:
                    texts.append((count, _apart("--measure", place, "--classes", str(count))))
    if texts:
        print(
            "\n| classes | ms per step of CoOp in the text encoder of SigLIP | GiB beyond the weights |"
            "\n| ---: | ---: | ---: |"
        )
    for count, text in texts:
        print(f"| {count} | {text['seconds'] * 1e3:.0f} | {text['peak'] / GIB:.2f} |")
    verdict = "Met." if held else "NOT MET."
    print(f"\nRequirement: a step of a head takes at most {MOST} times as long as with ViT-B/16. {verdict}")
    return 0 if held else 1


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 if all bounds hold, 1 if not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="+", choices=MODELS, default=MODELS, help="measure only these models (default: all)"
    )
    parser.add_argument(
        "--classes", nargs="+", type=int, default=CLASSES, help="numbers of classes (default: 5 50 1000)"
    )
    parser.add_argument("--folder", help="folder for the temporary files (default: that of the system)")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.measure:
        alone = len(args.classes) == 1
        print(json.dumps(measure_text(args.measure, args.classes[0]) if alone else measure(args.measure)))
        return 0
    return report(run, args)


if __name__ == "__main__":
    sys.exit(main())
