"""Class features near the frozen ones, against the plain formula; in every method with learned text by one setting."""

import pytest
import torch

from modprompt import MPL, TCP, CoCoOp, CoOp, MaPLe
from tests import plain_teachers
from tests.conftest import random_clip
from tests.methods import small

NAMES = ["river", "annual crop land", "forest"]


def batch(clip_model):
    side = clip_model.visual.input_resolution
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 2])


@pytest.mark.parametrize("cls", [CoOp, CoCoOp, MaPLe, TCP])
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
