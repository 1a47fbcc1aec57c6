"""The page shows what tests and trainings have left: confusions, losses, mistakes, origins."""

import base64
import io
import json
import re
import sys

import pytest
from PIL import Image

from modprompt.experiments.plan import protocols
from modprompt.experiments.plan.inputs import Inputs
from modprompt.experiments.reporting import figures, origins, report
from modprompt.experiments.reporting.recorded import Recorded, gallery, losses, recorded
from modprompt.experiments.reporting.results import Outcome, of_experiment
from modprompt.experiments.running import state
from modprompt.io.run_files import write_test
from tests.modprompt.experiments.fakes import TWO, by_hand
from tests.modprompt.experiments.left_behind import NAMES, draw_images, leave, parts


@pytest.fixture
def two(experiment, tmp_path):
    """The words that make the report of a finished experiment, whose images are there."""
    for job in protocols.jobs(experiment(TWO, "two")):
        leave(
            job, tmp_path / "out", by_hand(job), losses=() if job.method.label == "CLIP" else (2.0, 1.5, 1.0, 0.9) * 5
        )
    draw_images(tmp_path / "data", "eurosat")
    return [str(tmp_path / "two.yaml"), "--out", str(tmp_path / "out"), "--data", str(tmp_path / "data")]


@pytest.fixture
def tables_alone(monkeypatch):
    """As without matplotlib: what needs no figures is quick."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def page_of(tmp_path):
    return (tmp_path / "out/reports/two/index.html").read_text()


def measured_of(experiment, results):
    numbers, sections, _ = report.tables_of(experiment, results)
    return figures.Measured(experiment, results, numbers, sections, figures.looks([(experiment, results)]))


def gathered(experiment, tmp_path):
    found = experiment(TWO, "two")
    states = state.of_all(protocols.jobs(found), tmp_path / "out", Inputs(tmp_path / "out", None))
    return found, of_experiment(found, states, tmp_path / "out")


@pytest.mark.slow
def test_page_has_all_of_it(two, tmp_path, capsys):
    assert report.main(two) == 0
    page = page_of(tmp_path)
    pictures = {path.name for path in (tmp_path / "out/reports/two").glob("*.png")}
    confusions = {f"confusion_{dataset}.png" for dataset in ("eurosat", "dtd")}
    assert pictures == {"methods.png", "datasets.png", "tokens.png", "losses.png"} | confusions
    assert page.count("data:image/png") == len(pictures)
    assert page.count("data:image/jpeg") == 12  # the gallery of eurosat, whose images are there
    assert page.count('<span class="none">no picture</span>') == 12
    assert f"12 of 12 pictures of the worst mistakes on dtd: not below {tmp_path / 'data'}" in capsys.readouterr().out
    assert re.search(r'<tr class="mine"><td>MPL</td>', page)
    assert not re.search(r'<tr class="mine"><td>(CLIP|MaPLe)</td>', page)
    origin = [
        "MPL",
        "c" * 12,
        "2026-01-02",
        "a card",
        "ViT-B/16 c8ba978be8bf",
        "published abababababab",
        "99.00",
        "2.50",
    ]
    row = "".join(f"<td>{text}</td>" for text in origin[:4])
    assert row in page
    assert "<td>published abababababab</td><td>99.00</td><td>2.50</td>" in page


def test_damaged_parts_are_a_line_and_no_end(two, tables_alone, tmp_path, capsys):
    file = next(iter((tmp_path / "out").rglob("test_new/eurosat/**/MPL/**/seed2/test/test.npz")))
    file.write_bytes(b"damaged")
    assert report.main(two) == 0
    assert capsys.readouterr().out.count("test.npz is damaged, or belongs to another test") == 1


def test_accuracy_and_confusion_of_seeds_together(experiment, two, tmp_path):
    found, results = gathered(experiment, tmp_path)
    runs = figures.views(measured_of(found, results))["eurosat", "new"]
    assert list(runs) == ["CLIP", "MaPLe", "MPL"]
    faults = []
    one = recorded(runs["MPL"], faults)
    assert faults == []
    assert one.confusion.sum() == 90  # three seeds
    assert len(one.wrong) == 8  # of one seed


def test_classes_of_other_names_are_not_added(tmp_path):
    outcomes = []
    for folder, names in ((tmp_path / "a", NAMES), (tmp_path / "b", ("x", "y", "z"))):
        files = write_test(folder, parts(names=names))
        outcomes.append(Outcome(1.0, "", {"test_files": files}, folder))
    faults = []
    assert recorded(outcomes, faults) is None
    assert faults == [f"{tmp_path / 'b'}: its classes are not those of the other seeds: none of them is shown"]


@pytest.mark.parametrize("column", ["new", "base"])
def test_a_method_whose_seeds_are_not_whole_is_in_no_picture_and_no_mean(column, experiment, two, tmp_path):
    kind = {"new": "test_new", "base": "train_base"}[column]
    next((tmp_path / "out").rglob(f"{kind}/dtd/**/MPL/**/seed2/result.json")).unlink()
    found, results = gathered(experiment, tmp_path)
    seen = {place: list(runs) for place, runs in figures.views(measured_of(found, results)).items()}
    assert seen["dtd", column] == ["CLIP", "MaPLe"]
    assert seen["eurosat", column] == ["CLIP", "MaPLe", "MPL"]
    (row,) = [one for one in origins.origins(found, results)["dtd"] if one[0] == "MPL"]
    assert row[-2:] == ("-", "-")
    (row,) = [one for one in origins.origins(found, results)["dtd"] if one[0] == "MaPLe"]
    assert row[-2:] == ("99.00", "2.50")


def test_what_a_seed_has_not_left_is_shown_of_no_seed(tmp_path):
    outcomes = [
        Outcome(1.0, "", {"test_files": write_test(tmp_path / "a", parts())}, tmp_path / "a"),
        Outcome(1.0, "", {}, tmp_path / "b"),
    ]
    faults = []
    assert recorded(outcomes, faults) is None
    assert faults == [f"{tmp_path / 'b'}: its test recorded no classes, so that those of the other seeds are not shown"]
    assert recorded(outcomes[1:], []) is None


def test_losses_are_means_of_epochs_by_seed(tmp_path):
    for name, loss in (("a", 1.0), ("b", 3.0)):
        (tmp_path / name).mkdir()
        rows = "".join(f"{step // 2 + 1},{step + 1},{loss + step},0.1\n" for step in range(4))
        (tmp_path / name / "steps.csv").write_text(f"epoch,step,loss,lr\n{rows}")
    outcomes = [Outcome(1.0, "", {}, tmp_path / name) for name in ("a", "b", "nothing")]
    faults = []
    assert losses(outcomes, faults) is None
    lacks = "its training recorded no losses, so that those of the other seeds are not shown"
    assert faults == [f"{tmp_path / 'nothing'}: {lacks}"]
    assert losses(outcomes[:2], []).tolist() == [[1.5, 3.5], [3.5, 5.5]]  # seeds, epochs of two steps


def test_gallery_has_the_surest_mistakes_first_as_small_pictures(two, tmp_path):
    one = Recorded(NAMES, parts().confusion, parts().wrong, {})
    found = gallery("eurosat", [one], tmp_path / "data")
    assert found[0].text == "lake (18%) taken for river (82%)"
    assert len(found) == 8
    content = base64.b64decode(found[0].picture.partition(",")[2])
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.size == (128, 85)


@pytest.mark.parametrize(
    "name", ["../../secret.png", "/etc/secret.png", "C:\\secret.png", "", "no/such.png", "damaged.png"]
)
def test_no_path_out_of_the_data_folder_and_no_damaged_image_is_shown(tmp_path, name):
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    (tmp_path / "data/eurosat/2750").mkdir(parents=True)
    (tmp_path / "data/eurosat/2750/damaged.png").write_bytes(b"no picture")
    wrong = parts().wrong[0]._replace(image=name)
    one = Recorded(NAMES, parts().confusion, [wrong], {"files": {"../x": "h"}})
    assert [found.picture for found in gallery("eurosat", [one], tmp_path / "data")] == [""]
    assert [found.picture for found in gallery("eurosat", [one], None)] == [""]


@pytest.mark.parametrize("files", [{}, {"split_fewshot/shot_2-seed_1.json": "h"}])
def test_images_of_one_s_own_folder_are_found(tmp_path, files):
    for folder in ("test/forest", "split_fewshot"):
        (tmp_path / folder).mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "test/forest/0.png")
    one = Recorded(NAMES, parts().confusion, [parts().wrong[0]._replace(image="test/forest/0.png")], {"files": files})
    assert [bool(found.picture) for found in gallery("image_folder", [one], tmp_path)] == [True]


def test_report_json_has_each_run_with_its_split_and_the_tables(two, tables_alone, tmp_path):
    report.main(two)
    path = tmp_path / "out/reports/two/report.json"
    content = json.loads(path.read_text())
    assert len(content["runs"]) == 2 * 2 * (1 + 3 + 3)
    run = next(one for one in content["runs"] if (one["method"], one["seed"], one["column"]) == ("MPL", 2, "new"))
    assert run["split"] == {"name": "eurosat", "status": "published", "hash": "ab" * 32}
    assert (run["accuracy_pct"], run["top5_pct"], run["ece_pct"], run["commit"]) == (60.0, 99.0, 2.5, "c" * 40)
    average = next(one for one in content["tables"] if one["key"] == "average")
    assert average["columns"] == ["base", "new", "H"]
    assert average["rows"][-1]["method"] == "MPL"
    assert average["rows"][-1]["mean"][0] == pytest.approx(80.0)


def test_report_json_says_what_is_lacking(two, tables_alone, tmp_path, capsys):
    next(iter((tmp_path / "out").rglob("test_new/dtd/**/MPL/**/seed3/result.json"))).unlink()
    assert report.main(two) == 1
    runs = json.loads((tmp_path / "out/reports/two/report.json").read_text())["runs"]
    lacking = [one for one in runs if one["accuracy_pct"] is None]
    assert [(one["method"], one["dataset"], one["seed"], one["lacks"]) for one in lacking] == [
        ("MPL", "dtd", 3, "waiting")
    ]
