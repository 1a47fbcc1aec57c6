"""CLIP-Adapter and TaskRes against the golden numbers and plain formulas."""

import pytest
import torch

from modprompt.methods.heads.clip_adapter import CLIPAdapterHead
from modprompt.methods.heads.taskres import TaskResHead
from tests.modprompt.methods.heads.golden import (
    BANK,
    FEATURES,
    GOLDEN,
    NAMES,
    SCALE,
    WIDTH,
    accuracy_and_sum,
    like,
    run_as,
)


def test_clip_adapter_is_the_golden_one():
    golden, text = GOLDEN["f_clip_adapter"], FEATURES["text"][:, 0]
    torch.manual_seed(1)
    head = CLIPAdapterHead(NAMES, WIDTH, 0.2, 4)
    for name, told in golden["initial"].items():
        like(head.state_dict()[name], told)
    run_as(golden, head, torch.optim.SGD(head.parameters(), 0.1, momentum=0.9, weight_decay=5e-4), text)
    assert accuracy_and_sum(head, text) == (golden["test_accuracy"], golden["test_logits"]["sum"])


def test_taskres_is_the_golden_one():
    golden = GOLDEN["f_taskres"]
    head = TaskResHead(NAMES, WIDTH, 0.5)
    head.build(BANK, SCALE)
    text = head.pooled(FEATURES["text"])
    assert torch.equal(head.base_text_features, FEATURES["text"].mean(1))
    run_as(golden, head, torch.optim.Adam(head.parameters(), 0.05, weight_decay=5e-4), text)
    assert accuracy_and_sum(head, text) == (golden["test_accuracy"], golden["test_logits"]["sum"])
    like(head.text_feature_residuals, golden["final"])


def plain_cosine(one, other):
    return (one @ other / (one @ one).sqrt() / (other @ other).sqrt()).item()


def test_logits_are_those_of_the_papers_formulas():
    image, text = FEATURES["test"][:3], FEATURES["text"].mean(1)
    adapter = CLIPAdapterHead(NAMES, WIDTH, 0.3, 8)
    first, second = (adapter.state_dict()[f"fc.{k}.weight"] for k in (0, 2))
    residual = TaskResHead(NAMES, WIDTH, 0.5)
    residual.text_feature_residuals.data = torch.randn(5, WIDTH)
    for row in range(3):
        adapted = (second @ (first @ image[row]).clamp(min=0)).clamp(min=0)
        mixed = 0.3 * adapted + 0.7 * image[row]
        for column in range(5):
            moved = text[column] + 0.5 * residual.text_feature_residuals[column].detach()
            got = adapter(image, text, SCALE)[row, column].item()
            assert got == pytest.approx(100 * plain_cosine(mixed, text[column]), abs=1e-4)
            got = residual(image, text, SCALE)[row, column].item()
            assert got == pytest.approx(100 * plain_cosine(image[row], moved), abs=1e-4)


@pytest.mark.parametrize("head", [CLIPAdapterHead(NAMES, WIDTH, 0.2, 4), TaskResHead(NAMES, WIDTH, 0.5)])
def test_class_features_of_single_images_give_the_same_logits(head):
    image, text = FEATURES["test"][:3], FEATURES["text"].mean(1)
    each = head(image, text.expand(3, -1, -1), SCALE)
    torch.testing.assert_close(each, head(image, text, SCALE), atol=1e-4, rtol=0)
