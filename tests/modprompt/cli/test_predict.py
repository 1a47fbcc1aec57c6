import json
import os

import numpy as np
import pytest
import torch
from PIL import Image

from modprompt.cli.predict import COLUMNS
from modprompt.io import result
from modprompt.io.files import write_json
from modprompt.io.records import sealed
from modprompt.io.tables import read_table
from modprompt.use.prediction import find_images
from modprompt.use.trained import adapted, open_trained
from tests.modprompt.use.made import NAMES, model_of, write_run


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run", model_of("MPL"))


def write_threshold(run, probability, **more):
    """Add a threshold of 40 validation images to a run's result."""
    content = json.loads((run / "result.json").read_text())
    content.pop("modprompt")
    content |= {result.UNKNOWN_BELOW: {"probability": probability, "images": 40}, **more}
    write_json(run / "result.json", sealed(content, result.VERSION))


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("b.png", "=a.png"):
        Image.fromarray(np.full((8, 8, 3), 7, np.uint8)).save(folder / name)
    return folder


def test_a_line_an_image_and_a_table(run, photos, tmp_path, said):
    out, err = said(0, "predict", run, photos, "--top", 2, "--csv", tmp_path / "new" / "out.csv", "--device", "cpu")
    assert [line.partition(":")[0] for line in out] == [str(photos / "=a.png"), str(photos / "b.png")]
    assert all(line.count("%") == 2 for line in out)
    assert err == [f"note: the predictions were written to {tmp_path / 'new' / 'out.csv'}."]
    rows = [cells for _, cells in read_table(tmp_path / "new" / "out.csv", COLUMNS)]
    assert [row["rank"] for row in rows] == ["1", "2"] * 2
    assert {row["class"] for row in rows} <= set(NAMES)
    first = rows[0]
    assert out[0].startswith(f"{photos / '=a.png'}: {first['class']} {100 * float(first['probability']):.1f}%")


def test_a_table_replaces_nothing_but_such_a_table(run, photos, tmp_path, said, refused):
    before = (photos / "b.png").read_bytes()
    assert f"--csv {photos / 'b.png'} exists, but does not have the columns of this table" in refused(
        *("predict", run, photos / "=a.png", "--csv", photos / "b.png")
    )
    assert (photos / "b.png").read_bytes() == before
    other = tmp_path / "words.csv"
    for content in ("layer,class,token,rank,word,distance\n", "", "image;rank;class;probability\n"):
        other.write_text(content)
        assert "does not have the columns of this table" in refused("predict", run, photos, "--csv", other)
        assert other.read_text() == content
    for more in (["--unknown", "0.1"], []):
        said(0, "predict", run, photos, "--csv", tmp_path / "out.csv", *more)


def test_bad_images_are_named_and_skipped_and_other_files_counted(run, photos, said):
    (photos / "c.jpg").write_text("no image")
    (photos / "notes.txt").write_text("")
    out, (note, *err) = said(1, "predict", run, photos, photos / "nosuch.png", "--device", "cpu")
    assert len(out) == 2
    assert note == (
        f"note: 1 file is ignored because of a file name without an image extension, for example {photos / 'notes.txt'}."
    )
    assert err[0].startswith(f"skipped: Cannot read the image {photos / 'c.jpg'} (")
    assert err[1:] == [
        f"skipped: The image {photos / 'nosuch.png'} does not exist.",
        "note: 2 of 4 images could not be read and were skipped.",
    ]


def test_named_pipe_among_the_images_is_skipped(run, photos, said):
    os.mkfifo(photos / "x.png")
    out, err = said(1, "predict", run, photos, "--device", "cpu")
    assert len(out) == 2
    assert err[0].startswith(
        f"skipped: Cannot read the image {photos / 'x.png'} (the path is a pipe or a device, not a"
    )


def test_other_classes_are_said(run, photos, tmp_path, said):
    (tmp_path / "names.txt").write_text("\ufefffour\n\n  five \none\n", encoding="utf-8")
    out, err = said(0, "predict", run, photos, "--classes", f"@{tmp_path / 'names.txt'}")
    assert all(name in out[0] for name in ("four ", "five ", "one "))
    assert len(err) == 1
    assert "was not trained on 2 of the 3 classes: " in err[0]
    assert err[0].endswith("of the 3 classes: four, five.")
    assert said(0, "predict", run, photos, "--classes", *NAMES)[1] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["{run}", "{photos}", "--classes", "one"],
            "error: --classes lists 1 class name, but a classifier needs at least 2.",
        ),
        (
            ["{run}", "{photos}", "--classes", "one", "one"],
            "error: --classes lists the class 'one' twice. Remove the duplicate.",
        ),
        (
            ["{run}", "{photos}", "--classes", "@{run}/nosuch"],
            "error: --classes @{run}/nosuch: the file {run}/nosuch does not exist.",
        ),
        (["{run}", "{photos}", "--top", "0"], "error: --top must be at least 1, got 0"),
        (["{run}", "{photos}", "--unknown", "nan"], "error: --unknown must be a probability from 0 to 1, got nan"),
        (["{run}", "{photos}", "--unknown", "high"], "error: --unknown 'high' is not a number. Use a probability from"),
        (["{run}", "{photos}", "--csv", "{photos}"], "error: --csv: {photos} is a folder"),
        (
            ["{run}", "{photos}", "--csv", "{photos}/b.png/x.csv"],
            "error: --csv: cannot write the file {photos}/b.png/x.csv",
        ),
        (["{run}", "{photos}", "--epoch", "7"], "error: The checkpoint model.pth.tar-7 does not exist in"),
        (
            ["{run}", "{photos}", "--device", "nosuch"],
            "error: The device nosuch is not available to PyTorch on this machine (",
        ),
        (["{run}/nosuch", "{photos}"], "error: {run}/nosuch does not exist. Use the output folder of a run"),
        (["{photos}", "{photos}"], "error: {photos} contains no trained model. Use the output folder of a run"),
        (["{photos}/b.png", "{photos}"], "error: {photos}/b.png is not a complete PyTorch checkpoint"),
        (
            ["{run}", "{photos}", "--clip", "./x.pt"],
            "error: The weights of CLIP at x.pt (MODEL.BACKBONE.PATH or --clip) do not exist.",
        ),
        (["{run}", "{run}"], "error: No image found in {run}"),
    ],
    ids=str,
)
def test_bad_input_is_one_line(words, message, run, photos, said):
    _, (line,) = said(2, "predict", *(word.format(run=run, photos=photos) for word in words))
    assert line.startswith(message.format(run=run, photos=photos))


