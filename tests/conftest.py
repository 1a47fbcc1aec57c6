"""Fixtures: small random CLIPs, data trees, and a way to run train.py in this process.

The tests run on the Dassl that is importable, the real one or the small one of this project, and say which.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import gc
import os
import shutil
import sys
import time
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ["OMP_NUM_THREADS"] = "1"  # of the programs that tests start, too: threads that wait for a core take it all
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the cases are written for a CPU

from modprompt.compat import find as compat  # noqa: E402

compat.add_to_path()

import dassl  # noqa: E402
import sklearn  # noqa: E402, F401 - sets two variables of the environment, once
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402, F401 - loaded before any test measures

from modprompt.clip.package import import_clip  # noqa: E402
from modprompt.errors import UserError  # noqa: E402
from modprompt.methods.table import counts_steps  # noqa: E402

import_clip()

from clip.model import CLIP  # noqa: E402

torch.set_num_threads(1)
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("suite")
DASSL_IS_OURS = ROOT in Path(dassl.__file__).resolve().parents


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the cases marked slow, too")


def pytest_collection_modifyitems(config, items):
    """Leave slow cases out, unless they are asked for: by --slow, -m or name."""
    if config.option.slow or config.option.markexpr or any("::" in word for word in config.args):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    items[:] = [item for item in items if item not in slow]
    config.hook.pytest_deselected(items=slow)


def pytest_terminal_summary(terminalreporter, config):
    """Whether all was run, how to repeat the order, and on what it ran."""
    if not config.option.slow:
        terminalreporter.write_line("slow cases are left out (--slow, make test SLOW=1)")
    terminalreporter.write_line(f"order and draws of --randomly-seed={config.getoption('randomly_seed', 'none')}")
    version = "the small one of this project" if DASSL_IS_OURS else f"{dassl.__version__} of {dassl.__file__}"
    terminalreporter.write_line(f"Dassl: {version}; PyTorch {torch.__version__}, Python {sys.version.split()[0]}")


def slow_but(cases, *quick):
    """Cases to parametrize with, of which only some are quick."""
    given = {case: case if isinstance(case, tuple) else (case,) for case in cases}
    return [pytest.param(*given[case], marks=[pytest.mark.slow] * (case not in quick)) for case in given]


ATTENTION = ("flash", "mem_efficient", "math", "cudnn")  # kinds that PyTorch may use


@contextlib.contextmanager
def process_kept():
    """Restore behind the block what a program sets in its process for good, as it ends with it."""
    streams, folder, threads = (sys.stdout, sys.stderr), Path.cwd(), torch.get_num_threads()
    environment, words, path, draws = dict(os.environ), [*sys.argv], [*sys.path], torch.get_rng_state()
    fixed = torch.are_deterministic_algorithms_enabled()
    attention = {kind: getattr(torch.backends.cuda, f"{kind}_sdp_enabled")() for kind in ATTENTION}
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    flags = cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv[:], sys.path[:] = words, path
        torch.set_rng_state(draws)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(fixed)
        for kind, is_on in attention.items():
            getattr(torch.backends.cuda, f"enable_{kind}_sdp")(is_on)
        cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32 = flags


@pytest.fixture(autouse=True)
def _process_is_kept():
    """Every test draws from the same seed, whatever ran before, and leaves the process as it found it."""
    with process_kept():
        torch.manual_seed(0)
        yield


BY_DESIGN = ("multiprocessing.resource_tracker", "multiprocessing.forkserver", "compile_worker")  # end with their user


def _processes():
    """Command lines of this process's children that run, and of whatever runs with the mark of this process."""
    found, mark = [], f"TESTS_PID={os.getpid()}\0".encode()
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            state, parent = file.read_text().rpartition(")")[2].split()[:2]
            if state != "Z" and (int(parent) == os.getpid() or mark in file.with_name("environ").read_bytes()):
                found.append(file.with_name("cmdline").read_text().replace("\0", " "))
    return [line for line in found if not any(word in line for word in BY_DESIGN)]


def _ports():
    """Addresses on which this process listens, as /proc has them."""
    own = {os.readlink(file) for file in Path("/proc/self/fd").glob("*") if file.is_symlink()}  # noqa: PTH115
    rows = [row.split() for file in Path("/proc/self/net").glob("tcp*") for row in file.read_text().splitlines()[1:]]
    return [row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in own]


def _files():
    """Files and folders of the checkout, but hidden ones and caches."""
    paths = (path.relative_to(ROOT) for top in ROOT.glob("[!.]*") for path in (top, *top.rglob("*")))
    return {path for path in paths if not any(part[0] == "." or part == "__pycache__" for part in path.parts)}


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_left():
    """Behind all tests no process that they started runs, no port is open, and the checkout has no new file."""
    before, os.environ["TESTS_PID"] = _files(), str(os.getpid())  # the mark, which all that they start inherits
    yield
    gc.collect()  # loaders' workers end with their trainer
    until = time.monotonic() + 10
    while _processes() and time.monotonic() < until:
        time.sleep(0.1)
    assert (_processes(), _ports(), _files() - before) == ([], [], set())


