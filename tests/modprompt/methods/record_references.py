"""Records golden_lightra.json and golden_twosfs.json from their repositories: run once by a developer, on a CPU.

    python -m tests.modprompt.methods.record_references lightra CHECKOUT DASSL     longinhit/LightRA 6c34a75, Dassl 0.6.3
    python -m tests.modprompt.methods.record_references twosfs CHECKOUT            FarinaMatteo/rethinking_fewshot_vlms 64ac143

Each case is that repository's own program, in a process of its own on the inputs of reference_runs.require_recorded; what
is edited in that process and not in its files is in `run_edited`. A loss is what backward() is called on.
"""

import contextlib
import csv
import importlib
import json
import re
import runpy
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import torch


def run_edited(weights, dassl, words):
    """Run a program as `python words` does, on a CPU in float32 and on a file of weights; prints its losses at the end."""
    sys.path.insert(0, str(Path.cwd()))
    losses, backward, load = [], torch.Tensor.backward, torch.load
    torch.Tensor.backward = lambda self, *a, **k: losses.append(round(self.item(), 7)) or backward(self, *a, **k)
    to = torch.Tensor.to
    torch.Tensor.to = lambda self, *a, **k: to(self, *("cpu" if one == "cuda" else one for one in a), **k)
    torch.Tensor.half = torch.Tensor.cuda = lambda self, *a, **k: self
    torch.nn.Module.half = torch.nn.Module.cuda = lambda self, *a, **k: self
    torch.load = lambda *a, **k: load(*a, **{**k, "weights_only": False})
    torch.jit.load = _no_archive
    torch.use_deterministic_algorithms = lambda *a: None
    begin = torch.optim.lr_scheduler.LRScheduler.__init__
    torch.optim.lr_scheduler.LRScheduler.__init__ = lambda self, optimiser, last=-1, verbose=None: begin(
        self, optimiser, last
    )
    sys.modules["wilds"] = types.SimpleNamespace(get_dataset=None)
    import clip

    clip.clip._download = lambda *a, **k: weights
    if dassl:  # whose data folder a tree lacks
        import dassl as own

        own.__path__.append(f"{dassl}/dassl")
    else:
        from torchvision.transforms import RandomResizedCrop

        loop = importlib.import_module("fs.twostage")
        small, plain = RandomResizedCrop.__init__, clip.load
        RandomResizedCrop.__init__ = lambda self, size, **k: small(self, 32, **k)
        clip.load = lambda name: plain(name, "cpu")
        loop.cls_acc = lambda logits, labels: 100 * (logits.argmax(1) == labels).float().mean().item()
        torch.amp.autocast = lambda *a, **k: contextlib.nullcontext()
        scaler = torch.amp.GradScaler("cpu", enabled=False)
        torch.amp.GradScaler = torch.cuda.amp.GradScaler = lambda *a, **k: scaler
    sys.argv = list(words)
    runpy.run_path(words[0], run_name="__main__")
    print(json.dumps(losses), file=sys.__stdout__)


def _no_archive(*args, **kwargs):
    raise RuntimeError("no TorchScript: the file has tensors alone")


