"""HiCroPL: the reference's own numbers, both ways of the flow, frozen features and sentences, and what is refused."""

import copy
import csv
import json
from pathlib import Path

import pytest
import torch
from clip import clip

import modprompt
from modprompt import HiCroPL, UserError
from modprompt.cli import train
from modprompt.clip.load import load_clip
from modprompt.data.readers.digits import CLASS_NAMES
from modprompt.data.readers.folders import EUROSAT
from modprompt.io import checkpoint
from modprompt.io.identity import by_own_clip, differing
from modprompt.methods import hicropl
from modprompt.methods.parts.text import Sentences
from modprompt.methods.records import contents_named, made_with, of_clip
from modprompt.trainers.prompt_trainer import PromptTrainer
from modprompt.use.export import metadata_of
from modprompt.use.export_model import ExportedModel
from modprompt.use.trained import images_of
from tests import plain_hicropl, plain_neighbours
from tests.conftest import ROOT, bare, published, random_clip, slow_but
from tests.modprompt.methods.reference_runs import half
from tests.stopping import stopped_before
from tests.test_runs import result
from tests.test_train import refusal

NODE = "TRAINER.HICROPL."
NAMES = ["cat", "golden retriever", "x"]
SMALL = {"prompt_depth": 3, "cross_layer": 1, "sentences": "template"}

# What the repository (zzeoZheng/HiCroPL at 2c2b2f2) says of two epochs in fp32 on a CPU, and its counts on base and on
# new classes. Its literals 768 and 512 became the model's widths, its .cuda() and .half() did nothing, clip._download
# gave a file with `published(random_clip(1, text_layers=4, vision_layers=4))`, gpt_file/eurosat_prompt.json was
# `sentences()`. Its prompts and proxies share their memory on a CPU, which a GPU parts: each parameter had its own
# (`.data = .data.clone()` behind the model's `.to`).
#   python train.py --root DATA --seed 1 --trainer HiCroPL --output-dir OUT
#     --config-file configs/trainers/HiCroPL/vit_b16_c2_ep50_batch32_16ctx.yaml
#     --dataset-config-file configs/datasets/eurosat.yaml USE_CUDA False TRAINER.HICROPL.PREC fp32 INPUT.SIZE "(32, 32)"
#     DATASET.NUM_SHOTS 4 DATALOADER.NUM_WORKERS 0 OPTIM.MAX_EPOCH 2 DATALOADER.TRAIN_X.BATCH_SIZE 4
#     DATALOADER.TEST.BATCH_SIZE 7 TRAINER.HICROPL.N_CTX 4 .PROMPT_DEPTH 4 .CROSS_LAYER 2 TEST.FINAL_MODEL best_val
#     DATASET.SUBSAMPLE_CLASSES base        and with --eval-only --model-dir OUT and SUBSAMPLE_CLASSES new
# DATA is write_eurosat's, with a split that a run of ours has made; losses are the values that backward() is called on.
RECORDED = json.loads(Path(__file__).with_name("golden_hicropl.json").read_text())
RUNS = {"words, best_val": (4, 4, 2, "best_val"), "random, the last step": (6, 3, 1, "last_step")}


def sentences(names=()):
    """By class, EuroSAT's unless given: three of an odd length of name, else two."""
    each = ("a satellite picture that shows {}.", "{}, seen from far above.", "the colours of {}.")
    names = names or EUROSAT.values()
    return {name: [text.replace("{}", name) for text in each[: 2 + len(name) % 2]] for name in names}


