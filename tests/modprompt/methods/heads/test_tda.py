"""TDA against its repository's answers and a plain form of it; orders, published settings, and what is refused."""

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms import Compose

import modprompt
from modprompt import TDA, CoCoOp, UserError
from modprompt.cli import active as rounds_command
from modprompt.cli import train
from modprompt.errors import SettingError
from modprompt.trainers import baseline
from modprompt.trainers.prompt_trainer import PromptTrainer
from modprompt.use.export import export
from modprompt.use.page import serve
from modprompt.use.trained import Trained
from tests.conftest import RESNET_HEADS
from tests.modprompt.methods.heads.golden import FEATURES, HERE, NAMES, SCALE, WIDTH
from tests.test_runs import to
from tests.test_train import refusal

# of golden_tda.json, which record_tda.py made
CASES = {"imagenet": TDA(), "eurosat": TDA(alpha=4.0, beta=8.0)}
SMALL = TDA(capacity=2, neg_capacity=1, alpha=3.0, beta=4.0, neg_alpha=0.5, neg_beta=2.0, mask=(0.1, 0.9))


def in_batches(head, image, text, size, scale=SCALE):
    """The answers of one test in batches; class features (C, D), or (N, C, D) of single images."""
    answer, each = head.begin(), text.split(size) if text.dim() == 3 else [text] * len(image)
    return torch.cat([answer(some, of_some, scale) for some, of_some in zip(image.split(size), each)])


@pytest.mark.parametrize("case", CASES)
def test_answers_are_the_repositorys_in_batches_of_any_size(case):
    expected = torch.tensor(json.loads((HERE / "golden_tda.json").read_text())[case])
    head = CASES[case].head(NAMES, WIDTH)
    for size in (1, 7, 100):
        found = in_batches(head, FEATURES["test"], head.pooled(FEATURES["text"]), size)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def plain(settings, image, text, scale):
    """The method written once more, image by image."""
    positive, negative, found = {}, {}, []
    image, text = F.normalize(image, dim=-1), F.normalize(text, dim=-1)
    for at, feature in enumerate(image):
        z = scale * (text[at] if text.dim() == 3 else text) @ feature
        p = z.softmax(0)
        label, h = int(z.argmax()), float(-(p * p.log()).sum())
        into = [(positive, settings.capacity)]
        if settings.entropy[0] < h / math.log2(len(z)) < settings.entropy[1]:
            into.append((negative, settings.neg_capacity))
        for cache, capacity in into:
            own = cache.setdefault(label, [])
            if len(own) < capacity or h < own[-1][0]:
                own[capacity - 1 :] = []
                own.append((h, feature, p))
                own.sort(key=lambda entry: entry[0])
        for label, own in positive.items():
            for _, key, _ in own:
                z[label] += settings.alpha * math.exp(-settings.beta * (1 - float(feature @ key)))
        for own in negative.values():
            for _, key, p in own:
                within = (p > settings.mask[0]) & (p < settings.mask[1])
                z -= settings.neg_alpha * math.exp(-settings.neg_beta * (1 - float(feature @ key))) * within
        found.append(z)
    return torch.stack(found)


