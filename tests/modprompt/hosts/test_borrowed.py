"""--host: a codebase's readers, configs, keys and clip for this project's own program."""

import json
import os
import sys

import pytest

from modprompt.errors import UserError
from modprompt.hosts import borrowed
from modprompt.io.settings import Settings
from tests.conftest import ROOT
from tests.modprompt.hosts.conftest import losses
from tests.modprompt.hosts.stand_in import git, run_in, write_host
from tests.warm import run_python

START = ("-m", "modprompt", "train")
READER = """from dassl.data.datasets import DATASET_REGISTRY, DatasetBase


@DATASET_REGISTRY.register()
class {name}(DatasetBase):
    pass
"""


def codebase(folder, extend=""):
    (folder / "datasets").mkdir(parents=True)
    (folder / "train.py").write_text(f"from dassl.engine import build_trainer\n{extend}")
    return folder


def test_codebase_is_found_in_its_folder_or_the_one_below(tmp_path):
    inner = codebase(tmp_path / "repo" / "src")
    assert borrowed.find(inner) == borrowed.find(tmp_path / "repo") == inner
    codebase(tmp_path / "repo" / "other")
    with pytest.raises(UserError, match=r"it holds several codebases \(other, src\): name one"):
        borrowed.find(tmp_path / "repo")


def test_its_config_wins_over_ours_and_a_path_that_exists_over_both(tmp_path, monkeypatch):
    host = borrowed.Host(codebase(tmp_path / "host"))
    config = host.folder / "configs" / "datasets" / "eurosat.yaml"
    config.parent.mkdir(parents=True)
    config.touch()
    monkeypatch.chdir(tmp_path)
    assert host.config_of("eurosat") == host.config_of("configs/datasets/eurosat.yaml") == str(config)
    assert host.config_of("dtd") == "dtd"
    assert host.config_of("") == ""
    (tmp_path / "eurosat").touch()
    assert host.config_of("eurosat") == "eurosat"


EXTEND = """
import copy
import trainers.not_shipped
from trainers.constants import nothing

FIRST = 3


def extend_cfg(cfg{more}):
    from yacs.config import CfgNode as CN

    cfg.SPLE = CN()
    cfg.SPLE.LAYERS = copy.copy(FIRST)
    cfg.TRAINER.COOP = CN()
    cfg.TRAINER.COOP.N_CTX = 99
"""
ASK = """
import sys
from pathlib import Path
from modprompt.compat import find
find.add_to_path()
import modprompt.trainers.all
from dassl.config import get_cfg_default
from modprompt.hosts.borrowed import Host
Host(Path(sys.argv[1])).add_keys(bool(sys.argv[2]))
cfg = get_cfg_default()
print(cfg.get("SPLE", {}).get("LAYERS"), cfg.TRAINER.COOP.N_CTX)
"""


@pytest.mark.parametrize(
    ("more", "ours", "said"), [("", "yes", "3 16"), ("", "", "3 99"), (", args", "yes", "None 16")]
)
def test_keys_come_from_its_extend_cfg_and_no_module_of_its_trainers_is_run(more, ours, said, tmp_path):
    host = codebase(tmp_path / "host", EXTEND.format(more=more))
    done = run_python("-c", ASK, host, ours, folder=ROOT)
    assert done.stdout.splitlines()[-1] == said, done.stderr
    assert ("the keys of its extend_cfg are left out (" in done.stdout) == bool(more)


def test_reader_is_none_that_a_command_may_give():
    with pytest.raises(UserError, match=r"command line: DATASET.READER is set by --host FOLDER and cannot be given"):
        borrowed.require_no_reader(Settings.read(options=["DATASET.READER", "eurosat.py 0123"]))


TAKE = """
import sys
sys.path.append("installed")
from modprompt.hosts import borrowed
host = borrowed.entered(sys.argv[1])
import modprompt.data.readers.all
from dassl.data.datasets import DATASET_REGISTRY
try:
    print(host.take_reader(sys.argv[2]))
    reader = DATASET_REGISTRY.get(sys.argv[2])
    print(reader.__module__, getattr(reader, "only_tests", False))
except borrowed.UserError as error:
    print(error)
"""


