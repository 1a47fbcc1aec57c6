"""Whole runs in rounds: against rounds written out plainly, stopped and gone on with, for labels too, and refused."""

import re
import shutil
from pathlib import Path

import pytest
from dassl.data.datasets import build_dataset

import modprompt.trainers.run  # noqa: F401 - all trainers and readers
from modprompt.active import labelling
from modprompt.cli import active, flags, train
from modprompt.io import folder, result
from modprompt.trainers import config
from modprompt.trainers.learned import prompts_hash
from tests import plain_rounds
from tests.conftest import bare
from tests.methods import METHODS
from tests.modprompt.active.given import fill, picks_in
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
    return picks_in(folder / "rounds" / f"round_{number}.csv")


def test_rounds_are_those_written_out_plainly(words, tmp_path):
    assert train.main(words("ACTIVE.GIVE_UP", True)) == 0
    found = result.read(tmp_path / "out").result

    settings = flags.settings_of(flags.parse_args(words("ACTIVE.GIVE_UP", True, out="plain")))
    cfg = config.of_run(settings)
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
def test_result_tells_all_rounds_and_each_can_be_tested_again(words, tmp_path):
    assert train.main(words("DATASET.SUBSAMPLE_CLASSES", "base")) == 0
    out, found = tmp_path / "out", result.read(tmp_path / "out").result
    rounds = found["active"]["rounds"]
    assert [one["labels"] for one in rounds] == [5, 10]
    assert sum(rounds[1]["counts"]) == rounds[1]["images"] == 10
    assert found["accuracy_pct"] == rounds[1]["accuracy_pct"]
    assert found["prompts_hash"] == rounds[1]["prompts_hash"]
    assert all(row["label"] and "entropy" in row["reason"] and row["predicted_class"] for row in picks_of(out, 1))
    assert (out / "rounds" / "round_1.html").read_text().count("<img") == 5
    assert not list(out.rglob("training_state*"))
    for place, one, classes, key in (
        (out, rounds[1], "base", "accuracy_pct"),
        (out / "rounds" / "round_0", rounds[0], "base", "accuracy_pct"),
        (out / "rounds" / "round_0", rounds[0], "new", "new_accuracy_pct"),
    ):
        flags = ["--eval-only", "--model-dir", str(place)]
        assert train.main(words("DATASET.SUBSAMPLE_CLASSES", classes, out="tested", flags=flags)) == 0
        tested = result.read(tmp_path / "tested").result
        assert (tested["accuracy_pct"], tested["prompts_hash"]) == (one[key], one["prompts_hash"])
        shutil.rmtree(tmp_path / "tested")


