"""Whole runs in rounds: against rounds written out plainly, stopped and gone on with, for labels too, and refused."""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from dassl.data.datasets import build_dataset

import modprompt.trainers.run  # noqa: F401 - all trainers and readers
from modprompt.active import command as active
from modprompt.active import labelling
from modprompt.cli import flags, train
from modprompt.io import folder, result
from modprompt.trainers import run_config
from modprompt.trainers.learned import prompts_hash
from tests import plain_rounds
from tests.conftest import bare
from tests.methods import METHODS
from tests.modprompt.data.trees import lines, pictures

NEW_RUN = ("ACTIVE.METHOD", "entropy", "ACTIVE.PCB", "True", "ACTIVE.ROUNDS", "2", "ACTIVE.GAMMA", "0.4")


@pytest.fixture
def words(mpl_flags, clip_file, tmp_path):
    """Words of a run in two rounds on the EuroSAT-shaped tree; other options behind take the place of these."""

    def made(*more, out="out", flags=()):
        own = [*mpl_flags]
        own[own.index("--output-dir") + 1] = str(tmp_path / out)
        return [*own, *flags, *bare(clip_file), *NEW_RUN, *map(str, more)]

    return made


def record_of(folder):
    found = result.read(folder).result
    return {**found["active"], "rounds": [{**one, "elapsed_s": 0} for one in found["active"]["rounds"]]}


