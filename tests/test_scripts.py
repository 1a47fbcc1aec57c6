"""The shell scripts: from any folder, with two arguments, and never twice."""

import os
import subprocess

import pytest

from tests.conftest import ROOT, SMALL_CONFIG

SCRIPTS = sorted((ROOT / "scripts").rglob("*.sh"))


@pytest.fixture
def bash(eurosat_root, clip_file, tmp_path):
    """Runs a script from another working directory, with a config of its own."""
    (tmp_path / "only_for_tests.yaml").write_text(SMALL_CONFIG)

    def run(script, *arguments, **env):
        return subprocess.run(
            ["bash", str(ROOT / "scripts" / script), *map(str, arguments)],
            cwd=tmp_path,
            text=True,
            timeout=300,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "DATA": "data", "OUT": "results", "CFG": "./only_for_tests.yaml", "SHOTS": "2", **env},
        )

    return run


def options(clip_file):
    return ["1", "MODEL.BACKBONE.PATH", clip_file]  # one epoch


def test_base_to_new_runs_once_and_resumes_what_has_no_result(bash, clip_file, tmp_path):
    train = bash("mpl/base2new_train.sh", "eurosat", 1, *options(clip_file))
    assert train.returncode == 0, train.stdout
    folder = tmp_path / "results/base2new/train_base/eurosat/shots_2/MPL/only_for_tests/seed1"
    assert (folder / "result.json").is_file()
    assert bash("mpl/base2new_train.sh", "eurosat", 1, *options(clip_file)).stdout.startswith("Finished before: ")

    (folder / "result.json").unlink()
    early = bash("mpl/base2new_test.sh", "eurosat", 1, "MODEL.BACKBONE.PATH", clip_file)
    assert early.returncode == 2
    assert "the training is not finished" in early.stdout
    again = bash("mpl/base2new_train.sh", "eurosat", 1, *options(clip_file))
    assert "is trained already (1 epochs): nothing to train, testing again" in again.stdout
    assert (folder / "result.json").is_file()

    test = bash("mpl/base2new_test.sh", "eurosat", 1, "MODEL.BACKBONE.PATH", clip_file)
    assert test.returncode == 0, test.stdout
    result = tmp_path / "results/base2new/test_new/eurosat/shots_2/MPL/only_for_tests/seed1/result.json"
    assert result.is_file()
    assert bash("mpl/base2new_test.sh", "eurosat", 1).stdout.startswith("Finished before: ")
    os.utime(result, (0, 0))  # as if the model had been trained again since
    assert "=> result" in bash("mpl/base2new_test.sh", "eurosat", 1, "MODEL.BACKBONE.PATH", clip_file).stdout


def test_cross_data_set_runs(bash, clip_file, tmp_path):
    assert bash("mpl/xd_train.sh", "eurosat", 1, *options(clip_file)).returncode == 0
    test = bash("mpl/xd_test.sh", "eurosat", 1, *options(clip_file), SOURCE="eurosat")
    assert test.returncode == 0, test.stdout
    tail = "MPL/only_for_tests_2shots/seed1/result.json"
    assert (tmp_path / "results/crossdataset/eurosat" / tail).is_file()
    assert (tmp_path / "results/crossdataset/evaluation/eurosat" / tail).is_file()


def test_few_shot_run(bash, clip_file, tmp_path):
    done = bash("mpl/few_shot.sh", "eurosat", 1, 1, "OPTIM.MAX_EPOCH", "1", "MODEL.BACKBONE.PATH", clip_file)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "results/eurosat/MPL/eval/only_for_tests_1shots/seed1/result.json").is_file()


def test_failing_run_fails_the_script(bash):
    done = bash("mpl/base2new_train.sh", "nothing", 1)
    assert done.returncode == 2
    assert "configs/datasets/nothing.yaml; there is: caltech101.yaml" in done.stdout


@pytest.mark.parametrize(
    "path", [p for p in SCRIPTS if p.parent.name != "protocols"], ids=lambda p: f"{p.parent.name}/{p.name}"
)
def test_method_script_explains_itself(path):
    if path.name in ("common.sh", "demo.sh"):
        return
    done = subprocess.run(["bash", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"Usage: scripts/{path.parent.name}/{path.name} ")
