"""Record the public CLIP-LoRA program on a CPU, for tests/modprompt/trainers/test_clip_lora.py.

usage: PYTHONPATH=. python tests/modprompt/methods/record_clip_lora.py CHECKOUT OUT.json

CHECKOUT is github.com/MaxZanella/CLIP-LoRA at 358f0d7. Its main.py runs on the CLIP and the data tree that `inputs`
makes, which the test makes too; what a CPU cannot do is switched off in this process: halves, `.cuda()`, workers, and
an accuracy that current NumPy refuses.
"""

import contextlib
import json
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import torch

SHOTS, BATCH, ITERS = 2, 8, 4  # 20 training images of ten classes: 3 batches a pass, and of the third pass two
CASES = {
    "published": [],
    "vision": [
        "--encoder",
        "vision",
        "--position",
        "up",
        "--params",
        "q",
        "v",
        "o",
        "--r",
        "4",
        "--alpha",
        "2",
        "--lr",
        "0.01",
    ],
    "text": ["--encoder", "text", "--position", "half-bottom", "--params", "v", "k", "--lr", "0.01"],
    "no dropout": ["--dropout_rate", "0", "--lr", "0.01"],
}
CLIP = {"text_layers": 12, "vision_layers": 12, "resolution": 224, "patch": 32}


def inputs(folder):
    """Weights and a data tree of EuroSAT's shape with a split: (path of the weights, root)."""
    from modprompt.data.readers.eurosat import CLASS_NAMES
    from tests.conftest import EUROSAT_FOLDERS, random_clip, write_eurosat

    root = write_eurosat(Path(folder) / "data")

    def rows(numbers):
        return [
            [f"{one}/{one}_{number}.jpg", label, CLASS_NAMES[one]]
            for label, one in enumerate(EUROSAT_FOLDERS)
            for number in numbers
        ]

    split = {"train": rows(range(1, 5)), "val": rows(range(5, 8)), "test": rows(range(8, 13))}
    (root / "eurosat" / "split_zhou_EuroSAT.json").write_text(json.dumps(split))
    model = random_clip(1, **CLIP)
    numbers = {"input_resolution": 224, "context_length": 77, "vocab_size": 49408}
    weights = Path(folder) / "clip.pt"
    torch.save({**model.state_dict(), **{key: torch.tensor(value) for key, value in numbers.items()}}, weights)
    return weights, root


def record(words, weights, root):
    """What a run with these flags gives: losses, a number drawn in front of them, sums of what is learned, test count."""
    import clip
    import lora  # type: ignore[import-not-found]  # of the checkout
    import main  # type: ignore[import-not-found]
    from torch.utils.data import DataLoader

    found = {"losses": []}
    apply, evaluate, init = lora.apply_lora, lora.evaluate_lora, DataLoader.__init__

    def entropy(logits, target):
        loss = torch.nn.functional.cross_entropy(logits, target)
        found["losses"].append(float(loss.detach()))
        return loss

    def right(output, target, topk=1):
        return 100.0 * int((output.argmax(1) == target).sum()) / len(target)

    def evaluated(args, model, loader, dataset):
        accuracy = evaluate(args, model, loader, dataset)
        found["correct"] = round(accuracy * len(loader.dataset) / 100)
        return accuracy

    def applied(args, model):
        layers = apply(args, model)
        found["model"], state = model, torch.get_rng_state()
        found["next draw"] = float(torch.rand(()))
        torch.set_rng_state(state)
        return layers

    patches = [
        (torch.Tensor, "half", lambda self, *args, **kwargs: self),
        (torch.Tensor, "cuda", lambda self, *args, **kwargs: self),
        (torch.nn.Module, "cuda", lambda self, *args, **kwargs: self),
        (DataLoader, "__init__", lambda self, *args, **kwargs: init(self, *args, **{**kwargs, "num_workers": 0})),
        (clip.clip, "_download", lambda *args, **kwargs: str(weights)),
        (torch.jit, "load", _no_archive),
        (lora, "F", SimpleNamespace(cross_entropy=entropy)),
        (lora, "cls_acc", right),
        (lora, "evaluate_lora", evaluated),
        (lora, "apply_lora", applied),
        (sys, "argv", ["main.py", *words]),
    ]
    with contextlib.ExitStack() as stack:
        for holder, name, new in patches:
            stack.callback(setattr, holder, name, getattr(holder, name))
            setattr(holder, name, new)
        main.main()
    learned = {
        name: value.detach().double() for name, value in found.pop("model").named_parameters() if "lora_" in name
    }
    sums = {f"sum of {one}": sum(float(v.abs().sum()) for k, v in learned.items() if f"_{one}" in k) for one in "AB"}
    return {**found, "parameters": sum(value.numel() for value in learned.values()), **sums}


def _no_archive(*args, **kwargs):
    raise RuntimeError("a state dict")


if __name__ == "__main__":
    checkout, out = sys.argv[1:]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        weights, root = inputs(folder)
        sys.path.insert(0, str(Path(checkout).resolve()))  # behind what the tests have put there
        for name in [one for one in sys.modules if one.partition(".")[0] in ("clip", "datasets", "utils")]:
            del sys.modules[name]  # the checkout has others
        common = ["--root_path", str(root), "--dataset", "eurosat", "--shots", str(SHOTS), "--n_iters", str(ITERS)]
        for name, words in CASES.items():
            found[name] = record([*common, "--batch_size", str(BATCH), *words], weights, root)
    Path(out).write_text(json.dumps(found, indent=1))
