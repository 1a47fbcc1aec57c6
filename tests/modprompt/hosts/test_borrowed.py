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


def test_hidden_folders_hold_no_readers_and_are_not_hashed(tmp_path):
    host = codebase(tmp_path / ".hidden" / "host")
    (host / "datasets" / "euro.py").write_text(READER.format(name="EuroSAT"))
    (first, _), copy = taken(host, "EuroSAT"), host / "datasets" / ".ipynb_checkpoints" / "euro-checkpoint.py"
    copy.parent.mkdir()
    copy.write_text(READER.format(name="EuroSAT"))
    assert taken(host, "EuroSAT") == [first, "datasets.euro"]


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
    cfg.TRAINER.COOP.OF_THEIRS = "yes"
"""
ASK = """
import sys
from pathlib import Path
from modprompt.compat import find
find.add_to_path()
import modprompt.trainers.all
from dassl.config import cfg_default, get_cfg_default
from modprompt.hosts.borrowed import Host
cfg_default.TEST.FINAL_MODEL = "best_val"
from modprompt.compat import defaults
defaults.pin(cfg_default)
Host(Path(sys.argv[1])).add_keys(bool(sys.argv[2]))
cfg = get_cfg_default()
print(cfg.get("SPLE", {}).get("LAYERS"), cfg.TRAINER.COOP.N_CTX, cfg.TRAINER.COOP.get("OF_THEIRS"), cfg.TEST.FINAL_MODEL)
"""


@pytest.mark.cover(1)
@pytest.mark.parametrize(
    ("more", "trainer", "said"),
    [
        ("", "ours", "3 16 yes last_step"),
        ("", "", "3 99 yes last_step"),
        (", args", "ours", "None 16 None last_step"),
    ],
)
def test_keys_come_from_its_extend_cfg_and_no_module_of_its_trainers_is_run(more, trainer, said, tmp_path):
    host = codebase(tmp_path / "host", EXTEND.format(more=more))
    done = run_python("-c", ASK, host, trainer, folder=ROOT)
    assert done.stdout.splitlines()[-1] == said, done.stderr
    assert ("the keys of its extend_cfg are left out (" in done.stdout) == bool(more)


def test_reader_is_none_that_a_command_may_give(tmp_path):
    with pytest.raises(UserError, match=r"command line: DATASET.READER is set by --host FOLDER and cannot be given"):
        borrowed.require_no_reader(Settings.read(options=["DATASET.READER", "eurosat.py 0123"]))


TAKE = """
import sys
from pathlib import Path
from modprompt.hosts import borrowed
host = borrowed.entered(sys.argv[1])
import modprompt.data.readers.all
from dassl.data.datasets import DATASET_REGISTRY
try:
    print(host.take_reader(sys.argv[2]))
    print(DATASET_REGISTRY.get(sys.argv[2]).__module__)
except borrowed.UserError as error:
    print(error)
"""


def taken(host, name):
    done = run_python("-c", TAKE, host, name, folder=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_its_reader_stands_for_ours_and_its_modules_tell_it_from_another(tmp_path):
    host = codebase(tmp_path / "host")
    (host / "datasets" / "help.py").write_text("")
    (host / "datasets" / "euro.py").write_text("from . import help\n" + READER.format(name="EuroSAT"))
    first, module = taken(host, "EuroSAT")
    assert module == "datasets.euro"
    assert first.startswith("euro.py ")
    (host / "elsewhere.py").write_text("")
    assert taken(host, "EuroSAT")[0] == first
    found = {first}
    for name, content in (
        ("help.py", "CHANGED = True\n"),
        ("euro.py", "import elsewhere\n" + READER.format(name="EuroSAT")),
    ):
        (host / "datasets" / name).write_text(content)
        found.add(taken(host, "EuroSAT")[0])
    (host / "elsewhere.py").write_text("CHANGED = True\n")
    assert len({*found, taken(host, "EuroSAT")[0]}) == 4
    said, none, module = taken(host, "SUN397")
    assert "has no reader SUN397: it is read by ours" in said
    assert (none, module) == ("None", "modprompt.data.readers.sun397")


def test_reader_that_does_not_import_or_is_not_entered_or_there_twice_is_one_line(tmp_path):
    host, reader = codebase(tmp_path / "host"), READER.format(name="EuroSAT")
    elsewhere = "from dassl.data.datasets import DatasetBase\nfrom dassl.utils import Registry\nDATASET_REGISTRY = Registry('theirs')\n"
    (host / "datasets" / "help.py").write_text("import no_package, os\n")
    for content, said in (
        (
            f"import skimage.io\nfrom . import help\n{reader}",
            "(No module named 'skimage'): pip install no_package scikit-image",
        ),
        (f"raise SystemExit(0)\n{reader}", "cannot be imported (0)"),
        (elsewhere + reader.partition("\n")[2], "does not enter EuroSAT in Dassl's registry: it would be read by ours"),
    ):
        (host / "datasets" / "euro.py").write_text(content)
        (line,) = taken(host, "EuroSAT")
        assert line.startswith(f"--host: {host}/datasets/euro.py ")
        assert line.endswith(said)
    (host / "datasets" / "second.py").write_text(READER.format(name="EuroSAT"))
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


def test_its_readers_win_over_an_installed_package_and_variants_of_imagenet_only_test_whoever_reads_them(tmp_path):
    host = codebase(tmp_path / "host")
    (host / "datasets" / "a.py").write_text(READER.format(name="ImageNetA"))
    (tmp_path / "installed" / "datasets").mkdir(parents=True)
    (tmp_path / "installed" / "datasets" / "__init__.py").touch()
    asks = TAKE.replace("import sys", f"import sys\nsys.path.append({str(tmp_path / 'installed')!r})", 1)
    asks += "print(DATASET_REGISTRY.get(sys.argv[2]).only_tests)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = run_python("-c", asks, host, "ImageNetA", folder=tmp_path, environment=environment)
    assert done.stdout.splitlines()[-2:] == ["datasets.a", "True"], done.stderr


@pytest.mark.slow
@pytest.mark.timeout(360)
def test_losses_are_those_of_our_program_and_a_finished_run_knows_its_reader(workshop, tmp_path):
    host = write_host(tmp_path / "host", "shadowed clip", "not shipped")
    words = ["--host", ".", *workshop.words("MPL", "output/run", "--once")]
    done = run_in(host, *START, *words)
    assert done.returncode == 0, done.stderr
    assert losses(done.stdout) == pytest.approx(workshop.losses, abs=0)
    assert git(host, "status", "--porcelain") == ""
    result = json.loads((host / "output" / "run" / "result.json").read_text())
    assert result["settings"]["DATASET.READER"].startswith("squares.py ")
    assert "Finished before" in run_in(host, *START, *words).stdout
    (workshop.data / "lake" / "0.png").rename(workshop.data / "lake" / "other.png")
    other = run_in(host, *START, *words)
    (workshop.data / "lake" / "other.png").rename(workshop.data / "lake" / "0.png")
    assert "the images, which have no known split file, have changed" in other.stderr
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
    host = write_host(tmp_path / "host", "wrong labels")
    done = run_in(tmp_path, *START, "--host", str(host), *workshop.words("MPL", "run"), *given)
    assert done.returncode == 0, done.stderr
    told = f"note: {host / 'train.py'}: it makes training labels wrong on purpose; added: DATASET.NOISE_LABEL False"
    assert (told in done.stdout.splitlines()) == (not given)
    recorded = json.loads((tmp_path / "run" / "result.json").read_text())["settings"]["DATASET.NOISE_LABEL"]
    assert recorded == ("True" if given else "False")
