"""What users of PyTorch expect of a model: casts, copies, class names, images."""

import copy
import logging
import pickle

import pytest
import torch

import modprompt
from modprompt.engine.precision import resolve
from modprompt.errors import UserError
from tests.conftest import RESNET_HEADS, random_clip
from tests.methods import small

NAMES = ["cat", "dog", "a golden retriever"]


def on(cls, clip_model, names=NAMES, **settings):
    torch.manual_seed(1)
    return small(cls, clip_model, **settings).on(clip_model, names, dataset="EuroSAT", epochs=2)


@pytest.fixture
def images():
    return torch.randn(4, 3, 32, 32)


@pytest.fixture
def labels():
    return torch.tensor([0, 1, 2, 1])


def by_name(cls):
    return cls.__name__


def test_freezing_the_clip_is_said_once(clip_model, caplog):
    with caplog.at_level(logging.INFO, "modprompt"):
        on(modprompt.MPL, clip_model)
        on(modprompt.MPL, clip_model)
    said = "CLIP is frozen: requires_grad is set to False for all of its parameters."
    assert [record.message for record in caplog.records].count(said) == 1  # the second time it is already
    assert not any(parameter.requires_grad for parameter in clip_model.parameters())


def test_parameters_that_learn_are_counted(clip_model, capsys):
    model = on(modprompt.MPL, clip_model)
    count = sum(parameter.numel() for parameter in model.prompt_learner.parameters())
    total = count + sum(parameter.numel() for parameter in clip_model.parameters())
    model.print_trainable_parameters()
    assert capsys.readouterr().out == f"Trainable parameters: {count:,} of {total:,} ({100 * count / total:.4f}%)\n"


@pytest.mark.parametrize("cls", [modprompt.MPL, modprompt.CoCoOp, modprompt.PromptSRC], ids=by_name)
def test_bfloat16_and_back(cls, clip_model, images, labels):
    model = on(cls, clip_model)
    exact = model.loss(images, labels).item()
    for cast in (lambda: model.to(torch.bfloat16), model.bfloat16, lambda: model.type(torch.bfloat16)):
        assert cast() is model
        assert clip_model.visual.conv1.weight.dtype == torch.bfloat16
        assert clip_model.ln_final.weight.dtype == torch.float32
        assert {parameter.dtype for parameter in model.prompt_learner.parameters()} == {torch.float32}
        loss = model.loss(images, labels)
        assert loss.item() == pytest.approx(exact, rel=0.1)
        loss.backward()
    assert model.stream == resolve("bf16", torch.device("cpu")).stream
    with pytest.warns(UserWarning, match="this CLIP model were rounded to bfloat16 by an earlier cast"):
        model.float()
    assert model.stream is None
    assert clip_model.visual.conv1.weight.dtype == torch.float32


def test_half_means_fp16_and_is_refused_on_a_cpu(clip_model):
    model = on(modprompt.MPL, clip_model)
    for cast in (model.half, lambda: model.to(torch.float16), lambda: model.to("cpu", torch.float16)):
        with pytest.raises(UserError, match="Move the model to a GPU first"):
            cast()
    with pytest.raises(UserError, match="but the requested type is torch.float64"):
        model.double()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_fp16_keeps_in_half_what_was_made_in_clips_type():
    """As a learner that is built of a half CLIP, which is what PREC fp16 trains."""
    built = on(modprompt.MPL, modprompt.load_clip("glyph-clip", device="cpu")[0].half(), ["zero", "one"]).prompt_learner
    cast = on(modprompt.MPL, modprompt.load_clip("glyph-clip", device="cpu")[0], ["zero", "one"]).prompt_learner
    cast.cast(torch.float16)
    mine, theirs = ({name: p.dtype for name, p in one.named_parameters()} for one in (cast, built))
    assert mine == theirs
    assert {str(kind) for kind in mine.values()} == {"torch.float16", "torch.float32"}


def test_a_cast_behind_its_back_is_told(clip_model, images):
    one, two = on(modprompt.MPL, clip_model), on(modprompt.CoOp, clip_model)
    one.to(torch.bfloat16)
    with pytest.raises(UserError, match="were cast to torch.bfloat16, but this model was created for"):
        two(images)
    two.to(torch.bfloat16)
    assert torch.isfinite(two(images)).all()


def taught(clip_model):
    return on(modprompt.PromptSRC, clip_model, text_loss_weight=1.0, image_loss_weight=1.0)


def teacher_of(model):
    return model.objective.terms[-1].of.class_features


def test_frozen_class_features_are_those_before_a_cast():
    """PromptSRC's teacher has CLIP's exact weights, whenever the model was cast."""
    exact = teacher_of(taught(random_clip()))
    assert torch.equal(teacher_of(taught(random_clip()).to(torch.bfloat16)), exact)


