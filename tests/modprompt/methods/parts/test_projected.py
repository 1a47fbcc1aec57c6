"""A step that does not go against a second loss, against the formula written out, in every method with learned text."""

import copy

import pytest
import torch

from modprompt import MPL, TCP, CoCoOp, CoOp, ExtrasLinearProbeCoOp
from modprompt.methods.parts.losses import project
from tests import plain_teachers
from tests.conftest import random_clip
from tests.methods import small
from tests.modprompt.methods.parts.test_class_teacher import NAMES, batch


def plain_goal(clip_model, images, template):
    """The stock CLIP's logits."""
    teacher = plain_teachers.teacher(clip_model, NAMES, template)
    with torch.no_grad():
        image = clip_model.encode_image(images)
        return clip_model.logit_scale.exp() * image / image.norm(dim=-1, keepdim=True) @ teacher.t()


@pytest.mark.parametrize(
    ("a", "b", "weight", "expected"),
    [
        ([1.0, 1.0], [-1.0, 0.0], 1.0, [0.0, 1.0]),
        ([1.0, 1.0], [-3.0, 0.0], 0.25, [0.75, 1.0]),
        ([1.0, 1.0], [1.0, 0.0], 1.0, [1.0, 1.0]),
        ([1.0, 1.0], [0.0, 0.0], 1.0, [1.0, 1.0]),
        ([0.0, 0.0], [1.0, 0.0], 1.0, [0.0, 0.0]),
    ],
)
def test_only_what_goes_against_the_other_is_taken_out(a, b, weight, expected):
    assert project(torch.tensor(a), torch.tensor(b), weight).tolist() == expected


def test_a_tensor_is_one_vector_and_keeps_its_shape_and_type():
    torch.manual_seed(0)
    a, b = torch.randn(3, 2, 4), torch.randn(3, 2, 4)
    b = b if (a * b).sum() < 0 else -b
    torch.testing.assert_close(project(a, b, 0.8), plain_teachers.project(a, b, 0.8))
    assert project(a.half(), b.half(), 0.8).dtype == torch.float16


def test_a_gradient_that_overflowed_spoils_the_step_so_that_a_loss_scale_is_lowered():
    a, b = torch.tensor([1.0, 1.0]), torch.tensor([float("inf"), 0.0])
    assert not torch.isfinite(project(a, b, 1.0)).all()


def rivals(cls, clip_model, chunk=0, seed=1):
    """A model, a batch whose labels are what the teacher holds least likely, and what a step's gradients must be."""
    images, _ = batch(clip_model)
    torch.manual_seed(seed)
    model = small(cls, clip_model, prograd_lambda=0.8, prograd_t=2.0, kg_weight=2.0)
    model = model.on(clip_model, NAMES, dataset="EuroSAT", epochs=2)
    with torch.no_grad():
        for parameter in model.prompt_learner.parameters():
            parameter += 0.5 * torch.randn_like(parameter)
    learned = list(model.prompt_learner.parameters())
    goal = plain_goal(clip_model, images, model.method.template("EuroSAT"))
    labels = goal.argmin(dim=1)
    output = model.output(images)
    a = torch.autograd.grad(model.objective._replace(rule=None).loss(output, images, labels), learned)
    again = model.output(images)  # a joint head's part is not the base's
    kl = plain_teachers.divergence(again.each[0] if again.each else again.logits, goal, 2.0)
    b = torch.autograd.grad(kl, learned, allow_unused=True)  # a joint head's parameters make no logits of the cosines'
    if chunk:
        model.limit_text(chunk)
    expected = [one if two is None else plain_teachers.project(one, two, 0.8) for one, two in zip(a, b)]
    return model, images, labels, kl, expected, list(zip(a, b))


@pytest.mark.parametrize(("cls", "chunk"), [(CoOp, 0), (CoCoOp, 1), (MPL, 1), (TCP, 0), (ExtrasLinearProbeCoOp, 1)])
def test_gradients_are_the_formulas_in_any_method_at_once_and_in_chunks(cls, chunk):
    model, images, labels, kl, expected, _ = rivals(cls, random_clip(0), chunk)
    loss = model.loss(images, labels)
    plain = model.objective._replace(rule=None).loss(model.output(images), images, labels)
    assert loss.item() == pytest.approx(plain.item(), abs=1e-5)
    loss.backward()
    assert model.objective.noted()["kl_loss"].item() == pytest.approx(kl.item(), abs=1e-5)
    for parameter, gradient in zip(model.prompt_learner.parameters(), expected):
        torch.testing.assert_close(parameter.grad, gradient, atol=1e-5, rtol=1e-4)


def test_some_are_projected_and_some_are_not():
    conflicts = [((a * b).sum() < 0).item() for a, b in rivals(MPL, random_clip(0))[-1]]
    assert set(conflicts) == {True, False}
    assert all((a * b).sum() < 0 for a, b in rivals(CoOp, random_clip(0), seed=0)[-1])


def test_a_loss_scale_scales_the_step():
    model, images, labels, _, expected, _ = rivals(CoOp, random_clip(0), seed=0)
    (1024 * model.loss(images, labels)).backward()
    torch.testing.assert_close(model.prompt_learner.ctx.grad, 1024 * expected[0], atol=1e-2, rtol=1e-4)


def test_nothing_is_asked_of_the_teacher_without_gradients():
    model, images, labels, *_ = rivals(CoOp, random_clip(0), seed=0)
    with torch.no_grad():
        model.loss(images, labels)
    assert model.objective.noted() == {}


def test_a_copy_of_the_model_projects_the_copys_own_gradients():
    model, images, labels, _, expected, _ = rivals(CoOp, random_clip(0), seed=0)
    other = copy.deepcopy(model)
    with torch.no_grad():
        model.prompt_learner.ctx.zero_()
    other.loss(images, labels).backward()
    torch.testing.assert_close(other.prompt_learner.ctx.grad, expected[0], atol=1e-5, rtol=1e-4)
