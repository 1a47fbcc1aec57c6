"""Every trainer that learns prompts, on the rows of tests/methods.py."""

import json
from pathlib import Path

import pytest
import torch

from modprompt import CLIPLoRA
from modprompt.cli import train
from modprompt.clip.tokenizers import ClipTokenizer
from modprompt.clip.tokens import readable
from modprompt.engine.schedule import Shape
from modprompt.methods.clip_lora import as_repository
from modprompt.methods.parts.templates import DIVERSE
from modprompt.methods.table import row_of
from tests import plain_neighbours as plain
from tests.conftest import RESNET_HEADS, bare, random_clip
from tests.methods import METHODS, some_slow
from tests.stopping import stopped_before
from tests.test_train import refusal

OF_TEMPLATES = ("MMRL", "MMRLpp")  # without a context
LOSSES = ("loss", "loss_train", "xe_loss")  # what logs call it


def saved(tmp_path, method, epoch=2):
    return torch.load(tmp_path / "out" / method.folder / f"model.pth.tar-{epoch}", weights_only=True)


def own_name(name):
    return name.removeprefix("prompt_learner.")


class Recorder:
    """What a training run saw: the trainer, its first parameters, and every batch with its loss."""

    def __init__(self, monkeypatch):
        from modprompt.trainers.prompt_trainer import PromptTrainer

        self.batches, self.trainer = [], None
        step = PromptTrainer.forward_backward

        def recorded(trainer, batch):
            if self.trainer is None:
                self.trainer = trainer
                (view,) = trainer._models.values()
                self.start = {own_name(key): value.detach().clone() for key, value in view.state_dict().items()}
            summary = step(trainer, batch)
            self.batches.append(
                (batch["img"].clone(), batch["label"].clone(), next(summary[key] for key in LOSSES if key in summary))
            )
            return summary

        monkeypatch.setattr(PromptTrainer, "forward_backward", recorded)

    def facts(self):
        """(clip_model, tokens, class-name lengths, class names) of the run."""
        from clip import clip

        names = [readable(name) for name in self.trainer.dm.dataset.classnames]
        texts = self.trainer.model.prompt_learner.prompt_text.texts
        tokens = torch.cat([clip.tokenize(text) for text in texts]).long()
        return self.trainer.clip_model, tokens, [len(ClipTokenizer().words(name)) for name in names], names


