"""The page shows what tests and trainings have left: confusions, losses, mistakes, origins."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from modprompt.experiments.plan import protocols
from modprompt.experiments.reporting import figures, origins, report
from modprompt.experiments.reporting.recorded import StoredTests, gallery, read_losses, read_tests
from modprompt.io import run_files
from tests.modprompt.experiments.fakes import TWO, by_hand, finish, runs_below

NAMES = ("forest", "river", "lake")
CONFUSION = ((8, 2, 0), (1, 9, 0), (0, 5, 5))  # of 30 images, in percent 80, 90 and 50


def parts(names=NAMES):
    """Parts whose wrong images are CLASS/N.png, the N-th of a class surer than the one before."""
    wrong = []
    for label, row in enumerate(CONFUSION):
        others = [other for other, images in enumerate(row) for _ in range(images) if other != label]
        for number, other in enumerate(others):
            sure, image = 0.6 + 0.05 * number + 0.01 * label, f"{names[label]}/{number}.png"
            wrong.append(run_files.Wrong(image, label, (other, label), (sure, 1 - sure), 1 - sure))
    calibration = np.zeros((15, 3))
    calibration[[7, 14]] = [(10, 0.5, 0.4), (20, 0.95, 0.9)]
    return run_files.TestParts(names, np.array(CONFUSION), calibration, wrong)


def leave(job, out, accuracy, losses):
    """A finished run with the files of its test and its steps; five steps are an epoch."""
    folder = out / job.folder
    more = {"test_files": run_files.write_test(folder, parts()), "top5_pct": 99.0, "ece_pct": 2.5}
    more["split"] = {"name": job.dataset, "status": "published", "hash": "ab" * 32}
    more["date"] = "2026-01-02"
    more["versions"] = {"modprompt": "0.3.0", "commit": "c" * 40}
    finish(job, out, accuracy, backbone="ViT-B/16", device="a card", **more)
    rows = "".join(f"{number // 5 + 1},{number + 1},{loss},0.002\n" for number, loss in enumerate(losses))
    if rows:
        (folder / "steps.csv").write_text(f"epoch,step,loss,lr\n{rows}")


@pytest.fixture
def two(experiment, tmp_path):
    """The words that make the report of a finished experiment, whose images are there."""
    for job in protocols.jobs(experiment(TWO, "two")):
        losses = () if job.method.label == "CLIP" else (2.0, 1.5, 1.0, 0.9) * 5
        leave(job, tmp_path / "out", by_hand(job), losses)
    for name in NAMES:
        (tmp_path / "data/eurosat/2750" / name).mkdir(parents=True)
        for number in range(5):
            Image.new("RGB", (300, 200)).save(tmp_path / "data/eurosat/2750" / name / f"{number}.png")
    return [str(tmp_path / "two.yaml"), "--out", str(tmp_path / "out"), "--data", str(tmp_path / "data")]


@pytest.mark.usefixtures("unpainted")
def test_page_has_all_of_it(two, tmp_path, capsys):
    assert report.main(two) == 0
    page = (tmp_path / "out/reports/two/index.html").read_text()
    pictures = {path.name for path in (tmp_path / "out/reports/two").glob("*.png")}
    confusions = {f"confusion_{dataset}.png" for dataset in ("eurosat", "dtd")}
    assert pictures == {"methods.png", "datasets.png", "tokens.png", "losses.png"} | confusions
    assert page.count("data:image/png") == len(pictures)
    assert page.count("data:image/jpeg") == 12  # the gallery of eurosat, whose images are there
    assert page.count('<span class="none">image not found</span>') == 12
    text = capsys.readouterr().out
    assert f"12 of 12 images of the most confident errors on dtd were not found in {tmp_path / 'data'}." in text
    assert {*re.findall(r'<tr class="mine"><td>([^<]*)</td>', page)} == {"MPL"}
    row = "".join(f"<td>{text}</td>" for text in ("MPL", "c" * 12, "2026-01-02", "a card"))
    assert row in page
    assert "<td>published abababababab</td><td>99.00</td><td>2.50</td>" in page
    content = json.loads((tmp_path / "out/reports/two/report.json").read_text())
    assert len(content["runs"]) == 2 * 2 * (1 + 3 + 3)
    run = next(one for one in content["runs"] if (one["method"], one["seed"], one["column"]) == ("MPL", 2, "new"))
    assert run["split"] == {"name": "eurosat", "status": "published", "hash": "ab" * 32}
    assert (run["accuracy_pct"], run["top5_pct"], run["ece_pct"], run["commit"]) == (60.0, 99.0, 2.5, "c" * 40)
    average = next(one for one in content["tables"] if one["key"] == "average")
    assert average["columns"] == ["base", "new", "H"]
    assert average["rows"][-1]["method"] == "MPL"
    assert average["rows"][-1]["mean"][0] == pytest.approx(80.0)


def test_classes_of_other_names_are_not_added(tmp_path):
    rows = []
    for folder, names in ((tmp_path / "a", NAMES), (tmp_path / "b", ("x", "y", "z"))):
        files = run_files.write_test(folder, parts(names=names))
        rows.append({"result": {"test_files": files}, "folder": folder})
    faults = []
    assert read_tests(pd.DataFrame(rows), faults) is None
    why = f"the classes of {tmp_path / 'b'} differ from the classes of the other seeds"
    assert faults == [f"The confusion matrix is not shown, because {why}."]
    (tmp_path / "a/test/test.npz").write_bytes(b"damaged")
    assert read_tests(pd.DataFrame(rows[:1]), faults) is None
    assert "test.npz is damaged, or comes from a different test run" in faults[1]


def test_a_method_whose_seeds_are_not_whole_is_in_no_picture_and_no_mean(experiment, two, tmp_path):
    next((tmp_path / "out").rglob("test_new/dtd/**/MPL/**/seed2/result.json")).unlink()
    found = experiment(TWO, "two")
    runs = runs_below(found, tmp_path / "out")
    shown = [label for label in runs.methods["label"] if figures.stored_rows(runs, label, "dtd", "new") is not None]
    assert shown == ["CLIP", "MaPLe"]
    record = read_tests(figures.stored_rows(runs, "MPL", "eurosat", "new"), [])
    assert (record.confusion.sum(), len(record.wrong)) == (90, 8)  # of three seeds, and of one
    rows = origins.origins(runs)["dtd"].set_index("method")[["top-5 (%)", "ECE (%)"]]
    assert (list(rows.loc["MPL"]), list(rows.loc["MaPLe"])) == (["-", "-"], ["99.00", "2.50"])


def test_losses_are_means_of_epochs_by_seed(tmp_path):
    for name, loss in (("a", 1.0), ("b", 3.0)):
        (tmp_path / name).mkdir()
        rows = "".join(f"{step // 2 + 1},{step + 1},{loss + step},0.1\n" for step in range(4))
        (tmp_path / name / "steps.csv").write_text(f"epoch,step,loss,lr\n{rows}")
    rows = pd.DataFrame([{"folder": tmp_path / name, "result": {}} for name in ("a", "b", "nothing")])
    faults = []
    assert read_losses(rows, faults) is None
    lacks = "the training did not record its losses, so the records of the other seeds are not shown either."
    assert faults == [f"{tmp_path / 'nothing'}: {lacks}"]
    assert read_losses(rows[:2], []).tolist() == [[1.5, 3.5], [3.5, 5.5]]  # seeds, epochs of two steps


def test_no_path_out_of_the_data_folder_and_no_damaged_image_is_shown(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    (tmp_path / "data/eurosat/2750").mkdir(parents=True)
    (tmp_path / "data/eurosat/2750/damaged.png").write_bytes(b"no picture")
    for name in ("../../secret.png", "/etc/secret.png", "C:\\secret.png", "", "no/such.png", "damaged.png"):
        wrong = parts().wrong[0]._replace(image=name)
        one = StoredTests(NAMES, parts().confusion, [wrong], {"files": {"../x": "h"}})
        assert [found.picture for found in gallery("eurosat", [one], tmp_path / "data")] == [""]
        assert [found.picture for found in gallery("eurosat", [one], None)] == [""]
