"""The page shows what tests and trainings have left: classes, confusions, reliability, losses, mistakes, origins."""

import base64
import io
import json
import re
import sys
import time

import numpy as np
import pytest
from PIL import Image

from modprompt.experiments.plan import protocols
from modprompt.experiments.plan.inputs import Inputs
from modprompt.experiments.reporting import mistakes, origins, report, views
from modprompt.experiments.reporting.figures import classes, layout, losses, reliability
from modprompt.experiments.reporting.results import Outcome, of_experiment
from modprompt.experiments.reporting.table import Cell
from modprompt.experiments.running import state
from modprompt.io.records import check_seal
from tests.modprompt.experiments.fakes import edit
from tests.modprompt.experiments.left_behind import NAMES, draw_images, leave, parts
from tests.modprompt.experiments.test_table import TWO, by_hand

LOOKS = layout.looks(["MPL", "CLIP"], ["MPL"], ["CLIP"])


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


def gathered(experiment, tmp_path):
    found = experiment(TWO, "two")
    states = state.of_all(protocols.jobs(found), tmp_path / "out", Inputs(tmp_path / "out", None))
    return found, of_experiment(found, states, tmp_path / "out")


@pytest.mark.slow
def test_page_has_all_of_it(two, tmp_path, capsys):
    assert report.main(two) == 0
    page = page_of(tmp_path)
    pictures = {path.name for path in (tmp_path / "out/reports/two").glob("*.png")}
    assert pictures == {"methods.png", "datasets.png", "gains.png", "tokens.png", "reliability.png", "losses.png"} | {
        f"{kind}_{dataset}.png" for kind in ("classes", "confusion") for dataset in ("eurosat", "dtd")
    }
    assert page.count("data:image/png") == len(pictures)
    assert page.count("data:image/jpeg") == 12  # the gallery of eurosat, whose images are there
    assert page.count('<span class="none">no picture</span>') == 12
    assert f"12 of 12 pictures of the worst mistakes on dtd: not below {tmp_path / 'data'}" in capsys.readouterr().out
    assert re.search(r'<tr class="mine"><td>MPL</td>', page)
    assert not re.search(r'<tr class="mine"><td>(CLIP|MaPLe)</td>', page)
    today = time.strftime("%Y-%m-%d", time.gmtime())
    origin = ["MPL", "c" * 12, today, "a card", "ViT-B/16 c8ba978be8bf", "published abababababab", "99.00", "2.50"]
    row = "".join(f"<td>{text}</td>" for text in origin[:4])
    assert row in page
    assert "<td>published abababababab</td><td>99.00</td><td>2.50</td>" in page


def test_nothing_is_there_of_runs_that_have_left_nothing(two, tmp_path):
    folder = tmp_path / "out/reports/two"
    folder.mkdir(parents=True)
    for name in ("cost.png", "curves.pdf"):
        (folder / name).write_bytes(b"of an earlier report")
    for path in (tmp_path / "out").rglob("result.json"):
        edit(path, test_files={})
        (path.parent / "steps.csv").unlink(missing_ok=True)
    assert report.main(two) == 0
    assert "The worst mistakes" not in page_of(tmp_path)
    assert {path.name for path in folder.glob("*.p*")} == {
        f"{name}.{ending}" for name in ("methods", "datasets", "gains", "tokens") for ending in ("png", "pdf")
    }


def test_damaged_parts_are_a_line_and_no_end(two, tables_alone, tmp_path, capsys):
    file = next(iter((tmp_path / "out").rglob("test_new/eurosat/**/MPL/**/seed2/test/test.npz")))
    file.write_bytes(b"damaged")
    assert report.main(two) == 0
    assert capsys.readouterr().out.count("test.npz is damaged, or belongs to another test") == 1


def test_damaged_steps_are_a_line_and_no_end(tmp_path):
    (tmp_path / "steps.csv").write_text("epoch,step,loss,lr\n1,1,x,1\n")
    faults = []
    assert views.losses([Outcome(1.0, "", {}, tmp_path)], faults) is None
    assert len(faults) == 1
    assert "steps.csv is damaged (could not convert" in faults[0]


def test_accuracy_and_confusion_of_seeds_together(experiment, two, tmp_path):
    found, results = gathered(experiment, tmp_path)
    view = next(one for one in views.views(found, results) if (one.dataset, one.column) == ("eurosat", "new"))
    assert list(view.runs) == ["CLIP", "MaPLe", "MPL"]
    faults = []
    tested = views.tested(view.runs["MPL"], faults)
    assert faults == []
    assert tested.confusion.sum() == 90  # three seeds
    assert tested.accuracy_pct() == {"forest": 80.0, "river": 90.0, "lake": 50.0}
    assert tested.calibration[7].tolist() == pytest.approx([30, 0.5, 0.4])
    assert len(tested.wrong) == 8  # of one seed


