"""Heads of a model: what their files hold, other classes of what is learned at this moment, and who may train."""

from contextlib import nullcontext

import pytest
import torch

import modprompt
from modprompt.errors import SettingError, UserError
from modprompt.io import checkpoint
from modprompt.methods.heads.taskres import TaskResHead
from tests.conftest import one_line
from tests.modprompt.methods.test_model import NAMES

LABELS = torch.tensor([0, 0, 1, 1, 2, 2])
HEADS = {
    "ZS-LP": (modprompt.ADAPTER, {"constraint": "none"}),
    "CLAP": (modprompt.ADAPTER, {"constraint": "l2-adaptative"}),
    "TaskRes": (modprompt.TaskRes, {}),
    "LP++": (modprompt.LPPlusPlus, {}),
    "Tip-Adapter-F": (modprompt.TipAdapterF, {}),
    "CLIP-Adapter": (modprompt.CLIP_Adapter, {}),
}
ALL = {**HEADS, "Tip-Adapter": (modprompt.TipAdapter, {})}  # which trains nothing
BOUND = [name for name in HEADS if name != "CLIP-Adapter"]


@pytest.fixture
def images():
    return torch.randn(6, 3, 32, 32)


@pytest.fixture
def made(clip_model):
    """Makes a built head by its name."""

    def make(name, names=NAMES, labels=LABELS, which=()):
        torch.manual_seed(0)
        cls, settings = ALL[name]
        model = cls(**settings).on(clip_model, names, dataset="EuroSAT", which=which).eval()
        views = [torch.randn(6, model.width) for _ in range(2)]
        model.head.build(model.bank(views, labels), model.scale())
        return model

    return make


def train(model, images, steps=3, labels=LABELS):
    optimiser = torch.optim.SGD(model.prompt_parameters(), lr=0.1)
    for _ in range(steps):
        optimiser.zero_grad()
        (10 * model.loss(images, labels)).backward()
        optimiser.step()
        model.end_epoch()


def logits(model, images):
    with torch.no_grad():
        return model(images)


@pytest.mark.parametrize("name", ["CLAP", "TaskRes", "LP++"])
def test_a_loaded_head_has_the_loss_that_it_was_saved_with_and_trains_on(name, made, clip_model, images, tmp_path):
    model = made(name)
    train(model, images)
    model.save(tmp_path / "own.pt")
    again = modprompt.load(tmp_path / "own.pt", clip_model)
    assert torch.equal(again.penalty(), model.penalty())
    assert (model.penalty() > 0) == (name == "CLAP")
    for one in (model, again):
        train(one, images)
    assert torch.equal(logits(again, images), logits(model, images))


def test_a_file_without_its_multipliers_predicts_and_refuses_its_loss(made, clip_model, images, tmp_path):
    model = made("CLAP")
    train(model, images)
    model.save(tmp_path / "own.pt")
    content = torch.load(tmp_path / "own.pt", weights_only=True)
    del content["state_dict"]["multipliers"], content["state_dict"]["rho"]  # as versions before this one
    torch.save(content, tmp_path / "own.pt")
    again = modprompt.load(tmp_path / "own.pt", clip_model)
    assert torch.equal(logits(again, images), logits(model, images))
    again.save(tmp_path / "twice.pt")
    for one in (again, modprompt.load(tmp_path / "twice.pt", clip_model)):
        with pytest.raises(UserError, match="The multipliers of CONSTRAINT l2-adaptative are missing"):
            one.loss(images, LABELS)


@pytest.mark.parametrize("name", ["ZS-LP", "LP++", "CLIP-Adapter"])
def test_models_of_other_classes_follow_the_training(name, made, images):
    model = made(name)
    new = [NAMES[2], "a lake", NAMES[0]]
    other = model.with_classes(new).eval()
    before = logits(other, images)
    train(model, images)
    assert not torch.equal(logits(other, images), before)
    assert torch.equal(logits(other, images), logits(model.with_classes(new).eval(), images))
    state = {key: value + 0.1 for key, value in model.state_dict().items() if key.startswith("head.")}
    model.load_state_dict({**model.state_dict(), **state})
    assert torch.equal(logits(other, images), logits(model.with_classes(new).eval(), images))


@pytest.mark.parametrize("name", ["TaskRes", "Tip-Adapter-F", "CLIP-Adapter"])
def test_a_class_bound_head_is_trained_on_its_own_classes_alone(name, made, clip_model, images, tmp_path):
    model = made(name)
    train(model, images)
    other = model.with_classes(NAMES[::-1]).eval()
    if name in BOUND:
        with one_line("cannot be trained on this model, because its head was made for other classes"):
            other.loss(images, LABELS)
    else:
        train(other, images)
    assert torch.equal(logits(model, images), logits(other, images).flip(1))
    # a loss of one's own reaches the head that is saved
    optimiser = torch.optim.SGD(other.prompt_parameters(), lr=0.1)
    (10 * torch.nn.functional.cross_entropy(other(images), LABELS)).backward()
    optimiser.step()
    with pytest.warns(UserWarning, match="only for the classes of the training") if name in BOUND else nullcontext():
        other.save(tmp_path / "own.pt")
    again = modprompt.load(tmp_path / "own.pt", clip_model).with_classes(NAMES[::-1])
    assert torch.equal(logits(again, images), logits(other, images))