def descend(loss_of, start, batches, step=None):
    """SGD with momentum written out: two epochs at 1e-5 and 0.0035. Gives the parameters after each epoch."""
    params = {name: value.clone().requires_grad_(True) for name, value in start.items()}
    speed = {name: torch.zeros_like(value) for name, value in params.items()}
    after = []
    for number, (images, labels, seen) in enumerate(batches):
        if step is None:
            loss = loss_of(params, images, labels)
            gradients = torch.autograd.grad(loss, list(params.values()))
        else:
            loss, gradients = step(params, images, labels)
        assert seen == pytest.approx(loss.item(), abs=1e-4 if step is None else 1e-5), number
        with torch.no_grad():
            for (name, value), gradient in zip(params.items(), gradients):
                speed[name] = 0.9 * speed[name] + gradient + 5e-4 * value
                value -= (1e-5 if number < len(batches) // 2 else 0.0035) * speed[name]
        if number + 1 in (len(batches) // 2, len(batches)):
            after.append({name: value.detach().clone() for name, value in params.items()})
    return after


@pytest.mark.cover(3)
@pytest.mark.parametrize("row", some_slow(row for row in METHODS if row not in ("promptsrc", "clip_lora")))
def test_two_epochs_equal_the_plain_implementation(row, command, tmp_path, monkeypatch, capsys):
    method, seen = METHODS[row], Recorder(monkeypatch)
    assert train.main(command(method)) == 0
    assert f"Parameters to be updated: {method.parameters:,} in " in capsys.readouterr().out
    clip_model, tokens, lengths, names = seen.facts()

    def loss_of(params, images, labels):
        logits = method.logits(clip_model, params, tokens, images, lengths)
        return torch.nn.functional.cross_entropy(logits, labels)

    def step(params, images, labels):
        return method.step(clip_model, params, tokens, images, labels, lengths, names)

    *_, last = descend(loss_of, seen.start, seen.batches, method.step and step)
    state = saved(tmp_path, method)["state_dict"]
    assert {own_name(key) for key in state} == set(last)
    for key, value in state.items():
        assert key == own_name(key) or key.startswith(method.prefix)
        torch.testing.assert_close(value, last[own_name(key)], atol=1e-5, rtol=1e-4)


def test_promptsrc_equals_the_plain_losses_and_ends_with_the_average(command, tmp_path, monkeypatch, capsys):
    method, seen = METHODS["promptsrc"], Recorder(monkeypatch)
    assert train.main(command(method)) == 0
    out = capsys.readouterr().out
    assert f"Parameters to be updated: {method.parameters:,} in " in out
    assert "Using GPA model for final inference..." in out
    clip_model, tokens, lengths, names = seen.facts()
    with torch.no_grad():
        frozen_text = plain.mean_template_features(clip_model, names, DIVERSE)

    def loss_of(params, images, labels):
        return plain.promptsrc_loss(clip_model, params, tokens, images, labels, lengths, frozen_text, (25, 10, 1))

    first, second = descend(loss_of, seen.start, seen.batches)
    density = [torch.exp(torch.tensor(-0.5 * (epoch - 2.0) ** 2)) for epoch in (1, 2)]
    weights = [value / sum(density) for value in density]
    for key, value in saved(tmp_path, method)["state_dict"].items():
        expected = weights[0] * first[own_name(key)] + weights[1] * second[own_name(key)]
        torch.testing.assert_close(value, expected, atol=1e-5, rtol=1e-4)


def reference_checkpoint(path, state, method, clip_model, classes):
    """A file as the reference writes it: with class tokens, mostly with all of CLIP, and for PromptSRC with it twice."""
    state = dict(state)
    if method.node == "CLIPLORA":
        settings = CLIPLoRA(params="q v o", position="half-up")
        torch.save(as_repository(state, settings, settings.layers(Shape(4, 4))), path)
        return
    if method.node in OF_TEMPLATES:
        state["prompt_embeddings"] = torch.zeros(classes, 77, 64)
    elif method.node != "VPT":
        state[method.prefix + "token_prefix"] = torch.zeros(classes, 1, 64)
        state[method.prefix + "token_suffix"] = torch.zeros(classes, 70, 64)
    if method.prefix:
        state.update({f"image_encoder.{key}": value for key, value in clip_model.visual.state_dict().items()})
        state.update({f"text_encoder.transformer.{k}": v for k, v in clip_model.transformer.state_dict().items()})
        state["logit_scale"] = clip_model.logit_scale.detach()
    if method.node == "KGCOOP":
        state.update({"bias_vectors": torch.zeros(1, 512), "meta_net.linear1.weight": torch.zeros(512, 512)})
        state["meta_net.linear1.bias"] = torch.zeros(512)
    if method.node == "PROMPTSRC":
        inner = clip_model.visual.state_dict()
        state.update({f"prompt_learner.ZS_image_encoder.{key}": value for key, value in inner.items()})
    if method.trainer in ("DPL", "TrainerSubnet"):
        state.update({f"prompt_learner.ZS_image.{key}": value for key, value in clip_model.state_dict().items()})
        for side, width in (("img", 128), ("txt", 64)):
            names = [f"prompt_learner.ctx_{side}_lst.{layer}" for layer in range(4)]
            state.update({name: torch.empty(0, width) for name in names if name not in state})
    torch.save({"state_dict": state, "epoch": 2, "optimizer": None, "scheduler": None, "val_result": None}, path)


@pytest.mark.cover(2)
@pytest.mark.filterwarnings("default::UserWarning")
@pytest.mark.parametrize("row", some_slow())
def test_checkpoint_of_the_reference_is_evaluated_on_other_classes(row, command, tmp_path, capsys):
    method = METHODS[row]
    assert train.main(command(method)) == 0
    capsys.readouterr()
    state = saved(tmp_path, method)["state_dict"]
    results = []
    for folder in ("out", "published"):
        if folder == "published":
            (tmp_path / folder / method.folder).mkdir(parents=True)
            clip_model = random_clip(1, text_layers=4, vision_layers=4)
            path = tmp_path / folder / method.folder / "model.pth.tar-2"
            reference_checkpoint(path, state, method, clip_model, classes=37)
        words = command(method, "DATASET.SUBSAMPLE_CLASSES", "new")
        words[words.index("--output-dir") + 1] = str(tmp_path / f"new_{folder}")
        test = ["--eval-only", "--model-dir", str(tmp_path / folder), *words]
        if "csc" in row and folder == "out":  # it says whose classes its contexts are
            assert "were learned for other class names" in refusal(capsys, *test)
            continue
        assert train.main(test) == 0
        results.append(json.loads((tmp_path / f"new_{folder}" / "result.json").read_text())["accuracy_pct"])
    assert len(set(results)) == 1
    told = "Dropped the class tokens of 37 classes" in capsys.readouterr().out
    assert told == (method.node not in ("VPT", "CLIPLORA", *OF_TEMPLATES))


def test_checkpoints_with_deep_prompts_beside_a_bare_learner_load(command, tmp_path):
    method = METHODS["cocoop"]
    deep = ["TRAINER.COCOOP.SCHEDULE_TEXT", "[[0,3],[3,3],[0,1]]", "OPTIM.MAX_EPOCH", 1]
    assert train.main(command(method, *deep)) == 0
    assert train.main(["--eval-only", "--model-dir", str(tmp_path / "out"), *command(method, *deep)]) == 0


@pytest.mark.slow
@pytest.mark.filterwarnings("default::UserWarning")
def test_contexts_of_single_classes_are_not_tested_on_other_classes(command, tmp_path, capsys):
    method = METHODS["coop_middle_csc"]
    assert train.main(command(method, "OPTIM.MAX_EPOCH", 1)) == 0
    flags = ["--eval-only", "--model-dir", str(tmp_path / "out")]
    assert train.main([*flags, *command(method)]) == 0
    assert "(CSC)" not in capsys.readouterr().err
    words = [*flags, *command(method, "DATASET.SUBSAMPLE_CLASSES", "new")]  # as many, but others
    assert "the contexts of single classes (CSC) were learned for other class names" in refusal(capsys, *words)
    (path,) = (tmp_path / "out" / "prompt_learner").glob("model.pth.tar-*")
    content = torch.load(path, weights_only=True)
    del content["modprompt"]  # as the family has it
    torch.save(content, path)
    assert train.main(words) == 0
    assert "does not say for which classes its contexts (CSC) were learned" in capsys.readouterr().err


def kept():
    """(row, key) of the settings that a test takes from the checkpoint, one row a trainer."""
    first = {method.trainer: row for row, method in reversed(METHODS.items()) if not method.more}
    return [(row, one.key) for name, row in first.items() for one in row_of(name).method.settings() if one.kept]


@pytest.mark.parametrize(("row", "key"), kept())
def test_words_that_nothing_learns_over_are_the_checkpoints_in_a_test(row, key, command, tmp_path, capsys):
    words = "a drawing of a {}." if "{}" in str(METHODS[row].options.get(key, "{}")) else "a drawing of a"
    method = METHODS[row]._replace(options={one: text for one, text in METHODS[row].options.items() if one != key})
    own = (f"TRAINER.{method.node}.{key}", words)
    assert train.main(command(method, "OPTIM.MAX_EPOCH", 1, *own)) == 0
    trained = json.loads((tmp_path / "out" / "result.json").read_text())
    test = ["--eval-only", "--model-dir", str(tmp_path / "out"), *command(method)]
    test[test.index("--output-dir") + 1] = str(tmp_path / "tested")
    assert train.main(test) == 0
    assert f"As trained: {own[0]} {words}" in capsys.readouterr().out
    tested = json.loads((tmp_path / "tested" / "result.json").read_text())
    assert tested["method"]["settings"][key.lower()] == words
    assert tested["correct"] == trained["correct"]
    assert train.main([*test, *own]) == 0
    line = refusal(capsys, *test, own[0], "a photo of a {}.")
    assert f"{own[0]} is 'a photo of a {{}}.', but {tmp_path / 'out'} was trained with '{words}': leave it out" in line


def test_checkpoint_of_another_method_is_refused(command, tmp_path, capsys):
    """MPL and MaPLe of depth 1 have the same tensors; IVLP and PromptSRC are the same learner."""
    shallow = {"PROMPT_DEPTH": 1, "N_CTX": 2}
    words = {}
    for row in ("mpl", "maple"):
        method = METHODS[row]
        more = [word for key, value in shallow.items() for word in (f"TRAINER.{method.node}.{key}", value)]
        words[row] = command(method, *more, "OPTIM.MAX_EPOCH", 1)
    assert train.main(words["mpl"]) == 0
    line = refusal(capsys, "--eval-only", "--model-dir", tmp_path / "out", *words["maple"])
    assert "the method is MAPLE here and MPL in the file" in line

    source = command(METHODS["promptsrc"], "OPTIM.MAX_EPOCH", 1)
    source[source.index("--output-dir") + 1] = str(tmp_path / "src")
    assert train.main(source) == 0
    test = command(METHODS["ivlp"])
    test[test.index("--output-dir") + 1] = str(tmp_path / "tested")
    assert train.main(["--eval-only", "--model-dir", str(tmp_path / "src"), *test]) == 0


def test_resuming_from_a_run_with_other_settings_is_refused(command, tmp_path, capsys):
    csc, plain = METHODS["coop_middle_csc"], METHODS["coop_end"]
    assert train.main(command(csc, "OPTIM.MAX_EPOCH", 1)) == 0
    words = command(plain)
    words[words.index("--output-dir") + 1] = str(tmp_path / "second")
    line = refusal(capsys, "--resume", tmp_path / "out", *words)
    assert "does not fit this model" in line
    same_shape = command(plain, "TRAINER.COOP.CLASS_TOKEN_POSITION", "front", "OPTIM.MAX_EPOCH", 1)
    same_shape[same_shape.index("--output-dir") + 1] = str(tmp_path / "front")
    assert train.main(same_shape) == 0
    line = refusal(capsys, "--resume", tmp_path / "front", *words)
    assert "TRAINER.COOP.CLASS_TOKEN_POSITION is end here and front in the file" in line


@pytest.mark.slow
def test_resuming_from_a_finished_run_goes_on_at_its_rate(command, tmp_path, capsys):
    method = METHODS["coop_end"]
    assert train.main(command(method, "OPTIM.MAX_EPOCH", 2)) == 0
    words = command(method, "OPTIM.MAX_EPOCH", 4)
    words[words.index("--output-dir") + 1] = str(tmp_path / "second")
    capsys.readouterr()
    assert train.main(["--resume", str(tmp_path / "out"), *words]) == 0
    out = capsys.readouterr().out
    assert "going on after epoch 2, with a new optimiser" in out
    assert "epoch [3/4]" in out
    assert "epoch [2/4]" not in out
    whole = command(method, "OPTIM.MAX_EPOCH", 4)
    whole[whole.index("--output-dir") + 1] = str(tmp_path / "whole")
    assert train.main(whole) == 0
    rates = [
        [line.split(" lr ")[1].split()[0] for line in text.splitlines() if line.startswith("epoch [4/4]")]
        for text in (out, capsys.readouterr().out)
    ]
    assert rates[0] == rates[1]


@pytest.mark.slow
def test_average_cannot_go_on_from_a_checkpoint(command, tmp_path, capsys):
    method = METHODS["promptsrc"]
    assert train.main(command(method, "OPTIM.MAX_EPOCH", 1)) == 0
    words = command(method, "OPTIM.MAX_EPOCH", 2)
    words[words.index("--output-dir") + 1] = str(tmp_path / "second")
    line = refusal(capsys, "--resume", tmp_path / "out", *words)
    assert "the average over epochs (GPA) lacks epochs 1 to 1" in line
    assert not (tmp_path / "second" / method.folder).exists()


@pytest.mark.slow
def test_teachers_are_computed_for_training_alone(command, tmp_path, monkeypatch):
    from modprompt.methods.parts import groups

    calls, plainly = [], groups.mean_class_features
    monkeypatch.setattr(groups, "mean_class_features", lambda *a: calls.append(1) or plainly(*a))
    words = command(METHODS["promptsrc"], "OPTIM.MAX_EPOCH", 1)
    assert train.main(["--no-train", *words]) == 0
    assert calls == []
    assert train.main(words) == 0
    assert train.main(["--eval-only", "--model-dir", str(tmp_path / "out"), *words]) == 0
    assert calls == [1]


def test_nodes_that_lack_our_keys_have_our_defaults(command, monkeypatch):
    """As in a codebase that makes its own PROMPTSRC node, without a weight for the logits."""
    from trainers.promptsrc import PromptSRC

    seen, check = Recorder(monkeypatch), PromptSRC.check_cfg

    def lacking(self, cfg):
        cfg.defrost()
        for key in ("LOGITS_LOSS_WEIGHT", "SCHEDULE_TEXT", "SCHEDULE_VISION"):
            del cfg.TRAINER.PROMPTSRC[key]
        check(self, cfg)

    monkeypatch.setattr(PromptSRC, "check_cfg", lacking)
    assert train.main(command(METHODS["promptsrc"], "OPTIM.MAX_EPOCH", 1)) == 0
    assert seen.trainer.run.method.weights() == (25, 10, 1)


@pytest.mark.filterwarnings("default::UserWarning")
def test_average_that_is_not_tested_is_warned_of(command, capsys):
    words = command(METHODS["promptsrc"], "TEST.FINAL_MODEL", "best_val", "OPTIM.MAX_EPOCH", 1)
    assert train.main(words) == 0
    assert "the average over epochs (GPA) is not tested" in capsys.readouterr().err


BAD = [
    ("coop_end", {"CLASS_TOKEN_POSITION": "start"}, "TRAINER.COOP.CLASS_TOKEN_POSITION must be one of end, middle, front"),
    ("coop_end", {"N_CTX": 0}, "TRAINER.COOP.N_CTX must be at least 1, got 0"),
    ("coop_end", {"PREC": "fp8"}, "TRAINER.COOP.PREC must be one of fp16, fp32, amp, bf16, got 'fp8'"),
    ("coop_front_words", {"SCHEDULE_TEXT": "[[0,4],[4,4]]"}, "TRAINER.COOP.SCHEDULE_TEXT needs CLASS_TOKEN_POSITION end"),
    ("coop_end", {"N_CTX": 80}, "prompt of class 'Annual Crop Land' is longer than the model's 77 text tokens"),
    ("cocoop", {"N_CTX": -1}, "TRAINER.COCOOP.N_CTX must be at least 1, got -1"),
    ("maple", {"N_CTX": 4, "CTX_INIT": "a photo"}, "TRAINER.MAPLE.N_CTX must be at most 2, the number of tokens of CTX_INIT"),
    ("maple", {"PROMPT_DEPTH": 0}, "TRAINER.MAPLE.PROMPT_DEPTH must be from 1 to 4"),
    ("maple", {"SCHEDULE_VISION": "[[0,2],[3,1]]"}, "vision schedule, layer 1: removes 3 prompt tokens, but only 2"),
    ("ivlp", {"N_CTX_TEXT": 3, "CTX_INIT": "photo"}, "TRAINER.IVLP.N_CTX_TEXT must be at most 1"),
    ("ivlp", {"PROMPT_DEPTH_TEXT": 0}, "TRAINER.IVLP.PROMPT_DEPTH_TEXT must be from 1 to 4"),
    ("ivlp", {"PROMPT_DEPTH_VISION": 5}, "TRAINER.IVLP.PROMPT_DEPTH_VISION must be from 1 to 4"),
    ("ivlp", {"N_CTX_VISION": 0}, "TRAINER.IVLP.N_CTX_VISION must be at least 1, got 0"),
    ("vpt", {"PROMPT_DEPTH_VISION": 0}, "TRAINER.VPT.PROMPT_DEPTH_VISION must be at least 1"),
    ("promptsrc", {"GPA_STD": -1}, "TRAINER.PROMPTSRC.GPA_STD must be a number from 0 up, got -1"),
    ("promptsrc", {"TEXT_LOSS_WEIGHT": -1}, "TRAINER.PROMPTSRC.TEXT_LOSS_WEIGHT must be a number from 0 up"),
    ("promptsrc", {"GPA_STD": "nan"}, "TRAINER.PROMPTSRC.GPA_STD must be a number from 0 up, got nan"),
    ("coop_end", {"SCHEDULE_TEXT": "[0,1]"}, "TRAINER.COOP.SCHEDULE_TEXT: text schedule, layer 0: expected [remove, add]"),
    ("vpt", {"SCHEDULE_VISION": "[[0,4]]"}, "layer 0: must add N_CTX_VISION = 2 tokens, adds 4"),
    ("mpl", {"N_ADD_OP": 0}, "TRAINER.MPL.N_ADD_OP must be at least 1"),
    ("mpl", {"SCHEDULE_VISION": "[[0,2]]"}, "vision schedule, layer 0: must add N_CTX = 1 tokens, adds 2"),
]  # fmt: skip


@pytest.mark.cover(6)
@pytest.mark.parametrize(("row", "settings", "message"), BAD, ids=[f"{case[0]}-{case[1]}" for case in BAD])
def test_bad_setting_is_named_with_what_is_allowed(row, settings, message, command, capsys):
    method = METHODS[row]
    more = [word for key, value in settings.items() for word in (f"TRAINER.{method.node}.{key}", value)]
    assert message in refusal(capsys, *command(method, *more))


@pytest.mark.cover(2)
@pytest.mark.filterwarnings("default::UserWarning")
@pytest.mark.parametrize(
    ("row", "settings", "message"),
    [
        ("maple", {"N_CTX": 5}, "CTX_INIT is not used: N_CTX is 5, and only a context of at most 4 tokens"),
        ("coop_middle_csc", {"CTX_INIT": "a photo"}, "TRAINER.COOP.CSC is not used: CTX_INIT gives all classes one"),
        ("coop_front_words", {"N_CTX": 7}, "TRAINER.COOP.N_CTX 7 is not used: CTX_INIT has 4 words"),
        ("cocoop", {"CTX_INIT": "a photo"}, "TRAINER.COCOOP.N_CTX 3 is not used: CTX_INIT has 2 words"),
    ],
)
def test_setting_that_is_not_used_is_warned_of(row, settings, message, command, capsys):
    method = METHODS[row]
    more = [word for key, value in settings.items() for word in (f"TRAINER.{method.node}.{key}", value)]
    assert train.main(["--no-train", *command(method, *more)]) == 0
    assert f"warning: {message}" in capsys.readouterr().err


@pytest.mark.cover(2)
@pytest.mark.parametrize("row", some_slow())
def test_resnet_runs_text_side_methods_and_refuses_the_others(row, command, resnet_file, capsys):
    method = METHODS[row]
    depth = [
        word
        for key, layers in {"PROMPT_DEPTH_TEXT": 2, "LAYER": 1}.items()
        for word in (f"TRAINER.{method.node}.{key}", layers)
        if key in method.options
    ]
    words = command(method, *bare(resnet_file, RESNET_HEADS), "INPUT.SIZE", "(64, 64)", "OPTIM.MAX_EPOCH", 1, *depth)
    on_text = method.trainer in ("CoOp", "CoCoOp", "ALVLM", "KgCoOp", "ProGrad", "TCP")
    if (on_text and row not in ("coop_adapters", "coop_lora")) or row == "language_prompting":
        assert train.main(words) == 0
        return
    line = refusal(capsys, *words)
    assert f"{method.trainer} puts prompts into a vision transformer, but {Path(resnet_file).name} is a ResNet" in line
    if row in ("clip_lora", "coop_lora"):
        assert train.main([*words, "TRAINER.CLIPLORA.ENCODER", "text"]) == 0


def test_batch_statistics_of_a_resnet_stay(command, resnet_file, monkeypatch):
    seen = Recorder(monkeypatch)
    words = command(METHODS["coop_end"], *bare(resnet_file, RESNET_HEADS), "INPUT.SIZE", "(64, 64)")
    assert train.main(words) == 0
    stored = torch.load(resnet_file, weights_only=True)
    for name, value in seen.trainer.clip_model.visual.state_dict().items():
        torch.testing.assert_close(value, stored[f"visual.{name}"], atol=1e-3, rtol=1e-3)  # once half


SCHEDULES = [
    ("coop_end", {"SCHEDULE_TEXT": "[[0,4],[2,1],[0,0],[1,3]]"}, {"text": (4, 3, 3, 5)}),
    ("cocoop", {"SCHEDULE_TEXT": "[[0,3],[3,3]]"}, {"text": (3, 3, 3, 3)}),
    ("maple", {"SCHEDULE_VISION": "[[0,2],[1,4],[1,4]]"}, {"text": (2, 2, 2, 2), "vision": (2, 5, 8, 8)}),
    ("ivlp", {"SCHEDULE_TEXT": "[[0,2],[0,1]]", "SCHEDULE_VISION": "[[0,3],[1,2]]"}, {"text": (2, 3, 3, 3), "vision": (3, 4, 4, 4)}),
    ("vpt", {"SCHEDULE_VISION": "[[0,2],[1,2],[1,2]]"}, {"vision": (2, 3, 4, 4)}),
    ("promptsrc", {"SCHEDULE_VISION": "[[0,3],[1,2]]"}, {"text": (2, 2, 2, 2), "vision": (3, 4, 4, 4)}),
]  # fmt: skip


@pytest.mark.cover(2)
@pytest.mark.parametrize(("row", "settings", "counts"), SCHEDULES, ids=[case[0] for case in SCHEDULES])
def test_operations_of_mpl_run_in_every_method(row, settings, counts, command, monkeypatch):
    method, seen = METHODS[row], Recorder(monkeypatch)
    more = [word for key, value in settings.items() for word in (f"TRAINER.{method.node}.{key}", value)]
    assert train.main(command(method, "OPTIM.MAX_EPOCH", 1, *more)) == 0
    model = seen.trainer.model
    image, label, _ = seen.batches[0]
    for side, expected in counts.items():
        assert getattr(model.prompt_learner.schedules, side).counts == expected
    model.zero_grad(set_to_none=True)
    seen.trainer.model.objective.loss(model.output(image), image, label).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.prompt_learner.parameters())


@pytest.mark.slow
def test_regularised_run_that_was_stopped_goes_on_with_its_average(command, tmp_path, monkeypatch):
    from trainers.promptsrc import PromptSRC

    method = METHODS["promptsrc"]
    words = command(method, "OPTIM.MAX_EPOCH", 3)
    whole = [*words]
    whole[whole.index("--output-dir") + 1] = str(tmp_path / "whole")
    assert train.main(whole) == 0

    with stopped_before(PromptSRC, 2):
        assert train.main(words) == 130
    assert train.main(words) == 0
    one, two = (
        torch.load(tmp_path / name / method.folder / "model.pth.tar-3", weights_only=True)["state_dict"]
        for name in ("whole", "out")
    )
    assert all(torch.equal(value, two[key]) for key, value in one.items())


@pytest.mark.slow
def test_self_regularised_mpl_is_mpl_with_promptsrcs_losses(command, monkeypatch):
    """Its loss minus the plain cross entropy is what the engine's regularisation gives, and it is not nothing."""
    seen, method = Recorder(monkeypatch), METHODS["mpl"]
    weights = {"TEXT_LOSS_WEIGHT": 25, "IMAGE_LOSS_WEIGHT": 10, "LOGITS_LOSS_WEIGHT": 1, "GPA_MEAN": 1, "GPA_STD": 2}
    more = [word for key, value in weights.items() for word in (f"TRAINER.MPL.{key}", value)]
    assert train.main(command(method, *more)) == 0
    clip_model, tokens, lengths, names = seen.facts()
    images, labels, loss = seen.batches[0]
    logits = method.logits(clip_model, seen.start, tokens, images, lengths)
    with torch.no_grad():
        teacher = clip_model.encode_image(images)
        teacher = teacher / teacher.norm(dim=-1, keepdim=True)
        frozen = plain.mean_template_features(clip_model, names, DIVERSE)
        from tests import plain_mpl

        text = plain_mpl.text_features(clip_model, seen.start, tokens, n_ctx=1, depth=3)
        image = plain_mpl.image_features(clip_model, seen.start, images, n_add=2, n_rm=1, depth=3)
        text, image = (x / x.norm(dim=-1, keepdim=True) for x in (text, image))
        goal = torch.log_softmax(clip_model.logit_scale.exp() * teacher @ frozen.T, 1)
        expected = torch.nn.functional.cross_entropy(logits, labels)
        extra = 25 * (text - frozen).abs().mean() + 10 * (image - teacher).abs().mean()
        extra += (goal.exp() * (goal - torch.log_softmax(logits, 1))).sum() / logits.numel()
    assert extra > 0.1
    assert loss == pytest.approx((expected + extra).item(), abs=1e-4)


@pytest.mark.cover(2)
@pytest.mark.parametrize("precision", ["amp", "fp16", "bf16"])
@pytest.mark.parametrize("row", some_slow(["coop_end", "cocoop", "prograd", "maple", "ivlp", "vpt", "promptsrc"]))
def test_other_precisions_train_on_a_cpu(row, precision, command):
    method = METHODS[row]
    assert train.main(command(method, f"TRAINER.{method.node}.PREC", precision, "OPTIM.MAX_EPOCH", 1)) == 0
