"""Runs that search: the alternation against the plain one, what they leave, resuming, what is refused."""

import json

import numpy as np
import pytest
import torch

from modprompt.cli import train
from modprompt.methods.search import file as schedule_file
from modprompt.trainers.prompt_trainer import PromptTrainer
from tests.conftest import ROOT
from tests.methods import METHODS, SEARCHES
from tests.modprompt.data import trees
from tests.test_runs import to

SEARCH = ["TRAINER.DPLSEARCH.PREC", "fp32", "TRAINER.DPLSEARCH.N_CTX_TEXT", 2, "TRAINER.DPLSEARCH.N_CTX_VISION", 3]
OF_MPL = ["SEARCH.ON", True, "SEARCH.ADD", 2, "SEARCH.REMOVE", 1]


class Recorder:
    """What a search saw: first values, every batch and its loss."""

    def __init__(self, monkeypatch):
        self.trainer, self.steps, self.start = None, [], None
        parse, step = PromptTrainer.parse_batch_train, PromptTrainer.forward_backward
        seen = []

        def parsed(trainer, batch):
            seen.append(parse(trainer, batch))
            return seen[-1]

        def stepped(trainer, batch):
            if self.trainer is None:
                self.trainer = trainer
                learner = trainer.model.prompt_learner
                self.start = {learner.checkpoint_key(n): p.detach().clone() for n, p in learner.named_parameters()}
            seen.clear()
            said = step(trainer, batch)
            self.steps.append((*seen, said["loss_val"], said["loss_train"]))
            return said

        monkeypatch.setattr(PromptTrainer, "parse_batch_train", parsed)
        monkeypatch.setattr(PromptTrainer, "forward_backward", stepped)


@pytest.mark.slow
@pytest.mark.parametrize("data", ["first", "all"])
def test_two_epochs_equal_the_plain_alternation(data, command, tmp_path, monkeypatch):
    seen, method = Recorder(monkeypatch), SEARCHES["dpl_search"]
    words = command(method, "TRAINER.DPLSEARCH.ALPHA_DATA", data, "TRAINER.DPLSEARCH.ALPHA_BATCH", 6)
    assert train.main(words) == 0
    from clip import clip

    clip_model = seen.trainer.clip_model
    tokens = clip.tokenize(seen.trainer.model.prompt_learner.prompt_text.texts).long()
    params = {name: value.requires_grad_(True) for name, value in seen.start.items()}
    weighing = [value for name, value in params.items() if name.startswith("alphas.")]
    prompts = [value for name, value in params.items() if not name.startswith("alphas.")]
    assert sum(value.numel() for value in prompts) == method.parameters
    adam = torch.optim.Adam(weighing, lr=0.0035, betas=(0.5, 0.999))
    sgd = torch.optim.SGD(prompts, lr=1e-5, momentum=0.9, weight_decay=5e-4)
    for number, (validation, training, loss_val, loss_train) in enumerate(seen.steps):
        sgd.param_groups[0]["lr"] = 1e-5 if number < len(seen.steps) // 2 else 0.0035
        for optimiser, (images, labels), wanted in ((adam, validation, loss_val), (sgd, training, loss_train)):
            logits = method.logits(clip_model, params, tokens, images, None)
            loss = torch.nn.functional.cross_entropy(logits, labels)
            assert wanted == pytest.approx(loss.item(), abs=1e-4), number
            adam.zero_grad()
            sgd.zero_grad()
            loss.backward()
            optimiser.step()
    _, found = left(tmp_path / "out")
    for side in ("vision", "text"):
        last = np.array(found[side].alphas[-1])
        np.testing.assert_allclose(last, params[f"alphas.{side}"].detach().numpy(), atol=1e-4)
    counts = {tuple(labels.tolist()) for (_, labels), _, _, _ in seen.steps}
    assert (len(counts) == 1) == (data == "first")