def test_bins_of_several_seeds_are_weighted_by_their_images(two, tmp_path):
    folders = [tmp_path / name for name in ("a", "b")]
    outcomes = []
    for folder, images in zip(folders, (10, 30)):
        calibration = np.zeros((15, 3))
        calibration[3] = (images, images / 100, 0.5)
        made = parts()._replace(calibration=calibration)
        outcomes.append(Outcome(1.0, "", {"test_files": views.run_files.write_test(folder, made)}, folder))
    assert views.tested(outcomes, []).calibration[3].tolist() == pytest.approx([40, (10 * 0.1 + 30 * 0.3) / 40, 0.5])


def test_classes_of_other_names_are_not_added(tmp_path):
    outcomes = []
    for folder, names in ((tmp_path / "a", NAMES), (tmp_path / "b", ("x", "y", "z"))):
        files = views.run_files.write_test(folder, parts(names=names))
        outcomes.append(Outcome(1.0, "", {"test_files": files}, folder))
    faults = []
    assert views.tested(outcomes, faults) is None
    assert faults == [f"{tmp_path / 'b'}: its classes are not those of the other seeds: none of them is shown"]


@pytest.mark.parametrize("column", ["new", "base"])
def test_a_method_whose_seeds_are_not_whole_is_in_no_picture_and_no_mean(column, experiment, two, tmp_path):
    kind = {"new": "test_new", "base": "train_base"}[column]
    next((tmp_path / "out").rglob(f"{kind}/dtd/**/MPL/**/seed2/result.json")).unlink()
    found, results = gathered(experiment, tmp_path)
    seen = {(one.dataset, one.column): list(one.runs) for one in views.views(found, results)}
    assert seen["dtd", column] == ["CLIP", "MaPLe"]
    assert seen["eurosat", column] == ["CLIP", "MaPLe", "MPL"]
    (row,) = [one for one in origins.origins(results, ["dtd"]) if one[0] == "MPL"]
    assert row[-2:] == ("-", "-")
    (row,) = [one for one in origins.origins(results, ["dtd"]) if one[0] == "MaPLe"]
    assert row[-2:] == ("99.00", "2.50")


def test_what_a_seed_has_not_left_is_shown_of_no_seed(tmp_path):
    outcomes = [
        Outcome(1.0, "", {"test_files": views.run_files.write_test(tmp_path / "a", parts())}, tmp_path / "a"),
        Outcome(1.0, "", {}, tmp_path / "b"),
    ]
    faults = []
    assert views.tested(outcomes, faults) is None
    assert faults == [f"{tmp_path / 'b'}: its test recorded no classes, so that those of the other seeds are not shown"]
    assert views.tested(outcomes[1:], []) is None


def test_losses_are_means_of_epochs_by_seed(tmp_path):
    for name, loss in (("a", 1.0), ("b", 3.0)):
        (tmp_path / name).mkdir()
        rows = "".join(f"{step // 2 + 1},{step + 1},{loss + step},0.1\n" for step in range(4))
        (tmp_path / name / "steps.csv").write_text(f"epoch,step,loss,lr\n{rows}")
    outcomes = [Outcome(1.0, "", {}, tmp_path / name) for name in ("a", "b", "nothing")]
    faults = []
    assert views.losses(outcomes, faults) is None
    lacks = "its training recorded no losses, so that those of the other seeds are not shown"
    assert faults == [f"{tmp_path / 'nothing'}: {lacks}"]
    assert views.losses(outcomes[:2], []).tolist() == [[1.5, 3.5], [3.5, 5.5]]  # seeds, epochs of two steps


def left_of(confusion):
    """What a test has left of so many classes."""
    names = tuple(f"class {number}" for number in range(len(confusion)))
    return views.Tested(names, np.array(confusion), np.zeros((15, 3)), [], {})


