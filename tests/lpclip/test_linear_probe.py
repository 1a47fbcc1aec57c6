import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from lpclip import feat_extractor, linear_probe
from lpclip.linear_probe import Probe, Split
from modprompt.errors import UserError
from modprompt.programs import report
from tests.conftest import ROOT
from tests.modprompt.data import trees


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """Features of the digits under the embedded model."""
    folder = tmp_path_factory.mktemp("features")
    flags = ["--output-dir", folder, "--root", tmp_path_factory.mktemp("data"), "--dataset-config-file", "digits"]
    assert report(feat_extractor.run, [*map(str, flags)]) == 0
    return folder


def blobs(per_class, seed=0):
    rng = np.random.RandomState(seed)
    labels = np.repeat(np.arange(3), per_class)
    return Split(rng.normal(size=(len(labels), 5)) + 1.5 * labels[:, None], labels)


def test_features_of_all_images_make_a_table_data_and_a_picture(features, capsys):
    sizes = {}
    for split in ("train", "val", "test"):
        with np.load(features / "Digits" / f"{split}.npz") as arrays:
            sizes[split] = arrays["feature_list"].shape
            assert arrays["feature_list"].dtype == np.float32
            assert len(arrays["label_list"]) == sizes[split][0]
    assert (sum(count for count, _ in sizes.values()), {width for _, width in sizes.values()}) == (1797, {64})
    argv = ["--dataset", "Digits", "--num_step", "2", "--num_run", "2", "--shots", "1", "4", "--feature_dir"]
    assert report(linear_probe.run, [*argv, str(features)]) == 0
    out = capsys.readouterr().out
    content = json.loads((features / "Digits" / "linear_probe.json").read_text())
    assert [row["shots"] for row in content["rows"]] == [1, 4]
    for row in content["rows"]:
        assert row["mean_pct"] == pytest.approx(np.mean(row["accuracies_pct"]))
        assert row["mean_pct"] > 80  # chance is 10
        assert f"Digits, {row['shots']:2} shots: accuracy {row['mean_pct']:.2f} +- " in out
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


def test_few_draws_the_same_images_for_one_seed_and_names_a_class_with_too_few():
    one, two = (blobs(9).few(4, np.random.RandomState(5)) for _ in range(2))
    assert np.array_equal(one.features, two.features)
    assert np.array_equal(one.labels, np.repeat(np.arange(3), 4))
    with pytest.raises(UserError, match="Class 0 has only 2 training images, but 4 shots were requested"):
        blobs(2).few(4, np.random.RandomState(0))
    assert len(blobs(2).few(4, np.random.RandomState(0), or_all=True).labels) == 6


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--dataset", "Nothing"], "train.npz does not exist. Run `python -m lpclip.feat_extractor` first"),
        (["--dataset", "Digits", "--num_run", "0"], "--num_run must be at least 1"),
        (["--dataset", "Digits", "--shots", "0"], "--shots must be at least 1"),
        (["--dataset", "Digits", "--shots", "1", "5000"], "--shots 5000 is too large, because a class has only "),
    ],
)
def test_bad_input_is_one_line(features, capsys, argv, message):
    capsys.readouterr()
    assert report(linear_probe.run, [*argv, "--feature_dir", str(features)]) == 2
    assert message in capsys.readouterr().err


def test_flags_of_training_are_refused(capsys, tmp_path):
    for flag in ("--trainer", "--model-dir"):
        assert report(feat_extractor.run, [flag, "MPL", "--output-dir", str(tmp_path / "out")]) == 2
        assert f"{flag} is not supported, because" in capsys.readouterr().err


def write_features(folder, has_val, *names, made_of="CLIP 2:a, split b"):
    splits = {"train": blobs(9), "val": blobs(5, seed=1), "test": blobs(6, seed=2)}
    for name in names:
        feat_extractor.write(folder / "Own" / f"{name}.npz", *splits[name], has_val, made_of)
    return splits


