"""Run MPL in real checkouts of the CoOp family, by launcher and by installer, and print a table.

    python -m tests.modprompt.hosts.check FOLDER [--dassl DIR] [--only NAME ...]

FOLDER holds the checkouts (never committed here), DIR the Dassl for those that bring none. Each gets small pictures laid
out as EuroSAT and a small CLIP with random weights. A codebase's own trainer is started before and after the
installation, without warm-up, which the real Dassl cannot do on a current PyTorch.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import torch

from modprompt.hosts import install
from tests.conftest import BARE_CONFIG, ROOT, bare, random_clip, write_eurosat

TIMEOUT = 150  # seconds of a run
OWN_STARTER = """
import runpy, sys
sys.path[0] = ""
from clip import clip
clip._download = lambda *args, **kwargs: {weights!r}
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class Checkout(NamedTuple):
    """A codebase: the folder of its git checkout, that of its train.py, and that of its Dassl."""

    name: str
    top: Path
    folder: Path
    dassl: Path


def find(folder: Path, dassl: Path) -> list[Checkout]:
    """The codebases in a folder of checkouts."""
    found = []
    for top in sorted(path for path in folder.iterdir() if (path / ".git").is_dir()):
        programs = [*top.glob("train.py"), *top.glob("*/train.py")]
        programs = [path for path in programs if b"build_trainer" in path.read_bytes() and path.parent.name != "tools"]
        own = [path.parent for path in top.glob("*assl*/setup.py")]
        found += [Checkout(top.name, top, path.parent, (own or [dassl])[0]) for path in programs]
    return found


class Bench:
    """What all runs share: data, weights, configs, and this project's own losses."""

    def __init__(self, folder: Path):
        self.folder, self.data = folder, folder / "data"
        write_eurosat(self.data, 24)
        state = random_clip(1, text_layers=4, vision_layers=4).state_dict()
        state.update(input_resolution=torch.tensor(32), context_length=torch.tensor(77), vocab_size=torch.tensor(49408))
        torch.save(state, folder / "clip.pt")
        self._write_wide()
        (folder / "mpl.yaml").write_text(BARE_CONFIG + "\nTRAINER:\n  MPL:\n    N_CTX: 1\n    PROMPT_DEPTH: 3\n")
        (folder / "own.yaml").write_text(BARE_CONFIG)
        (folder / "own.py").write_text(OWN_STARTER.format(weights=str(folder / "wide.pt")))
        self.run_ours("first")  # writes the split file, which changes the random numbers of the run that does it
        self.expected = self.run_ours("ours")

    def _write_wide(self):
        """ViT-B/16's widths, which some trainers take for granted."""
        wide = random_clip(1, text_layers=4, vision_layers=4, text_width=512, vision_width=768)
        state = {key: value.half() for key, value in wide.state_dict().items()}
        state.update(input_resolution=torch.tensor(32), context_length=torch.tensor(77), vocab_size=torch.tensor(49408))
        torch.save(state, self.folder / "wide.pt")

    def run(self, start: list, folder: Path, path: list, trainer: str, out: str, config: str, options: list) -> dict:
        """One run; {"code", "losses", "accuracy", "error"}."""
        for cache in self.data.glob("eurosat/split_fewshot*"):  # a run that finds it draws other random numbers
            shutil.rmtree(cache)
        data_config = [*folder.glob("configs/datasets/eurosat.yaml"), *folder.glob("configs/datasets/**/eurosat.yaml")]
        words = ["--root", self.data, "--seed", 1, "--trainer", trainer, "--output-dir", self.folder / out]
        words += ["--config-file", self.folder / config, "--dataset-config-file", data_config[0], *options]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *map(str, [*start, "train.py", *words])]
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT, errors="replace"
            )
        except subprocess.TimeoutExpired:
            return {"code": -1, "losses": [], "accuracy": "", "error": f"took more than {TIMEOUT} s"}
        logs = "".join(log.read_text(errors="replace") for log in (self.folder / out).glob("log.txt*"))
        text = logs if "loss" in logs else done.stdout
        accuracy = re.findall(r"accuracy: ([\d.]+)%", text)
        errors = [line for line in done.stderr.splitlines() if re.match(r"\w*(Error|error|Exception)\b", line)]
        return {
            "code": done.returncode,
            "losses": [float(value) for value in re.findall(r"loss ([\d.]+) \(", text)],
            "accuracy": accuracy[-1] if accuracy else "",
            "error": errors[-1][:100] if errors and done.returncode else "",
        }

    def mpl(self, start, folder, path, trainer, out) -> dict:
        """A run of MPL."""
        options = [*bare(self.folder / "clip.pt"), "DATASET.NUM_SHOTS", 4]
        return self.run(start, folder, path, trainer, out, "mpl.yaml", [*options, "DATASET.SUBSAMPLE_CLASSES", "base"])

    def run_ours(self, out) -> dict:
        """MPL in this project, on its small Dassl."""
        return self.mpl([], ROOT, [], "MPL", out)

    def own(self, host: Checkout, trainer: str, out: str) -> dict:
        """A run of a codebase's own trainer."""
        words = "DATASET.NUM_SHOTS 1 DATASET.SUBSAMPLE_CLASSES base OPTIM.WARMUP_EPOCH 0 OPTIM.MAX_EPOCH 1 "
        options = [*words.split(), "TEST.NO_TEST", "True", "MODEL.BACKBONE.NAME", "ViT-B/16"]
        return self.run(
            [self.folder / "own.py"], host.folder, [host.folder, host.dassl], trainer, out, "own.yaml", options
        )

    def verdict(self, result: dict) -> str:
        """How a run of MPL compares with this project's."""
        expected = self.expected["losses"]
        if result["code"] or len(result["losses"]) != len(expected):
            return f"FAILED {result['error'] or result['code']}"
        difference = max(abs(a - b) for a, b in zip(result["losses"], expected))
        same = float(result["accuracy"]) == float(self.expected["accuracy"])
        return f"{difference:.0e}{'' if same else ', OTHER ACCURACY'}"