def test_of_classes_of_one_name_each_is_itself_or_nobody():
    """Published lists have such, and a name does not say which one is meant."""
    head = TaskResHead(["crane", "river", "crane"], 8, 1.0)
    assert head.places(["river", "crane", "crane"]).tolist() == [1, 0, 2]
    assert head.places(["crane", "river"]).tolist() == [-1, 1]
    assert head.places(["crane", "river", "crane", "owl", "river"]).tolist() == [0, 1, 2, -1, -1]  # base, then new
    assert TaskResHead(NAMES, 8, 1.0).places([NAMES[0], NAMES[0]]).tolist() == [-1, -1]


# a data set of four classes, of which two have one name: its base classes, and its new ones
BASE, NEW, HALF = ["crane", "river"], ["owl", "crane"], torch.tensor([0, 0, 0, 1, 1, 1])


def put_on(names, which, path, clip_model, name):
    cls, settings = ALL[name]
    model = cls(**settings).on(clip_model, names, dataset="EuroSAT", listed=True, which=which).eval()
    model.take(checkpoint.read(path), str(path))
    return model


@pytest.mark.filterwarnings("ignore:Several class names become the same text for CLIP")
@pytest.mark.parametrize(
    ("name", "which"), [("CLAP", (0, 0)), ("LP++", ()), ("TaskRes", (0, 0)), ("Tip-Adapter-F", ())]
)
def test_a_new_class_of_a_base_classs_name_has_no_row_of_it(name, which, made, clip_model, images, tmp_path):
    model = made(name, BASE, HALF, which)
    train(model, images, labels=HALF)
    model.save(tmp_path / "base.pt")
    tested = put_on(NEW, (0, 1), tmp_path / "base.pt", clip_model, name)
    assert torch.equal(logits(tested, images), logits(model.with_classes(NEW, which=(0, 1)).eval(), images))
    by_name = logits(model.with_classes(NEW).eval(), images)  # a user's own words
    assert not torch.allclose(logits(tested, images)[:, 1], by_name[:, 1])
    assert tested.made.places(NEW, (0, 1)).tolist() == [-1, -1]
    every, which = [*BASE, *NEW], (0, 0, 0, 1)
    assert tested.made.places(every, which).tolist() == [0, 1, -1, -1]
    other = logits(model.with_classes(every, which=which, listed=True).eval(), images)
    torch.testing.assert_close(other[:, :2], logits(model, images), atol=1e-4, rtol=0)


@pytest.mark.filterwarnings("ignore:Several class names become the same text for CLIP")
def test_a_head_of_new_classes_knows_which_they_are(made, clip_model, images, tmp_path):
    every, which = [*BASE, *NEW], (0, 0, 0, 1)
    path = tmp_path / "new.pt"
    model = made("TaskRes", NEW, HALF, (0, 1))
    model.save(path)
    assert put_on(every, which, path, clip_model, "TaskRes").made.places(every, which).tolist() == [-1, -1, 0, 1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("alpha", None),
        ("keys", "text"),
        ("keys", torch.ones(2, 3, dtype=torch.int64)),
        ("enhanced_base", []),
        ("enhanced_base", torch.full((), torch.nan)),
    ],
)
def test_a_file_with_something_else_in_the_place_of_a_tensor_is_refused(name, value, made, clip_model, tmp_path):
    if name == "enhanced_base":
        torch.save({"state_dict": {"weight": torch.randn(32, 64)}}, tmp_path / "base.pt")
        model = modprompt.TaskRes(enhanced_base=str(tmp_path / "base.pt")).on(clip_model, NAMES)
    else:
        model = made("Tip-Adapter-F")
    model.save(tmp_path / "own.pt")
    content = torch.load(tmp_path / "own.pt", weights_only=True)
    assert name in content["state_dict"]
    content["state_dict"][name] = value
    torch.save(content, tmp_path / "own.pt")
    with one_line("own.pt"):
        modprompt.load(tmp_path / "own.pt", clip_model)


@pytest.mark.parametrize("shape", [(), (32,), (1, 1, 1, 1, 1), (3, 64)])
def test_an_enhanced_base_of_another_shape_is_refused_with_its_setting(shape, clip_model, tmp_path):
    torch.save({"state_dict": {"weight": torch.ones(shape)}}, tmp_path / "base.pt")
    with pytest.raises(SettingError) as caught:
        modprompt.TaskRes(enhanced_base=str(tmp_path / "base.pt")).on(clip_model, NAMES)
    assert [key for key, _ in caught.value.faults] == ["ENHANCED_BASE"]


@pytest.mark.parametrize(("mine", "theirs"), [("Tip-Adapter", "Tip-Adapter-F"), ("Tip-Adapter-F", "Tip-Adapter")])
def test_two_methods_of_one_form_do_not_take_each_others_heads(mine, theirs, made, clip_model, tmp_path):
    made(theirs).save(tmp_path / "own.pt")
    content, model = checkpoint.read(tmp_path / "own.pt"), ALL[mine][0]().on(clip_model, NAMES)
    with one_line(r"own.pt belongs to TipAdapterF?, not to TipAdapterF?. Use the trainer"):
        model.take(content, str(tmp_path / "own.pt"))
    made(theirs).take(content, str(tmp_path / "own.pt"))


@pytest.mark.filterwarnings("ignore:Several class names become the same text for CLIP")
def test_which_of_a_name_a_class_is_decides_nothing_on_another_data_set(made, images):
    model, every, which = made("TaskRes", BASE, HALF, (0, 0)), ["crane", "owl", "crane", "river"], (0, 0, 1, 0)
    train(model, images, labels=HALF)
    here, other, by_name = (
        logits(model.with_classes(every, dataset, listed=True, which=of).eval(), images)
        for dataset, of in (("EuroSAT", which), ("Caltech256", which), ("Caltech256", ()))
    )
    assert torch.equal(other, by_name)
    assert not torch.equal(other, here)