def in_checkout(checkout, weights, dassl, words):
    """Losses and output of a program in a checkout, run in a process of its own."""
    asked = json.dumps({"weights": str(weights), "dassl": dassl, "words": words.split()})
    code = "import json, runpy, sys; runpy.run_path(sys.argv[1])['run_edited'](**json.loads(sys.argv[2]))"
    ran = subprocess.run(
        [sys.executable, "-c", code, __file__, asked], cwd=checkout, check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(ran.stdout.splitlines()[-1]), ran.stdout


def inputs(folder):
    """The data and weights of require_recorded; the path of the weights. From here on Dassl can be imported."""
    from tests.conftest import published, random_clip
    from tests.modprompt.methods.reference_runs import write_split

    write_split(folder / "data", range(1, 9), range(9, 10), range(10, 13))
    torch.save(published(random_clip(1, text_layers=4, vision_layers=4)), folder / "clip.pt")
    return folder / "clip.pt"


def lightra(checkout, dassl, folder, case):
    """A case of test_lightra, whose settings are ours."""
    weights, found = inputs(folder), {}
    from modprompt.data.readers.folders import EUROSAT
    from modprompt.io import descriptions
    from tests.methods import PHRASES
    from tests.modprompt.methods.test_lightra import CASES

    sentences = dict(zip(EUROSAT.values(), descriptions.read(PHRASES).of(EUROSAT.values())))
    (folder / "sentences.json").write_text(json.dumps(sentences))
    ours = {key.replace("LightRA.", ""): value for key, value in CASES[case].items()}
    vision, text = ours.pop("N_CTX_VISION", 4), ours.pop("N_CTX_TEXT", 4)
    theirs = {"N_CTX_VISION": text, "N_CTX_TEXT": vision, "PREC": "fp32"}  # it reads each for the other side
    for side in ("VISION_DEPTH", "TEXT_DEPTH"):
        theirs[side] = ours.pop(side, 4) - 1  # it reads 1 as two layers
    theirs.update(ours)
    more = " ".join(f"{key if '.' in key else f'TRAINER.LightRA.{key}'} {value}" for key, value in theirs.items())
    for classes, how in (("base", ""), ("new", f"--eval-only --model-dir {folder}/base --load-epoch 2")):
        losses, out = in_checkout(
            checkout, weights, dassl,
            f"train.py --root {folder}/data --seed 1 --trainer LightRA --output-dir {folder}/{classes} {how} "
            "--config-file configs/trainers/LightRA/base2novel.yaml --dataset-config-file configs/datasets/eurosat.yaml "
            f"USE_CUDA False DATASET.PROMPT_PATH {folder}/sentences.json INPUT.SIZE (32,32) DATASET.NUM_SHOTS 4 "
            "DATALOADER.NUM_WORKERS 0 OPTIM.MAX_EPOCH 2 DATALOADER.TRAIN_X.BATCH_SIZE 4 "
            f"DATASET.SUBSAMPLE_CLASSES {classes} {more}",
        )  # fmt: skip
        found.setdefault("losses", losses)
        found[classes] = int(re.findall(r"\* correct: ([\d,]+)", out)[-1].replace(",", ""))
    return found


def twosfs(checkout, dassl, folder, case):
    """A case of test_two_stage, on our few-shot list."""
    weights = inputs(folder)
    from dassl.data.datasets import build_dataset
    from dassl.utils import set_random_seed

    from modprompt.cli.flags import parse_args, settings_of
    from modprompt.trainers import run  # noqa: F401 - registers all
    from modprompt.trainers.config import of_settings
    from tests.conftest import ROOT, bare
    from tests.modprompt.methods.test_two_stage import CASES

    eurosat = ROOT / "configs/datasets/eurosat.yaml"
    words = (
        f"--trainer TwoSFS --root {folder}/data --config-file glyph --dataset-config-file {eurosat} DATASET.NUM_SHOTS 4"
    )
    set_random_seed(1)
    ours = build_dataset(of_settings(settings_of(parse_args([*words.split(), *bare(weights)]))))
    lists = folder / "data/eurosat/split_fewshot"
    lists.mkdir(exist_ok=True)
    for part, items in (("train", ours.train_x), ("val", ours.val)):
        rows = ({f"_{key}": getattr(one, key) for key in ("impath", "label", "domain", "classname")} for one in items)
        (lists / f"shot_4-seed_1_{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rate, more = CASES[case]
    words = (
        f"main.py --root_path {folder}/data --dataset eurosat --shots 4 --seed 1 --lr {rate} --setting base2new --n_iters 4 "
        f"--batch_size 4 --workers 0 --results_dir {folder}/results "
    )
    words += " ".join(f"--{key.lower()} {value}" for key, value in more.items())
    losses, _ = in_checkout(checkout, weights, dassl, words)
    (table,) = (folder / "results").rglob("*.csv")
    row = next(csv.DictReader(table.read_text().splitlines()))
    return {"losses": losses, **{half: round(float(row[f"acc_test_{half}"]) * 15 / 100) for half in ("base", "new")}}


def main():
    name, checkout, *dassl = sys.argv[1:]
    path, golden = Path(__file__).with_name(f"golden_{name}.json"), {}
    for case in json.loads(path.read_text()):
        with tempfile.TemporaryDirectory() as folder:
            golden[case] = {"lightra": lightra, "twosfs": twosfs}[name](checkout, *(dassl or [""]), Path(folder), case)
    path.write_text(
        "{\n" + ",\n".join(f"{json.dumps(case)}: {json.dumps(row)}" for case, row in golden.items()) + "\n}\n"
    )


if __name__ == "__main__":
    main()
