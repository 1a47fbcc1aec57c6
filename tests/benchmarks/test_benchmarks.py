"""Both sides of the benchmarks compute the same, and the table says what was measured."""

import subprocess
import sys
import textwrap

import pytest
import torch

from benchmarks import speed
from benchmarks.cases import Case, class_names, needed_flops
from benchmarks.plain import PlainCLIP
from benchmarks.reference import reference_model
from modprompt.engine.context import from_words
from modprompt.engine.model import PromptedCLIP
from modprompt.engine.schedule import Schedules, no_prompts, shallow
from modprompt.errors import UserError
from modprompt.methods.cocoop import ConditionalPromptLearner
from modprompt.places import ROOT
from tests.conftest import random_clip
from tests.modprompt.methods.parts.test_coupled import build

NAMES = ["cat", "dog with a hat", "sea or lake"]


def test_plain_side_has_our_logits(clip_model):
    schedules = Schedules(shallow(3, 4, "text"), no_prompts(3))
    cocoop = ConditionalPromptLearner(NAMES, clip_model, schedules, from_words("a photo of a", 4, clip_model))
    for learner in (build(clip_model, names=NAMES), cocoop):
        images = torch.randn(2, 3, 32, 32)
        ours, plain = PromptedCLIP(learner, clip_model)(images), PlainCLIP(learner, clip_model, NAMES)(images)
        torch.testing.assert_close(ours, plain, atol=1e-4, rtol=1e-5)


def test_class_names_are_different_and_always_the_same():
    assert len(set(class_names(21000))) == 21000
    assert class_names(50) == class_names(21000)[:50]


def test_table_holds_every_ratio(monkeypatch):
    def measured(case, repeats, threads):
        return {"seconds": [6.0 if case.side == "plain" else 2.0] * repeats, "peak_gib": 1.0}

    monkeypatch.setattr(speed, "in_a_process", measured)
    monkeypatch.setattr(speed, "matrix_share", lambda threads: (0.8, 160e9, 2.0, 100e9))
    text, measurements = speed.table(2, speed.rows(quick=False, reference=""))
    assert "| step time, plain / ours, 50 classes | 3.00 | >= 3.0 | 6.00 / 2.00 s |" in text
    assert text.count("\n") == 1 + 8
    assert {one["side"] for one in measurements} == {"ours", "plain"}
    row, numbers = speed.share_row(2)
    assert row == "| share of the matrix-product peak, 5 classes, fp32 | 0.80 | >= 0.8 | 80 / 100 GFLOP/s |"
    assert numbers["peak_flops"] == 100e9


def test_what_cannot_be_measured_is_refused(tmp_path):
    with pytest.raises(ValueError, match="Floating-point operations are counted only for training steps of MPL"):
        needed_flops(Case("ours", "CoCoOp"))
    with pytest.raises(
        UserError, match="is not a checkout of the official MPL repository, because trainers/mpl.py is missing"
    ):
        reference_model(str(tmp_path), random_clip().state_dict(), NAMES)


@pytest.mark.slow
def test_model_of_a_checkout_is_the_checkouts_own(tmp_path):
    trainer = """
        from dassl.engine import TRAINER_REGISTRY
        from torch import nn

        TRAINER_REGISTRY.register()(type("MPL", (), {}))

        class CustomCLIP(nn.Module):
            def __init__(self, cfg, classnames, clip_model):
                super().__init__()
                self.prompt_learner, self.image_encoder = nn.Linear(2, len(classnames)), clip_model
    """
    files = {
        "trainers/__init__.py": "",
        "trainers/mpl.py": trainer,
        "clip/__init__.py": "",
        "clip/clip.py": "from torch import nn\ndef build_model(state_dict, design): return nn.Linear(2, 2)",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text))
    code = """
        import inspect, sys
        from modprompt.compat import find
        find.add_to_path()
        import modprompt.trainers.run  # registers ours under the same name
        from benchmarks.reference import reference_model
        model = reference_model(sys.argv[1], {}, ["cat", "dog"])  # it changes the whole process
        again = reference_model(sys.argv[1], {}, ["cat", "dog"])  # whose trainer must not register a second time
        assert type(again) is type(model)
        print(inspect.getfile(type(model)), *(name for name, one in model.named_parameters() if one.requires_grad))
    """
    words = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT)
    learned = ["prompt_learner.weight", "prompt_learner.bias"]
    assert done.stdout.split() == [str(tmp_path / "trainers" / "mpl.py"), *learned]