@pytest.mark.parametrize("of_each", [False, True])
def test_answers_are_those_of_the_plain_form(of_each):
    torch.manual_seed(0)
    image, text = torch.randn(150, 16) + 0.5, torch.randn(*([150] if of_each else []), 12, 16)
    head, scale = SMALL.head([str(one) for one in range(12)], 16), torch.tensor(12.0)
    expected = plain(SMALL, image, text, scale)
    assert (expected.argmax(1) != plain(TDA(alpha=0.0, neg_alpha=0.0), image, text, scale).argmax(1)).any()
    for size in (1, 7, 100, 150):
        torch.testing.assert_close(in_batches(head, image, text, size, scale), expected, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(head(image, text, scale), expected, atol=1e-4, rtol=1e-5)  # nothing is left of a test


def test_it_runs_behind_prompts_of_each_image_and_on_a_resnet(clip_model, resnet_file, tmp_path):
    prompts = CoCoOp().on(clip_model, ["cat", "dog"]).eval()
    prompts.save(tmp_path / "cocoop.pt")
    resnet, _ = modprompt.load_clip(resnet_file, device="cpu", activation="quick_gelu", heads=RESNET_HEADS)
    for model, before in (
        (TDA(prompts_from=str(tmp_path / "cocoop.pt")).on(clip_model, ["cat", "dog"]), prompts),
        (TDA().on(resnet, ["cat", "dog"]), modprompt.ZeroshotCLIP().on(resnet, ["cat", "dog"])),
    ):
        size = model.clip_model.visual.input_resolution
        images, answer = torch.randn(5, 3, size, size), model.eval().begin()
        with torch.no_grad():
            found = torch.cat([answer(some).logits for some in images.split(2)])
            z = before(images)
            torch.testing.assert_close(found, model(images), atol=1e-4, rtol=1e-4)
        own = z.argmax(1, keepdim=True)
        assert ((found - z).gather(1, own) > 1).all()  # its own key adds ALPHA


def test_a_test_answers_in_the_order_asked_and_gives_the_lists(command, tmp_path, monkeypatch):
    batches, counted = [], PromptTrainer.counted
    monkeypatch.setattr(baseline, "line", lambda trainer: "")  # which tests zero-shot CLIP
    monkeypatch.setattr(
        PromptTrainer, "counted", lambda trainer, *batch: batches.append((trainer, *batch)) or counted(trainer, *batch)
    )
    said = {}
    for order in ("list", "seed"):
        words = to(command("TDA", "TRAINER.TDA.ORDER", order, "TRAINER.TDA.ORDERS", 2), tmp_path / order)
        words[words.index("--seed") + 1] = "7"
        batches.clear()
        assert train.main(words) == 0
        trainer, logits = batches[0][0], torch.cat([one[2] for one in batches])
        rows = torch.arange(20) if order == "list" else torch.from_numpy(np.random.default_rng(7).permutation(20))
        with torch.no_grad():  # all images at once, one test
            torch.testing.assert_close(logits[rows], trainer.model.of_features(trainer.tested_features[rows]).logits)
        said[order] = json.loads((tmp_path / order / "result.json").read_text())
        assert said[order]["in_orders"]["accuracies_pct"][0] == pytest.approx(said[order]["accuracy_pct"])
    assert [one["in_orders"]["orders"] for one in said.values()] == [[None, 1], [7, 8]]


@pytest.mark.filterwarnings("always:The prompts in:UserWarning")
def test_training_images_neither_warn_nor_make_a_run_stale(command, eurosat_root, tmp_path, capsys):
    assert train.main(to(command("CoOp", "TRAINER.COOP.N_CTX", 2, "OPTIM.MAX_EPOCH", 1), tmp_path / "front")) == 0
    more = ["TRAINER.TDA.PROMPTS_FROM", tmp_path / "front", "DATASET.NUM_SHOTS", -1]
    words = ["--once", *command("TDA", *more, "DATASET.SHOTS_BY_CLASS", tmp_path / "shots.csv")]
    names = [image[2] for image in json.loads(next(eurosat_root.rglob("split_zhou*")).read_text())["train"]]
    for shots in (2, 3):
        lines = [f"{name},{shots}" for name in dict.fromkeys(names)]
        (tmp_path / "shots.csv").write_text("\n".join(["class,shots", *lines]))
        assert train.main(words) == 0
    said = capsys.readouterr()
    assert "This run is already finished: " in said.out
    assert "trained on other images" not in said.err
    (tmp_path / "shots.csv").rename(tmp_path / "other.csv")
    assert train.main([word.replace("shots.csv", "other.csv") for word in words]) == 0
    assert "This run is already finished: " in capsys.readouterr().out


def test_published_values_are_the_repositorys_and_mark_the_result(command, tmp_path, capsys):
    words = command("TDA", "TRAINER.TDA.PUBLISHED", True)
    changed = refusal(capsys, *words, "TRAINER.TDA.BETA", 7.5)
    assert (
        "PUBLISHED True needs ALPHA 4 and BETA 8, the values of the original code for EuroSAT, got 4 and 7.5" in changed
    )
    assert train.main(words) == 0
    out = capsys.readouterr().out
    assert "Settings of TDA for the data set EuroSAT: TRAINER.TDA.ALPHA 4.0, TRAINER.TDA.BETA 8.0\n" in out
    assert "Images: 0 for training, " in out
    said = json.loads((tmp_path / "out/result.json").read_text())
    assert "not selected on validation images" in said["selected_on_test"]
    words = to(command("TDA", "TRAINER.TDA.PUBLISHED", True), tmp_path / "again")
    words[words.index("--dataset-config-file") + 1] = "digits"
    assert (
        "TRAINER.TDA.PUBLISHED True is not supported for Digits, because the original code has no ALPHA and BETA"
        in refusal(capsys, *words)
    )


def test_settings_that_do_not_fit_are_told():
    with pytest.raises(SettingError, match=r"ENTROPY must be two increasing numbers.*MASK must be"):
        TDA(entropy=(0.5, 0.2), mask=(0.1,))


def test_what_needs_answers_of_single_images_is_refused(command, clip_model, tmp_path, capsys):
    assert "TEST.OOD new is not supported by TDA, because its prediction for an image depends on" in refusal(
        capsys, *command("TDA", "TEST.OOD", "new")
    )
    rounds = command("TDA", "ACTIVE.ROUNDS", 2, "ACTIVE.METHOD", "badge")
    assert rounds_command.main([*map(str, rounds)]) == 2
    assert "ACTIVE.ROUNDS is 2, but TDA has no training" in capsys.readouterr().err
    trained = Trained(TDA().on(clip_model, ["cat", "dog"]), Compose([]), tmp_path / "tda.pt")
    to_a_file = lambda: export(trained, "onnx", tmp_path / "x.onnx")  # noqa: E731
    for ask in (to_a_file, lambda: serve(trained, 0, print), trained.model.classifier):
        with pytest.raises(
            UserError,
            match="is not supported by TDA, because its prediction for an image depends on the previous images",
        ):
            ask()
    assert not (tmp_path / "x.onnx").exists()