def test_frozen_class_features_do_not_hang_on_where_the_first_loss_is(images, labels):
    exact = teacher_of(taught(random_clip()))
    with torch.autocast("cpu", torch.bfloat16):
        model = taught(random_clip())
        model.loss(images, labels)
    assert torch.equal(teacher_of(model), exact)
    with torch.inference_mode():
        model = taught(random_clip())
        model.loss(images, labels)
    assert torch.equal(teacher_of(model), exact)
    assert not teacher_of(model).is_inference()


def test_a_cast_behind_the_first_loss_is_as_one_in_front(images, labels):
    late, early = taught(random_clip()), taught(random_clip())
    late.loss(images, labels)
    late.to(torch.bfloat16)
    early.to(torch.bfloat16)
    assert late.loss(images, labels).item() == early.loss(images, labels).item()


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_of_what_was_cast_have_its_loss_and_prompts_of_their_own(twin, clip_model, images, labels):
    model = taught(clip_model).to(torch.bfloat16)
    before = twin(model)
    expected = model.loss(images, labels).item()
    for other in (before, twin(model)):
        assert other.loss(images, labels).item() == expected
        with torch.no_grad():
            for parameter in other.prompt_learner.parameters():
                parameter.add_(0.1)
    assert model.loss(images, labels).item() == expected


def _load(clip_model):
    clip_model.load_state_dict({name: 1.01 * value for name, value in clip_model.state_dict().items()})


def _assign(clip_model):
    clip_model.load_state_dict({name: 1.01 * one for name, one in clip_model.state_dict().items()}, assign=True)


def _write(clip_model):
    with torch.no_grad():
        clip_model.token_embedding.weight[0, 0] += 1


@pytest.mark.filterwarnings("ignore:.*were rounded to bfloat16")
@pytest.mark.parametrize("write", [_load, _assign, _write])
@pytest.mark.parametrize("cls", [modprompt.MPL, modprompt.CoCoOp, modprompt.TDA], ids=by_name)
def test_text_weights_that_changed_are_an_error(cls, write, clip_model, images, tmp_path):
    model, shared = on(cls, clip_model), on(cls, clip_model)
    features = model.eval().encode_image(images)
    copied = copy.deepcopy(model.with_classes(NAMES))
    kept = {name: value.clone() for name, value in clip_model.state_dict().items()}
    clip_model.load_state_dict(kept)  # equal ones, as DistributedDataParallel writes
    model(images)
    shared.to(torch.bfloat16), shared.float()  # casts are no changes
    model(images)
    write(clip_model)
    calls = (lambda: model(images), lambda: model.of_features(features), lambda: model.save(tmp_path / "model.pt"))
    for call in (*calls, lambda: model.with_classes(NAMES)(images), lambda: model.to(torch.bfloat16)):
        with pytest.raises(
            UserError,
            match=r"weights of this CLIP model have changed .* Create the model again with .on\(clip_model, names\)",
        ):
            call()
    assert not [*tmp_path.iterdir()]
    on(cls, clip_model)(images)
    copied(images)  # its CLIP is a copy, too


def test_a_rounded_clip_is_told_to_the_next_model(clip_model):
    model = on(modprompt.MPL, clip_model).to(torch.bfloat16)
    with pytest.warns(UserWarning, match="rounded to bfloat16 by an earlier cast. Load the CLIP model again"):
        model.float()
    with pytest.warns(UserWarning, match="rounded to bfloat16 by an earlier cast. Load the CLIP model again"):
        on(modprompt.CoOp, clip_model)


@pytest.mark.parametrize("cls", [modprompt.MPL, modprompt.TCP, modprompt.TaskRes], ids=by_name)
def test_other_classes_behind_a_cast_are_as_in_front_of_it(cls, images):
    behind = on(cls, random_clip(), ["cat", "lynx"]).to(torch.bfloat16).with_classes(NAMES)
    front = on(cls, random_clip(), ["cat", "lynx"]).with_classes(NAMES).to(torch.bfloat16)
    assert torch.equal(behind.eval()(images), front.eval()(images))


def test_a_cast_of_a_module_around_it_is_its_own(clip_model, images):
    model = on(modprompt.MPL, clip_model)
    around = torch.nn.Sequential(model)
    around.to(torch.bfloat16)
    assert model.stream == resolve("bf16", torch.device("cpu")).stream
    assert clip_model.visual.conv1.weight.dtype == torch.bfloat16
    assert clip_model.ln_final.weight.dtype == torch.float32
    assert torch.equal(around(images), on(modprompt.MPL, random_clip()).to(torch.bfloat16)(images))
    with pytest.raises(UserError, match="but the requested type is torch.float64"):
        around.double()


def test_zero_shot_takes_the_template_of_another_data_set(clip_model, images, tmp_path):
    model = on(modprompt.ZeroshotCLIP, clip_model).with_classes(["cat", "lynx"], dataset="Food101").eval()
    assert model.prompt_learner.templates == ("a photo of {}, a type of food.",)
    model.save(tmp_path / "zeroshot.pt")
    assert torch.equal(modprompt.load(tmp_path / "zeroshot.pt", clip_model)(images), model(images))


