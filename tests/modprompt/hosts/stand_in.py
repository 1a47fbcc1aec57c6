"""Small codebases of the CoOp family, written by the tests: what launcher and installer must cope with."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from modprompt.clip.package import import_clip
from tests.conftest import BARE_CONFIG, ROOT, published, random_clip
from tests.modprompt.hosts.traits import (
    DATASET,
    EUROSAT,
    LATE_MODEL,
    LOADS,
    MODEL_CODE,
    NOISE,
    OVERRIDES,
    OWN_TRAINER,
    PROGRAM,
)
from tests.warm import run_python


def write_data(folder: Path) -> Path:
    """Five classes of eight small pictures."""
    rng = np.random.default_rng(0)
    for name in ("red_square", "green field", "lake", "road", "roof"):
        (folder / name).mkdir(parents=True)
        colour = rng.uniform(0, 255, (2, 2, 3))
        for number in range(8):
            pixels = np.clip(colour + rng.normal(0, 40, colour.shape), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).resize((32, 32)).save(folder / name / f"{number}.png")
    return folder


class Traits(NamedTuple):
    """What a codebase has beside the usual; each alone and all together make a stand-in.

    clip: a key of MODEL_CODE.
    clean: its program takes other trainers' nodes out of the config first.
    own_mpl: it has a trainer MPL of its own.
    package: whether clip/ has an __init__.py.
    old_clip: its clip asks for pkg_resources, which setuptools has no more.
    eol: line ends of train.py.
    load: a key of LOADS, how train.py calls load_model.
    late_model: its Dassl builds the model in before_train.
    dataset_flag: DATASET.NAME comes from a flag --dataset alone.
    task: TASK must be among the options, and --trainer one of its own.
    noise: labels are wrong on purpose unless DATASET.NOISE_LABEL is False.
    backbone: default of --backbone, which takes the place of the config file's.
    epochs: OPTIM.MAX_EPOCH after all merges; 0: as asked.
    override: "KEY VALUE" merged behind the options.
    first, last: modules that train.py imports, in front of Dassl and behind its trainers.
    unknown_flag: its parser requires a flag for which nobody knows a value.
    eurosat: it has a reader of EuroSAT and a config file for it, as nearly all have.
    """

    clip: str = "plain"
    clean: bool = False
    own_mpl: bool = False
    package: bool = True
    old_clip: bool = False
    eol: str = "\n"
    load: str = "usual"
    late_model: bool = False
    dataset_flag: bool = False
    task: bool = False
    noise: bool = False
    backbone: str = ""
    epochs: int = 0
    override: str = ""
    first: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    unknown_flag: bool = False
    eurosat: bool = True


def program_of(traits: Traits) -> str:
    """The train.py of a stand-in."""

    def lines(indent, *statements):
        return "".join(f"\n{' ' * indent}{statement}" for statement in statements if statement)

    evaluating, training = LOADS[traits.load]
    task = "task=args.opts[args.opts.index('TASK') + 1]"
    return PROGRAM.format(
        clean=traits.clean,
        backbone=traits.backbone,
        first=lines(0, *(f"import {name}" for name in traits.first)).lstrip("\n"),
        imports=lines(
            0,
            "import datasets.eurosat" if traits.eurosat else "",
            "import datasets.noise" if traits.noise else "",
            "import trainers.late" if traits.late_model else "",
            "import trainers.by_dataset as by_dataset" if traits.task else "",
        ),
        last=lines(0, "import trainers.mpl" if traits.own_mpl else "", *(f"import {name}" for name in traits.last)),
        defaults=lines(
            4,
            'cfg.TASK = "B2N"' if traits.task else "",
            "cfg.DATASET.NOISE_LABEL = True" if traits.noise else "",
        ),
        before_options=lines(
            4,
            f"own = by_dataset.overrides(dataset=cfg.DATASET.NAME, trainer=cfg.TRAINER.NAME, {task})"
            if traits.task
            else "",
            "cfg.merge_from_list(own)" if traits.task else "",
        ),
        after_options=lines(
            4,
            f"cfg.merge_from_list({traits.override.split()!r})" if traits.override else "",
            f"cfg.OPTIM.MAX_EPOCH = {traits.epochs}" if traits.epochs else "",
            "cfg.DATASET.NAME = args.dataset" if traits.dataset_flag else "",
        ),
        before_building=lines(
            4, *(("if cfg.DATASET.NOISE_LABEL:", "    datasets.noise.make(100)") if traits.noise else ())
        ),
        load=lines(8, evaluating),
        before_training=lines(4, training),
        flags=lines(
            0,
            'parser.add_argument("--dataset")' if traits.dataset_flag else "",
            'parser.add_argument("--key-file", required=True)' if traits.unknown_flag else "",
        ),
    )


def write_host(folder: Path, **traits) -> Path:
    """A codebase with train.py, clip/, datasets/ and trainers/, under git; what it has beside the usual is a field of Traits."""
    asked = Traits(**traits)
    (folder / "datasets").mkdir(parents=True)
    (folder / "trainers").mkdir()
    for name in ("datasets", "trainers"):
        (folder / name / "__init__.py").touch()
    modules = {
        "datasets/squares.py": DATASET,
        "datasets/eurosat.py": EUROSAT if asked.eurosat else "",
        "configs/datasets/eurosat.yaml": 'DATASET:\n  NAME: "EuroSAT"\n' if asked.eurosat else "",
        "datasets/noise.py": NOISE if asked.noise else "",
        "trainers/own.py": OWN_TRAINER.format(name="OWN"),
        "trainers/mpl.py": OWN_TRAINER.format(name="MPL") if asked.own_mpl else "",
        "trainers/late.py": LATE_MODEL if asked.late_model else "",
        "trainers/by_dataset.py": OVERRIDES if asked.task else "",
    }
    for name, source in modules.items():
        if source:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(source)
    installed = Path(str(import_clip().__file__)).parent
    shutil.copytree(installed, folder / "clip", ignore=shutil.ignore_patterns("__pycache__"))
    if not asked.old_clip:
        source = (folder / "clip" / "clip.py").read_text()
        (folder / "clip" / "clip.py").write_text(
            source.replace("from pkg_resources import packaging", "import packaging.version")
        )
    with (folder / "clip" / "model.py").open("a") as file:
        file.write(MODEL_CODE[asked.clip])
    if not asked.package:
        (folder / "clip" / "__init__.py").unlink()
    (folder / "train.py").write_bytes(program_of(asked).replace("\n", asked.eol).encode())
    (folder / ".gitignore").write_text("__pycache__/\noutput/\n")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "start"]):
        git(folder, *words)
    return folder


def git(folder: Path, *words: str) -> str:
    """What git says in a codebase."""
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "core.autocrlf=false"]
    done = subprocess.run(["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def write_weights(folder: Path) -> Path:
    """A small CLIP as a state dict with its bookkeeping, as published ones have it."""
    torch.save(published(random_clip(1, text_layers=4, vision_layers=4)), folder / "clip.pt")
    (folder / "mpl.yaml").write_text(BARE_CONFIG + "\nTRAINER:\n  MPL:\n    N_CTX: 1\n    PROMPT_DEPTH: 3\n")
    (folder / "own.yaml").write_text(BARE_CONFIG)
    return folder / "clip.pt"


def write_open_clip(folder: Path) -> Path:
    """A small CLIP as a folder of open_clip's: GELU, heads 32 wide, squashed images of other statistics."""
    folder.mkdir()
    torch.save(random_clip(1, text_layers=4, vision_layers=4).state_dict(), folder / "open_clip_pytorch_model.bin")
    image = {"image_size": 32, "layers": 4, "width": 128, "head_width": 32, "patch_size": 16}
    model = {"embed_dim": 32, "vision_cfg": image, "text_cfg": {"layers": 4, "width": 64, "heads": 2}}
    images = {"mean": [0.5, 0.5, 0.5], "std": [0.3, 0.3, 0.3], "resize_mode": "squash"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": images}))
    return folder


def dassl_folder() -> str:
    """The folder in which the Dassl of these tests lies."""
    import dassl

    return str(Path(dassl.__file__).resolve().parent.parent)


@functools.cache
def site() -> str:
    """A folder in which modprompt is installed, and nothing else."""
    folder = tempfile.mkdtemp(prefix="modprompt-site-")
    atexit.register(shutil.rmtree, folder)
    (Path(folder) / "modprompt").symlink_to(ROOT / "modprompt")
    return folder


def run_in(folder: Path, *words, installed=False, more_path=None) -> subprocess.CompletedProcess:
    """A Python program in a codebase's folder; this checkout is on the path, or modprompt as pip installs it."""
    path = [dassl_folder(), site() if installed else str(ROOT)]
    path += [str(more_path)] if more_path else []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1"}
    return run_python(*words, folder=folder, environment=environment)