def probe(folder, *more):
    flags = ["--dataset", "Own", "--feature_dir", str(folder), "--num_step", "2", "--num_run", "2", "--shots", "2"]
    return report(linear_probe.run, [*flags, *more])


def test_without_validation_images_c_is_chosen_on_training_images_that_are_held_out(tmp_path, capsys):
    write_features(tmp_path, False, "train", "test")
    assert probe(tmp_path) == 0
    assert (
        "note: Own has no validation images, so C is selected on held-out training images." in capsys.readouterr().out
    )
    facts = json.loads((tmp_path / "Own" / "linear_probe.json").read_text())
    assert facts["selected_on"] == "held out"
    assert probe(tmp_path, "--shots", "9") == 2
    assert "no training images are left to select C on. Use fewer --shots." in capsys.readouterr().err


def test_test_images_choose_c_only_if_they_are_asked_to(tmp_path, capsys):
    splits = write_features(tmp_path, False, "train", "test")
    np.savez(tmp_path / "Own" / "val.npz", feature_list=splits["test"].features, label_list=splits["test"].labels)
    chosen = []
    for more in ((), ("--val-from-test",)):
        assert probe(tmp_path, *more) == 0
        chosen.append(json.loads((tmp_path / "Own" / "linear_probe.json").read_text())["selected_on"])
    assert chosen == ["held out", "test"]
    assert "so C is selected on test images." in capsys.readouterr().out


def test_held_out_images_are_none_that_were_drawn_and_draw_nothing_else():
    train = blobs(6)
    drawn = train.draw(4, np.random.RandomState(3))
    held = train.held_out(drawn, 4, seed=3)
    assert np.array_equal(held.labels, np.repeat(np.arange(3), 2))
    taken = {row.tobytes() for row in train.features[drawn]}
    assert not taken & {row.tobytes() for row in held.features}
    assert np.array_equal(held.features, train.held_out(drawn, 4, seed=3).features)
    assert not np.array_equal(held.features, train.held_out(drawn, 1, seed=3).features)


def test_features_with_own_validation_need_them(tmp_path, capsys):
    write_features(tmp_path, True, "train", "test")
    assert probe(tmp_path) == 2
    assert "val.npz does not exist. Run `python -m lpclip.feat_extractor` first" in capsys.readouterr().err
    write_features(tmp_path, True, "val")
    assert probe(tmp_path) == 0


GOOD = blobs(3)
ODD = {
    "features of text": (GOOD.features.astype(str), GOOD.labels),
    "complex features": (GOOD.features + 1j, GOOD.labels),
    "features of whole numbers": (GOOD.features.astype(np.int64), GOOD.labels),
    "NaN features": (GOOD.features * np.nan, GOOD.labels),
    "infinite features": (GOOD.features * np.inf, GOOD.labels),
    "features wider than 64 bits": (GOOD.features.astype(np.longdouble), GOOD.labels),
    "flat features": (GOOD.features[:, 0], GOOD.labels),
    "features without numbers": (GOOD.features[:, :0], GOOD.labels),
    "fewer features": (GOOD.features[1:], GOOD.labels),
    "labels of text": (GOOD.features, GOOD.labels.astype(str)),
    "NaN labels": (GOOD.features, np.where(GOOD.labels == 1, np.nan, GOOD.labels)),
    "infinite labels": (GOOD.features, np.where(GOOD.labels == 1, np.inf, GOOD.labels)),
    "halves": (GOOD.features, GOOD.labels + 0.5),
    "negative labels": (GOOD.features, GOOD.labels - 1),
    "labels too large": (GOOD.features, GOOD.labels + (1 << 62)),
    "labels far too large": (GOOD.features, GOOD.labels + 1e300),
    "complex labels": (GOOD.features, GOOD.labels + 0j),
    "truth values": (GOOD.features, GOOD.labels > 1),
    "labels in columns": (GOOD.features, GOOD.labels[:, None]),
}