def test_a_resnet_in_training_mode_is_refused(resnet_file):
    clip_model, _ = modprompt.load_clip(resnet_file, device="cpu", activation="quick_gelu", heads=RESNET_HEADS)
    model = modprompt.CoOp().on(clip_model.train(), NAMES).eval()
    with pytest.raises(UserError, match=r"resnet.pt is a ResNet in training mode.*clip_model.eval\(\)"):
        model(torch.randn(2, 3, 64, 64))


def test_moves_between_devices_take_the_words_along(clip_model):
    model = on(modprompt.MPL, clip_model)
    model.to("meta")
    assert clip_model.token_embedding.weight.device.type == "meta"
    assert {tensor.device.type for tensor in (*model.parameters(), *model.buffers())} == {"meta"}


def test_with_labels_it_is_the_loss(clip_model, images, labels):
    model = on(modprompt.CoOp, clip_model)
    expected = torch.nn.functional.cross_entropy(model(images), labels)
    assert torch.equal(model(images, labels), expected)
    assert torch.equal(model.loss(images, labels), expected)


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("cat", "names must be a list of class names, got the string 'cat'"),
        ([], "names must contain at least one class name"),
        (["cat", ""], "names must contain non-empty strings, got ''"),
        (["cat", 3], "names must contain non-empty strings, got 3"),
        (["cat", "dog", "cat"], "The class 'cat' is listed twice"),
        (["a_cat", "dog", "A  cat"], "The class names 'a_cat' and 'A  cat' become the same text for CLIP"),
        (["word " * 90, "dog"], "longer than the maximum of 77 text tokens"),
    ],
)
def test_bad_class_names(names, message, clip_model):
    with pytest.raises(UserError, match=message):
        small(modprompt.MPL).on(clip_model, names)
    with pytest.raises(UserError, match=message):
        on(modprompt.MPL, clip_model).with_classes(names)


@pytest.mark.parametrize("epochs", [-1, 2.5, True, "3"])
def test_bad_numbers_of_epochs(epochs, clip_model):
    with pytest.raises(UserError, match="epochs must be a non-negative whole number"):
        small(modprompt.PromptSRC).on(clip_model, NAMES, epochs=epochs)


def test_embedded_clip_refuses_words_that_it_does_not_know():
    clip_model, _ = modprompt.load_clip("glyph-clip")
    with pytest.raises(UserError, match="cat"):
        modprompt.MPL(prompt_depth=6).on(clip_model, ["cat", "dog"])
    model = modprompt.MPL(prompt_depth=6).on(clip_model, ["zero", "one"])
    with pytest.raises(UserError, match="cat"):
        model.with_classes(["cat", "dog"])


def test_what_is_no_clip_is_refused(clip_model):
    with pytest.raises(UserError, match="torch.nn.modules.linear.Linear is not a model of the `clip` package"):
        modprompt.MPL().on(torch.nn.Linear(1, 1), NAMES)
    with pytest.raises(UserError, match="CLIP weights of type torch.bfloat16 are not supported"):
        modprompt.MPL(prompt_depth=2).on(clip_model.bfloat16(), NAMES)


def test_images_of_another_size_are_refused(clip_model):
    with pytest.raises(UserError, match="The images have 16 x 32 pixels, but this CLIP model needs 32 x 32"):
        on(modprompt.MPL, clip_model)(torch.randn(1, 3, 16, 32))


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 1, 32, 32), (32, 32)])
def test_what_is_no_batch_of_images_is_refused(clip_model, shape):
    with pytest.raises(UserError, match=r"images must be a batch of shape \(B, 3, H, W\), got \(.*32\)"):
        on(modprompt.MPL, clip_model)(torch.randn(shape))


@pytest.mark.parametrize("kind", [torch.uint8, torch.int64])
def test_images_that_nobody_has_normalised_are_refused(clip_model, kind):
    model, images = on(modprompt.MPL, clip_model), torch.ones(2, 3, 32, 32, dtype=kind)
    for use in (model, model.encode_image):
        with pytest.raises(UserError, match=f"images must be normalized floats, got {kind}"):
            use(images)


def test_average_needs_the_number_of_epochs(clip_model):
    model = small(modprompt.PromptSRC).on(clip_model, NAMES)
    with pytest.raises(UserError, match=r"Pass the number of epochs: .on\(clip_model, names, epochs=N\)"):
        model.end_epoch()
    assert small(modprompt.MPL).on(clip_model, NAMES).end_epoch() is False
    model = small(modprompt.PromptSRC).on(clip_model, NAMES, epochs=1)
    assert model.end_epoch()
    with pytest.raises(UserError, match="the average already contains all 1 epochs"):
        model.end_epoch()


def test_contexts_of_single_classes_stay_with_them(clip_model):
    model = modprompt.CoOp(n_ctx=2, csc=True).on(clip_model, NAMES)
    with pytest.raises(UserError, match="contain a separate context for each class"):
        model.with_classes(["lynx", "wolf", "fox"])
