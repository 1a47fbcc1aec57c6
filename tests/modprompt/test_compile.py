import shutil

import pytest
import torch
import torch.nn.functional as F

from modprompt.engine.model import PromptedCLIP
from modprompt.errors import UserError
from modprompt.programs import left_as_found
from tests.conftest import random_clip
from tests.modprompt.learners.test_coupled import build


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["aot_eager", pytest.param("default", marks=pytest.mark.slow)])
def test_compiled_encoders_give_the_same_logits_and_gradients(how):
    if how == "default" and not shutil.which("g++"):
        pytest.skip("there is no C++ compiler")
    clip_model = random_clip(3, text_layers=2, vision_layers=2)
    learner = build(clip_model, depth=2)
    model = PromptedCLIP(learner, clip_model)
    images, labels = torch.randn(2, 3, 32, 32), torch.tensor([0, 2])

    def gradients():
        logits = model(images)
        return logits, torch.autograd.grad(F.cross_entropy(logits, labels), list(learner.parameters()))

    plain_logits, plain = gradients()
    with left_as_found():  # PyTorch's compiler sets paths and the environment
        model.compile_encoders(how)
        logits, compiled = gradients()
    torch.testing.assert_close(logits, plain_logits, atol=1e-5, rtol=1e-5)
    for one, two in zip(compiled, plain):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)


def test_other_words_are_refused():
    clip_model = random_clip(3)
    with pytest.raises(
        UserError, match="MODEL.COMPILE must be one of \"\", default, reduce-overhead, aot_eager, graph, got 'fast'"
    ):
        PromptedCLIP(build(clip_model), clip_model).compile_encoders("fast")