LAYOUTS = ("arithmetic", "whole", "packed")  # a CPU's, a card's of few tokens, a card's of many


def lay_out_for(monkeypatch, layout):
    """From here on text sides are laid out as LAYOUTS says, and run so, wherever they are."""
    from modprompt.engine import text_layout

    monkeypatch.setattr(text_layout, "counts_launches", lambda device: layout != "arithmetic")
    monkeypatch.setattr(text_layout, "FEW_TOKENS", 10**9 if layout == "whole" else 0)


@contextlib.contextmanager
def one_line(match, kind=UserError):
    """The block ends with an error whose one line has what this regular expression finds."""
    with pytest.raises(kind, match=match) as raised:
        yield raised
    assert "\n" not in str(raised.value)


TEXTS = {"context_length": 77, "vocab_size": 49408}  # of all CLIPs of the `clip` package
RESNET_HEADS = (1, 4)  # of resnet_file
SAID = {"activation": "quick_gelu", "heads": (1, 2)}  # in Python, of clip_file and of random_clip's state dicts


@functools.lru_cache(maxsize=8)
def _made_clip(seed, text_layers, vision_layers, text_width, vision_width, resolution, patch, embed_dim):
    """The model that random_clip gives copies of, and the state in which it leaves the generator."""
    torch.manual_seed(seed)
    image = (embed_dim, resolution, vision_layers, vision_width, patch)
    model = CLIP(*image, *TEXTS.values(), text_width, text_width // 64, text_layers)
    with torch.no_grad():
        model.token_embedding.weight.mul_(10)
    return model.eval(), torch.get_rng_state()


def random_clip(
    seed=0, *, text_layers=3, vision_layers=3, text_width=64, vision_width=128, resolution=32, patch=16, embed_dim=32
):
    """A stock CLIP with random float weights, token embeddings made larger so that words matter; PyTorch draws on from there."""
    model, state = _made_clip(seed, text_layers, vision_layers, text_width, vision_width, resolution, patch, embed_dim)
    torch.set_rng_state(state)
    return copy.deepcopy(model)


def published(model):
    """The state dict of a CLIP for images of 32 pixels with its bookkeeping, as published ones have it."""
    numbers = {"input_resolution": 32, **TEXTS}
    return {**model.state_dict(), **{name: torch.tensor(number) for name, number in numbers.items()}}


@pytest.fixture
def clip_model():
    return random_clip()


@pytest.fixture(scope="session")
def clip_file(tmp_path_factory):
    """A file with the state dict of a small random CLIP, 4 layers a side, for images of 32 pixels."""
    path = tmp_path_factory.mktemp("clip") / "clip.pt"
    torch.save(random_clip(1, text_layers=4, vision_layers=4).state_dict(), path)
    return path


@pytest.fixture(scope="session")
def resnet_file(tmp_path_factory):
    """A file with the state dict of a small random ResNet CLIP, for images of 64 pixels."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("resnet") / "resnet.pt"
    torch.save(CLIP(32, 64, (1, 1, 1, 1), 8, None, *TEXTS.values(), 64, 1, 2).state_dict(), path)
    return path


def bare(path, heads=SAID["heads"]):
    """Options of a run on a file of weights that does not say how it is run; the heads are those of random_clip."""
    said = {"PATH": path, "ACTIVATION": SAID["activation"], "HEADS": heads}
    return [word for key, value in said.items() for word in (f"MODEL.BACKBONE.{key}", str(value))]


def by_config(folder):
    """Options of a run on weights with a config beside them, behind those of bare ones."""
    return ["MODEL.BACKBONE.PATH", str(folder), "MODEL.BACKBONE.ACTIVATION", "", "MODEL.BACKBONE.HEADS", "()"]


EUROSAT_FOLDERS = (
    *("AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial"),
    *("Pasture", "PermanentCrop", "Residential", "River", "SeaLake"),
)


def write_eurosat(root: Path, images_per_class=12, size=32) -> Path:
    """A EuroSAT-shaped tree of small random pictures, a colour scheme per class."""
    rng = np.random.default_rng(0)
    for folder in EUROSAT_FOLDERS:
        where = root / "eurosat" / "2750" / folder
        where.mkdir(parents=True)
        scheme = rng.uniform(0, 255, (4, 4, 3))
        for number in range(1, images_per_class + 1):
            pixels = np.clip(scheme + rng.normal(0, 30, scheme.shape), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).resize((size, size)).save(where / f"{folder}_{number}.jpg")
    return root


def replace_unnoticed(path):
    """Move another picture over a JPEG file, of the same size in bytes and the same modification time."""
    status, other = path.stat(), path.with_name(f".{path.name}")
    with Image.open(path) as image:
        Image.new("RGB", image.size, (255, 0, 255)).save(other, "JPEG", quality=5)
    content = other.read_bytes()
    assert len(content) <= status.st_size
    other.write_bytes(content.ljust(status.st_size, b"\0"))
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)


@pytest.fixture
def eurosat_root(tmp_path):
    return write_eurosat(tmp_path / "data")


BARE_CONFIG = """
DATALOADER:
  TRAIN_X: {BATCH_SIZE: 4}
  TEST: {BATCH_SIZE: 50}
  NUM_WORKERS: 0
INPUT:
  SIZE: (32, 32)
  INTERPOLATION: "bicubic"
  PIXEL_MEAN: [0.48145466, 0.4578275, 0.40821073]
  PIXEL_STD: [0.26862954, 0.26130258, 0.27577711]
  TRANSFORMS: ["random_resized_crop", "random_flip", "normalize"]
OPTIM:
  NAME: "sgd"
  LR: 0.0035
  MAX_EPOCH: 2
  LR_SCHEDULER: "cosine"
  WARMUP_EPOCH: 1
  WARMUP_TYPE: "constant"
  WARMUP_CONS_LR: 1e-5
TRAIN:
  PRINT_FREQ: 1
"""
SMALL_CONFIG = (
    BARE_CONFIG
    + """
TRAINER:
  MPL: {N_CTX: 1, PREC: "fp32", PROMPT_DEPTH: 3}
"""
)


def bare_config(trainer):
    """BARE_CONFIG, for a trainer that counts steps without what epochs have, which it refuses."""
    by_epoch = ("MAX_EPOCH", "LR_SCHEDULER", "WARMUP")
    lines = BARE_CONFIG.splitlines(keepends=True)
    return "".join(line for line in lines if not counts_steps(trainer) or not line.strip().startswith(by_epoch))


def small_run(folder, clip_file):
    """Flags and options of a small MPL run on folder/data by the settings folder/small.yaml, into folder/out."""
    data = ["--root", str(folder / "data"), "--dataset-config-file", str(ROOT / "configs/datasets/eurosat.yaml")]
    run = ["--seed", "1", "--trainer", "MPL", "--output-dir", str(folder / "out")]
    options = [*bare(clip_file), "DATASET.NUM_SHOTS", "4", "DATASET.SUBSAMPLE_CLASSES", "base"]
    return [*data, *run, "--config-file", str(folder / "small.yaml")], options


@pytest.fixture
def small_config(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SMALL_CONFIG)
    return path


@pytest.fixture
def mpl_flags(eurosat_root, small_config, clip_file, tmp_path):
    """Flags of a small MPL run on the EuroSAT-shaped tree, without the trailing options."""
    return small_run(tmp_path, clip_file)[0]


@pytest.fixture
def mpl_options(clip_file, tmp_path):
    """Trailing options that go with mpl_flags."""
    return small_run(tmp_path, clip_file)[1]


@pytest.fixture(scope="session")
def small_training(clip_file, tmp_path_factory):
    """A folder with images, and the small MPL run of them that was trained for two epochs."""
    from modprompt.cli import train

    folder = tmp_path_factory.mktemp("trained")
    write_eurosat(folder / "data")
    (folder / "small.yaml").write_text(SMALL_CONFIG)
    with process_kept():
        flags, options = small_run(folder, clip_file)
        assert train.main([*flags, *options]) == 0
    return folder


@pytest.fixture
def trained(small_training, mpl_flags, tmp_path, capsys):
    """The folder of the run of mpl_flags and mpl_options, trained as it stands."""
    for name in ("data", "out"):
        shutil.copytree(small_training / name, tmp_path / name, dirs_exist_ok=True)
    capsys.readouterr()
    return tmp_path / "out"


@pytest.fixture
def command(mpl_flags, mpl_options, tmp_path):
    """Words of a run of a row of tests/methods.py, or of a trainer without settings; further options behind."""

    def words(method, *more):
        flags, trainer = [*mpl_flags], getattr(method, "trainer", method)
        (tmp_path / "bare.yaml").write_text(bare_config(trainer))
        if counts_steps(trainer):  # as many passes of five batches
            more = [f"TRAINER.{method.node}.N_ITERS" if word == "OPTIM.MAX_EPOCH" else word for word in more]
        flags[flags.index("MPL")] = trainer
        flags[flags.index("--config-file") + 1] = str(tmp_path / "bare.yaml")
        return [*flags, *mpl_options, *getattr(method, "words", ()), *map(str, more)]

    return words