@pytest.fixture
def words(eurosat_root, tmp_path):
    """Words of a run as the repository's are; its tests write."""

    def of(n_ctx, depth, cross, final_model, *more):
        weights, file = tmp_path / "weights.pt", tmp_path / "sentences.json"
        if not weights.exists():
            torch.save(published(random_clip(1, text_layers=4, vision_layers=4)), weights)
            file.write_text(json.dumps(sentences()))
        own = {"PREC": "fp32", "N_CTX": n_ctx, "PROMPT_DEPTH": depth, "CROSS_LAYER": cross, "TEACHER_NAME": ""}
        own = {**own, "SENTENCES": file, "TESTS_WRITE": True, **({"CTX_INIT": ""} if n_ctx > 4 else {})}
        words = ["--root", eurosat_root, "--seed", 1, "--trainer", "HiCroPL", "--output-dir", tmp_path / "out"]
        words += ["--config-file", ROOT / "configs/trainers/HiCroPL/vit_b16_c2_ep50_batch32_16ctx.yaml"]
        words += ["--dataset-config-file", ROOT / "configs/datasets/eurosat.yaml", *more, *bare(weights)]
        words += ["INPUT.SIZE", "(32, 32)", "DATASET.NUM_SHOTS", 4, "DATALOADER.NUM_WORKERS", 0, "OPTIM.MAX_EPOCH", 2]
        words += ["DATALOADER.TRAIN_X.BATCH_SIZE", 4, "DATALOADER.TEST.BATCH_SIZE", 7, "TEST.FINAL_MODEL", final_model]
        return [*map(str, words), *(word for key, value in own.items() for word in (NODE + key, str(value)))]

    return of


@pytest.mark.parametrize("case", slow_but(RUNS, "words, best_val"))
def test_losses_and_counts_are_the_references(case, words, tmp_path):
    run, expected = RUNS[case], RECORDED[case]
    assert train.main(half(words(*run), "base", tmp_path / "out")) == 0
    rows = list(csv.DictReader((tmp_path / "out" / "steps.csv").read_text().splitlines()))
    assert [float(row["loss"]) for row in rows] == pytest.approx(expected["losses"], abs=1e-4)
    assert train.main(half(words(*run), "new", tmp_path / "new", tmp_path / "out")) == 0
    assert [result(tmp_path / name)["correct"] for name in ("out", "new")] == [expected["base"], expected["new"]]


def test_nothing_is_kept_of_images_whose_prompts_each_batch_writes(words, tmp_path, capsys):
    run = [*words(4, 4, 2, "last_step"), "TEST.KEEP_FEATURES", "True", "OPTIM.MAX_EPOCH", "1"]
    assert train.main(half(run, "base", tmp_path / "out")) == 0
    assert result(tmp_path / "out")["selected_on_test"] == "each test batch mapped the prompts anew"
    assert "The image features of the test images are not stored" in capsys.readouterr().out
    assert not [*tmp_path.rglob("features.npz")]


# ------------------------------------------------------------------ on small CLIPs


@pytest.fixture
def images():
    return torch.randn(3, 3, 32, 32)


def made(clip_model, names=NAMES, **settings):
    torch.manual_seed(0)
    model = HiCroPL.of({**SMALL, **settings}).on(clip_model, names, dataset="EuroSAT")
    with torch.no_grad():
        for one in model.prompt_learner.parameters():
            one.add_(0.1 * torch.randn_like(one))  # so that layers differ
    return model


def values(model):
    return {name: one.detach().clone() for name, one in model.prompt_learner.named_parameters()}


def same(mine, theirs):
    return all(torch.equal(one, theirs[name]) for name, one in mine.items())


def facts(names, images):
    tokens = torch.cat([clip.tokenize(f"a photo of a {name}.") for name in names]).long()
    return tokens, images, torch.arange(len(images)) % len(names)