def taken(host, name):
    """What is printed where another package of the name of its readers is installed."""
    installed = host.parent / "installed" / "datasets"
    installed.mkdir(parents=True, exist_ok=True)
    (installed / "__init__.py").touch()
    done = run_python("-c", TAKE, host, name, folder=host.parent, environment={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_its_reader_stands_for_ours_and_its_modules_tell_it_from_another(tmp_path):
    host = codebase(tmp_path / ".hidden" / "host")
    readers = host / "datasets"
    (readers / "help.py").write_text("")
    (readers / "euro.py").write_text("from . import help\n" + READER.format(name="EuroSAT"))
    first, module = taken(host, "EuroSAT")
    assert module == "datasets.euro False"
    assert first.startswith("euro.py ")
    (host / "elsewhere.py").write_text("")
    (readers / ".ipynb_checkpoints").mkdir()
    (readers / ".ipynb_checkpoints" / "euro-checkpoint.py").write_text(READER.format(name="EuroSAT"))
    assert taken(host, "EuroSAT")[0] == first
    found = {first}
    for path, content in (
        (readers / "help.py", "CHANGED = True\n"),
        (readers / "euro.py", "import elsewhere\n" + READER.format(name="EuroSAT")),
        (host / "elsewhere.py", "CHANGED = True\n"),
    ):
        path.write_text(content)
        found.add(taken(host, "EuroSAT")[0])
    assert len(found) == 4
    said, none, module = taken(host, "SUN397")
    assert "has no reader SUN397: it is read by ours" in said
    assert (none, module) == ("None", "modprompt.data.readers.lists False")
    (readers / "a.py").write_text(READER.format(name="ImageNetA"))
    assert taken(host, "ImageNetA")[-1] == "datasets.a True"  # only tested, whoever reads it


def test_reader_that_does_not_import_or_is_not_entered_or_there_twice_is_one_line(tmp_path):
    host, reader = codebase(tmp_path / "host"), READER.format(name="EuroSAT")
    own_registry = "from dassl.data.datasets import DatasetBase\nfrom dassl.utils import Registry\n"
    own_registry += "DATASET_REGISTRY = Registry('theirs')\n" + reader.partition("\n")[2]
    (host / "datasets" / "help.py").write_text("import no_package, os\n")
    for content, said in (
        (f"import skimage.io\nfrom . import help\n{reader}", "'skimage'): pip install no_package scikit-image"),
        (f"raise SystemExit(0)\n{reader}", "cannot be imported (0)"),
        (own_registry, "does not enter EuroSAT in Dassl's registry: it would be read by ours"),
    ):
        (host / "datasets" / "euro.py").write_text(content)
        (line,) = taken(host, "EuroSAT")
        assert line.startswith(f"--host: {host}/datasets/euro.py ")
        assert line.endswith(said)
    (host / "datasets" / "second.py").write_text(reader)
    assert "both register EuroSAT" in taken(host, "EuroSAT")[0]


def test_its_dassl_needs_a_host_that_has_one(tmp_path):
    with pytest.raises(UserError, match="name the codebase with --host FOLDER"):
        borrowed.entered(None, its_dassl=True)
    with pytest.raises(UserError, match="the folder of a codebase is missing"):
        borrowed.entered("")
    with pytest.raises(UserError, match="has no Dassl of its own"):
        borrowed.entered(str(codebase(tmp_path / "host")), its_dassl=True)


def test_standing_in_a_codebase_is_said_and_nothing_of_it_is_used(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(codebase(tmp_path / "host"))
    monkeypatch.setattr(sys, "path", ["", str(tmp_path / "host"), *sys.path])
    assert borrowed.entered(None) is None
    assert "" not in sys.path
    assert str(tmp_path / "host") not in sys.path
    assert "note: this folder is a codebase of the family; its readers and its clip are used with --host ." in (
        capsys.readouterr().out
    )


@pytest.mark.slow
@pytest.mark.timeout(360)
def test_losses_are_those_of_our_program_and_a_finished_run_knows_its_reader(workshop, tmp_path):
    host = write_host(tmp_path / "host", "shadowed clip", "lacks modules")
    words = ["--host", ".", *workshop.words("MPL", "output/run", "--once")]
    done = run_in(host, *START, *words)
    assert done.returncode == 0, done.stderr
    assert losses(done.stdout) == pytest.approx(workshop.losses, abs=0)
    assert git(host, "status", "--porcelain") == ""
    result = json.loads((host / "output" / "run" / "result.json").read_text())
    assert result["settings"]["DATASET.READER"].startswith("squares.py ")
    assert "Finished before" in run_in(host, *START, *words).stdout
    with (host / "datasets" / "squares.py").open("a") as file:
        file.write("# another one\n")
    other = run_in(host, *START, *words)
    assert other.returncode == 2
    assert "DATASET.READER squares.py" in other.stderr


@pytest.mark.slow
def test_its_own_trainer_is_imported_by_name_and_a_model_is_tested(workshop, tmp_path):
    host = write_host(tmp_path / "host", "own MPL")
    words = ["--host", str(host), *workshop.words("MPL", tmp_path / "run")]
    trained = run_in(tmp_path, *START, *words, "OPTIM.MAX_EPOCH", "1")
    assert trained.returncode == 0, trained.stderr
    own = run_in(tmp_path, *START, "--host", str(host), "--import", "trainers.own", *workshop.words("OWN", "own"))
    assert "own trainer OWN" in own.stdout, own.stderr
    words[words.index("--output-dir") + 1] = tmp_path / "test"
    again = run_in(tmp_path, *START, "--eval-only", "--model-dir", tmp_path / "run", *words)
    found = [[line for line in done.stdout.splitlines() if "* correct" in line] for done in (trained, again)]
    assert found[0] == found[1] != [], again.stderr


@pytest.mark.slow
@pytest.mark.parametrize("given", [(), ("DATASET.NOISE_LABEL", "True")])
def test_labels_that_its_readers_make_wrong_on_purpose_are_right_unless_asked_otherwise(given, workshop, tmp_path):
    host = write_host(tmp_path / "host", "asks for more")
    done = run_in(tmp_path, *START, "--host", str(host), *workshop.words("MPL", "run"), *given)
    assert done.returncode == 0, done.stderr
    told = f"note: {host / 'train.py'}: it makes training labels wrong on purpose; added: DATASET.NOISE_LABEL False"
    assert (told in done.stdout.splitlines()) == (not given)
    recorded = json.loads((tmp_path / "run" / "result.json").read_text())["settings"]["DATASET.NOISE_LABEL"]
    assert recorded == ("True" if given else "False")