@pytest.mark.slow
def test_draws_between_steps_are_those_of_a_new_pass_each_time(command, monkeypatch, tmp_path):
    """What the reference draws: the training images do not depend on whether the batch is read anew."""
    pictures = []
    for anew in (False, True):
        with monkeypatch.context() as patch:
            seen = Recorder(patch)
            if anew:
                from modprompt.trainers.search import ValidationBatches

                patch.setattr(ValidationBatches, "__next__", lambda batches: next(iter(batches.loader)))
            words = to(
                command("DPLSearch", *SEARCH, "TRAINER.DPLSEARCH.ALPHA_DATA", "first", "OPTIM.MAX_EPOCH", 1),
                tmp_path / str(anew),
            )
            assert train.main(words) == 0
            pictures.append([training[0] for _, training, _, _ in seen.steps])
    assert all(torch.equal(one, two) for one, two in zip(*pictures))


def left(folder):
    result = json.loads((folder / "result.json").read_text())
    found = schedule_file.read(folder / "schedule.json")
    return result, found


@pytest.mark.slow
def test_a_search_says_what_it_found_and_what_it_saw(command, tmp_path, capsys):
    assert train.main(command("DPLSearch", *SEARCH)) == 0
    out = capsys.readouterr().out
    result, found = left(tmp_path / "out")
    assert result["search"]["mixture_pct"] == result["accuracy_pct"]
    assert 0 <= result["search"]["path_pct"] <= 100
    assert result["selected_on"] == result["search"]["validation"] == "validation"
    assert schedule_file.searched_on(tmp_path / "out" / "schedule.json") == ("EuroSAT", "base")
    assert "loss_val" in out
    assert "loss_train" in out
    for side in ("text", "vision"):
        one = found[side]
        assert result["search"][side]["steps"] == str([list(step) for step in one.steps])
        assert [add for _, add in one.steps] == np.array(one.alphas[-1]).argmax(1).tolist()
        assert len(one.alphas) == 3
    assert found["text"].place == "before_start"
    assert found["vision"].place == "behind_ln_pre"


@pytest.mark.slow
@pytest.mark.parametrize(("row", "searching"), [("dpl", ["DPLSearch", *SEARCH]), ("mpl", [METHODS["mpl"], *OF_MPL])])
def test_what_is_found_is_trained(row, searching, command, tmp_path):
    assert train.main(command(*searching)) == 0
    _, found = left(tmp_path / "out")
    method = METHODS[row]
    own = {key: value for key, value in method.options.items() if not key.startswith("LENGTHS")}
    file = tmp_path / "out" / "schedule.json"
    schedules = [word for side in ("TEXT", "VISION") for word in (f"TRAINER.{method.node}.SCHEDULE_{side}", f"@{file}")]
    words = to(command(method._replace(options=own), *schedules), tmp_path / "trained")
    assert train.main(words) == 0
    result = json.loads((tmp_path / "trained" / "result.json").read_text())
    for side in ("text", "vision"):
        steps = str([list(step) for step in found[side].steps])
        assert result["schedules"][side] == steps
        assert result["places"][side] == found[side].place
        assert result["settings"][f"TRAINER.{method.node}.SCHEDULE_{side.upper()}"] == steps
    assert str(file) not in json.dumps(result)


@pytest.mark.slow
def test_a_cap_is_kept_and_a_weight_on_tokens_makes_fewer(command, tmp_path):
    rate = ["SEARCH.ALPHA_LR", 0.2, "OPTIM.MAX_EPOCH", 3]
    assert train.main(command(METHODS["vpt"], *OF_MPL, *rate, "SEARCH.TOKENS_WEIGHT", 5.0)) == 0
    _, few = left(tmp_path / "out")
    words = to(command(METHODS["vpt"], *OF_MPL, "SEARCH.MOST_TOKENS", 9), tmp_path / "capped")
    assert train.main(words) == 0
    _, capped = left(tmp_path / "capped")

    def tokens(found):
        present, total = 0, 0
        for remove, add in found["vision"].steps:
            present += add - remove
            total += present
        return total

    assert tokens(capped) <= 9
    assert tokens(few) == 2  # those of layer 0, which are the method's, and gone behind it
    assert set(few) == {"text", "vision"}
    assert few["text"].alphas == ()


