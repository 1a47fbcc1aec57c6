import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from lpclip import feat_extractor, linear_probe
from lpclip.linear_probe import Probe, Split
from modprompt.errors import UserError
from train import report


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """Features of the digits under the embedded model."""
    folder = tmp_path_factory.mktemp("features")
    root = tmp_path_factory.mktemp("data")
    assert report(feat_extractor.run, ["--output-dir", str(folder), "--root", str(root)]) == 0
    return folder


def blobs(per_class, seed=0):
    rng = np.random.RandomState(seed)
    labels = np.repeat(np.arange(3), per_class)
    return Split(rng.normal(size=(len(labels), 5)) + 1.5 * labels[:, None], labels)


def test_all_images_of_all_splits_are_there(features):
    sizes = {}
    for split in ("train", "val", "test"):
        with np.load(features / "Digits" / f"{split}.npz") as arrays:
            sizes[split] = arrays["feature_list"].shape
            assert arrays["feature_list"].dtype == np.float32
            assert len(arrays["label_list"]) == sizes[split][0]
    assert sum(count for count, _ in sizes.values()) == 1797
    assert {width for _, width in sizes.values()} == {64}


def test_table_data_and_picture(features, capsys):
    argv = [
        "--dataset",
        "Digits",
        "--feature_dir",
        str(features),
        "--num_step",
        "2",
        "--num_run",
        "2",
        "--shots",
        "1",
        "4",
    ]
    assert report(linear_probe.run, argv) == 0
    out = capsys.readouterr().out
    content = json.loads((features / "Digits" / "linear_probe.json").read_text())
    assert [row["shots"] for row in content["rows"]] == [1, 4]
    for row in content["rows"]:
        assert row["mean_pct"] == pytest.approx(np.mean(row["accuracies_pct"]))
        assert row["mean_pct"] > 80  # chance is 10
        assert f"Digits, {row['shots']:2} shots: {row['mean_pct']:.2f} +- " in out
    assert (features / "Digits" / "linear_probe.png").stat().st_size > 1000


def test_search_equals_the_written_out_one():
    train, val = blobs(4), blobs(3, seed=1)

    def accuracy(c):
        return np.mean(LogisticRegression(max_iter=1000, C=c).fit(*train).predict(val.features) == val.labels)

    grid = [1e6, 1e4, 1e2, 1, 1e-2, 1e-4, 1e-6]
    peak = grid[int(np.argmax([accuracy(c) for c in grid]))]
    left, right = peak / 10, peak * 10
    for _ in range(4):
        middle = (left * right) ** 0.5
        best = right if accuracy(left) < accuracy(right) else left
        left, right = (middle, right) if best == right else (left, middle)
    assert 10 ** Probe(train, val).search(4) == pytest.approx(best)


def test_few_draws_the_same_images_for_one_seed():
    one, two = (blobs(9).few(4, np.random.RandomState(5)) for _ in range(2))
    assert np.array_equal(one.features, two.features)
    assert np.array_equal(one.labels, np.repeat(np.arange(3), 4))


def test_class_with_too_few_images_is_named():
    with pytest.raises(UserError, match="class 0 has 2 training images, but 4 shots are asked for"):
        blobs(2).few(4, np.random.RandomState(0))
    assert len(blobs(2).few(4, np.random.RandomState(0), or_all=True).labels) == 6


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--dataset", "Nothing"], "no features at"),
        (["--dataset", "Digits", "--num_run", "0"], "--num_run must be at least 1"),
        (["--dataset", "Digits", "--shots", "0"], "--shots must be at least 1"),
        (["--dataset", "Digits", "--shots", "1", "5000"], "--shots 5000: a class has only "),
    ],
)
def test_bad_input_is_one_line(features, capsys, argv, message):
    capsys.readouterr()
    assert report(linear_probe.run, [*argv, "--feature_dir", str(features)]) == 2
    assert message in capsys.readouterr().err


def test_damaged_features_are_named(tmp_path, capsys):
    (tmp_path / "Digits").mkdir()
    (tmp_path / "Digits" / "train.npz").write_bytes(b"PK nothing")
    assert report(linear_probe.run, ["--dataset", "Digits", "--feature_dir", str(tmp_path)]) == 2
    assert "train.npz is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--trainer", "--model-dir"])
def test_flags_of_training_are_refused(flag, capsys, tmp_path):
    assert report(feat_extractor.run, [flag, "MPL", "--output-dir", str(tmp_path / "out")]) == 2
    assert f"{flag} has no meaning here" in capsys.readouterr().err