@pytest.mark.parametrize("training", [True, False])
def test_written_flow_gives_the_prompts_as_they_stand_behind_it_a_gradient(training, clip_model, images):
    model = made(clip_model).train(training)
    learner, before = model.prompt_learner, values(model)
    text, vision = plain_hicropl.flown(before)
    standing = {**before, "ctx": text[0]}
    standing.update({f"cross_prompts_text.{at}": one for at, one in text.items() if at})
    standing.update({f"cross_prompts_visual.{at}": one for at, one in vision.items()})
    model.loss(images, torch.tensor([2, 0, 1])).backward()
    after = values(model)
    for name, one in standing.items():
        torch.testing.assert_close(after[name], one if training else before[name], atol=1e-6, rtol=1e-5)
    own = [name for name in before if name.startswith(("ctx", "cross_prompts_"))]
    leaves = {name: standing[name].clone().requires_grad_(True) for name in own}
    text = {at: leaves[f"cross_prompts_text.{at}" if at else "ctx"] for at in text}
    with pytest.MonkeyPatch.context() as patched:
        vision = {at: leaves[f"cross_prompts_visual.{at}"] for at in vision}
        patched.setattr(plain_hicropl, "flown", lambda _: (text, vision))
        labels = torch.tensor([2, 0, 1])
        expected = plain_hicropl.loss(clip_model, leaves, *facts(NAMES, images)[:2], labels, NAMES, 10.0)
    expected.backward()
    largest = max(one.grad.abs().max() for one in leaves.values())
    for name, one in learner.named_parameters():
        if name in leaves:
            assert (one.grad - leaves[name].grad).abs().max() <= 1e-4 * largest
        else:
            assert one.grad is None
    assert set(learner.trained()) == set(own)


@pytest.mark.parametrize("flow", ["written", "learned"])
def test_what_is_no_training_step_changes_nothing(flow, clip_model, images, tmp_path):
    model = made(clip_model, flow=flow, tests_write=flow == "written")
    before = values(model)
    with torch.no_grad():
        in_training = model.train()(images)
    model.eval()
    found = [model(images).detach() for _ in range(2)]
    with torch.no_grad(), model.unchanging():
        found += [model(images), model.of_features(model.encode_image(images)).logits]
    model.classifier()
    model.save(tmp_path / "prompts.pt")
    assert metadata_of(model, images_of(load_clip("glyph-clip", "cpu")[1]), "fp32")["image_passes"] == 2
    assert same(values(model), before)
    plain = plain_hicropl.logits(clip_model, before, *facts(NAMES, images)[:2], None)
    for one in (in_training, *found):
        torch.testing.assert_close(one, plain, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ExportedModel(model)(images)[1], plain.softmax(-1), atol=1e-4, rtol=1e-4)


def test_tests_write_where_their_counts_are_asked_for(clip_model, images):
    for asked in (True, False):
        model = made(clip_model, tests_write=asked).eval()
        before = values(model)
        with torch.no_grad(), model.unchanging(), model.prompt_learner.testing():
            first, second = model(images), model(images)
        assert same(values(model), before) is not asked
        assert torch.equal(first, second) is not asked
        assert bool(model.method.results.mark) is asked


def test_saved_and_loaded_it_has_its_sentences(clip_model, images, tmp_path):
    file = tmp_path / "sentences.json"
    file.write_text(json.dumps(sentences([*NAMES, "dog"])))
    model = made(clip_model, sentences=str(file)).eval()
    model.save(tmp_path / "prompts.pt")
    file.unlink()
    found = modprompt.load(tmp_path / "prompts.pt", clip_model)
    with torch.no_grad():
        assert torch.equal(found(images), model(images))
        others = found.with_classes(["dog", "x"])
        expected = plain_hicropl.features(
            clip_model, values(model), *facts(["dog", "x"], images)[:2], None, of_sentences(clip_model, ["dog", "x"])
        )
        torch.testing.assert_close(others.class_features(), expected[1], atol=1e-5, rtol=1e-4)
    with pytest.raises(UserError, match=r"contains no phrases for 2 of 3 classes: 'bird', 'cow'"):
        found.with_classes(["bird", "dog", "cow"])


def of_sentences(clip_model, names):
    """Frozen class features, sentence after sentence."""
    found = []
    with torch.no_grad():
        for own in sentences(names).values():
            each = [clip_model.encode_text(clip.tokenize(text))[0] for text in own]
            mean = sum(one / one.norm() for one in each) / len(each)
            found.append(mean / mean.norm())
    return torch.stack(found)