@pytest.mark.slow
def test_a_search_does_not_go_on_from_a_checkpoint_alone(command, tmp_path, capsys):
    words = command("DPLSearch", *SEARCH, "OPTIM.MAX_EPOCH", 1)
    assert train.main(words) == 0
    words[words.index("--output-dir") + 1] = str(tmp_path / "more")
    assert train.main(["--resume", str(tmp_path / "out"), *words[:-1], "2"]) == 2
    assert "Resume from the training state, or start the search again." in capsys.readouterr().err


@pytest.fixture
def own_images(command, tmp_path):
    """Words of a search on own folders, which have no validation images; further options behind."""
    for part, size in (("train", 6), ("test", 3)):
        trees.pictures(tmp_path / "own" / part, {"a": size, "b": size})

    def words(*more):
        flags = command("DPLSearch", *SEARCH, *more)
        flags[flags.index("--root") + 1] = str(tmp_path / "own")
        flags[flags.index("--dataset-config-file") + 1] = str(ROOT / "configs/datasets/image_folder.yaml")
        return [*flags, "DATASET.SUBSAMPLE_CLASSES", "all"]

    return words


@pytest.mark.slow
def test_without_validation_images_a_search_sees_training_images_that_are_held_out(own_images, monkeypatch, tmp_path):
    seen = Recorder(monkeypatch)
    assert train.main(own_images()) == 0
    dataset = seen.trainer.dm.dataset
    lists = [{image.impath for image in images} for images in (dataset.train_x, dataset.val, dataset.test)]
    assert len(lists[1]) == 4
    assert all("/train/" in path for path in lists[1])
    assert not lists[1] & (lists[0] | lists[2])
    result, _ = left(tmp_path / "out")
    assert result["selected_on"] == result["search"]["validation"] == "held out"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["DATASET.VAL_FROM_TEST", True], "has no validation images for the search, and the search must not use test"),
        (["DATASET.NUM_SHOTS", -1], "and no training images are left for this purpose"),
    ],
)
def test_a_search_never_sees_test_images(more, said, own_images, capsys, tmp_path):
    assert train.main(own_images(*more)) == 2
    assert said in capsys.readouterr().err


def npy(path, *lengths, most=6):
    """A file of the reference's form that says these lengths; its path."""
    np.save(path, np.eye(1 + most, dtype=np.float32)[list(lengths)])
    return path


@pytest.mark.parametrize(
    ("image", "text", "said"),
    [
        ((1, 2, 3), (1, 2, 3), "TRAINER.DPL.LENGTHS_TEXT has 3 numbers, but the model has 4 text layers"),
        (
            (1, 2, 3, 4),
            (1, 2, 3),
            "the length of the list of the other encoder. If the two files are interchanged, set ALPHAS_SWAPPED",
        ),
    ],
)
@pytest.mark.filterwarnings("default::UserWarning")
def test_alpha_files_of_another_depth_are_refused(image, text, said, command, capsys, tmp_path):
    files = ["TRAINER.DPL.IMG_ALPHA_PATH", npy(tmp_path / "i.npy", *image)]
    files += ["TRAINER.DPL.TXT_ALPHA_PATH", npy(tmp_path / "t.npy", *text)]
    assert train.main(command("DPL", "TRAINER.DPL.PREC", "fp32", *files)) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_the_size_of_a_test_s_batches_decides_nothing(command, tmp_path):
    words = command("DPLSearch", *SEARCH, "TRAINER.DPLSEARCH.ALPHA_DATA", "first", "TRAINER.DPLSEARCH.ALPHA_LR", 0.1)
    hashes = []
    for size in (2, 20):
        words[words.index("--output-dir") + 1] = str(tmp_path / str(size))
        assert train.main([*words, "DATALOADER.TEST.BATCH_SIZE", str(size)]) == 0
        hashes.append(left(tmp_path / str(size))[0]["prompts_hash"])
    assert hashes[0] == hashes[1]


