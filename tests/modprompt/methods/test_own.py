"""Methods of one's own: entered by name, with logits of their own, in models of a class of their own."""

import importlib
from dataclasses import dataclass

import pytest
import torch
from PIL import Image

import modprompt
from modprompt.cli import export, predict
from modprompt.errors import UserError
from modprompt.io.program_text import source_hash
from modprompt.methods import table
from modprompt.methods.records import method_record
from tests.conftest import random_clip
from tests.registered import forget

NAMES = ("zero", "one", "two")
MODULE = """
from dataclasses import dataclass

import torch
from torch import nn

from modprompt import CoCoOp, CoOp, register_own
from modprompt.methods.parts.learners import IndependentPromptLearner
from modprompt.methods.cocoop import ConditionalPromptLearner


class Temperature(nn.Module):
    def __init__(self):
        super().__init__()
        self.log = nn.Parameter(torch.zeros(()))

    def forward(self, image, text, scale):
        return self.log.exp() * scale * (image[:, None] * text).sum(-1)


class Warmed:
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.logits = Temperature()


class Learner(Warmed, IndependentPromptLearner):
    pass


class OfImages(Warmed, ConditionalPromptLearner):
    pass


@register_own
@dataclass(frozen=True, repr=False)
class Warm(CoOp):
    node = "TRAINER.WARM"

    def learner(self, clip_model, classes, schedules):
        return Learner(classes.names, clip_model, schedules, self.context(clip_model, classes))


@register_own
@dataclass(frozen=True, repr=False)
class WarmImages(CoCoOp):
    node = "TRAINER.WARMIMAGES"

    def learner(self, clip_model, classes, schedules):
        return OfImages(classes.names, clip_model, schedules, self.context(clip_model, classes))
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The module of a user's methods in the current folder, imported."""
    (tmp_path / "warm_of_a_test.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("warm_of_a_test")

    yield module
    for name in ("Warm", "WarmImages"):
        forget(name, "warm_of_a_test")


def heated(model, log=0.5):
    """The model with a temperature that is not 1."""
    model.prompt_learner.logits.log.data.fill_(log)
    return model.eval()


def plain(method, model):
    """The same prompts without a temperature."""
    other = method.on(model.clip_model, model.classes.names)
    kept = {key: value for key, value in model.prompt_learner.state_dict().items() if not key.startswith("logits.")}
    other.prompt_learner.load_state_dict(kept)
    return other.eval()


@pytest.mark.parametrize(("name", "base"), [("Warm", "CoOp"), ("WarmImages", "CoCoOp")])
def test_a_temperature_is_learned_multiplies_logits_and_goes_to_other_classes(own, name, base):
    model = heated(getattr(own, name)(n_ctx=2).on(random_clip(), NAMES))
    images = torch.randn(2, 3, 32, 32)
    expected = plain(getattr(modprompt, base)(n_ctx=2), model)(images) * torch.tensor(0.5).exp()
    torch.testing.assert_close(model(images), expected)
    torch.testing.assert_close(model.of_features(model.encode_image(images)).logits, expected)
    torch.testing.assert_close(model.with_classes(["two", "one"])(images), expected[:, [2, 1]])
    model.train().loss(images, torch.tensor([0, 1])).backward()
    assert model.prompt_learner.logits.log.grad.abs() > 0


def test_a_temperature_is_in_the_classifier_which_shares_nothing(own):
    model = heated(own.Warm(n_ctx=2).on(random_clip(), NAMES))
    features = model.encode_image(torch.randn(2, 3, 32, 32))
    classifier, expected = model.classifier(), model.of_features(features).logits
    heated(model, 1.5)
    torch.testing.assert_close(classifier(features), expected)
    assert model.finished() == {}  # no program could multiply by the matrix alone
    assert not [one for one in classifier.modules() if hasattr(one, "visual")]


def test_it_is_saved_and_comes_back_by_its_name(own, tmp_path):
    clip_model = random_clip()
    model = heated(own.Warm(n_ctx=2).on(clip_model, NAMES))
    model.save("warm.pt")
    again, images = modprompt.load("warm.pt", clip_model), torch.randn(2, 3, 32, 32)
    assert type(again.method) is own.Warm
    assert torch.equal(again(images), model(images))


def test_a_head_on_custom_prompts_records_their_source(own, tmp_path):
    clip_model = random_clip()
    own.Warm(n_ctx=2).on(clip_model, NAMES).save("warm.pt")
    head = modprompt.TipAdapter(prompts_from="warm.pt").prepared()
    sources = {"warm_of_a_test": source_hash("warm_of_a_test", tmp_path / "warm_of_a_test.py")}
    assert method_record(head)["sources"] == sources
    assert "sources" not in method_record(modprompt.CoOp())


@pytest.mark.slow
def test_programs_import_it(own, tmp_path, capsys):
    clip_model, _ = modprompt.load_clip("glyph-clip", device="cpu")
    heated(own.Warm(n_ctx=2).on(clip_model, NAMES)).save("warm.pt")
    Image.new("RGB", (32, 32), (200, 0, 0)).save("red.png")
    forget("Warm", "warm_of_a_test")
    with pytest.raises(UserError, match="belongs to the method Warm of the module warm_of_a_test, which is not"):
        predict.main(["warm.pt", "red.png"])
    assert predict.main(["warm.pt", "red.png", "--import", "warm_of_a_test"]) == 0
    assert capsys.readouterr().out.startswith("red.png: ")
    assert export.main(["warm.pt", "--to", "onnx", "--out", "warm.onnx", "--import", "warm_of_a_test"]) == 0


def test_names_that_are_taken_are_refused(own):
    own_coop = type("CoOp", (modprompt.CoOp,), {"node": "TRAINER.X"})
    with pytest.raises(UserError, match="modprompt already has a method with this name"):
        modprompt.register_own(dataclass(frozen=True, repr=False)(own_coop))
    theirs = type("Warm", (modprompt.CoOp,), {"node": "TRAINER.X", "__module__": "another"})
    with pytest.raises(
        UserError,
        match=r"another\.Warm cannot be registered, because warm_of_a_test already has a method with this name",
    ):
        modprompt.register_own(theirs)
    assert table.BY_NAME["Warm"].method is own.Warm


def test_what_a_method_once_said_otherwise_is_refused():
    old = type("Slow", (modprompt.CoOp,), {"node": "TRAINER.SLOW", "own_rates": ()})
    with pytest.raises(UserError, match=r"Slow: the attribute own_rates is no longer used. Use `training` .* instead"):
        modprompt.register_own(old)


class Hot(modprompt.PromptedModel):
    """A user's class of models, whose logits are e times as large."""

    def logits(self, image, text):
        return torch.e * super().logits(image, text)


@dataclass(frozen=True, repr=False)
class MadeHot(modprompt.CoOp):
    def model(self, learner, clip_model, classes, epochs):
        return Hot(self, learner, clip_model, classes, epochs)


def test_a_subclass_of_the_model_survives_other_classes_and_the_classifier():
    model = MadeHot(n_ctx=2).on(random_clip(), NAMES).eval()
    images = torch.randn(2, 3, 32, 32)
    other = model.with_classes(["two", "one"])
    assert type(other) is Hot
    torch.testing.assert_close(other(images), model(images)[:, [2, 1]])
    features = model.encode_image(images)
    torch.testing.assert_close(model.classifier()(features), model(images))
    torch.testing.assert_close(other.classifier()(features), other(images))


def test_models_of_other_classes_have_encoders_of_their_own_on_shared_weights():
    model = modprompt.CoOp(n_ctx=2).on(random_clip(), NAMES)
    other = model.with_classes(["two", "one"])
    other.set_stream(torch.bfloat16)
    assert (model.stream, model.text_encoder.stream) == (None, None)
    assert other.text_encoder.transformer is model.text_encoder.transformer
    assert other.prompt_learner.ctx is model.prompt_learner.ctx
