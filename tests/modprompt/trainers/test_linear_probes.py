"""LPPlusPlus and ADAPTER by train.py: runs that are killed, files that come back, classes of others, wrong settings."""

import json

import pytest
import torch

import modprompt
from modprompt.cli import train
from modprompt.methods.heads.bank import unit
from modprompt.trainers.prompt_trainer import PromptTrainer
from modprompt.trainers.registration import register
from tests.conftest import SAID
from tests.stopping import stopped_before
from tests.test_train import refusal

pytestmark = pytest.mark.filterwarnings("ignore:OPTIM")  # words for all trainers, also for those that do not read it
SLOW = pytest.mark.slow
RUNS = [
    pytest.param("LPPlusPlus", "lpplusplus", ("TRAINER.LPPLUSPLUS.TRAIN_EPOCH", 23), 23, id="lpplusplus"),
    *(
        pytest.param(
            "ADAPTER",
            "adapter",
            ("TRAINER.ADAPTER.INIT", init, "TRAINER.ADAPTER.CONSTRAINT", held, "TRAINER.ADAPTER.VIEWS", 2),
            4,
            id=f"{init} {held}",
            marks=marks,
        )
        for init, held, marks in (
            ("ZS", "l2", ()),
            ("ZS", "l2-adaptative", SLOW),
            ("RANDOM", "none", SLOW),
            ("TR", "l2-balanced", SLOW),
            ("ClipA", "none", SLOW),
            ("TipA-f-", "none", SLOW),
        )
    ),
]


@pytest.fixture
def run(command, tmp_path):
    """Words of a run into a folder, with rates at which heads move."""

    def words(trainer, folder, *more):
        register(trainer)
        found = command(trainer, "OPTIM.LR", 0.1, "OPTIM.MAX_EPOCH", 4, *more)
        found[found.index("--output-dir") + 1] = str(tmp_path / folder)
        return found

    return words


def saved(path, folder, epoch):
    return torch.load(path / folder / f"model.pth.tar-{epoch}", weights_only=True)["state_dict"]


@pytest.mark.cover(1)
@pytest.mark.parametrize(("trainer", "folder", "options", "epochs"), RUNS)
def test_killed_run_goes_on_exactly(run, tmp_path, trainer, folder, options, epochs):
    assert train.main(run(trainer, "whole", *options)) == 0

    with stopped_before(PromptTrainer, epochs // 2):
        assert train.main(run(trainer, "killed", *options)) == 130
    torch.manual_seed(77)
    assert train.main(run(trainer, "killed", *options)) == 0
    whole, killed = (saved(tmp_path / name, folder, epochs) for name in ("whole", "killed"))
    assert whole.keys() == killed.keys()
    assert all(torch.equal(value, killed[name]) for name, value in whole.items())
    results = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("whole", "killed")]
    assert results[0]["accuracy_pct"] == results[1]["accuracy_pct"]
    assert sorted(path.name for path in (tmp_path / "whole" / folder).iterdir()) == [
        "checkpoint",
        f"model.pth.tar-{epochs}",
    ]


@pytest.mark.cover(1)
@pytest.mark.parametrize(("trainer", "folder", "options", "epochs"), RUNS)
def test_comes_back_in_python_and_answers_for_new_classes_with_their_own_features(
    run, tmp_path, clip_file, trainer, folder, options, epochs
):
    """As many new classes as old: the references answer with the old ones' features, without a word."""
    assert train.main(run(trainer, "out", *options)) == 0
    clip_model = modprompt.load_clip(str(clip_file), "cpu", **SAID)[0]
    model = modprompt.load(tmp_path / "out", clip_model)
    state = saved(tmp_path / "out", folder, epochs)
    assert model.head.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in model.head.state_dict().items())

    new = [f"new class {number}" for number in "abcde"]
    other, images = model.with_classes(new), torch.randn(6, 3, 32, 32)
    zero_shot = modprompt.ZeroshotCLIP().on(clip_model, new, dataset="EuroSAT").eval()
    with torch.no_grad():
        logits, plain = other(images), zero_shot(images)
    if model.head.class_bound:
        assert torch.equal(logits.argmax(1), plain.argmax(1))
    else:
        features = unit(model.encode_image(images).float())
        assert not torch.allclose(logits, features @ other.class_features().T * plain.new_tensor(100.0))
    model.save(tmp_path / "again.pt")
    with torch.no_grad():
        assert torch.equal(modprompt.load(tmp_path / "again.pt", clip_model)(images), model(images))


def test_references_file_of_the_same_classes_is_read_and_that_of_others_refused(run, tmp_path, capsys):
    """It says nothing but its tensors."""
    options = ("TRAINER.ADAPTER.VIEWS", 1)
    assert train.main(run("ADAPTER", "out", *options)) == 0
    path = tmp_path / "out" / "adapter" / "model.pth.tar-4"
    content = torch.load(path, weights_only=True)
    theirs = {"state_dict": content["state_dict"], "epoch": 4, "optimizer": None, "scheduler": None, "val_result": None}
    torch.save(theirs, path)
    words = run("ADAPTER", "test", *options)
    words[words.index("--root") : words.index("--root")] = ["--eval-only", "--model-dir", str(tmp_path / "out")]
    assert train.main(words) == 0
    results = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("out", "test")]
    assert results[0]["accuracy_pct"] == results[1]["accuracy_pct"]
    words[words.index("base")] = "new"
    words[words.index(str(tmp_path / "test"))] = str(tmp_path / "new")
    assert "its class features belong to others" in refusal(capsys, *words)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"init": "CrossModal"}, "INIT must be one of RANDOM, ZS, TR, ClipA, TipA, got 'CrossModal'"),
        ({"init": "RANDOM2"}, "INIT must be one of"),
        ({"init": "TR-grid_search"}, "INIT TR-grid_search: only TipA has a search"),
        ({"constraint": "l1"}, "CONSTRAINT must be none, or l2 and any of balanced, constant"),
        ({"constraint": "l2-balancd"}, "CONSTRAINT must be none, or l2 and any of"),
        ({"init": "ClipA"}, "CONSTRAINT must be none with INIT ClipA"),
        ({"views": 0}, "VIEWS must be"),
    ],
)
def test_settings_that_mean_nothing(settings, said):
    with pytest.raises(modprompt.UserError) as error:
        modprompt.ADAPTER(**settings)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("init", "head"),
    [
        ("RANDOM", "PrototypesHead"),
        ("ZS", "PrototypesHead"),
        ("TRenh", "PrototypesHead"),
        ("ClipA", "ClipA"),
        ("TipA-f-grid_search", "TipA"),
    ],
)
def test_init_is_read_by_its_words(init, head):
    method = modprompt.ADAPTER(init=init, constraint="none")
    assert type(method.head(["a", "b"], 8)).__name__ == head
    assert (method.grid() is not None) == ("grid_search" in init)
