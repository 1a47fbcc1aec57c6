"""CLIP-LoRA as a model: which layers, its files and those of its repository, tests with merged matrices, beside prompts."""

import functools
import re

import pytest
import torch

import modprompt
from modprompt import MPL, CLIPLoRA, CoOp, UserError
from modprompt.engine import low_rank
from modprompt.methods.clip_lora import as_repository, layers_at
from modprompt.methods.parts.capabilities import Results, RunFacts
from modprompt.use.export_model import ExportedModel
from tests.conftest import one_line, random_clip

NAMES = ["cat", "golden retriever", "dog"]


@pytest.fixture
def images():
    return torch.randn(2, 3, 32, 32)


def learned(model):
    """The same with additions that change something."""
    with torch.no_grad():
        for name, one in model.prompt_learner.named_parameters():
            if name.endswith(".b"):
                one.normal_(std=0.1)
    return model.eval()


@pytest.mark.parametrize(
    ("position", "of_12", "of_24"),
    [
        ("all", range(12), range(24)),
        ("bottom", range(4), range(8)),
        ("mid", range(4, 8), range(8, 16)),
        ("up", range(8, 12), range(16, 24)),
        ("half-bottom", range(6), range(12)),
        ("half-up", range(6, 12), range(12, 24)),
        ("top3", range(9, 12), range(21, 24)),
        ("0 3 6-8", [0, 3, 6, 7, 8], [0, 3, 6, 7, 8]),
        ("11-11", [11], [11]),
    ],
)
def test_positions_are_the_references(position, of_12, of_24):
    assert layers_at(position, 12) == tuple(of_12)
    assert layers_at(position, 24) == tuple(of_24)


def test_a_literal_scale_stands_for_that_of_the_clip(clip_model, images):
    own, literal = (CLIPLoRA(literal_scale=scale).on(clip_model, NAMES).eval() for scale in (0, 100))
    with torch.no_grad():
        cosines = literal.output(images).image @ literal.class_features().T
        torch.testing.assert_close(literal(images), 100 * cosines)
        torch.testing.assert_close(own(images), clip_model.logit_scale.exp() * cosines)
    torch.testing.assert_close(literal.classifier()(literal.encode_image(images)), literal(images))
    assert literal.finished()["logit_scale"] == 100


@pytest.mark.parametrize("encoder", ["both", "text", "vision"])
def test_only_a_side_with_additions_changes_and_kept_features_know(encoder, clip_model, images):
    fresh = CLIPLoRA(encoder=encoder).on(clip_model, NAMES).eval()
    with torch.no_grad():
        before = fresh.output(images)
        model = learned(fresh)
        after = model.output(images)
        assert torch.equal(after.image, before.image) == (encoder == "text")
        assert torch.equal(after.text, before.text) == (encoder == "vision")
        assert model.prompts_images == (encoder != "text")
        torch.testing.assert_close(model.of_features(model.encode_image(images)).logits, after.logits)


@pytest.mark.parametrize("encoder", ["both", "vision"])
def test_matrices_are_merged_once_and_not_while_gradients_are_asked_for(encoder, clip_model, images, monkeypatch):
    made, merged = [], low_rank.MergedBlock
    monkeypatch.setattr(low_rank, "MergedBlock", lambda block, **parts: made.append(block) or merged(block, **parts))
    model = learned(CLIPLoRA(encoder=encoder, position="top3").on(clip_model, NAMES))
    beside = model(images)
    assert not made
    with torch.no_grad(), model.unchanging():
        torch.testing.assert_close(model(images), beside, atol=1e-4, rtol=1e-4)
        number = len(made)
        assert number == len(set(map(id, made))) == (6 if encoder == "both" else 3)
        model(images)
        model.encode_image(images)
        assert len(made) == number


def test_other_weights_of_the_image_side_are_merged_anew(clip_model, images):
    model = learned(CLIPLoRA(encoder="vision").on(clip_model, NAMES))
    with torch.no_grad():
        before = model(images)
        clip_model.visual.load_state_dict(random_clip(9).visual.state_dict())
        after = model(images)
    assert not torch.allclose(after, before)
    with torch.enable_grad():
        torch.testing.assert_close(after, model(images).detach(), atol=1e-4, rtol=1e-4)  # beside the products


def test_what_is_finished_has_no_dropout_in_it(clip_model, images):
    """Also of a model in training mode, as `.on` gives it."""
    model = learned(CLIPLoRA(dropout=0.5).on(clip_model, NAMES))
    wanted, matrix = model(images).detach(), model.class_matrix()
    model.train()
    torch.testing.assert_close(model.class_matrix(), matrix)
    torch.testing.assert_close(model.finished()["class_matrix"], matrix)
    exported = ExportedModel(model)
    with torch.no_grad():
        probabilities = [exported(images)[1] for _ in range(2)]
    torch.testing.assert_close(probabilities[0], wanted.softmax(-1), atol=1e-5, rtol=1e-4)
    assert torch.equal(*probabilities)
    assert model.training
    assert model.prompt_learner.training


def test_a_head_stands_behind_additions_without_their_dropout(clip_model, images, tmp_path):
    model = learned(CLIPLoRA(dropout=0.5).on(clip_model, NAMES))
    model.save(tmp_path / "lora.pt")
    head = modprompt.TaskRes(prompts_from=str(tmp_path / "lora.pt")).on(clip_model, NAMES).train()
    with torch.no_grad():
        features = head.encode_image(images)
        torch.testing.assert_close(features, model.encode_image(images))
        torch.testing.assert_close(head.class_features(), model.class_features())
    assert head.training
    assert head.made.training


