"""The shell scripts: the commands that they give (tests/scripts.txt), what runs twice, and what the links are called."""

import json
import os
import re
import shlex
import subprocess
import sys

import pytest
import yaml

from tests.conftest import ROOT, SMALL_CONFIG, bare

SCRIPTS = ROOT / "scripts"
LINKS = sorted(path for path in SCRIPTS.rglob("*.sh") if path.is_symlink())
FAKE_PYTHON = """#!/bin/sh
case $1 in
  -c) exit ;;
  -m) if [ "$2" = modprompt.data.names ]; then exec "$REAL_PYTHON" "$@"; fi ;;
esac
shift
echo "$@"
while [ $# -gt 0 ]; do
  case $1$2 in --output-dir"$PWD"/*) mkdir -p "$2" && echo {} >"$2/result.json" ;; esac
  shift
done
"""  # says what it is called with, and leaves the result of a run


def bash(program, folder, **environment):
    """Output and errors of a program of bash, in one text; nothing of this process's environment but PATH."""
    done = subprocess.run(
        ["bash", "-c", program],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
    )
    return done.stdout


def test_commands_of_scripts(tmp_path):
    """tests/scripts.txt has in turn a line that is typed and what it runs, without what all commands have in common."""
    (tmp_path / "python").write_text(FAKE_PYTHON)
    (tmp_path / "python").chmod(0o755)
    expected = (ROOT / "tests" / "scripts.txt").read_text()
    program = []
    for line in re.findall(r"^\$ (.*)", expected, flags=re.M):
        command = re.sub(r"([\w/-]+\.sh)", rf"bash {SCRIPTS}/\1", line, count=1)
        program.append(f"echo {shlex.quote('$ ' + line)}; ({command}) || echo exit $?")
    python = {"PYTHON": str(tmp_path / "python"), "REAL_PYTHON": sys.executable}
    found = bash("\n".join(program), tmp_path, OUT="results", **python)
    for common in (
        f"--once --root {ROOT}/data ",
        f"--config-file {ROOT}/configs/trainers/",
        f"--dataset-config-file {ROOT}/configs/datasets/",
        f"{ROOT}/",
        f"{tmp_path}/",
        "--output-dir results/",
    ):
        found = found.replace(common, "")
    assert re.sub(r" Available data sets: .*", "", found) == expected
    named = {f"configs/trainers/{name}" for name in re.findall(r"\b\w+/[\w+-]+\.yaml", expected)}
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_only_links_stand_in_the_folders_of_methods():
    assert {path.name for path in SCRIPTS.glob("*.sh")} == {"common.sh", "demo.sh", "methods.sh", "run.sh"}
    assert [path for path in SCRIPTS.glob("*/*.sh") if path.parent.name != "protocols" and path not in LINKS] == []
    assert {path.readlink().as_posix() for path in LINKS} == {"../run.sh"}
    rows = yaml.safe_load((ROOT / "configs" / "trainers.yaml").read_text()).values()
    own = {row["scripts"] for row in rows if "scripts" in row}
    assert {path.parent.name for path in LINKS} == {*own, "language-prompting", "kdpl"}


@pytest.mark.slow
def test_every_script_says_its_usage(tmp_path):
    takes_none = ("reproduce.sh", "cross_datasets_train.sh")
    asked = [path for path in LINKS if path.name not in takes_none]
    said = bash("\n".join(f"bash {path} | head -1; echo ${{PIPESTATUS[0]}}" for path in asked), tmp_path).splitlines()
    names = [f"scripts/{path.parent.name}/{path.name}" for path in asked]
    wrong = [
        f"{name}: {line}, {code}"
        for name, line, code in zip(names, said[::2], said[1::2])
        if not line.startswith(f"Usage: {name} ") or code != "2"
    ]
    assert (len(said), wrong) == (2 * len(asked), [])


@pytest.mark.slow
def test_scripts_train_search_and_test_once(eurosat_root, clip_file, tmp_path):
    """Finished runs are not run again, unfinished ones go on, and a test waits for its training."""
    (tmp_path / "small.yaml").write_text(SMALL_CONFIG)
    own = {"PYTHON": sys.executable, "DATA": "data", "OUT": "out", "CFG": "./small.yaml", "SEARCH_CFG": "./small.yaml"}

    def script(name, *words):
        line = shlex.join(["bash", str(SCRIPTS / name), "eurosat", "1", *words, *bare(clip_file)])
        *lines, code = bash(f"{line}; echo $?", tmp_path, SHOTS="2", **own).splitlines()
        return int(code), lines

    run = "eurosat/shots_2/{}/seed1"
    base, new = (tmp_path / "out/base2new" / part / run.format("MPL/small") for part in ("train_base", "test_new"))
    assert script("mpl/base2new_train.sh", "1")[0] == 0
    assert script("mpl/base2new_train.sh", "1")[1][-1].startswith("This run is already finished: ")
    code, lines = script("mpl/base2new_train.sh", "1", "SEED", "2")
    assert (code, "error: SEED is 2, but the name of the output folder" in lines[-1]) == (2, True)
    (base / "result.json").unlink()
    code, lines = script("mpl/base2new_test.sh")
    assert (code, "error: The training is not finished, because" in lines[-1]) == (2, True)
    assert any("is already finished (1 epoch)" in line for line in script("mpl/base2new_train.sh", "1")[1])
    assert script("mpl/base2new_test.sh")[0] == 0
    result = (new / "result.json").read_bytes()
    assert script("mpl/base2new_test.sh")[1][-1].startswith("This run is already finished: ")
    assert (new / "result.json").read_bytes() == result

    assert script("dpl/search.sh", "OPTIM.MAX_EPOCH", "1")[0] == 0
    steps = tmp_path / "out/search/base2new/train_base" / run.format("DPLSearch/small") / "schedule.json"
    trained = tmp_path / "out/base2new/train_base" / run.format("DPL/small-DPLSearch_small") / "result.json"
    for finished in (1, 2):  # the search, then the training too
        code, lines = script("dpl/base2new_train.sh", "OPTIM.MAX_EPOCH", "1")
        assert (code, sum(line.startswith("This run is already finished: ") for line in lines)) == (0, finished)
    settings = json.loads(trained.read_text())["settings"]
    assert settings["TRAINER.DPL.SCHEDULE_TEXT"] == str(json.loads(steps.read_text())["text"]["steps"])
    assert script("dpl/base2new_test.sh")[0] == 0
