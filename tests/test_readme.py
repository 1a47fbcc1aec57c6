"""What the README and the pages that it sends people to tell them to type exists and is accepted."""

import re
import shlex

import pytest
import yaml

from modprompt.cli.flags import parse_args, settings_of
from modprompt.methods.table import row_of
from modprompt.trainers import run  # noqa: F401 - registers all
from modprompt.trainers.run_config import merged
from tests.conftest import ROOT
from tests.modprompt.data.trees import pictures

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("INSTALL", "DATASETS", "RUN")),
]
README = "\n".join(page.read_text() for page in PAGES)
BLOCKS = re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [
    shlex.split(line, comments=True)
    for block in BLOCKS
    for line in block.replace("\\\n", " ").splitlines()
    if line.strip()
]


def commands(*start):
    return [command for command in COMMANDS if command[: len(start)] == list(start)]


@pytest.mark.parametrize("command", commands("python", "train.py"), ids=" ".join)
def test_train_commands_are_accepted(command, monkeypatch, tmp_path):
    pictures(tmp_path / "my_images", {"cat": 1, "dog": 1})
    monkeypatch.chdir(tmp_path)  # configs are found from any folder
    assert merged(settings_of(parse_args(command[2:]))).TRAINER.NAME == "MPL"


def test_other_programs_accept_what_is_written(monkeypatch):
    from lpclip import feat_extractor

    monkeypatch.chdir(ROOT)
    (command,) = commands("python", "-m", "lpclip.feat_extractor")
    own, rest = feat_extractor.parse(command[3:])
    assert own.output_dir == "clip_feat"
    assert merged(settings_of(parse_args(["--trainer", "ZeroshotCLIP", *rest]))).DATASET.NAME == "OxfordPets"


def test_row_of_every_trainer_names_its_node():
    from dassl.config import get_cfg_default

    cfg = get_cfg_default()
    rows = re.findall(r"^\| `(\w+)`.*\| `TRAINER.(\w+)` \|", README, flags=re.MULTILINE)
    assert len(rows) == 21
    assert all(node in cfg.TRAINER and f"TRAINER.{node}" == row_of(name).node for name, node in rows)


def test_scripts_modules_and_targets_exist():
    for command in commands("bash"):
        assert (ROOT / command[1]).is_file(), command
    for command in commands("python", "-m"):
        module = ROOT / command[2].replace(".", "/")
        assert module.with_suffix(".py").is_file() or (module / "__main__.py").is_file(), command
    makefile = (ROOT / "Makefile").read_text()
    for command in commands("make"):
        assert f"\n{command[1]}:" in makefile, command
    assert len(commands("bash")) >= 3
    assert len(commands("make")) >= 2


def test_every_path_in_the_text_exists():
    paths = re.findall(r"`((?:scripts|configs|tools|modprompt|datasets|tests|compat|trainers)/[\w./-]*)", README)
    assert len(paths) > 10
    for path in paths:
        assert (ROOT / path).exists(), path


def test_table_of_the_schedule_is_the_real_one():
    from modprompt.engine.schedule import modular

    assert modular(12, depth=9, first=1, remove=1, add=2).table() in README


def test_published_averages_are_those_of_the_data_file():
    from modprompt.experiments.reporting import published

    start = README.index("## Published, and what can be reproduced")
    rows = re.findall(
        r"^\| ([\w()+ ]+) \| (\d+\.\d\d) \| (\d+\.\d\d) \| (\d+\.\d\d) \|", README[start:], flags=re.MULTILINE
    )
    shown = {name: tuple(map(float, numbers)) for name, *numbers in rows}
    known = {
        row["method"] + (f" ({row['where']})" if "where" in row else ""): (row["base"], row["new"], row["H"])
        for row in published.known()["rows"]
        if (row["protocol"], row["dataset"]) == ("base2new", "average")
    }
    assert len(shown) == 11
    assert shown.items() <= known.items()


def test_workflow_and_hooks_call_targets_that_there_are():
    makefile = (ROOT / "Makefile").read_text()
    called = [
        target
        for name in (".github/workflows/ci.yml", ".pre-commit-config.yaml")
        for target in re.findall(r"(?:run|entry): make (\w+)", (ROOT / name).read_text())
    ]
    assert set(called) == {"lint", "test", "docs", "wheel"}
    assert all(f"\n{target}: " in makefile for target in called)


def test_citation_has_the_version():
    import modprompt

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == modprompt.__version__
    assert {"cff-version", "title", "authors", "message"} <= set(citation)
