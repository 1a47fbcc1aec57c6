"""The mean of one run with several seeds."""

import numpy as np

from modprompt.experiments.reporting import tasks
from modprompt.io import result
from modprompt.io.files import write_json
from modprompt.io.records import sealed


def finished(folder, accuracy):
    folder.mkdir()
    write_json(folder / "result.json", sealed({"accuracy_pct": accuracy, "settings": {}}, result.VERSION))
    return folder


def test_it_is_the_mean_and_the_interval_that_the_repository_prints(tmp_path, capsys):
    accuracies = [61.5, 70.25, 66.0]
    folders = [str(finished(tmp_path / str(seed), one)) for seed, one in enumerate(accuracies)]
    assert tasks.main(folders) == 0
    wanted = 1.96 * np.std(accuracies) / np.sqrt(3)
    how = "1.96 std / sqrt(3), std with n in the denominator"
    assert capsys.readouterr().out == f"3 tasks: {np.mean(accuracies):.2f} ± {wanted:.2f} % ({how})\n"


def test_a_run_that_is_not_finished_is_named(tmp_path, capsys):
    folders = [finished(tmp_path / "1", 50.0), finished(tmp_path / "2", 50.0)]
    (folders[1] / "result.json").write_text("{")
    assert tasks.main([*map(str, folders)]) == 2
    assert (
        capsys.readouterr().err.strip()
        == f"error: The run in {folders[1]} has not finished (result.json is damaged). Finish the run first."
    )