@pytest.mark.parametrize("what", ODD)
def test_features_and_labels_of_other_values_are_refused_in_a_line(tmp_path, what):
    features, labels = ODD[what]
    np.savez(tmp_path / "train.npz", feature_list=features, label_list=labels)
    said = r"train.npz is damaged: the file must contain N x E finite real features .*\. Run `python -m lpclip"
    with pytest.raises(UserError, match=said):
        linear_probe.read_split(tmp_path / "train.npz")


def test_floats_and_whole_numbers_of_any_width_are_features_and_labels(tmp_path):
    for floats, numbers in (("f2", "i8"), ("f4", "u1"), ("f8", "f4"), (">f4", "i8")):
        features = GOOD.features.astype(floats)
        np.savez(tmp_path / "train.npz", feature_list=features, label_list=GOOD.labels.astype(numbers))
        read = linear_probe.read_split(tmp_path / "train.npz")
        assert np.array_equal(read.labels, GOOD.labels)
        assert np.array_equal(read.features, features)


def test_features_that_were_changed_or_do_not_go_together_are_refused(tmp_path, capsys):
    def refusal():
        capsys.readouterr()
        assert probe(tmp_path) == 2
        return capsys.readouterr().err

    other = "were made with different CLIPs, splits, classes or image preprocessing. Run `python -m lpclip"
    splits = write_features(tmp_path, True, "train", "val", "test")
    write_features(tmp_path, True, "test", made_of="CLIP 2:other, split b")
    assert other in refusal()
    feat_extractor.write(tmp_path / "Own" / "test.npz", splits["test"].features[:, :4], splits["test"].labels, True, "")
    assert other in refusal()
    write_features(tmp_path, True, "test")
    arrays = dict(np.load(tmp_path / "Own" / "test.npz"))
    arrays["label_list"][0] = 2
    np.savez(tmp_path / "Own" / "test.npz", **arrays)
    assert "test.npz is damaged: the hash in the file does not match its content." in refusal()


@pytest.fixture
def own(tmp_path):
    """Flags of the extractor on a small tree of four classes."""
    for part, size in (("train", 4), ("test", 2)):
        trees.pictures(tmp_path / "data" / part, dict.fromkeys("abcd", size))
    flags = ["--output-dir", str(tmp_path / "out"), "--root", str(tmp_path / "data")]
    flags += ["--config-file", str(ROOT / "configs/trainers/CoOp/glyph.yaml")]
    return [*flags, "--dataset-config-file", str(ROOT / "configs/datasets/image_folder.yaml")]


@pytest.mark.filterwarnings("ignore:Images are not preprocessed as")
@pytest.mark.parametrize(
    "other", [("INPUT.PIXEL_MEAN", "[0,0,0]"), ("DATASET.SUBSAMPLE_CLASSES", "new"), ("--split", "test")]
)
def test_features_of_other_images_or_classes_do_not_go_together(own, other, tmp_path, capsys):
    half = ("DATASET.SUBSAMPLE_CLASSES", "base")
    probed = ["--dataset", "ImageFolder", "--feature_dir", str(tmp_path / "out"), "--num_run", "1", "--shots", "1"]
    assert report(feat_extractor.run, [*own, *half]) == 0
    same = other[0] == "--split"
    assert report(feat_extractor.run, [*own, "--split", "test", *half, *(() if same else other)]) == 0
    capsys.readouterr()
    assert report(linear_probe.run, probed) == (0 if same else 2)
    assert same or "classes or image preprocessing. Run `python -m lpclip" in capsys.readouterr().err


def test_extractor_writes_no_validation_features_of_test_images(own, tmp_path, capsys):
    (tmp_path / "out" / "ImageFolder").mkdir(parents=True)
    (tmp_path / "out" / "ImageFolder" / "val.npz").write_bytes(b"of other folders")
    assert report(feat_extractor.run, own) == 0
    assert "note: ImageFolder has no validation images, so val.npz is not written." in capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / "out" / "ImageFolder").iterdir()) == ["test.npz", "train.npz"]
    assert report(feat_extractor.run, [*own, "DATASET.VAL_FROM_TEST", "True"]) == 0
    assert (tmp_path / "out" / "ImageFolder" / "val.npz").is_file()