@pytest.mark.slow
def test_more_rounds_go_on_to_the_same_numbers_and_other_settings_are_refused(words, tmp_path, capsys):
    assert train.main(words("ACTIVE.ROUNDS", 1)) == 0
    assert train.main(words("OPTIM.LR", 0.5, "ACTIVE.METHOD", "margin")) == 2
    err = capsys.readouterr().err
    assert "OPTIM.LR 0.0035 -> 0.5" in err
    assert "ACTIVE.METHOD entropy -> margin" in err
    assert train.main(words("TEST.NO_TEST", True)) == 2  # each test draws, so that rounds are others
    assert "whether TEST.NO_TEST False -> True" in capsys.readouterr().err
    assert train.main(words(out="other", flags=["--resume", str(tmp_path / "out")])) == 0
    assert train.main(words(flags=["--once"])) == 0
    assert "is continued, because ACTIVE.ROUNDS requests more rounds" in capsys.readouterr().out
    assert train.main(words(out="together")) == 0
    assert record_of(tmp_path / "other") == record_of(tmp_path / "out") == record_of(tmp_path / "together")
    # its checkpoints stay, and do not say where generators were
    (tmp_path / "out" / "rounds" / "round_1.json").unlink()
    assert train.main(words()) == 0
    assert record_of(tmp_path / "out") == record_of(tmp_path / "together")
    assert train.main(words("ACTIVE.ROUNDS", 1)) == 2
    assert "contains 2 rounds, more than ACTIVE.ROUNDS 1" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_waits_for_labels_and_ends_as_one_that_knows_them(words, tmp_path, capsys):
    assert train.main(words(out="known")) == 0
    for number in range(2):
        assert train.main(words("ACTIVE.MANUAL_LABELS", True)) == 3
        assert f"waiting: 10 of 10 labels of round {number} are missing" in capsys.readouterr().err
        truth = {row["file"]: row["label"] for row in picks_of(tmp_path / "known", number)}
        assert [row["file"] for row in picks_of(tmp_path / "out", number)] == list(truth)
        fill(tmp_path / "out" / "rounds" / f"round_{number}.csv", truth)
        assert not (tmp_path / "out" / "result.json").exists()
    assert train.main(words("ACTIVE.MANUAL_LABELS", True)) == 0
    assert record_of(tmp_path / "out") == record_of(tmp_path / "known")
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"To label the remaining images with the model, run `modprompt predict {tmp_path / 'out'} ")


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (("ACTIVE.GAMMA", 1.5), "ACTIVE.GAMMA must be at most 1, got 1.5"),
        (("ACTIVE.METHOD", "entropi"), "ACTIVE.METHOD: unknown name 'entropi'. Did you mean 'entropy'?"),
        (("ACTIVE.METHOD", ""), "ACTIVE.METHOD is empty, but ACTIVE.ROUNDS is 2. Set ACTIVE.METHOD"),
        (
            ("ACTIVE.METHOD", "none", "ACTIVE.PCB", False),
            "ACTIVE.METHOD none selects no images without PCB. Set ACTIVE.PCB to True",
        ),
        (("ACTIVE.ROUNDS", 0), "ACTIVE.ROUNDS is 0, so no images are selected. Set ACTIVE.ROUNDS."),
        (("ACTIVE.ROUNDS", -1), "ACTIVE.ROUNDS must be at least 0"),
        (("ACTIVE.BUDGET", 31), "needs 62 unlabelled images, but EuroSAT has only 60."),
        (("ACTIVE.GAMMA", 0.1), "candidates, fewer than the 10 labels per round"),
        (("SEARCH.ON", True), "ACTIVE.ROUNDS is 2, but a search for a schedule cannot run in rounds."),
        (("TRAINER.NAME", "ZeroshotCLIP"), "ACTIVE.ROUNDS is 2, but ZeroshotCLIP has no training"),
        (("ACTIVE.MANUAL_LABELS", True, "TRAINER.MPL.PROMPT_DEPTH", 30), "PROMPT_DEPTH"),
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
    assert "contains a run without active-learning rounds" in capsys.readouterr().err
    assert (tmp_path / "out" / "result.json").read_bytes() == before
    assert train.main(words("ACTIVE.ROUNDS", 1, out="rounds")) == 0
    plain[plain.index("--output-dir") + 1] = str(tmp_path / "rounds")
    assert train.main(plain) == 2
    assert "contains active-learning rounds" in capsys.readouterr().err


@pytest.mark.slow
def test_prompts_that_are_not_those_on_record_are_refused(words, tmp_path, capsys):
    assert train.main(words()) == 0
    rounds_folder = tmp_path / "out" / "rounds"
    (first,) = rounds_folder.glob("round_0/*/model.pth.tar-2")
    (second,) = rounds_folder.glob("round_1/*/model.pth.tar-2")
    shutil.copy(first, second)
    assert train.main(words("ACTIVE.ROUNDS", 3)) == 2
    assert "differ from the prompts that were tested in round 1. To train again" in capsys.readouterr().err
    second.unlink()
    assert train.main(words("ACTIVE.ROUNDS", 3)) == 2
    assert "The prompts of round 1 cannot be loaded" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["coop_middle_csc", "cocoop", "promptsrc", "dpl"])
def test_trainers_of_every_kind_run_in_rounds(command, clip_file, tmp_path, name):
    base = command(METHODS[name], *NEW_RUN, "DATASET.NUM_SHOTS", -1, "ACTIVE.METHOD", "badge")
    assert train.main(base) == 0
    found = result.read(tmp_path / "out").result["active"]
    assert [one["labels"] for one in found["rounds"]] == [5, 10]
    assert all((one["new_accuracy_pct"] is None) is ("csc" in name) for one in found["rounds"])