def own_trainer(folder: Path) -> str:
    """A trainer of a codebase: one named like it, or else CoOp, or else the first."""
    names = []
    for path in sorted(folder.glob("trainers/*.py")):
        names += re.findall(r"TRAINER_REGISTRY\.register\(.*\)\s*\nclass (\w+)", path.read_text(errors="replace"))
    likely = [name for name in names if name.lower() in (folder.name.lower(), "coop", "maple", "mpl")]
    return (likely or names or [""])[0]


def row(bench: Bench, host: Checkout) -> dict:
    """All runs in one codebase."""
    commit = _git(host.top, "rev-parse", "--short", "HEAD").strip()
    before = _git(host.top, "status", "--porcelain")
    trainer = "ModMPL" if (host.folder / "trainers/mpl.py").is_file() else "MPL"
    own = own_trainer(host.folder)
    start = bench.own(host, own, f"{host.name}-own-before")
    launched = bench.mpl(["-m", "modprompt.launch"], host.folder, [host.dassl, ROOT], trainer, f"{host.name}-launch")
    code = install.main([str(host.folder)])
    installed = bench.mpl([], host.folder, [host.dassl], trainer, f"{host.name}-install")
    start_after = bench.own(host, own, f"{host.name}-own-after")
    code += install.main([str(host.folder), "--uninstall"])
    same = (start["code"], start["error"], start["losses"]) == (
        start_after["code"],
        start_after["error"],
        start_after["losses"],
    )
    return {
        "host": f"{host.name} {commit}",
        "Dassl": "its own" if host.dassl.parent == host.top else "0.6.3",
        "launcher": bench.verdict(launched),
        "installer": bench.verdict(installed) if not code else "FAILED to install or uninstall",
        "own trainer before": f"{own}: {start['error'] or 'trained' if start['code'] else 'trained'}",
        "after": "the same" if same else f"OTHER: {start_after['error'] or start_after['code']}",
        "git after --uninstall": "as before" if _git(host.top, "status", "--porcelain") == before else "CHANGED",
    }


def _git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 if every run equals this project's and nothing is left behind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder of the checkouts")
    parser.add_argument(
        "--dassl", type=Path, default=None, help="Dassl for those that bring none (FOLDER/Dassl.pytorch)"
    )
    parser.add_argument("--only", nargs="+", help="names of checkouts")
    args = parser.parse_args(argv)
    folder = args.folder.resolve()
    dassl = (args.dassl or folder / "Dassl.pytorch").resolve()
    rows = []
    with tempfile.TemporaryDirectory() as work:
        bench = Bench(Path(work))
        for host in find(folder, dassl):
            if not args.only or host.name in args.only:
                rows.append(row(bench, host))
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    if not rows:
        print(f"error: no checkout of the CoOp family in {folder}", file=sys.stderr)
        return 2
    print(
        f"Python {sys.version.split()[0]}, PyTorch {torch.__version__}; largest difference of {len(bench.expected['losses'])} losses\n"
    )
    print("| " + " | ".join(rows[0]) + " |\n|" + " --- |" * len(rows[0]))
    for one in rows:
        print("| " + " | ".join(one.values()) + " |")
    return int(any(word.isupper() and len(word) > 4 for one in rows for cell in one.values() for word in cell.split()))


if __name__ == "__main__":
    sys.exit(main())
