"""t-SNE on a report's page: the same images for zero-shot CLIP and the method, from kept features or encoded anew."""

import numpy as np
import pytest
import torch
from PIL import Image

from modprompt.errors import UserError
from modprompt.experiments.plan.inputs import test_images as images_of
from modprompt.experiments.reporting import embedding, table
from modprompt.experiments.reporting.figures import tsne
from modprompt.experiments.reporting.measured import Measured, looks_of
from modprompt.experiments.reporting.results import Outcome, Results
from modprompt.methods.coop import CoOp
from modprompt.methods.mpl import MPL
from modprompt.trainers import kept_features
from modprompt.use.trained import Trained
from tests.modprompt.experiments.test_figure_looks import made
from tests.modprompt.methods.test_model import NAMES, on


class Datum:
    """An image of a data set."""

    def __init__(self, impath, label):
        self.impath, self.label, self.classname = str(impath), label, NAMES[label]


def to_tensor(image):
    return torch.from_numpy(np.asarray(image.resize((32, 32))).copy()).permute(2, 0, 1) / 255.0


@pytest.fixture
def images(tmp_path):
    """Twelve images of three classes."""
    found = []
    for number in range(12):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (40, 40), (20 * number, 100, 250 - 20 * number)).save(path)
        found.append(Datum(path, number % 3))
    return found


@pytest.fixture
def measured(tmp_path, monkeypatch, images):
    """A report on one data set, whose test images are those."""
    one = made(1, 3)
    lines = one.results.lines
    gathered = Results(lines, one.results.columns, one.results.datasets)
    for line, dataset, column, seed, outcome in one.results.all():
        gathered.add(line.label, dataset, column, seed, outcome._replace(result={"settings": {}}, folder=tmp_path))
    monkeypatch.setattr(embedding, "test_images", lambda dataset, settings, data: images)
    return Measured(
        one.experiment, gathered, table.sections(one.experiment, gathered), looks_of([(one.experiment, gathered)])
    )


def opens(monkeypatch, model, tmp_path):
    monkeypatch.setattr(embedding, "open_trained", lambda folder: Trained(model, to_tensor, tmp_path))


def test_both_panels_show_the_same_images_and_again_the_same_points(
    measured, monkeypatch, clip_model, tmp_path, drawn, capsys
):
    opens(monkeypatch, on(MPL, clip_model, NAMES).eval(), tmp_path)
    faults = []
    cloud = embedding.of_report(measured, tmp_path, faults)["imagenet"]
    assert faults == []
    assert list(cloud.points) == ["zero-shot CLIP", "MPL, seed 1"]
    assert all(points.shape == (12, 2) for points in cloud.points.values())
    assert capsys.readouterr().err == ""  # no bar without a terminal
    again = embedding.of_report(measured, tmp_path, faults)["imagenet"]
    for name, points in cloud.points.items():
        assert np.array_equal(points, again.points[name])
    caption = tsne.clouds(cloud, tmp_path / "t.png")
    assert "Image features of 12 test images as two t-SNEs" in caption
    assert "Distances between groups, and their sizes, mean nothing" in caption
    for axes, points in zip(drawn["t.png"].axes, cloud.points.values()):
        assert [line.get_label() for line in axes.lines] == list(NAMES)
        assert np.allclose(axes.lines[1].get_xydata(), points[cloud.labels == 1])


def test_features_that_the_test_has_kept_are_not_made_anew(measured, monkeypatch, clip_model, tmp_path, images):
    model = on(MPL, clip_model, NAMES).eval()
    opens(monkeypatch, model, tmp_path)
    kept = torch.randn(len(images), model.feature_width, generator=torch.Generator().manual_seed(0))
    files = kept_features.write(str(tmp_path), kept, "by this test", images)
    outcome = Outcome(1.0, "", {"test_files": files}, tmp_path)
    trained = embedding.open_trained(tmp_path)
    monkeypatch.setattr(embedding, "encoded", lambda *of: pytest.fail("encoded"))
    found = embedding._of_tests([outcome], trained, images[::-1], "")
    assert np.array_equal(found, kept.numpy()[::-1])
    (tmp_path / "test" / "features.npz").write_bytes(b"damaged")
    with pytest.raises(UserError, match="damaged"):
        embedding._of_tests([outcome], trained, images, "")


def test_a_method_that_leaves_image_features_alone_has_none(measured, monkeypatch, clip_model, tmp_path):
    opens(monkeypatch, on(CoOp, clip_model, NAMES).eval(), tmp_path)
    faults = []
    assert embedding.of_report(measured, tmp_path, faults) == {}
    assert faults == ["no t-SNE of MPL on imagenet: it does not change CLIP's image features"]


def test_without_a_data_folder_or_a_highlight_there_is_a_line(measured, tmp_path):
    faults = []
    assert embedding.of_report(measured, None, faults) == {}
    nobody = measured.experiment._replace(highlight="")
    assert embedding.of_report(Measured(nobody, measured.results, measured.sections, {}), tmp_path, faults) == {}
    assert faults == [
        "no t-SNE: no folder of data sets is known", "no t-SNE: no finished method is highlighted",
    ]  # fmt: skip


def test_a_thousand_images_of_ten_classes_at_most_are_shown():
    labels = [number % 37 for number in range(37 * 150)]
    shown = embedding.chosen(labels)
    assert len(shown) == 1000
    assert shown == sorted(shown)
    assert sorted({labels[number] for number in shown}) == [0, 4, 8, 12, 16, 20, 24, 28, 32, 36]
    assert embedding.chosen(labels) == shown
    assert embedding.chosen([0, 1, 1]) == [0, 1, 2]


def test_few_images_are_refused():
    with pytest.raises(UserError, match="3 test images are too few"):
        embedding.embedded(np.eye(3, dtype=np.float32))


def test_a_data_set_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UserError, match="there is no .*: set DATA, or give --data"):
        images_of("eurosat", {"DATASET.NAME": "EuroSAT"}, tmp_path)


def test_test_images_are_those_of_all_classes(tmp_path):
    settings = {"DATASET.NAME": "Digits", "DATASET.SUBSAMPLE_CLASSES": "base", "DATASET.NUM_SHOTS": "16"}
    found = images_of("digits", settings, tmp_path)
    assert {image.label for image in found} == set(range(10))
    assert not list(tmp_path.rglob("shot_*"))  # nothing was drawn
