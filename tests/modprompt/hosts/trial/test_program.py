"""The process of a trial, on small programs without Dassl: what it notes, and that it runs them as Python would."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modprompt.hosts.trial import program as trial_program
from modprompt.places import PACKAGE


def run(folder, program, *words, installed=True, way="installer"):
    """(exit code, record, standard output, errors) of a program."""
    (folder / "train.py").write_text(program)
    spec = {
        "way": way,
        "folder": str(folder),
        "package": str(PACKAGE),
        "installed": installed,
        "program": str(folder / "train.py"),
        "words": list(words),
        "record": str(folder / "record.json"),
        "near": [str(folder)],
        "without": "",
    }
    (folder / "spec.json").write_text(json.dumps(spec))
    command = [sys.executable, trial_program.__file__, str(folder / "spec.json")]
    environment = {**os.environ, "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    return done.returncode, json.loads((folder / "record.json").read_text()), done.stdout, done.stderr


def test_a_program_is_started_as_python_would(tmp_path):
    (tmp_path / "beside.py").write_text("import sys\nWHO = sys.modules['__main__'].__file__\n")
    text = "import sys, beside\nprint(__name__, sys.argv, beside.WHO, sys.path[0], 'modprompt' in sys.modules)\n"
    code, record, out, _ = run(tmp_path, text + "sys.exit(3)", "--seed", "1")
    assert (code, record["missing"]) == (3, {})
    assert out.split("\n")[0] == f"__main__ ['train.py', '--seed', '1'] {tmp_path}/train.py {tmp_path} False"


def test_missing_packages_are_noted_in_one_go_and_can_be_used(tmp_path):
    (tmp_path / "own.py").write_text("from gone_b.c.d import Base, wrap\n\n\n@wrap\nclass Own(Base):\n    pass\n")
    text = "import gone_a.x as a\nimport own\nfrom gone_c import *\nprint(a.b(1)[2] < 3, list(a.every()))\n"
    code, record, out, errors = run(tmp_path, text + "with a.open() as file:\n    pass\n")
    assert code == 0, errors
    importers = {name: Path(file).name for name, file in record["missing"].items()}
    assert importers == {"gone_a": "train.py", "gone_b": "own.py", "gone_c": "train.py"}
    assert out == "False []\n"
    assert record["error"] is None


@pytest.mark.parametrize(
    "text",
    [
        "try:\n    import gone\nexcept ImportError:\n    pass\n",
        "try:\n    import gone.a\nexcept (KeyError, ModuleNotFoundError):\n    pass\n",
        "try:\n    import own\nexcept Exception:\n    pass\n",
        "import contextlib\nwith contextlib.suppress(ImportError):\n    import gone\n",
        "import importlib.util\nassert importlib.util.find_spec('gone') is None\n",
        "import own_try\n",
    ],
)
def test_what_a_program_does_without_is_not_missing(text, tmp_path):
    (tmp_path / "own.py").write_text("import gone\n")
    (tmp_path / "own_try.py").write_text("try:\n    import own\nexcept:\n    own = None\nassert own is None\n")
    code, record, _, errors = run(tmp_path, text)
    assert (code, record["missing"]) == (0, {}), errors


def test_a_try_that_catches_something_else_does_not_count(tmp_path):
    text = (
        "try:\n    import gone\nexcept ValueError:\n    pass\ntry:\n    x = 1\nexcept ImportError:\n    import gone2\n"
    )
    assert list(run(tmp_path, text)[1]["missing"]) == ["gone"]


@pytest.mark.parametrize(
    ("text", "module"),
    [("import own.base", "own.base"), ("from other import name", "other"), ("import site_thing", "lacking")],
)
def test_what_is_no_missing_package_ends_the_program_as_it_would(text, module, tmp_path):
    """A module that the codebase's own package lacks, a name that a module lacks, a package that asks for another."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "__init__.py").touch()
    (tmp_path / "other.py").touch()
    (tmp_path / "venv" / "site-packages").mkdir(parents=True)
    (tmp_path / "venv" / "site-packages" / "site_thing.py").write_text("import lacking\n")
    text = f"import sys\nsys.path.append('venv/site-packages')\n{text}\n"
    code, record, _, errors = run(tmp_path, text)
    assert code == 1
    assert "Traceback" in errors
    assert (record["missing"], record["error"]["module"]) == ({}, module)
    assert record["at"] == "program"


def test_an_exit_out_of_an_error_stands_for_the_error(tmp_path):
    text = "import sys\ntry:\n    {}['key']\nexcept KeyError:\n    sys.exit(2)\n"
    code, record, _, _ = run(tmp_path, text)
    assert (code, record["error"]["type"], record["error"]["text"]) == (2, "KeyError", "'key'")
    assert record["error"]["where"].endswith("train.py:3")


def test_a_trainer_is_watched(tmp_path):
    class Trainer:
        def __init__(self, fails=""):
            self.max_epoch, self.fails = 200, fails
            self.build_data_loader()

        def build_data_loader(self):
            if self.fails:
                raise KeyError(self.fails)

        def build_model(self):
            pass

        def load_model(self, *args):
            pass

        def forward_backward(self, batch):
            return batch

        def train(self):
            self.epochs = self.max_epoch
            self.forward_backward(1)
            return self.test()

        def test(self):
            return 50.0

    record = trial_program.Record(tmp_path / "record.json")
    trial_program.watch(Trainer, record)
    trainer = Trainer()
    assert (trainer.train(), trainer.epochs) == (50.0, 1)
    written = json.loads((tmp_path / "record.json").read_text())
    assert (written["done"], written["steps"]) == (["build_data_loader", "__init__", "test", "train"], 1)
    with pytest.raises(KeyError):
        Trainer("x")
    written = json.loads((tmp_path / "record.json").read_text())
    assert (written["error"]["type"], written["error"]["part"]) == ("KeyError", "build_data_loader")
    assert list(tmp_path.iterdir()) == [tmp_path / "record.json"]