def picks_of(folder, number):
    text = (folder / "rounds" / f"round_{number}.csv").read_text("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def fill(path, labels):
    """Write the labels of images, by their file, into a round's CSV."""
    rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"), newline="")))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({**row, "label": labels.get(row["file"], row["label"])} for row in rows)


def test_rounds_are_those_written_out_plainly(words, tmp_path):
    assert train.main(words("ACTIVE.GIVE_UP", True)) == 0
    found = result.read(tmp_path / "out").result

    settings = flags.settings_of(flags.parse_args(words("ACTIVE.GIVE_UP", True, out="plain")))
    cfg = run_config.from_words(settings)
    cfgs = [cfg.of_one_training(OUTPUT_DIR=str(tmp_path / f"plain{number}")) for number in range(2)]
    dataset = build_dataset(cfg)
    with folder.hold(cfgs[0].OUTPUT_DIR), folder.hold(cfgs[1].OUTPUT_DIR):
        picks, accuracies, trainer = plain_rounds.run(cfgs.__getitem__, dataset, 2, 0.4)
    root = Path(dataset.image_root)
    for number, paths in enumerate(picks):
        assert [str(root / row["file"]) for row in picks_of(tmp_path / "out", number)] == paths
    assert [one["accuracy_pct"] for one in found["active"]["rounds"]] == accuracies
    assert found["prompts_hash"] == prompts_hash(trainer.model.prompt_learner)


@pytest.mark.slow
def test_result_tells_all_rounds_and_the_folder_is_that_of_a_run(words, tmp_path):
    assert train.main(words()) == 0
    out, found = tmp_path / "out", result.read(tmp_path / "out").result
    first, last = found["active"]["rounds"]
    assert (first["labels"], last["labels"], last["images"]) == (10, 20, 20)
    assert sum(last["counts"]) == 20
    assert found["accuracy_pct"] == last["accuracy_pct"]
    assert found["prompts_hash"] == last["prompts_hash"]
    assert found["active"]["method"] == "entropy"
    assert found["active"]["budget"] == 10
    rows = picks_of(out, 1)
    assert all(row["label"] and "entropy" in row["reason"] and row["predicted_class"] for row in rows)
    assert {row["label"] for row in picks_of(out, 0)} <= set(json.loads(json.dumps(found["class_names"]["names"])))
    assert (out / "rounds" / "round_1.html").read_text().count("<img") == 10
    assert not list(out.rglob("training_state*"))
    assert train.main(words(out="tested", flags=["--eval-only", "--model-dir", str(out)])) == 0
    assert result.read(tmp_path / "tested").result["accuracy_pct"] == last["accuracy_pct"]
    again = ["--eval-only", "--model-dir", str(out / "rounds" / "round_0")]
    assert train.main(words(out="first", flags=again)) == 0
    assert result.read(tmp_path / "first").result["prompts_hash"] == first["prompts_hash"]
    before = (out / "result.json").stat().st_mtime_ns
    assert train.main(words(flags=["--once"])) == 0
    assert (out / "result.json").stat().st_mtime_ns == before


@pytest.mark.slow
def test_more_rounds_go_on_and_other_settings_are_refused(words, tmp_path, capsys):
    assert train.main(words("ACTIVE.ROUNDS", 1)) == 0
    assert train.main(words("OPTIM.LR", 0.5)) == 2
    assert "OPTIM.LR 0.0035 -> 0.5" in capsys.readouterr().err
    assert train.main(words("ACTIVE.METHOD", "margin")) == 2
    assert "ACTIVE.METHOD entropy -> margin" in capsys.readouterr().err
    assert train.main(words(out="other", flags=["--resume", str(tmp_path / "out")])) == 0
    assert train.main(words()) == 0
    assert train.main(words(out="at_once")) == 0
    assert record_of(tmp_path / "other") == record_of(tmp_path / "out") == record_of(tmp_path / "at_once")


@pytest.mark.slow
def test_a_run_waits_for_labels_and_ends_as_one_that_knows_them(words, tmp_path, capsys):
    assert train.main(words(out="known")) == 0
    expected = record_of(tmp_path / "known")
    for number in range(2):
        assert train.main(words("ACTIVE.ASK", True)) == 3
        err = capsys.readouterr().err
        assert f"waiting: round {number} lacks 10 of 10 labels" in err
        path = tmp_path / "out" / "rounds" / f"round_{number}.csv"
        truth = {row["file"]: row["label"] for row in picks_of(tmp_path / "known", number)}
        assert [row["file"] for row in picks_of(tmp_path / "out", number)] == list(truth)
        fill(path, dict(list(truth.items())[:4]))
        assert train.main(words("ACTIVE.ASK", True)) == 3
        assert "lacks 6 of 10" in capsys.readouterr().err
        fill(path, truth)
        assert not (tmp_path / "out" / "result.json").exists()
    assert train.main(words("ACTIVE.ASK", True)) == 0
    assert record_of(tmp_path / "out") == expected
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"To label the rest with the model: modprompt predict {tmp_path / 'out'} ")


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (("ACTIVE.METHOD", "entropi"), "ACTIVE.METHOD: there is no 'entropi'; did you mean 'entropy'?"),
        (("ACTIVE.METHOD", ""), "ACTIVE.METHOD is empty, but ACTIVE.ROUNDS is not 0"),
        (("ACTIVE.METHOD", "none", "ACTIVE.PCB", False), "ACTIVE.METHOD none chooses nothing by itself"),
        (("ACTIVE.ROUNDS", 0), "ACTIVE.ROUNDS is 0, so nothing is chosen"),
        (("ACTIVE.ROUNDS", -1), "ACTIVE.ROUNDS must be at least 0"),
        (("ACTIVE.BUDGET", 31), "ask for 62 images, but the pool of EuroSAT has"),
        (("ACTIVE.GAMMA", 0.1), "candidates, fewer than the 10 labels of a round"),
        (("SEARCH.ON", True), "ACTIVE.ROUNDS: a search is not run in rounds"),
        (("TRAINER.NAME", "ZeroshotCLIP"), "ZeroshotCLIP trains nothing"),
        (("ACTIVE.ASK", True, "TRAINER.MPL.PROMPT_DEPTH", 30), "PROMPT_DEPTH"),
    ],
)
def test_what_does_not_fit_is_said_before_any_training(words, tmp_path, capsys, options, fault):
    assert train.main(words(*options)) == 2
    assert fault in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("*.csv"))


@pytest.mark.slow
def test_a_folder_is_that_of_rounds_or_of_a_training(words, tmp_path, capsys):
    plain = words("ACTIVE.METHOD", "", "ACTIVE.ROUNDS", 0, "DATASET.NUM_SHOTS", 1)
    assert train.main(plain) == 0
    before = (tmp_path / "out" / "result.json").read_bytes()
    assert train.main(words()) == 2
    assert "holds a run without rounds" in capsys.readouterr().err
    assert (tmp_path / "out" / "result.json").read_bytes() == before
    assert train.main(words("ACTIVE.ROUNDS", 1, out="rounds")) == 0
    plain[plain.index("--output-dir") + 1] = str(tmp_path / "rounds")
    assert train.main(plain) == 2
    assert "holds rounds of active learning" in capsys.readouterr().err
    assert train.main(words("ACTIVE.ROUNDS", 2, out="more")) == 0
    assert train.main(words("ACTIVE.ROUNDS", 1, out="more")) == 2
    assert "has 2 rounds, more than ACTIVE.ROUNDS 1" in capsys.readouterr().err


