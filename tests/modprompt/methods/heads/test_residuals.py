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


@pytest.mark.parametrize("head", [CLIPAdapterHead(NAMES, WIDTH, 0.2, 4), TaskResHead(NAMES, WIDTH, 0.5)])
def test_class_features_of_single_images_give_the_same_logits(head):
    image, text = FEATURES["test"][:3], FEATURES["text"].mean(1)
    each = head(image, text.expand(3, -1, -1), SCALE)
    torch.testing.assert_close(each, head(image, text, SCALE), atol=1e-4, rtol=0)
