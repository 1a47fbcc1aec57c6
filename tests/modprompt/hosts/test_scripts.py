import os
import subprocess
import sys

import pytest

from modprompt.hosts import scripts
from tests.modprompt.hosts.conftest import SMALL
from tests.modprompt.hosts.stand_in import dassl_folder, site, write_host

RECORDER = '#!/usr/bin/env bash\n[[ $1 = -c ]] || printf \'%s\\n\' "$PWD" "$@" END >> "$RECORD"\n'


def printed(host, capsys):
    assert scripts.main([str(host)]) == 0
    return capsys.readouterr().out


def test_commands_train_on_base_and_test_on_new_classes_with_further_options_last(tmp_path, capsys):
    host = write_host(tmp_path / "a host", own_mpl=True)
    (tmp_path / "run.sh").write_text(printed(host, capsys))
    (tmp_path / "python").write_text(RECORDER)
    (tmp_path / "python").chmod(0o755)
    environment = {**os.environ, "PYTHON": str(tmp_path / "python"), "RECORD": str(tmp_path / "record"), "OUT": "out"}
    words = ["bash", str(tmp_path / "run.sh"), "b2n/eurosat", "2", "OPTIM.MAX_EPOCH", "1"]
    subprocess.run(words, cwd=tmp_path, env=environment, check=True)
    one, two = (part.split("\n") for part in (tmp_path / "record").read_text().split("\nEND\n")[:2])
    run = "b2n/eurosat/shots_16/ModMPL/vit_b4_c1_add2_rm1/seed2"
    base, new = (str(tmp_path / "out" / "base2new" / kind / run) for kind in ("train_base", "test_new"))
    for words, out, classes in ((one, base, "base"), (two, new, "new")):
        assert words[:4] == [str(host), "-m", "modprompt.launch", "train.py"]
        assert words[words.index("--output-dir") + 1] == out
        assert words[words.index("--root") + 1] == str(tmp_path / "data")
        assert words[words.index("--dataset-config-file") + 1] == "configs/datasets/b2n/eurosat.yaml"
        assert words[-6:] == ["DATASET.NUM_SHOTS", "16", "DATASET.SUBSAMPLE_CLASSES", classes, "OPTIM.MAX_EPOCH", "1"]
    assert "--eval-only" not in one
    assert two[two.index("--eval-only") :][:3] == ["--eval-only", "--model-dir", base]


@pytest.mark.slow
@pytest.mark.timeout(360)
def test_they_run_in_a_codebase_that_asks_for_more(workshop, tmp_path, capsys):
    host = write_host(tmp_path / "host", task=True)
    (host / "configs" / "datasets" / "squares.yaml").write_text('DATASET:\n  NAME: "Squares"\n')
    (tmp_path / "run.sh").write_text(printed(host, capsys))
    path = os.pathsep.join([dassl_folder(), site()])
    environment = {
        **os.environ,
        "PYTHONPATH": path,
        "DATA": str(workshop.data),
        "OUT": str(tmp_path / "out"),
        "PYTHON": sys.executable,
    }
    words = workshop.words("MPL", "x")
    options = [*map(str, words[words.index("MODEL.BACKBONE.PATH") :])]
    options += [*SMALL, "TRAINER.MPL.PREC", "fp32"]
    done = subprocess.run(
        ["bash", str(tmp_path / "run.sh"), "squares", "1", *options], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("* accuracy:") == 2
    assert done.stdout.count("added: --trainer MMRL TASK B2N TRAINER.NAME MPL") == 2


def test_what_is_no_codebase_is_one_line(tmp_path, capsys):
    assert scripts.main([str(tmp_path)]) == 2
    assert "there is no train.py that calls Dassl's build_trainer" in capsys.readouterr().err


def test_python_without_packages_is_one_line_that_says_how_to_give_another(tmp_path, capsys):
    (tmp_path / "run.sh").write_text(printed(write_host(tmp_path / "host"), capsys))
    (tmp_path / "python").write_text("#!/usr/bin/env bash\nexit 1\n")
    (tmp_path / "python").chmod(0o755)
    words = ["bash", str(tmp_path / "run.sh"), "eurosat", "1"]
    done = subprocess.run(words, env={**os.environ, "PYTHON": str(tmp_path / "python")}, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.endswith("has no torch, or no modprompt: give another one by PYTHON=\n")
