"""Class features near the frozen ones, against the plain formula; in every method with learned text by one setting."""

import pytest
import torch
import torch.nn.functional as F

from modprompt import MPL, CoCoOp, CoOp, UserError
from modprompt.engine.model import Output
from modprompt.methods.parts.groups import LearnedText
from modprompt.methods.parts.losses import ClassTeacher
from modprompt.methods.table import METHODS
from tests import plain_teachers
from tests.conftest import random_clip
from tests.methods import small, some_slow

NAMES = ["river", "annual crop land", "forest"]
WITH_TEXT = [row.method for row in METHODS if issubclass(row.method, LearnedText)]


def batch(clip_model):
    side = clip_model.visual.input_resolution
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 2])


@pytest.mark.cover(2)
@pytest.mark.parametrize("cls", some_slow(WITH_TEXT))
def test_the_weighted_distance_is_added_to_any_methods_loss(cls):
    clip_model = random_clip(0)
    images, labels = batch(clip_model)
    torch.manual_seed(1)
    off = small(cls, clip_model, kg_weight=0.0).on(clip_model, NAMES, dataset="EuroSAT", epochs=2)
    torch.manual_seed(1)
    on = small(cls, clip_model, kg_weight=8.0).on(clip_model, NAMES, dataset="EuroSAT", epochs=2)
    text = on.output(images).text
    teacher = plain_teachers.teacher(clip_model, NAMES, on.method.template("EuroSAT"))
    each = [plain_teachers.distance(one, teacher) for one in (text if text.dim() == 3 else text[None])]
    expected = off.loss(images, labels) + 8 * sum(each) / len(each)
    assert on.loss(images, labels).item() == pytest.approx(expected.item(), abs=1e-5)


def test_gradients_reach_the_prompts_alone_and_lower_the_distance():
    clip_model = random_clip(0)
    model = CoOp(n_ctx=2, kg_weight=1.0).on(clip_model, NAMES)
    images, labels = batch(clip_model)
    distance = model.objective.terms[-1].of
    before = distance(model.output(images), images, labels)
    before.backward()
    assert all(parameter.grad is None for parameter in clip_model.parameters())
    with torch.no_grad():
        model.prompt_learner.ctx -= 1e-3 * F.normalize(model.prompt_learner.ctx.grad, dim=-1)
    assert distance(model.output(images), images, labels) < before


def test_class_features_of_images_count_for_each_image():
    text = F.normalize(torch.randn(4, 3, 8), dim=-1)
    teacher = F.normalize(torch.randn(3, 8), dim=-1)
    found = ClassTeacher(teacher)(Output(text, text, text), text, text)
    assert found.item() == pytest.approx(
        sum(plain_teachers.distance(one, teacher) for one in text).item() / 4, abs=1e-6
    )


@pytest.mark.parametrize(
    ("dataset", "template"),
    [
        ("DescribableTextures", "a photo of a {}, a type of texture."),
        ("Digits", "a photo of the number {}."),
        ("MyImages", "a photo of a {}."),
    ],
)
def test_the_teachers_words_are_the_data_sets_unless_they_are_given(dataset, template):
    assert MPL(kg_weight=1.0).template(dataset) == template
    assert MPL(kg_weight=1.0, teacher_template="{} here").template(dataset) == "{} here"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kg_weight": -1.0}, "KG_WEIGHT must be .*0"),
        ({"teacher_template": "a photo"}, "TEACHER_TEMPLATE must have {} where the class name goes, got 'a photo'"),
    ],
)
@pytest.mark.parametrize("cls", [CoCoOp, MPL])
def test_bad_settings_are_one_line(cls, settings, message):
    with pytest.raises(UserError, match=message) as found:
        cls(**settings)
    assert "\n" not in str(found.value)
