"""--once: a finished run is one of the same settings, CLIP, split, few-shot list and model; nothing else passes for it."""

import json

import pytest
import torch

from modprompt.cli import train
from modprompt.io import folder as run_folder
from tests.conftest import ROOT, random_clip
from tests.modprompt.data import trees
from tests.test_runs import to
from tests.test_train import refusal


@pytest.fixture
def words(mpl_flags, mpl_options):
    """A short training with --once; further options behind."""
    return lambda *more: ["--once", *mpl_flags, *mpl_options, *more]


def test_same_run_is_not_run_again_and_another_setting_is_named(trained, words, capsys):
    before = (trained / "result.json").read_bytes()
    assert train.main(words("OPTIM.LR", "35e-4", "OPTIM.MOMENTUM", "0.9", "TRAIN.PRINT_FREQ", "7")) == 0
    said = f"This run is already finished: {trained / 'result.json'} (to run again, delete {trained})"
    assert capsys.readouterr().out.splitlines()[-1] == said
    assert (trained / "result.json").read_bytes() == before
    said = "contains a different finished run (OPTIM.LR 0.0035 -> 0.01). Use another output folder"
    assert said in refusal(capsys, *words("OPTIM.LR", "0.01"))


def test_workers_count_for_a_training_and_not_for_a_test(trained, words, mpl_flags, tmp_path, capsys):
    assert "DATALOADER.NUM_WORKERS 0 -> 1" in refusal(capsys, *words("DATALOADER.NUM_WORKERS", "1"))
    test = to(words(), tmp_path / "test")
    test[1:1] = ["--eval-only", "--model-dir", str(trained)]
    assert train.main(test) == 0
    assert "=> result" in capsys.readouterr().out
    assert train.main([*test, "DATALOADER.NUM_WORKERS", "1"]) == 0
    assert "This run is already finished: " in capsys.readouterr().out


def test_test_of_a_model_that_changed_is_run_again(trained, words, tmp_path, capsys):
    test = to(words(), tmp_path / "test")
    test[1:1] = ["--eval-only", "--model-dir", str(trained)]
    assert train.main(test) == 0
    path = trained / "MultiModalPromptLearner" / "model.pth.tar-2"
    content = torch.load(path, weights_only=True)
    content["state_dict"]["prompt_learner.ctx"] += 1
    torch.save(content, path)
    capsys.readouterr()
    assert train.main(test) == 0
    out = capsys.readouterr().out
    assert "runs again, because the stored result was computed with another model." in out
    assert "=> result" in out


def test_other_weights_at_the_same_path_are_named(trained, words, clip_file, tmp_path, capsys):
    other = tmp_path / "other.pt"
    torch.save(random_clip(3, text_layers=4, vision_layers=4).state_dict(), other)
    assert "contains a different finished run (CLIP 2:" in refusal(capsys, *words("MODEL.BACKBONE.PATH", str(other)))


@pytest.mark.parametrize("name", ["split_zhou_EuroSAT.json", "split_fewshot/shot_4-seed_1.json"])
def test_other_split_or_list_is_named(name, trained, words, eurosat_root, capsys):
    path = eurosat_root / "eurosat" / name
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "train": content["train"][::-1]}))
    assert f"contains a different finished run (eurosat/{name} has changed)" in refusal(capsys, *words())
    path.unlink()
    assert f"contains a different finished run (eurosat/{name} does not exist any more)" in refusal(capsys, *words())


def test_test_of_another_model_is_no_finished_training(trained, words, tmp_path, capsys):
    test = to(words(), tmp_path / "test")
    assert train.main(["--eval-only", "--model-dir", str(trained), *test]) == 0
    assert f"contains a different finished run (the finished run is a test of {trained} epoch last)" in refusal(
        capsys, *test
    )


def test_images_without_a_split_file_are_compared(words, tmp_path, capsys):
    for part, size in (("train", 6), ("test", 3)):
        trees.pictures(tmp_path / "own" / part, {"a": size, "b": size})
    flags = words("DATASET.SUBSAMPLE_CLASSES", "all")
    flags[flags.index("--root") + 1] = str(tmp_path / "own")
    flags[flags.index("--dataset-config-file") + 1] = str(ROOT / "configs/datasets/image_folder.yaml")
    assert train.main(flags) == 0
    assert train.main(flags) == 0
    assert "This run is already finished: " in capsys.readouterr().out
    trees.pictures(tmp_path / "own" / "test", {"a": 1, "b": 0}, start=3)
    assert (
        "contains a different finished run (the images have changed (the data set has no recorded split file"
        in refusal(capsys, *flags)
    )


@pytest.mark.filterwarnings("always:.*differs from the split:UserWarning")
def test_test_on_another_split_than_that_of_the_training_is_warned_of(trained, words, eurosat_root, tmp_path, capsys):
    test = ["--eval-only", "--model-dir", str(trained), *to(words(), tmp_path / "test")]
    assert train.main(test) == 0
    assert "was trained on a split" not in capsys.readouterr().err
    path = eurosat_root / "eurosat" / "split_zhou_EuroSAT.json"
    content = json.loads(path.read_text())
    del content["modprompt"]
    path.write_text(json.dumps({**content, "train": content["test"], "test": content["train"]}))
    assert train.main(["--eval-only", "--model-dir", str(trained), *to(words(), tmp_path / "other")]) == 0
    assert (
        f"The model in {trained} was trained on a split of EuroSAT that differs from the split of this test"
        in capsys.readouterr().err
    )


def test_damaged_result_is_run_again(trained, words, capsys):
    path = trained / "result.json"
    path.write_text(path.read_text().replace('"seed": 1', '"seed": 2'))
    assert train.main(words()) == 0
    out = capsys.readouterr().out
    assert "is restarted because result.json is damaged (its hash does not match)." in out
    assert "is already finished" in out
    assert json.loads(path.read_text())["seed"] == 1


@pytest.mark.slow
def test_folder_at_work_gets_one_line_and_nothing_is_written_into_it(words, tmp_path, capsys):
    folder = tmp_path / "out"
    taken = run_folder.take(folder)
    try:
        line = refusal(capsys, *words())
    finally:
        taken.release()
    assert f"Another run is active in {folder}. Wait until that run ends, or use a different --output-dir." in line
    assert [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()] == ["job/lock"]


def test_run_that_waited_for_the_same_one_to_end_finds_it_finished(words, tmp_path, monkeypatch, capsys):
    hold = run_folder.hold

    def held_by_another_until_it_has_ended(*given):
        monkeypatch.setattr(run_folder, "hold", hold)
        assert train.main(words()) == 0
        capsys.readouterr()
        return hold(*given)

    monkeypatch.setattr(run_folder, "hold", held_by_another_until_it_has_ended)
    assert train.main(words()) == 0
    assert "This run is already finished: " in capsys.readouterr().out
    assert not list((tmp_path / "out").glob("log.txt-*"))