def test_classes_that_are_no_text_are_one_line(run, photos, refused):
    err = refused("predict", run, photos, "--classes", "\udcc3\udca9ins", "two")  # of an ASCII locale
    assert err.endswith(r"'\udcc3\udca9ins' is not valid UTF-8. Start Python with PYTHONUTF8=1, or in a UTF-8 locale.")


def test_an_image_without_a_class_of_that_probability_is_not_known(run, photos, tmp_path, said):
    def told(*words):
        out, _ = said(0, "predict", run, photos, "--csv", tmp_path / "out.csv", "--classes", "one", "two", *words)
        columns = (*COLUMNS, "known") if words else COLUMNS
        return out, [cells for _, cells in read_table(tmp_path / "out.csv", columns)]

    _, rows = told()
    first, second = (float(row["probability"]) for row in rows[:2])
    assert first > second
    out, rows = told("--unknown", (first + second) / 2)
    assert {(row["rank"], row["known"]) for row in rows} == {("1", "True")}
    assert all(line.count("%") == 1 and row["class"] in line for line, row in zip(out, rows))
    out, rows = told("--unknown", first + 1e-3)
    assert [(row["rank"], row["class"], row["known"]) for row in rows] == [("1", "", "False")] * 2
    assert all(line.endswith(f": not known, at most {100 * first:.1f}%") for line in out)


def test_a_rule_is_named_in_the_table(run, photos, tmp_path, monkeypatch, said):
    monkeypatch.setattr("modprompt.use.prediction.require_rule", lambda model, rule: None)
    said(0, "predict", run, photos, "--csv", tmp_path / "out.csv", "--rule", "sigmoid")
    assert {cells["rule"] for _, cells in read_table(tmp_path / "out.csv", (*COLUMNS, "rule"))} == {"sigmoid"}


def test_answers_adapt_to_the_images_in_their_order_whatever_the_batches(run, photos, tmp_path, said, refused):
    for seed in range(5):
        pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{seed}.png")
    out, _ = said(0, "predict", run, photos, "--adapt", "tda", "--batch-size", 3, "--top", 1, "--device", "cpu")
    trained = adapted(open_trained(run, device="cpu"), "TDA")
    images = torch.stack([trained.preprocess(Image.open(path)) for path in find_images([photos])[0]])
    with torch.no_grad():
        shares = trained.model(images).softmax(1).amax(1)  # one test of all
    assert [line.rpartition(" ")[2] for line in out] == [f"{100 * share:.1f}%" for share in shares.tolist()]
    head = write_run(tmp_path / "head", model_of("TaskRes"))
    assert "already has a head (TaskRes)" in refused("predict", head, photos, "--adapt", "tda", "--device", "cpu")
    beside = write_run(tmp_path / "beside", model_of("ExtrasLinearProbeCoOp"))
    _, err = said(0, "predict", beside, photos, "--adapt", "tda", "--device", "cpu")
    assert err == [
        "note: The head uses the features of the prompts, not the logits of the DePT head that was trained with them."
    ]


def test_auto_takes_the_threshold_of_the_run(run, photos, said, refused):
    line = refused("predict", run, photos, "--unknown", "auto")
    assert line.startswith(
        f"error: --unknown auto is not possible, because {run / 'result.json'} contains no threshold. Either the run had"
    )
    write_threshold(run, 0.99999)
    out, (note,) = said(0, "predict", run, photos, "--unknown", "auto", "--device", "cpu")
    assert all(": not known, at most " in line for line in out)
    assert note.startswith(
        "note: images whose highest probability is below 100.00% are reported as not known. The threshold keeps 95% of "
        "the 40 held-out"
    )
    for words, flag in (
        (["--classes", "one", "two"], "--classes"),
        (["--adapt", "tda"], "--adapt"),
        (["--rule", "sigmoid"], "--rule sigmoid"),
    ):
        line = refused("predict", run, photos, "--unknown", "auto", *words)
        assert f"--unknown auto cannot be combined with {flag}, because" in line


def test_auto_rejects_a_checkpoint_that_the_result_did_not_test(run, photos, refused):
    write_threshold(run, 0.5, checkpoint={"name": "prompt_learner/model.pth.tar-9", "hash": "0" * 64})
    assert "is missing or belongs to another model" in refused("predict", run, photos, "--unknown", "auto")


def test_missing_epoch_points_to_a_flag_of_predict(run, photos, refused):
    line = refused("predict", run, photos, "--epoch", 3)
    assert "The checkpoint model.pth.tar-3 does not exist in " in line
    assert line.endswith("with --epoch, or with --load-epoch in `modprompt train`.")


def test_device_gpu_is_answered_with_cuda(run, photos, refused):
    assert refused("predict", run, photos, "--device", "gpu").endswith("Use cuda.")