@pytest.mark.slow
def test_steps_that_are_counted_follow_the_labels_of_a_round_and_not_the_list_it_picks_from(command, capsys):
    more = ("DATASET.NUM_SHOTS", 4, "ACTIVE.METHOD", "entropy", "TRAINER.CLIPLORA.N_ITERS", 1)
    assert train.main(command(METHODS["clip_lora"], *NEW_RUN, *more)) == 0
    said = re.findall(r"^CLIPLoRA trains for \d+ steps", capsys.readouterr().out, re.MULTILINE)
    assert said[1:] == ["CLIPLoRA trains for 1 steps", "CLIPLoRA trains for 2 steps"]  # behind a try on the whole pool


@pytest.mark.slow
@pytest.mark.filterwarnings("default::UserWarning")  # the words of the fixture name MPL, too
def test_validation_images_that_a_search_takes_count_as_labels_and_mark_the_result(words, tmp_path, capsys):
    tip = ("TRAINER.TIPADAPTER.AUGMENT_EPOCH", 1, "TRAINER.TIPADAPTER.SEARCH_STEP", "[3, 2]", "ACTIVE.METHOD", "random")
    given = words(*tip)
    given[given.index("--trainer") + 1] = "TipAdapter"
    assert train.main(given) == 0
    found = result.read(tmp_path / "out").result
    images = found["searched"]["images"]
    assert f"note: this run also uses the labels of {images} validation images." in capsys.readouterr().out
    assert [one["labels"] for one in found["active"]["rounds"]] == [images + 10, images + 20]
    assert found["active"]["labels_of_choice"] == images
    assert found["selected_on_test"] == "selected on the whole validation split"
    (tmp_path / "out" / "result.json").unlink()
    assert train.main(given) == 0  # the head of the last round is loaded, and says how it was chosen
    assert result.read(tmp_path / "out").result["selected_on_test"] == found["selected_on_test"]


@pytest.mark.filterwarnings("default::UserWarning")
@pytest.mark.slow
def test_nothing_is_counted_that_only_stands_in(tmp_path, monkeypatch, capsys):
    """Before a label is there, loaders get one image in place of all; the embedded CLIP is nobody else's."""
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "photos" / "images", {"any": 6})
    lines(tmp_path / "photos" / "classnames.txt", ["one", "two"])
    start = ["--trainer", "MPL", "--root", "photos"]
    start += ["ACTIVE.METHOD", "random", "ACTIVE.ROUNDS", "1", "ACTIVE.MANUAL_LABELS", "True"]
    assert active.main([*start, "OPTIM.MAX_EPOCH", "1"]) == 3
    out = capsys.readouterr().out
    assert "from 6 images of 2 classes" in out
    assert "# train_x" not in out
    assert (
        "The CLIP model has modprompt's own weights (activation quick_gelu, 1 attention heads in the text encoder, 2 in the image encoder)."
        in out
    )
    picks = tmp_path / "output/photos_active/MPL/glyph/seed1/rounds/round_0.csv"
    fill(picks, dict(zip([row["file"] for row in picks_in(picks)], ("one", "two"))))
    assert active.main([*start, "OPTIM.MAX_EPOCH", "1"]) == 0
    out = capsys.readouterr().out
    assert "# train_x  2" in out
    assert (
        "note: the data set has no test images (the single image that Dassl counts is a placeholder), so nothing is tested."
        in out
    )


@pytest.mark.slow
def test_a_label_that_is_changed_behind_a_finished_run_is_noticed(words, tmp_path, capsys):
    given, out = ["--once", *words("ACTIVE.ROUNDS", 1)], tmp_path / "out"
    assert train.main(given) == 0
    path, found = out / "rounds" / "round_0.csv", result.read(out).result
    assert labelling.differing(out, found) == []
    first, *rows = picks_of(out, 0)
    fill(path, {first["file"]: next(row["label"] for row in rows if row["label"] != first["label"])})
    assert labelling.differing(out, found) == ["the labels of round 0 were changed"]
    assert train.main(given) == 2
    assert "move round_0.json and the files of all later rounds to another folder" in capsys.readouterr().err
    path.with_suffix(".json").rename(tmp_path / "round_0.json")
    assert labelling.differing(out, found) == ["the record of round 0 is missing"]
    assert train.main([*given, "ACTIVE.MANUAL_LABELS", "True"]) == 0  # with what somebody has filled in
    assert result.read(out).result["active"]["rounds"][0]["picks_hash"] != found["active"]["rounds"][0]["picks_hash"]