def test_of_many_classes_those_are_drawn_that_say_most(drawn, tmp_path):
    right = np.arange(50, 100)
    mine = left_of(50 * (np.eye(50, dtype=int) + np.eye(50, k=1, dtype=int) + np.eye(50, k=-49, dtype=int)))
    other = left_of(np.diag(right) + np.roll(np.diag(100 - right), 1, axis=1))
    caption = classes.accuracies({"base": {"MPL": mine, "CLIP": other}}, LOOKS, tmp_path / "c.png")
    axes = drawn["c.png"].axes[0]
    shown = [one.get_text() for one in axes.get_yticklabels()]
    assert set(shown) == {f"class {number}" for number in range(30, 50)}
    assert "differ most: 20 of 50 (base)" in caption
    clip = next(line for line in axes.lines if line.get_label() == "CLIP")
    assert [(shown[int(row)], at) for at, row in clip.get_xydata()] == [(name, 50.0 + int(name[6:])) for name in shown]


def test_confusion_is_in_percent_of_a_class_and_of_those_that_are_mixed_up(drawn, tmp_path):
    images = np.eye(30, dtype=int) * 8
    images[29, 3] = 2
    caption = classes.confusions({"new": {"MPL": left_of(images)}}, tmp_path / "c.png")
    axes = drawn["c.png"].axes[0]
    shown = [one.get_text() for one in axes.get_yticklabels()]
    assert len(shown) == 20
    assert {"class 3", "class 29"} <= set(shown)
    values = axes.images[0].get_array()
    assert values[shown.index("class 29"), shown.index("class 3")] == pytest.approx(20.0)
    assert values[0, 0] == pytest.approx(100.0)
    assert "20 of 30 (new)" in caption
    figure = drawn["c.png"]
    assert figure.get_supxlabel() == "predicted class (% of the true class's images)"
    assert figure.get_supylabel() == "true class"


def test_confusions_of_other_classes_are_not_drawn_and_their_place_is_blank(drawn, tmp_path):
    three, two = left_of(np.eye(3, dtype=int)), left_of(np.eye(2, dtype=int))
    classes.confusions({"base": {"MPL": three, "CLIP": three}, "new": {"MPL": three, "CLIP": two}}, tmp_path / "c.png")
    titles = [axes.get_title() for axes in drawn["c.png"].axes if axes.axison]
    assert titles == ["MPL, base", "CLIP, base", "MPL, new"]


def test_reliability_has_the_bins_with_ten_images_and_the_error_in_its_legend(drawn, tmp_path):
    calibration = parts().calibration
    calibration[3] = (9, 0.2, 1.0)  # too few
    test = views.Tested(NAMES, parts().confusion, calibration, [], {}, Cell(2.54, 0.31))
    left = views.Diagnostics([], {("dtd", "new"): {"MPL": test, "CLIP": left_of(np.eye(3, dtype=int))}}, [])
    caption = reliability.reliability(left, LOOKS, tmp_path / "r.png")
    (axes,) = drawn["r.png"].axes
    lines = {line.get_label(): line for line in axes.lines}
    assert lines["MPL"].get_xydata().ravel().tolist() == pytest.approx([0.5, 0.4, 0.95, 0.9])
    assert "CLIP" not in lines  # no bin of it has images
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["2.5 ± 0.3"]
    assert axes.get_legend().get_title().get_text() == "ECE (%)"
    assert "those with fewer than 10 images a seed left out" in caption


def test_bins_count_the_images_of_a_seed(drawn, tmp_path):
    calibration = parts().calibration
    calibration[3], calibration[4] = (19, 0.2, 1.0), (20, 0.3, 1.0)
    of_two = views.Tested(NAMES, parts().confusion, calibration, [], {}, seeds=2)
    reliability.reliability(views.Diagnostics([], {("dtd", "new"): {"MPL": of_two}}, []), LOOKS, tmp_path / "r.png")
    lines = {line.get_label(): line for line in drawn["r.png"].axes[0].lines}
    assert lines["MPL"].get_xdata()[0] == pytest.approx(0.3)


def test_the_error_of_calibration_is_that_of_the_results_over_seeds(tmp_path):
    outcomes = []
    for name, error in (("a", 2.0), ("b", 4.0)):
        files = views.run_files.write_test(tmp_path / name, parts())
        outcomes.append(Outcome(1.0, "", {"test_files": files, "ece_pct": error}, tmp_path / name))
    assert views.tested(outcomes, [])[-2:] == (Cell(3.0, 1.0), 2)
    outcomes[0].result.pop("ece_pct")
    assert views.tested(outcomes, []).ece_pct is None


