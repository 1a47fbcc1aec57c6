"""MMA against its repository's numbers, and what it refuses; every step is held to tests/plain_mma.py elsewhere."""

import warnings
from typing import Any

import pytest
import torch

import modprompt
from modprompt import CoOp, MultiModalAdapter, UserError
from modprompt.io import checkpoint
from modprompt.io.settings import Settings
from modprompt.methods.records import load_learner, made_with, of_clip, view_of
from modprompt.trainers import config, run  # noqa: F401 - registers trainers and readers
from modprompt.use.export_model import ExportedModel
from tests import siglips
from tests.conftest import ROOT, slow_but
from tests.modprompt.methods.reference_runs import require_recorded

NAMES = ["cat", "golden retriever"]
SMALL = {"adapter_start": 2, "adapter_end": 3, "adapter_dim": 8}


def images(count=2):
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))


CASES = {  # layers of four: START, END, DIM, SCALE; the published scale, others
    "published": (2, 4, 8, 0.001),
    "large": (1, 3, 6, 0.05),
    "first": (0, 2, 8, 0.05),
}


@pytest.mark.parametrize("case", slow_but(CASES, "large"))
def test_every_loss_and_all_counts_are_the_repositorys(case, tmp_path, monkeypatch):
    given = zip(("START", "END", "DIM", "SCALE"), map(str, CASES[case]))
    options = [word for key, value in given for word in (f"TRAINER.MMADAPTER.ADAPTER_{key}", value)]
    options += ["TRAINER.MMADAPTER.PREC", "fp32", "TRAINER.MMADAPTER.TEXT_CTX_INIT", "a photo of a"]
    require_recorded("mma", case, "", "MultiModalAdapter", "", options, tmp_path, monkeypatch)


@pytest.mark.parametrize("over", [None, CoOp(n_ctx=2)], ids=["alone", "beside CoOp"])
def test_what_is_exported_of_towers_has_the_adapters(over):
    method = MultiModalAdapter.of(SMALL)
    clip_model = siglips.clip_of(siglips.made("open_clip"))
    model = (method if over is None else method.over(over)).on(clip_model, NAMES).eval()
    size = clip_model.visual.input_resolution
    pictures = torch.randn(2, 3, size, size)
    with torch.no_grad():
        before = model(pictures)
        for one in model.prompt_learner.parameters():
            one.add_(0.1 * torch.randn(one.shape))
        after = model(pictures)
        assert not torch.allclose(after, before, atol=1e-2)
        torch.testing.assert_close(ExportedModel(model)(pictures)[1], after.softmax(-1), atol=1e-5, rtol=1e-4)


def test_parameters_learn_alike_at_any_scale(clip_model):
    """Their gradient is divided by the scale, so that a tiny one changes nothing but what is added."""
    found = []
    for scale in (1e-6, 2e-6):
        torch.manual_seed(0)
        model = MultiModalAdapter(**SMALL, adapter_scale=scale).on(clip_model, NAMES)
        model.loss(images(), torch.tensor([0, 1])).backward()
        found.append([one.grad for one in model.prompt_learner.parameters()])
    for one, other in zip(*found):
        assert one.abs().max() > 1e-6
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("first", [MultiModalAdapter(**SMALL), modprompt.CLIPLoRA()], ids=repr)  # type: ignore[arg-type]
def test_one_thing_alone_stands_beside_prompts(first):
    second = modprompt.CLIPLoRA() if isinstance(first, MultiModalAdapter) else MultiModalAdapter(**SMALL)
    with pytest.raises(
        UserError, match=f"ON does not work, because {type(first).__name__} is already added to the prompts"
    ):
        second.over(first.over(CoOp()))


@pytest.mark.parametrize(("key", "other"), [("ADAPTER_SCALE", 100.0), ("ADAPTER_DIM", 4), ("ADAPTER_START", 3)])
def test_a_file_goes_with_the_settings_of_what_stood_beside_alone(key, other, clip_model, tmp_path):
    model = MultiModalAdapter(**SMALL).over(CoOp(n_ctx=2)).on(clip_model, NAMES)
    model.save(tmp_path / "saved.pt")
    content = checkpoint.read(tmp_path / "saved.pt")
    given: Any = {**SMALL, key.lower(): other}
    assert content.made_with[f"TRAINER.MMADAPTER.{key}"] == str(MultiModalAdapter(**SMALL).as_config()[key])
    changed = MultiModalAdapter(**given).over(CoOp(n_ctx=2))
    differing = made_with(changed, of_clip(clip_model))
    with pytest.raises(UserError, match=f"TRAINER.MMADAPTER.{key} .here .*, but .* in the checkpoint"):
        load_learner(view_of(model.method, model.prompt_learner), str(tmp_path / "saved.pt"), differing)


def test_what_means_nothing_beside_prompts_is_said():
    file, options = (
        str(ROOT / "configs/trainers/CoOp/glyph.yaml"),
        ["DATASET.NAME", "Digits", "TRAINER.MMADAPTER.ON", "True"],
    )
    given = Settings.read((file,), {"TRAINER.NAME": "CoOp"}, options)
    more = Settings.read((file,), {"TRAINER.NAME": "CoOp"}, [*options, "TRAINER.MMADAPTER.TEXT_CTX_INIT", "a"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config.of_settings(given)
        with pytest.raises(UserWarning, match="TRAINER.MMADAPTER.TEXT_CTX_INIT has no effect on the prompts of CoOp"):
            config.of_settings(more)


def test_only_layers_from_the_first_adapter_on_have_a_graph(clip_model):
    model = MultiModalAdapter(**SMALL).on(clip_model, NAMES)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.shape) or x, lambda x: x):
        model.encode_image(images(7))
        some = len(kept)
        kept.clear()
        MultiModalAdapter(**{**SMALL, "adapter_start": 3}).on(clip_model, NAMES).encode_image(images(7))
    assert 0 < len(kept) < 0.6 * some