@pytest.mark.slow
def test_a_round_whose_record_is_gone_is_trained_as_it_was(words, tmp_path, capsys):
    assert train.main(words()) == 0
    out = tmp_path / "out"
    expected = record_of(out)
    (out / "rounds" / "round_1.json").unlink()  # its checkpoints stay, and do not say where generators were
    assert train.main(words()) == 0
    assert record_of(out) == expected


@pytest.mark.slow
def test_prompts_that_are_not_those_on_record_are_refused(words, tmp_path, capsys):
    assert train.main(words()) == 0
    rounds_folder = tmp_path / "out" / "rounds"
    (first,) = rounds_folder.glob("round_0/*/model.pth.tar-2")
    (second,) = rounds_folder.glob("round_1/*/model.pth.tar-2")
    shutil.copy(first, second)
    assert train.main(words("ACTIVE.ROUNDS", 3)) == 2
    assert "has other prompts than round 1 was tested with; to train anew" in capsys.readouterr().err
    second.unlink()
    assert train.main(words("ACTIVE.ROUNDS", 3)) == 2
    assert "the prompts of round 1 cannot be used" in capsys.readouterr().err


@pytest.mark.slow
def test_once_goes_on_with_more_rounds_and_with_a_test(words, tmp_path, capsys):
    assert train.main(words("ACTIVE.ROUNDS", 1)) == 0
    assert train.main(words(flags=["--once"])) == 0
    assert "finished with fewer rounds" in capsys.readouterr().out
    assert len(record_of(tmp_path / "out")["rounds"]) == 2
    assert train.main(words("TEST.NO_TEST", True, out="untested")) == 0
    found = result.read(tmp_path / "untested").result
    assert found["accuracy_pct"] is None
    assert found["untested"] == "TEST.NO_TEST"
    assert train.main(words("TEST.NO_TEST", True, out="untested", flags=["--once"])) == 0
    assert train.main(words(out="untested", flags=["--once"])) == 2  # each test draws, so that rounds are others
    assert "whether TEST.NO_TEST True -> False" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(METHODS) - {"maple_random", "dpl_ensemble"}))
def test_every_trainer_runs_in_rounds(command, clip_file, tmp_path, name):
    base = command(METHODS[name], *NEW_RUN, "DATASET.NUM_SHOTS", -1, "ACTIVE.METHOD", "badge")
    assert train.main(base) == 0
    found = result.read(tmp_path / "out").result["active"]
    assert [one["labels"] for one in found["rounds"]] == [5, 10]
    assert found["classes"] == 5
    new = [one["new_accuracy_pct"] for one in found["rounds"]]
    assert found["new_classes"] is ("csc" not in name)
    assert all((accuracy is None) is ("csc" in name) for accuracy in new)


def test_steps_that_are_counted_follow_the_labels_of_a_round_and_not_the_list_it_picks_from(command, capsys):
    more = ("DATASET.NUM_SHOTS", 4, "ACTIVE.METHOD", "entropy", "TRAINER.CLIPLORA.N_ITERS", 1)
    assert train.main(command(METHODS["clip_lora"], *NEW_RUN, *more)) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("CLIPLoRA trains")]
    said = said[1:]  # the first is of the whole pool, which is tried before anybody labels
    assert [line.split(" (")[0] for line in said] == ["CLIPLoRA trains 1 steps", "CLIPLoRA trains 2 steps"]
    assert "over 5 images" in said[0]