def test_losses_have_a_band_over_seeds(experiment, two, tmp_path, drawn):
    found, results = gathered(experiment, tmp_path)
    for number, path in enumerate(sorted((tmp_path / "out").rglob("train_base/eurosat/**/MPL/**/steps.csv"))):
        path.write_text(path.read_text().replace(",2.0,", f",{2 + number}.0,"))
    left = views.Diagnostics(views.views(found, results), {}, [])
    caption = losses.loss_curves(found, left, {"MPL": LOOKS["MPL"]}, tmp_path / "l.png")
    eurosat = drawn["l.png"].axes[0]
    assert [axes.get_title() for axes in drawn["l.png"].axes] == ["eurosat, base", "dtd, base"]
    assert list(eurosat.lines[0].get_xdata()) == [1, 2, 3, 4]
    (band,) = eurosat.collections
    first = [y for x, y in band.get_paths()[0].vertices if x == 1]
    of_seeds = [np.mean([2 + number, 1.5, 1.0, 0.9, 2 + number]) for number in range(3)]
    assert (min(first), max(first)) == pytest.approx(
        (np.mean(of_seeds) - np.std(of_seeds), np.mean(of_seeds) + np.std(of_seeds))
    )
    assert "bands are standard deviations over seeds" in caption


def test_losses_of_trainings_of_other_lengths_have_one_axis_and_a_band_is_cut(experiment, two, tmp_path, drawn):
    found, results = gathered(experiment, tmp_path)
    for path in (tmp_path / "out").rglob("train_base/eurosat/**/MPL/**/steps.csv"):
        path.write_text(path.read_text().replace(",0.9,", f",{90 if 'seed1' in path.parts else 0.001},"))
    for path in (tmp_path / "out").rglob("train_base/dtd/**/MPL/**/steps.csv"):
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:11]))  # two epochs of four
    left = views.Diagnostics(views.views(found, results), {}, [])
    caption = losses.loss_curves(found, left, {"MPL": LOOKS["MPL"]}, tmp_path / "l.png")
    assert drawn["l.png"].get_supxlabel() == "epochs (%)"
    assert "of which the axis has percent" in caption
    of_four, of_two = (axes.lines[0] for axes in drawn["l.png"].axes)
    assert list(of_four.get_xdata()) == [25, 50, 75, 100]
    assert list(of_two.get_xdata()) == [50, 100]
    low, _ = drawn["l.png"].axes[0].get_ylim()
    assert 0 < low < min(of_four.get_ydata())  # though a band goes below 0


def test_gallery_has_the_surest_mistakes_first_as_small_pictures(two, tmp_path):
    tested = views.Tested(NAMES, parts().confusion, parts().calibration, parts().wrong, {})
    found = mistakes.gallery("eurosat", [tested], mistakes.Images(tmp_path / "data"))
    assert found[0].text == "lake (18%) taken for river (82%)"
    assert len(found) == 8
    content = base64.b64decode(found[0].picture.partition(",")[2])
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.size == (128, 85)


@pytest.mark.parametrize("name", ["../../secret.png", "/etc/secret.png", "C:\\secret.png", "", "no/such.png"])
def test_no_path_out_of_the_data_folder_is_opened(tmp_path, name):
    (tmp_path / "secret.png").write_bytes(b"x")
    (tmp_path / "data/eurosat/2750").mkdir(parents=True)
    assert mistakes.Images(tmp_path / "data").find("eurosat", {"files": {"../x": "h"}}, name) is None
    assert mistakes.Images(None).find("eurosat", {}, "forest/0.png") is None


@pytest.mark.parametrize("files", [{}, {"split_fewshot/shot_2-seed_1.json": "h"}])
def test_images_of_one_s_own_folder_are_found(tmp_path, files):
    for folder in ("test/forest", "split_fewshot"):
        (tmp_path / folder).mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "test/forest/0.png")
    found = mistakes.Images(tmp_path).find("image_folder", {"files": files}, "test/forest/0.png")
    assert found == tmp_path / "test/forest/0.png"


def test_an_image_that_cannot_be_read_is_none(tmp_path):
    (tmp_path / "eurosat").mkdir()
    (tmp_path / "eurosat/0.png").write_bytes(b"no picture")
    wrong = parts().wrong[0]._replace(image="0.png")
    tested = views.Tested(NAMES, parts().confusion, parts().calibration, [wrong], {})
    assert [one.picture for one in mistakes.gallery("eurosat", [tested], mistakes.Images(tmp_path))] == [""]


def test_report_json_has_each_run_with_its_split_and_the_tables(two, tables_alone, tmp_path):
    report.main(two)
    path = tmp_path / "out/reports/two/report.json"
    content = json.loads(path.read_text())
    check_seal(content, path)
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
