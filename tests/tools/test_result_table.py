import csv

import pytest

from tools import result_table
from tools.logs import newest_log, read_log
from tools.result_table import collect, harmonic_mean, main

RESULT = "=> result\n* total: {total:,}\n* correct: {correct:,}\n* accuracy: {accuracy:.1f}%\n* macro_f1: 1.0%\n"


def log(folder, correct, total=2000, trained=False, finished=True):
    folder.mkdir(parents=True, exist_ok=True)
    text = "epoch [1/1] batch [1/1] loss 1.0\n" if trained else ""
    text += "Finish training\n" if trained and finished else ""
    text += RESULT.format(total=total, correct=correct, accuracy=100 * correct / total) if finished else ""
    (folder / "log.txt").write_text(text)


def run(root, dataset, method, seed, base, new):
    tail = f"{dataset}/shots_16/{method}/cfg/seed{seed}"
    log(root / "base2new/train_base" / tail, base, trained=True)
    log(root / "base2new/test_new" / tail, new)


@pytest.mark.parametrize(
    ("base", "new", "expected"), [(80.0, 60.0, 68.571), (50.0, 50.0, 50.0), (90.0, 0.0, 0.0), (0, 0, 0)]
)
def test_harmonic_mean_matches_hand_computation(base, new, expected):
    assert harmonic_mean(base, new) == pytest.approx(expected, abs=1e-3)


def test_harmonic_mean_rejects_an_accuracy_above_100():
    with pytest.raises(ValueError, match="0 to 100"):
        harmonic_mean(101.0, 50.0)


def test_mean_and_deviation_over_seeds(tmp_path):
    for seed, base, new in ((1, 1600, 1000), (2, 1800, 1200), (3, 1700, 1100)):
        run(tmp_path, "eurosat", "MPL", seed, base, new)
    (row,) = collect(tmp_path, [1, 2, 3])
    base, new, h = row.cells
    assert base == pytest.approx((85.0, 4.0825), abs=1e-4)
    assert new == pytest.approx((55.0, 4.0825), abs=1e-4)
    assert h.mean == pytest.approx(harmonic_mean(85, 55))
    own = [harmonic_mean(80, 50), harmonic_mean(90, 60), harmonic_mean(85, 55)]
    assert h.std == pytest.approx((sum((x - sum(own) / 3) ** 2 for x in own) / 3) ** 0.5)


def test_missing_and_unfinished_runs_are_named_and_not_averaged_over(tmp_path, capsys):
    for seed in (1, 2, 3):
        run(tmp_path, "digits", "MPL", seed, 1600, 1000)
        run(tmp_path, "eurosat", "MPL", seed, 1600, 1000)
    log(tmp_path / "base2new/train_base/digits/shots_16/MPL/cfg/seed2", 1, trained=True, finished=False)
    (tmp_path / "base2new/test_new/digits/shots_16/MPL/cfg/seed3/log.txt").unlink()
    assert main([str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "| digits | shots_16/MPL/cfg | incomplete | incomplete | incomplete |" in out
    assert "seed2: unfinished (epoch [1/1]" in out
    assert "seed3: missing (no log)" in out
    assert "| average | shots_16/MPL/cfg | incomplete" in out
    assert "| eurosat | shots_16/MPL/cfg | 80.00 +- 0.00 | 50.00 +- 0.00 | 61.54 +- 0.00 |" in out


def test_method_without_a_run_on_a_data_set_is_not_averaged(tmp_path):
    for seed in (1, 2):
        run(tmp_path, "digits", "CoOp", seed, 1600, 1000)
        for dataset in ("digits", "eurosat"):
            run(tmp_path, dataset, "MPL", seed, 1600, 1000)
    averages = {row.method: row for row in collect(tmp_path, [1, 2]) if row.dataset == "average"}
    assert averages["shots_16/MPL/cfg"].cells is not None
    assert averages["shots_16/CoOp/cfg"].cells is None
    assert averages["shots_16/CoOp/cfg"].lacking == ["average of shots_16/CoOp/cfg: no run on eurosat"]


@pytest.mark.parametrize(
    "text", ["* accuracy: 300.0%\n", "* total: 1.0.0\n", "* total: 5\n* correct: 9\n* accuracy: 1%\n"]
)
def test_damaged_log_is_lacking(tmp_path, text):
    (tmp_path / "log.txt").write_text("=> result\n" + text)
    assert "damaged log" in read_log(tmp_path / "log.txt").reason


def test_files_are_written(tmp_path, capsys):
    for seed in (1, 2):
        for dataset, new in (("digits", 1000), ("eurosat", 1400)):
            run(tmp_path, dataset, "MPL", seed, 1600, new)
    assert main([str(tmp_path), "--seeds", "1", "2"]) == 0
    assert (tmp_path / "base2new.md").read_text() in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "base2new.csv").read_text().splitlines()))
    assert [row["dataset"] for row in rows] == ["digits", "eurosat", "average"]
    assert float(rows[2]["new_mean_pct"]) == 60.0
    assert float(rows[2]["h_mean_pct"]) == pytest.approx(harmonic_mean(80, 60), abs=1e-4)
    assert (tmp_path / "base2new.png").read_bytes().startswith(b"\x89PNG")


def test_zero_shot_base_is_read_from_its_own_folder(tmp_path):
    tail = "digits/shots_16/ZeroshotCLIP/glyph/seed1"
    log(tmp_path / "base2new/test_base" / tail, 1000)
    log(tmp_path / "base2new/test_new" / tail, 500)
    (row,) = collect(tmp_path, [1])
    assert (row.cells[0].mean, row.cells[1].mean) == (50.0, 25.0)


def test_empty_folder_is_an_error(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "no base-to-new run below" in capsys.readouterr().err


def test_accuracy_is_exact_where_the_log_rounds_it(tmp_path):
    log(tmp_path, 1999, total=3000)
    assert read_log(tmp_path / "log.txt").accuracy_pct == pytest.approx(100 * 1999 / 3000)


def test_log_of_the_reference_and_validation_results(tmp_path):
    text = "epoch [1/2] x\n" + RESULT.format(total=10, correct=1, accuracy=10)  # validation, before the end
    path = tmp_path / "log.txt"
    path.write_text(text)
    assert read_log(path).accuracy_pct is None
    path.write_text(text + "Finished training\n=> result\n* accuracy: 70.25%\n")
    assert read_log(path).accuracy_pct == 70.25


def test_newest_log_counts(tmp_path):
    log(tmp_path, 1000)
    newer = tmp_path / "log.txt-2030-01-01-00-00-00"
    newer.write_text("started")
    assert newest_log(tmp_path) == newer
    assert result_table.read_run(tmp_path).reason.startswith("unfinished (started")