@pytest.mark.slow
def test_an_average_over_epochs_leaves_the_alphas_as_they_are(command, tmp_path):
    assert train.main(command(METHODS["promptsrc"], *OF_MPL, "TRAINER.PROMPTSRC.GPA_STD", 1.0)) == 0
    _, found = left(tmp_path / "out")
    file = tmp_path / "out" / METHODS["promptsrc"].folder / "model.pth.tar-2"
    state = torch.load(file, weights_only=True)["state_dict"]
    assert state["prompt_learner.alphas.vision"][1:].tolist() == np.array(found["vision"].alphas[-1][1:]).tolist()


@pytest.mark.slow
def test_alphas_of_other_options_are_refused(command, tmp_path, capsys):
    words = command(METHODS["mpl"], "SEARCH.ON", True, "SEARCH.REMOVE", 2, "SEARCH.REMOVE_ALL", True)
    assert train.main(words) == 0
    other = command(METHODS["mpl"], "SEARCH.ON", True, "SEARCH.REMOVE", 3, "SEARCH.REMOVE_ALL", False)
    words = to(other, tmp_path / "other")
    assert train.main(["--eval-only", "--model-dir", str(tmp_path / "out"), *words]) == 2
    assert (
        "was created with different settings: SEARCH.REMOVE (here 3, but 2 in the checkpoint)"
        in capsys.readouterr().err
    )


@pytest.mark.slow
def test_a_search_goes_on_in_another_folder_and_has_all_alphas_there(command, tmp_path, monkeypatch):
    words = command("DPLSearch", *SEARCH)
    out = words.index("--output-dir") + 1
    words[out] = str(tmp_path / "whole")
    assert train.main(words) == 0
    after = PromptTrainer.after_epoch

    def killed(trainer):
        after(trainer)
        raise KeyboardInterrupt

    words[out] = str(tmp_path / "killed")
    with monkeypatch.context() as patch:
        patch.setattr(PromptTrainer, "after_epoch", killed)
        assert train.main(words) == 130
    words[out] = str(tmp_path / "other")
    assert train.main(["--resume", str(tmp_path / "killed"), *words]) == 0
    assert left(tmp_path / "other")[1] == left(tmp_path / "whole")[1]


def test_validation_images_that_are_test_images_too_are_refused(command, monkeypatch, capsys):
    from modprompt.trainers.search import SearchRun

    prepare = SearchRun.prepare

    def overlapping(search):
        dataset = search.trainer.dm.dataset
        dataset.val.append(dataset.test[0])
        prepare(search)

    monkeypatch.setattr(SearchRun, "prepare", overlapping)
    assert train.main(command("DPLSearch", *SEARCH)) == 2
    assert "1 validation image of EuroSAT is also a test image" in capsys.readouterr().err


@pytest.mark.slow
def test_a_search_without_its_schedule_is_not_finished(command, tmp_path, capsys):
    words = ["--once", *command("DPLSearch", *SEARCH)]
    assert train.main(words) == 0
    result, found = left(tmp_path / "out")
    capsys.readouterr()
    assert train.main(words) == 0
    assert "nothing to train" not in capsys.readouterr().out
    (tmp_path / "out" / "schedule.json").write_text("{}")
    assert train.main(words) == 0
    said = capsys.readouterr().out
    assert "Only the test is repeated." in said
    assert "Only the alphas of the last epochs are known" in said
    again = left(tmp_path / "out")[1]
    assert again == {side: one._replace(alphas=one.alphas[-1:]) for side, one in found.items()}


@pytest.mark.filterwarnings("default::UserWarning")
def test_settings_of_a_search_that_is_none_are_told(command, tmp_path, capsys):
    assert train.main([*command(METHODS["mpl"], "SEARCH.ALPHA_LR", 0.02, "OPTIM.MAX_EPOCH", 1)]) == 0
    assert "SEARCH.ALPHA_LR is not used, because SEARCH.ON is False." in capsys.readouterr().err
    other = to(command("DPLSearch", *SEARCH, "SEARCH.ADD", 3), tmp_path / "other")
    assert train.main(["--no-train", *other]) == 0
    assert "SEARCH.ADD is not used, because DPLSearch uses the settings in TRAINER.DPLSEARCH" in capsys.readouterr().err