@pytest.mark.slow
def test_new_classes_are_tested_as_a_test_alone_does(words, tmp_path):
    assert train.main(words("DATASET.SUBSAMPLE_CLASSES", "base")) == 0
    for one in record_of(tmp_path / "out")["rounds"]:
        model = tmp_path / "out" / "rounds" / f"round_{one['round']}"
        tested = words(
            "DATASET.SUBSAMPLE_CLASSES",
            "new",
            out=f"new{one['round']}",
            flags=["--eval-only", "--model-dir", str(model)],
        )
        assert train.main(tested) == 0
        assert result.read(tmp_path / f"new{one['round']}").result["accuracy_pct"] == one["new_accuracy_pct"]


@pytest.mark.slow
@pytest.mark.filterwarnings("default::UserWarning")  # the words of the fixture name MPL, too
def test_validation_images_that_a_search_takes_count_as_labels_and_mark_the_result(words, tmp_path, capsys):
    tip = ("TRAINER.TIPADAPTER.AUGMENT_EPOCH", 1, "TRAINER.TIPADAPTER.SEARCH_STEP", "[3, 2]", "ACTIVE.METHOD", "random")
    given = words(*tip)
    given[given.index("--trainer") + 1] = "TipAdapter"
    assert train.main(given) == 0
    found = result.read(tmp_path / "out").result
    images = found["searched"]["images"]
    assert f"note: {images} validation images have labels that no round asks for" in capsys.readouterr().out
    assert [one["labels"] for one in found["active"]["rounds"]] == [images + 10, images + 20]
    assert found["active"]["labels_of_choice"] == images
    assert found["selected_on_test"] == "selected on the whole validation split"
    (tmp_path / "out" / "result.json").unlink()
    assert train.main(given) == 0  # the head of the last round is loaded, and says how it was chosen
    assert result.read(tmp_path / "out").result["selected_on_test"] == found["selected_on_test"]


@pytest.mark.filterwarnings("default::UserWarning")
def test_nothing_is_counted_that_only_stands_in(tmp_path, monkeypatch, capsys):
    """Before a label is there, loaders get one image in place of all; the embedded CLIP is nobody else's."""
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "photos" / "images", {"any": 6})
    lines(tmp_path / "photos" / "classnames.txt", ["one", "two"])
    start = ["--trainer", "MPL", "--root", "photos"]
    start += ["ACTIVE.METHOD", "random", "ACTIVE.ROUNDS", "1", "ACTIVE.ASK", "True"]
    assert active.main([*start, "OPTIM.MAX_EPOCH", "1"]) == 3
    out = capsys.readouterr().out
    assert "from 6 images of 2 classes" in out
    assert "# train_x" not in out
    assert "CLIP: this project's own weights, quick_gelu, 1 and 2 heads" in out
    picks = tmp_path / "output/photos_active/MPL/glyph/seed1/rounds/round_0.csv"
    with picks.open(encoding="utf-8-sig", newline="") as file:
        files = [row["file"] for row in csv.DictReader(file)]
    fill(picks, dict(zip(files, ("one", "two"))))
    assert active.main([*start, "OPTIM.MAX_EPOCH", "1"]) == 0
    out = capsys.readouterr().out
    assert "# train_x  2" in out
    assert "note: there are no test images (the one that is counted is a substitute): nothing is tested" in out


@pytest.mark.slow
def test_a_label_that_is_changed_behind_a_finished_run_is_noticed(words, tmp_path, capsys):
    given = words("ACTIVE.ROUNDS", 1)
    assert train.main(given) == 0
    assert train.main(["--once", *given]) == 0
    assert "Finished before: " in capsys.readouterr().out
    path, out = tmp_path / "out" / "rounds" / "round_0.csv", tmp_path / "out"
    found = result.read(out).result
    assert labelling.differing(out, found) == []
    rows = picks_of(out, 0)
    other = next(row["label"] for row in rows if row["label"] != rows[0]["label"])
    fill(path, {rows[0]["file"]: other})
    assert labelling.differing(out, found) == ["labels of round 0 were changed"]
    assert train.main(["--once", *given]) == 2
    assert "move round_0.json and all later rounds away" in capsys.readouterr().err
    path.with_suffix(".json").rename(tmp_path / "round_0.json")
    assert labelling.differing(out, found) == ["round 0 has no record any more"]
    assert train.main(["--once", *given, "ACTIVE.ASK", "True"]) == 0  # with what somebody has filled in
    assert result.read(out).result["active"]["rounds"][0]["picks_hash"] != found["active"]["rounds"][0]["picks_hash"]
