"""What people get who install the package: built, looked into, and run without the checkout on the path."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile

import pytest

from modprompt import __version__
from tests.conftest import ROOT
from tools import stub

pytestmark = pytest.mark.slow

NOT_COPIED = shutil.ignore_patterns(".*", "build", "*.egg-info", "output", "data")
BUILD = """
import sys
from setuptools import build_meta
for kind, folder in zip(sys.argv[1::2], sys.argv[2::2]):
    getattr(build_meta, "build_" + kind)(folder)
"""
INFO = f"modprompt-{__version__}.dist-info"


def run(words, folder):
    """What a program comes to in a folder; nothing of this process's path is handed on."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run([*map(str, words)], cwd=folder, env=kept, capture_output=True, text=True, check=False)


def must(words, folder):
    """The output of a program that ends well."""
    done = run(words, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with the sdist, the wheel of the checkout, and below from_sdist/ the wheel of the sdist."""
    folder = tmp_path_factory.mktemp("built")
    tomllib = pytest.importorskip("tomllib")  # of Python 3.11
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    venv.create(folder / "builder", with_pip=True)
    python = folder / "builder" / "bin" / "python"
    must([python, "-m", "pip", "install", "--quiet", "--upgrade", *needed], folder)
    shutil.copytree(
        ROOT, folder / "checkout", ignore=lambda of, names: NOT_COPIED(of, names) if of == str(ROOT) else ()
    )
    must([python, "-c", BUILD, "sdist", folder, "wheel", folder], folder / "checkout")
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as content:
        content.extractall(folder / "unpacked", filter="data")
    must([python, "-c", BUILD, "wheel", folder / "from_sdist"], folder / "unpacked" / f"modprompt-{__version__}")
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The Python of an environment with the wheel, and the packages of this environment behind it, but no checkout."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "those_of_the_tests.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    pip = [sys.executable, "-m", "pip", "--python", python]
    must([*pip, "install", "--quiet", "--no-deps", "--no-index", wheel], folder)
    assert "No broken requirements found" in must([*pip, "check"], folder)
    return python


@pytest.fixture(scope="module")
def modprompt(installed):
    """The console command."""
    return installed.parent / "modprompt"


def files(path):
    with zipfile.ZipFile(path) as content:
        return {name: content.read(name) for name in content.namelist() if not name.endswith("/RECORD")}


def test_the_stub_is_what_the_package_gives():
    assert stub.PATH.read_text() == stub.text()


def test_wheel_has_the_package_and_its_configs_and_that_of_the_sdist_is_the_same(built, wheel):
    found = files(wheel)
    package = [path for path in (ROOT / "modprompt").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    configs = [path for kind in ("*.yaml", "*.csv") for path in (ROOT / "configs").rglob(kind)]
    expected = {path.relative_to(ROOT).as_posix() for path in package}
    expected |= {f"modprompt/{path.relative_to(ROOT).as_posix()}" for path in configs}
    assert {name for name in found if not name.startswith(INFO)} == {*expected, "modprompt/constraints.txt"}
    metadata = found[f"{INFO}/METADATA"].decode()
    assert "Requires-Python: >=3.10\n" in metadata
    assert "Requires-Dist: clip-anytorch" in metadata
    assert files(built / "from_sdist" / wheel.name) == found


def test_version_and_place(installed, modprompt, tmp_path):
    code = "import modprompt, sys; print(modprompt.__version__, modprompt.__file__, 'torch' in sys.modules)"
    version, file, torch = must([installed, "-c", code], tmp_path).split()
    assert (version, torch) == (__version__, "False")
    assert installed.parents[1].as_posix() in file
    assert must([modprompt, "--version"], tmp_path) == must([installed, "-m", "modprompt", "--version"], tmp_path)
    must([modprompt, "doctor"], tmp_path)


PYTHON = """
import torch
import modprompt
clip_model, preprocess = modprompt.load_clip("glyph-clip", device="cpu")
model = modprompt.MPL(n_ctx=1, n_add_op=2, n_rm_op=1, prompt_depth=6).on(clip_model, ["zero", "one"])
model.print_trainable_parameters()
images, labels = torch.randn(2, 3, 32, 32), torch.tensor([0, 1])
model.loss(images, labels).backward()
model.save("mpl.pt")
loaded = modprompt.load("mpl.pt", device="cpu").eval()
with torch.no_grad():
    assert torch.equal(loaded(images), model.eval()(images))
    loaded.with_classes(["two", "three"])(images)
print(loaded.method, preprocess.transforms[0].size)
try:
    modprompt.MPL(prompt_depth=6).on(clip_model, ["cat", "dog"])
except modprompt.UserError as error:
    print(error)
"""


def test_a_model_in_python(installed, tmp_path):
    first, second, refused = must([installed, "-W", "ignore", "-c", PYTHON], tmp_path).splitlines()
    assert first.startswith("Trainable parameters: 91,904 of 5,284,801 (")
    assert second == "MPL(n_ctx=1, prompt_depth=6) 32"
    assert "'cat' and 'dog'" in refused


def test_training_with_data_and_output_in_the_current_folder(modprompt, tmp_path):
    must([modprompt, "train", "--trainer", "MPL", "OPTIM.MAX_EPOCH", 1, "DATASET.NUM_SHOTS", 1], tmp_path)
    assert (tmp_path / "output/digits/shots_1/MPL/glyph/seed1/result.json").is_file()
    named = ["--config-file", "glyph", "--dataset-config-file", "configs/datasets/digits.yaml", "--no-train"]
    must([modprompt, "train", "--trainer", "MPL", *named, "--output-dir", "output/named"], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"data", "output"}
    done = run([modprompt, "prepare", "EuroSAT", "--check"], tmp_path)
    assert (done.returncode, f"The folder {tmp_path}/data/eurosat is missing." in done.stderr) == (1, True)


EXPERIMENT = """
protocol: base2new
datasets: [digits]
seeds: [1]
shots: 1
options: {OPTIM.MAX_EPOCH: 1}
methods:
  MPL: {trainer: MPL, config: glyph}
"""


def test_experiment_of_two_runs(modprompt, tmp_path):
    (tmp_path / "two.yaml").write_text(EXPERIMENT)
    (tmp_path / "train.py").write_text("raise SystemExit('not this one')\n")
    (tmp_path / "modprompt").mkdir()  # as in a codebase that MPL was put into
    (tmp_path / "modprompt/__init__.py").write_text("raise SystemExit('nor this one')\n")
    text = must([modprompt, "experiment", "run", "two.yaml", "--jobs", 1, "--report"], tmp_path)
    assert "2 of 2 runs are finished.\n" in text
    assert must([modprompt, "experiment", "status", "two.yaml"], tmp_path) == "2 runs: 2 finished\n"
    assert (tmp_path / "output/reports/two/index.html").is_file()
    assert must([modprompt, "experiment", "run", "demo", "--dry-run"], tmp_path).count(" -m modprompt train ") > 10


def test_config_files_and_rows_for_codebases_are_found(installed, tmp_path):
    code = (
        "from modprompt.compat import find; find.add_to_path(); from modprompt.hosts.settings import with_our_config\n"
    )
    code += "from modprompt.hosts.rows import rows_of; assert rows_of(b'NOISE_LABEL = True')[0].of == 'NLPrompt'\n"
    code += "print(with_our_config(['--trainer', 'MPL', '--config-file', 'vit_b4_c1_add2_rm1'])[-1])"
    found = must([installed, "-c", code], tmp_path).split()[-1]
    assert found.endswith("modprompt/configs/trainers/MPL/vit_b4_c1_add2_rm1.yaml")