def test_a_file_of_the_repository_is_read_and_written(clip_model, images, tmp_path):
    """One that is put together by hand; its layers are numbered, text first."""
    method = CLIPLoRA(r=3, params="v o", position="half-bottom", encoder="both")
    model = method.on(clip_model, NAMES).eval()
    made = {
        "weights": {},
        "metadata": {"r": 3, "alpha": 1, "encoder": "both", "params": ["v", "o"], "position": "half-bottom"},
    }
    for number, width in enumerate((64, 64, 128, 128)):
        made["weights"][f"layer_{number}"] = {
            name: {"w_lora_A": torch.randn(3, width), "w_lora_B": torch.randn(width, 3)} for name in ("v_proj", "proj")
        }
    torch.save(made, tmp_path / "lora_weights.pt")
    loaded = modprompt.load(tmp_path / "lora_weights.pt", clip_model, method=method, names=NAMES)
    own = dict(loaded.prompt_learner.named_parameters())
    assert torch.equal(own["adapters.text.0.a"][0], made["weights"]["layer_0"]["v_proj"]["w_lora_A"])
    assert torch.equal(own["adapters.vision.1.b"][1], made["weights"]["layer_3"]["proj"]["w_lora_B"])
    written = loaded.prompt_learner.as_repository()
    assert written["metadata"] == made["metadata"]
    assert list(written["weights"]) == list(made["weights"])
    for layer, of_layer in made["weights"].items():
        for name, both in of_layer.items():
            assert all(torch.equal(written["weights"][layer][name][key], one) for key, one in both.items())
    assert not torch.allclose(loaded(images), model(images))


LAYER, GONE = ("weights", "layer_2", "q_proj"), object()


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("metadata", "r"), 4, "trained with other settings: r is 4 in the file, but 1 in this model"),
        (("metadata", "alpha"), GONE, "trained with other settings: alpha is None in the file, but 1 in this model"),
        (("metadata", "r"), torch.ones(3), "trained with other settings: r is tensor"),
        (("metadata", "params"), ["v", "q"], "trained with other settings: params is"),
        (LAYER[:2], GONE, "contains low-rank matrices for 5 layers, but this model has low-rank matrices in 6"),
        (LAYER[:2], 3, "is damaged ("),
        ((*LAYER, "w_lora_A"), [1], "is damaged ("),
        ((*LAYER, "w_lora_A"), torch.zeros(1, 9), "is damaged ("),
        ((*LAYER, "w_lora_B"), torch.full((64, 1), float("nan")), "finite"),
    ],
)
def test_other_files_of_the_repository_are_one_line(place, value, message, clip_model, tmp_path):
    method = CLIPLoRA(r=1, params="q v")
    made = method.on(clip_model, NAMES).prompt_learner.as_repository()
    *outer, last = place
    inner = functools.reduce(dict.__getitem__, outer, made)
    inner.pop(last) if value is GONE else inner.update({last: value})
    torch.save(made, tmp_path / "lora_weights.pt")
    with one_line(re.escape(message)):
        modprompt.load(tmp_path / "lora_weights.pt", clip_model, method=method, names=NAMES)


@pytest.mark.parametrize(
    ("settings", "layers", "said"),
    [
        ({"position": "0 2"}, {"vision": (0, 2)}, "POSITION '0 2' cannot be exported"),
        ({"position": "up"}, {"vision": tuple(range(16, 24))}, "POSITION 'up' cannot be exported"),
        ({"position": "top3"}, {"vision": (21, 22, 23)}, "POSITION 'top3' cannot be exported"),
        ({"alpha": 0.5}, {"vision": tuple(range(12))}, "ALPHA 0.5 cannot be exported, .* accepts only whole numbers"),
    ],
    ids=str,
)
def test_what_its_program_cannot_read_is_not_written(settings, layers, said):
    with pytest.raises(UserError, match=said):
        as_repository({}, CLIPLoRA(encoder="vision", **settings), layers)


def test_a_result_says_what_the_reference_does_not_do():
    assert CLIPLoRA().results == CLIPLoRA(dropout_shared=True, dropout=0.0).results == Results()
    assert CLIPLoRA(dropout_shared=True, encoder="vision").results == Results()
    (shared,) = CLIPLoRA(dropout_shared=True).results.notes
    (wrong,) = CLIPLoRA(dropout=0.0, gradient="reference").over(MPL()).results.notes
    assert "DROPOUT_SHARED" in shared
    assert "GRADIENT reference" in wrong


@pytest.mark.parametrize(
    "method", [CLIPLoRA(), CLIPLoRA().over(CoOp(n_ctx=2)), CLIPLoRA().over(MPL(prompt_depth=3))], ids=repr
)
def test_masks_are_the_same_however_many_classes_are_computed_at_a_time(method, clip_model, images):
    labels, found = torch.tensor([0, 2]), []
    for classes in (0, 2):
        torch.manual_seed(2)
        model = method.on(clip_model, NAMES)
        learned(model).train()
        if classes:
            model.limit_text(classes)
        torch.manual_seed(3)
        loss = model.loss(images, labels)
        loss.backward()
        found.append([loss.detach(), *(one.grad for one in model.prompt_learner.parameters())])
    for one, other in zip(*found):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-3)


def test_the_literal_is_for_openais_clips_alone():
    """Theirs is 100; LITERAL_SCALE of a config is no other CLIP's."""
    of = CLIPLoRA.decides
    assert of({"LITERAL_SCALE": 100}, RunFacts("EuroSAT", "all", False)) == {}
    assert of({"LITERAL_SCALE": 100}, RunFacts("EuroSAT", "all", False, openai=False)) == {"LITERAL_SCALE": 0}
    assert of({"LITERAL_SCALE": 0}, RunFacts("EuroSAT", "all", False, openai=False)) == {}
