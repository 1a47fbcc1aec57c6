"""--host: a codebase's readers, configs, keys and clip for this project's own program."""

import json
import os
import subprocess
import sys

import dassl.config
import pytest

from modprompt.errors import UserError
from modprompt.hosts import borrowed
from modprompt.io.settings import Settings
from modprompt.trainers import all as _all  # noqa: F401  (registers the keys that a codebase may not replace)
from tests.conftest import ROOT
from tests.modprompt.hosts.conftest import losses
from tests.modprompt.hosts.stand_in import git, run_in, write_host

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
    with pytest.raises(
        UserError, match=r"the folder contains several codebases \(other, src\). Use the path of one codebase."
    ):
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


@pytest.mark.parametrize(
    ("more", "ours", "layers", "n_ctx"), [("", True, 3, 16), ("", False, 3, 99), (", args", True, None, 16)]
)
def test_keys_come_from_its_extend_cfg_and_no_trainer_is_run(more, ours, layers, n_ctx, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(dassl.config, "cfg_default", dassl.config.get_cfg_default())
    borrowed.Host(codebase(tmp_path / "host", EXTEND.format(more=more))).add_keys(ours)
    cfg = dassl.config.get_cfg_default()
    assert (cfg.get("SPLE", {}).get("LAYERS"), cfg.TRAINER.COOP.N_CTX) == (layers, n_ctx)
    assert (f"note: extend_cfg in {tmp_path / 'host' / 'train.py'} fails (" in capsys.readouterr().out) == bool(more)


def test_reader_is_none_that_a_command_may_give():
    with pytest.raises(UserError, match=r"command line: DATASET.READER cannot be set directly. Use --host FOLDER."):
        borrowed.require_no_reader(Settings.read(options=["DATASET.READER", "eurosat.py 0123"]))


TAKE = """
import sys
sys.path.append("installed")
from modprompt.hosts import borrowed
for folder, name in zip(sys.argv[1::2], sys.argv[2::2]):
    try:
        host = borrowed.entered(folder)
        import modprompt.data.readers.all
        from dassl.data.datasets import DATASET_REGISTRY
        digest = host.take_reader(name)
        reader = DATASET_REGISTRY.get(name)
        print(digest, reader.__module__, getattr(reader, "only_tests", False))
    except borrowed.UserError as error:
        print(error)
    for name in ("help", "elsewhere"):  # the next codebase has its own
        sys.modules.pop(name, None)
"""


def taken(folder, *hosts):
    """What is printed of each (codebase, data set), where another package of the name of its readers is installed."""
    (folder / "installed/datasets").mkdir(parents=True)
    (folder / "installed/datasets/__init__.py").touch()
    words = [str(word) for pair in hosts for word in pair]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", TAKE, *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def readers(folder, files):
    """A codebase with these files, by their paths."""
    codebase(folder)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def test_its_reader_stands_for_ours_and_its_modules_tell_it_from_another(tmp_path):
    reader = READER.format(name="EuroSAT")
    usual = {"datasets/help.py": "", "datasets/euro.py": f"from . import help\n{reader}", "elsewhere.py": ""}
    kept = {"datasets/.ipynb_checkpoints/euro-checkpoint.py": reader}
    euro = {"datasets/euro.py": f"import elsewhere\n{reader}"}
    changes = [{}, kept, {"datasets/help.py": "CHANGED = True\n"}, euro, {**euro, "elsewhere.py": "CHANGED = True\n"}]
    hosts = [readers(tmp_path / ".hidden" / f"host{number}", {**usual, **more}) for number, more in enumerate(changes)]
    of_tests = readers(tmp_path / "of_tests", {"datasets/a.py": READER.format(name="ImageNetA")})
    asked = [*((host, "EuroSAT") for host in hosts), (of_tests, "ImageNetA"), (of_tests, "SUN397")]
    *lines, only_tested, none, ours = taken(tmp_path, *asked)
    first, again, *others = lines
    assert first == again
    assert len({first, *others}) == 4
    for line in lines:
        file, _, module, _ = line.split()
        assert (file, module) == ("euro.py", "datasets.euro")
    assert only_tested.endswith(" datasets.a True")  # whoever reads it
    assert "contains no reader for the data set SUN397, so modprompt's own reader is used." in none
    assert ours == "None modprompt.data.readers.lists False"


@pytest.mark.slow
def test_reader_that_does_not_import_or_is_not_entered_or_there_twice_is_one_line(tmp_path):
    reader = READER.format(name="EuroSAT")
    own_registry = "from dassl.data.datasets import DatasetBase\nfrom dassl.utils import Registry\n"
    own_registry += "DATASET_REGISTRY = Registry('theirs')\n" + reader.partition("\n")[2]
    contents = {
        f"import skimage.io\nfrom . import help\n{reader}": "'skimage'). Run `pip install no_package scikit-image`.",
        f"raise SystemExit(0)\n{reader}": "cannot be imported (0).",
        own_registry: "does not register EuroSAT in Dassl's DATASET_REGISTRY, so the reader cannot be used. Add @DATASET_REGISTRY.register() to the class of the reader.",
    }
    usual = {"datasets/help.py": "import no_package, os\n"}
    hosts = [
        readers(tmp_path / f"host{number}", {**usual, "datasets/euro.py": content})
        for number, content in enumerate(contents)
    ]
    twice = readers(tmp_path / "twice", {"datasets/euro.py": reader, "datasets/second.py": reader})
    *lines, last = taken(tmp_path, *((host, "EuroSAT") for host in (*hosts, twice)))
    for host, line, said in zip(hosts, lines, contents.values(), strict=True):
        assert line.startswith(f"--host: {host}/datasets/euro.py ")
        assert line.endswith(said)
    assert "are both registered as EuroSAT" in last


def test_its_dassl_needs_a_host_that_has_one(tmp_path):
    with pytest.raises(UserError, match="Specify the codebase with --host FOLDER."):
        borrowed.entered(None, host_dassl=True)
    with pytest.raises(UserError, match="--host is empty. Specify the folder of a codebase."):
        borrowed.entered("")
    with pytest.raises(UserError, match="contains no copy of Dassl"):
        borrowed.entered(str(codebase(tmp_path / "host")), host_dassl=True)


def test_standing_in_a_codebase_is_said_and_nothing_of_it_is_used(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(codebase(tmp_path / "host"))
    monkeypatch.setattr(sys, "path", ["", str(tmp_path / "host"), *sys.path])
    assert borrowed.entered(None) is None
    assert "" not in sys.path
    assert str(tmp_path / "host") not in sys.path
    said = (
        "the current folder is a Dassl-based codebase. Add `--host .` to use its data-set readers and its clip package."
    )
    assert f"note: {said}" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.timeout(360)
def test_losses_are_those_of_our_program_and_a_finished_run_knows_its_reader(workshop, tmp_path):
    host = write_host(tmp_path / "host", "lacks modules")
    (host / "clip/__init__.py").unlink()  # an installed package would win
    git(host, "commit", "-qam", "no package")
    words = ["--host", ".", *workshop.words("MPL", "output/run", "--once")]
    done = run_in(host, *START, *words)
    assert done.returncode == 0, done.stderr
    assert losses(done.stdout) == pytest.approx(workshop.losses, abs=0)
    assert git(host, "status", "--porcelain") == ""
    result = json.loads((host / "output" / "run" / "result.json").read_text())
    assert result["settings"]["DATASET.READER"].startswith("squares.py ")
    assert "This run is already finished" in run_in(host, *START, *words).stdout
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
    assert "Zero-shot CLIP" not in trained.stdout


@pytest.mark.slow
@pytest.mark.parametrize("given", [(), ("DATASET.NOISE_LABEL", "True")])
def test_labels_that_its_readers_make_wrong_on_purpose_are_right_unless_asked_otherwise(given, workshop, tmp_path):
    host = write_host(tmp_path / "host", "asks for more")
    done = run_in(tmp_path, *START, "--host", str(host), *workshop.words("MPL", "run"), *given)
    assert done.returncode == 0, done.stderr
    told = f"note: {host / 'train.py'}: the program replaces some training labels by wrong labels, so modprompt added the setting DATASET.NOISE_LABEL False"
    assert (told in done.stdout.splitlines()) == (not given)
    recorded = json.loads((tmp_path / "run" / "result.json").read_text())["settings"]["DATASET.NOISE_LABEL"]
    assert recorded == ("True" if given else "False")