def test_a_head_behind_it_takes_blended_features_and_its_training_writes_nothing(clip_model, images, tmp_path):
    model = made(clip_model)
    model.save(tmp_path / "prompts.pt")
    head = modprompt.TaskRes(prompts_from=str(tmp_path / "prompts.pt")).on(clip_model, NAMES, dataset="EuroSAT")
    head.train()
    head.loss(images, torch.tensor([0, 1, 2])).backward()
    assert same(values(head), values(model))
    with torch.no_grad():
        mine, behind = model.eval().output(images), head.eval().output(images)
    torch.testing.assert_close(behind.image, mine.image, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(behind.text, mine.text, atol=1e-6, rtol=1e-5)
    head.save(tmp_path / "head.pt")
    with torch.no_grad():
        assert torch.equal(modprompt.load(tmp_path / "head.pt", clip_model)(images), behind.logits)


@pytest.fixture
def teacher(monkeypatch):
    """Another CLIP, which TEACHER_NAME other names."""
    found = random_clip(5, vision_layers=2)
    loaded = []

    def load(name, device):
        loaded.append(name)
        return copy.deepcopy(found), None

    monkeypatch.setattr(hicropl, "load_clip", load)
    return found, loaded


@pytest.mark.slow
def test_image_features_of_another_clip_are_blended_in(teacher, clip_model, images, tmp_path):
    other, loaded = teacher
    model = made(clip_model, teacher_name="other").eval()
    with torch.no_grad():
        frozen = other.encode_image(images)
        expected = model.encode_image(images)
        raw = model._image_features(images, model.vision_prompts())
    blended = plain_hicropl.blended(raw, plain_neighbours.unit_rows(frozen))
    torch.testing.assert_close(expected, blended, atol=1e-5, rtol=1e-4)
    assert loaded == ["other"]
    assert not any("frozen" in name for name in model.saved_state())
    model.save(tmp_path / "prompts.pt")
    found = modprompt.load(tmp_path / "prompts.pt", clip_model)
    with torch.no_grad():
        assert torch.equal(found(images), model(images))
        other.visual.proj.add_(1)
    with pytest.raises(
        UserError, match="the fingerprint of the teacher .* is .*, but the fingerprint of the teacher in training was"
    ):
        modprompt.load(tmp_path / "prompts.pt", clip_model)
    own = made(clip_model)
    own.save(tmp_path / "own.pt")
    for file, name, said in (
        ("prompts.pt", "", "is that of the backbone, but the fingerprint of the teacher in training was \\w+"),
        ("own.pt", "other", r"is \S+, but the fingerprint of the teacher in training was that of the backbone"),
    ):
        with pytest.raises(UserError, match=said):
            with_prompts_of(made(clip_model, teacher_name=name), tmp_path / file)


def with_prompts_of(model, file):
    """A model with what a checkpoint has learned, as a run loads it."""
    model.load(checkpoint.read(file), str(file), made_with(model.method, of_clip(model.clip_model)))
    return model.eval()


def test_the_backbone_by_another_name_is_the_backbone(monkeypatch, clip_model, images, tmp_path):
    monkeypatch.setattr(hicropl, "load_clip", lambda name, device: (copy.deepcopy(clip_model), None))
    model = made(clip_model, teacher_name="another name of it").eval()
    assert model.frozen_encoder.visual is clip_model.visual
    assert not model.prompt_learner.teacher_fingerprint
    model.save(tmp_path / "prompts.pt")
    with torch.no_grad():
        assert torch.equal(with_prompts_of(made(clip_model), tmp_path / "prompts.pt")(images), model(images))


def test_runs_are_the_same_where_the_teacher_is_the_backbone_with_or_without_its_name():
    key, backbone = NODE + "TEACHER_NAME", {"MODEL.BACKBONE.NAME": "ViT-B/16"}
    for one, other, differ in (
        ({**backbone, key: "ViT-B/16"}, backbone, False),
        ({**backbone, key: ""}, {**backbone, key: "ViT-B/16"}, False),
        ({**backbone, key: "ViT-B/32"}, backbone, True),
        ({"MODEL.BACKBONE.PATH": "clip.pt", **backbone, key: "ViT-B/16"}, backbone, True),
    ):
        then, now = (by_own_clip(side, contents_named(HiCroPL)) for side in (one, other))
        assert bool(differing(then, now, defaults={key: ""})) is differ


def test_a_teacher_of_another_width_or_image_size_is_refused(monkeypatch, clip_model):
    wide = random_clip(1)
    wide.text_projection = torch.nn.Parameter(torch.zeros(64, 48))
    for other, said in ((wide, "feature width 48"), (random_clip(1, resolution=48), "image size 48")):
        monkeypatch.setattr(hicropl, "load_clip", lambda name, device, other=other: (other, None))
        with pytest.raises(UserError, match=f"TEACHER_NAME: .* has {said}"):
            made(clip_model, teacher_name="other")


def test_a_sentence_that_is_too_long_is_refused(clip_model, tmp_path):
    file = tmp_path / "sentences.json"
    file.write_text(json.dumps({"cat": ["a cat."], "x": ["x"], "golden retriever": ["long " * 99]}))
    with pytest.raises(UserError, match="The prompt of class 'golden r.* Shorten the class description"):
        made(clip_model, sentences=str(file))


def test_sentences_of_digits_are_in_the_package():
    found = Sentences.of("", "Digits", "HiCroPL").texts(CLASS_NAMES)
    assert all(len(set(own)) >= 4 for own in found)
    assert Sentences.of("digits", "", "HiCroPL").mark == Sentences.of("", "Mnist5k", "HiCroPL").mark


# ------------------------------------------------------------------ runs


@pytest.mark.slow
def test_a_stopped_run_does_not_go_on_with_other_sentences(words, tmp_path, capsys):
    run = half(words(4, 4, 2, "best_val"), "base", tmp_path / "out")
    with stopped_before(PromptTrainer, 1):
        assert train.main(run) == 130
    file = tmp_path / "sentences.json"
    file.write_text(file.read_text().replace("seen from", "looked at from"))
    assert "the sentences" in refusal(capsys, *run)


@pytest.mark.slow
def test_another_file_of_sentences_under_the_repositorys_name_is_another_run(words, tmp_path, monkeypatch, capsys):
    run = [*half(words(4, 4, 2, "last_step"), "base", tmp_path / "out"), "OPTIM.MAX_EPOCH", "1"]
    at = run.index(NODE + "SENTENCES")
    run = ["--once", *run[:at], *run[at + 2 :]]
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "gpt_file" / "eurosat_prompt.json"
    file.parent.mkdir()
    file.write_text(json.dumps(sentences()))
    assert train.main(run) == 0
    capsys.readouterr()
    assert train.main(run) == 0
    assert "This run is already finished: " in capsys.readouterr().out
    file.write_text(file.read_text().replace("seen from", "looked at from"))
    assert "contains a different finished run (the content of the class descriptions has changed)" in refusal(
        capsys, *run
    )
    file.unlink()
    assert "SENTENCES is empty, and the default file gpt_file/eurosat_prompt.json does not exist" in refusal(
        capsys, *run
    )


@pytest.mark.slow
def test_with_tests_that_write_the_size_of_their_batches_decides(words, tmp_path, capsys):
    run = [*half(words(4, 4, 2, "last_step"), "base", tmp_path / "out"), "OPTIM.MAX_EPOCH", "1"]
    for writes, said in (("False", "This run is already finished"), ("True", "DATALOADER.TEST.BATCH_SIZE")):
        own = ["--once", *run, NODE + "TESTS_WRITE", writes, "OUTPUT_DIR", str(tmp_path / writes)]
        assert train.main([*own, "DATALOADER.TEST.BATCH_SIZE", "5"]) == 0
        capsys.readouterr()
        train.main([*own, "DATALOADER.TEST.BATCH_SIZE", "6"])
        shown = capsys.readouterr()
        assert said in shown.out + shown.err
