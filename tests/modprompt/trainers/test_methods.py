"""What only some trainers have: kept words, contexts of single classes, averages, ResNets, precisions, refusals.

What all have is in tests/test_contract.py.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from modprompt.cli import train
from modprompt.engine import precision
from modprompt.io.run_files import path_of_test
from modprompt.methods.parts.templates import DIVERSE
from modprompt.methods.table import METHODS as TABLE
from modprompt.methods.table import row_of
from modprompt.trainers.prompt_trainer import PromptTrainer
from tests import plain_mpl
from tests import plain_neighbours as plain
from tests.conftest import RESNET_HEADS, bare
from tests.methods import HEADS, METHODS, PHRASES, SEARCHES, TAUGHT, words_of
from tests.recorder import Recorder
from tests.stopping import stopped_before
from tests.test_runs import to
from tests.test_train import refusal


def saved(folder, method, epoch=2):
    return torch.load(folder / method.folder / f"model.pth.tar-{epoch}", weights_only=True)


def with_settings(command, row, settings, *more):
    """Words of a run of a row with other settings of its node."""
    return command(METHODS[row], *words_of(METHODS[row].node, settings), *more)


@pytest.mark.filterwarnings("default::UserWarning")
def test_a_test_says_that_it_drops_the_class_tokens_of_the_family(command, tmp_path, capsys):
    method = METHODS["mpl"]
    assert train.main(command(method, "OPTIM.MAX_EPOCH", 1)) == 0
    (path,) = (tmp_path / "out" / method.folder).glob("model.pth.tar-*")
    state = torch.load(path, weights_only=True)["state_dict"]
    torch.save({"state_dict": {**state, "prompt_learner.token_suffix": torch.zeros(37, 75, 64)}, "epoch": 1}, path)
    words = to(command(method, "DATASET.SUBSAMPLE_CLASSES", "new"), tmp_path / "new")
    assert train.main(["--eval-only", "--model-dir", str(tmp_path / "out"), *words]) == 0
    assert "The class tokens of the 37 classes in" in capsys.readouterr().out


def test_checkpoints_with_deep_prompts_beside_a_bare_learner_load(command, tmp_path):
    method = METHODS["cocoop"]
    deep = ["TRAINER.COCOOP.SCHEDULE_TEXT", "[[0,3],[3,3],[0,1]]", "OPTIM.MAX_EPOCH", 1]
    assert train.main(command(method, *deep)) == 0
    assert train.main(["--eval-only", "--model-dir", str(tmp_path / "out"), *command(method, *deep)]) == 0


@pytest.mark.filterwarnings("default::UserWarning")
@pytest.mark.slow
def test_contexts_of_single_classes_are_not_tested_on_other_classes(command, tmp_path, capsys):
    method = METHODS["coop_middle_csc"]
    assert train.main(command(method, "OPTIM.MAX_EPOCH", 1)) == 0
    flags = ["--eval-only", "--model-dir", str(tmp_path / "out")]
    assert train.main([*flags, *command(method)]) == 0
    assert "(CSC)" not in capsys.readouterr().err
    words = [*flags, *command(method, "DATASET.SUBSAMPLE_CLASSES", "new")]  # as many, but others
    assert (
        "contains a separate context for each class (CSC), but these contexts were learned for other class names"
        in refusal(capsys, *words)
    )
    (path,) = (tmp_path / "out" / "prompt_learner").glob("model.pth.tar-*")
    content = torch.load(path, weights_only=True)
    del content["modprompt"]  # as the family has it
    torch.save(content, path)
    assert train.main(words) == 0
    assert "contains a context for each class (CSC), but does not record the classes" in capsys.readouterr().err


TEXT = {  # the settings that decide text, each with another value than those of tests/methods.py
    **dict.fromkeys(("CTX_INIT", "TEXT_CTX_INIT"), "a drawing of a"),
    **dict.fromkeys(("TEMPLATE", "TEACHER_TEMPLATE"), "a drawing of a {}."),
    **dict.fromkeys(("SENTENCES", "ASPATH", "AEPATH"), PHRASES),
    **{"PROMPT_TEMPLATE": "a drawing of X {}.", "CLASS_TOKEN_POSITION": "front", "ENSEMBLE": "selected"},
    **{"MEAN": "unit", "UNDERSCORES": "True"},
}
CHOICES = {"DPL": "custom", "TrainerSubnet": "ensemble", "KgCoOp": "True", "ProGrad": "True", "TCP": "True"}  # CTX_INIT
NOT_TEXT = (  # other texts and switches
    *("ALPHAS_SWAPPED", "ALPHA_DATA", "AS_PUBLISHED", "BEST_EPOCH_ON", "CHOOSE_ON", "CONSTRAINT", "CSC", "ENCODER"),
    *("DROPOUT_SHARED", "ENHANCED_BASE", "FLOW", "GRADIENT", "IMG_ALPHA_PATH", "INIT", "LATEST_BEST", "LN_MODALITY"),
    *("LOGITS", "MODAL", "ON", "ORDER", "PARAMS", "PER_DATASET", "PLACE_TEXT", "PLACE_VISION", "POSITION", "PUBLISHED"),
    *("PROMPTS_FROM", "SEARCH_HP", "SEARCH_ON", "TASK", "TEACHER_CKPT", "TEACHER_CONFIG", "TEACHER_NAME"),
    *("TEACHER_RESIZE", "TESTS_WRITE", "TXT_ALPHA_PATH"),
)


def text_settings():
    """(method of tests/methods.py, key) of each setting that decides text, for each method of the table."""
    rows = [*METHODS.values(), *SEARCHES.values(), *TAUGHT.values(), *HEADS.values()]
    rows.sort(key=lambda method: bool(method.more))
    by_name = {method.trainer: method for method in reversed(rows)}
    for row in TABLE:
        unsupported = ("ASPATH", "AEPATH") if row.beside else ()  # a joint head has one feature for each class
        for key in sorted({one.key for one in row.method().settings()} & {*TEXT}.difference(unsupported)):
            method = by_name.get(row.name) or by_name[row.of]
            options = {name: value for name, value in method.options.items() if name not in (key, "AEPATH")}
            marks = [] if key in ("SENTENCES", "MEAN") else [pytest.mark.slow]
            made = method._replace(trainer=row.name, options=options)
            yield pytest.param(made, key, id=f"{row.name}-{key}", marks=marks)


def test_every_text_and_switch_of_each_method_is_listed_here():
    keys = {one.key for row in TABLE for one in row.method().settings() if isinstance(one.default, (str, bool))}
    assert keys <= {*TEXT, *NOT_TEXT}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("method", "key"), [*text_settings()])
def test_a_test_never_uses_other_text_than_the_training(method, key, command, tmp_path, capsys):
    value = CHOICES.get(row_of(method.trainer).of or method.trainer, TEXT[key]) if key == "CTX_INIT" else TEXT[key]
    assert train.main(command(method, "OPTIM.MAX_EPOCH", 1, f"TRAINER.{method.node}.{key}", value)) == 0
    capsys.readouterr()
    flags = ["--eval-only", "--model-dir", str(tmp_path / "out")]
    test = [*flags, *to(command(method), tmp_path / "tested")]
    if train.main(test):
        assert re.search("in the (checkpoint|file)", capsys.readouterr().err)  # the error names the difference
        assert not any(one.kept for one in row_of(method.trainer).method.settings() if one.key == key)
        return
    trained, tested = (np.load(path_of_test(tmp_path / folder)) for folder in ("out", "tested"))
    for name in trained.files:
        np.testing.assert_array_equal(tested[name], trained[name], name)
    assert train.main(["--once", *test]) == 0
    assert "This run is already finished: " in capsys.readouterr().out


def kept():
    """(row, key) of the settings of which a test accepts only the checkpoint's value, one row a trainer."""
    first = {method.trainer: row for row, method in reversed(METHODS.items()) if not method.more}
    settings = ((row, one) for name, row in first.items() for one in row_of(name).method.settings())
    return [(row, one.key) for row, one in settings if one.kept and one.compared]


@pytest.mark.parametrize(("row", "key"), kept())
@pytest.mark.slow
def test_words_that_nothing_learns_over_are_the_checkpoints_in_a_test(row, key, command, tmp_path, capsys):
    words = "a drawing of a {}." if "{}" in str(METHODS[row].options.get(key, "{}")) else "a drawing of a"
    method = METHODS[row]._replace(options={one: text for one, text in METHODS[row].options.items() if one != key})
    own = (f"TRAINER.{method.node}.{key}", words)
    assert train.main(command(method, "OPTIM.MAX_EPOCH", 1, *own)) == 0
    trained = json.loads((tmp_path / "out" / "result.json").read_text())
    test = ["--eval-only", "--model-dir", str(tmp_path / "out"), *command(method)]
    test[test.index("--output-dir") + 1] = str(tmp_path / "tested")
    assert train.main(test) == 0
    assert f"Settings taken from the training run: {own[0]} {words}" in capsys.readouterr().out
    tested = json.loads((tmp_path / "tested" / "result.json").read_text())
    assert tested["method"]["settings"][key.lower()] == words
    assert tested["correct"] == trained["correct"]
    assert train.main([*test, *own]) == 0
    line = refusal(capsys, *test, own[0], "a photo of a {}.")
    assert (
        f"{own[0]} is 'a photo of a {{}}.', but the model in {tmp_path / 'out'} was trained with '{words}'. Remove"
        in line
    )


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
    assert "the method (here MAPLE, but MPL in the checkpoint)" in line

    source = to(command(METHODS["promptsrc"], "OPTIM.MAX_EPOCH", 1), tmp_path / "src")
    assert train.main(source) == 0
    test = to(command(METHODS["ivlp"]), tmp_path / "tested")
    assert train.main(["--eval-only", "--model-dir", str(tmp_path / "src"), *test]) == 0


def test_resuming_from_a_run_with_other_settings_is_refused(command, tmp_path, capsys):
    csc, plain = METHODS["coop_middle_csc"], METHODS["coop_end"]
    assert train.main(command(csc, "OPTIM.MAX_EPOCH", 1)) == 0
    words = to(command(plain), tmp_path / "second")
    line = refusal(capsys, "--resume", tmp_path / "out", *words)
    assert "does not fit this model" in line
    front = command(plain, "TRAINER.COOP.CLASS_TOKEN_POSITION", "front", "OPTIM.MAX_EPOCH", 1)
    same_shape = to(front, tmp_path / "front")
    assert train.main(same_shape) == 0
    line = refusal(capsys, "--resume", tmp_path / "front", *words)
    assert "TRAINER.COOP.CLASS_TOKEN_POSITION (here end, but front in the checkpoint)" in line


@pytest.mark.slow
def test_resuming_from_a_finished_run_goes_on_at_its_rate(command, tmp_path, capsys):
    method = METHODS["coop_end"]
    assert train.main(command(method, "OPTIM.MAX_EPOCH", 2)) == 0
    words = to(command(method, "OPTIM.MAX_EPOCH", 4), tmp_path / "second")
    capsys.readouterr()
    assert train.main(["--resume", str(tmp_path / "out"), *words]) == 0
    out = capsys.readouterr().out
    assert "The training continues after epoch 2 with a new optimizer." in out
    assert "epoch [3/4]" in out
    assert "epoch [2/4]" not in out
    whole = to(command(method, "OPTIM.MAX_EPOCH", 4), tmp_path / "whole")
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
    words = to(command(method, "OPTIM.MAX_EPOCH", 2), tmp_path / "second")
    line = refusal(capsys, "--resume", tmp_path / "out", *words)
    assert (
        "Cannot resume: a checkpoint does not store the average over epochs (GPA), so epoch 1 would be missing" in line
    )
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

    seen, make_method = Recorder(monkeypatch), PromptSRC.make_method

    def lacking(_, cfg):
        cfg.defrost()
        for key in ("LOGITS_LOSS_WEIGHT", "SCHEDULE_TEXT", "SCHEDULE_VISION"):
            del cfg.TRAINER.PROMPTSRC[key]
        return make_method(cfg)

    monkeypatch.setattr(PromptSRC, "make_method", classmethod(lacking))
    assert train.main(command(METHODS["promptsrc"], "OPTIM.MAX_EPOCH", 1)) == 0
    assert seen.trainer.method.weights() == (25, 10, 1)


@pytest.mark.filterwarnings("default::UserWarning")
@pytest.mark.slow
def test_average_that_is_not_tested_is_warned_of(command, capsys):
    words = command(METHODS["promptsrc"], "TEST.FINAL_MODEL", "best_val", "OPTIM.MAX_EPOCH", 1)
    assert train.main(words) == 0
    assert "the average over epochs (GPA) is not tested" in capsys.readouterr().err


BAD = [
    ("coop_end", {"CLASS_TOKEN_POSITION": "start"}, "TRAINER.COOP.CLASS_TOKEN_POSITION must be one of end, middle, front"),
    ("coop_end", {"N_CTX": 0}, "TRAINER.COOP.N_CTX must be at least 1, got 0"),
    ("coop_end", {"PREC": "fp8"}, "TRAINER.COOP.PREC must be one of fp16, fp32, amp, bf16, got 'fp8'"),
    ("coop_front_words", {"SCHEDULE_TEXT": "[[0,4],[4,4]]"}, "TRAINER.COOP.SCHEDULE_TEXT needs CLASS_TOKEN_POSITION end"),
    ("coop_end", {"N_CTX": 80}, "prompt of class 'Annual Crop Land' is longer than the maximum of 77 text tokens"),
    ("cocoop", {"N_CTX": -1}, "TRAINER.COCOOP.N_CTX must be at least 1, got -1"),
    ("maple", {"N_CTX": 4, "CTX_INIT": "a photo"}, "TRAINER.MAPLE.N_CTX must be at most 2, the number of tokens of CTX_INIT"),
    ("maple", {"SCHEDULE_VISION": "[[0,2],[3,1]]"}, "vision schedule, layer 1: the step removes 3 prompt tokens, but this layer has only 2"),
    ("ivlp", {"N_CTX_TEXT": 3, "CTX_INIT": "photo"}, "TRAINER.IVLP.N_CTX_TEXT must be at most 1"),
    ("ivlp", {"PROMPT_DEPTH_VISION": 5}, "TRAINER.IVLP.PROMPT_DEPTH_VISION must be from 1 to 4"),
    ("ivlp", {"N_CTX_VISION": 0}, "TRAINER.IVLP.N_CTX_VISION must be at least 1, got 0"),
    ("vpt", {"PROMPT_DEPTH_VISION": 0}, "TRAINER.VPT.PROMPT_DEPTH_VISION must be at least 1"),
    ("promptsrc", {"GPA_STD": -1}, "TRAINER.PROMPTSRC.GPA_STD must be a number from 0 up, got -1"),
    ("promptsrc", {"TEXT_LOSS_WEIGHT": -1}, "TRAINER.PROMPTSRC.TEXT_LOSS_WEIGHT must be a number from 0 up"),
    ("promptsrc", {"GPA_STD": "nan"}, "TRAINER.PROMPTSRC.GPA_STD must be a number from 0 up, got nan"),
    ("coop_end", {"SCHEDULE_TEXT": "[0,1]"}, "TRAINER.COOP.SCHEDULE_TEXT: text schedule, layer 0: expected a pair of non-negative whole numbers [remove, add]"),
    ("vpt", {"SCHEDULE_VISION": "[[0,4]]"}, "layer 0: the number of added tokens must be 2 (N_CTX_VISION), but is 4"),
    ("mpl", {"N_ADD_OP": 0}, "TRAINER.MPL.N_ADD_OP must be at least 1"),
    ("mpl", {"SCHEDULE_VISION": "[[0,2]]"}, "vision schedule, layer 0: the number of added tokens must be 1 (N_CTX), but is 2"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "settings", "message"), BAD, ids=[f"{case[0]}-{case[1]}" for case in BAD])
def test_bad_setting_is_named_with_what_is_allowed(row, settings, message, command, capsys):
    assert message in refusal(capsys, *with_settings(command, row, settings))


@pytest.mark.filterwarnings("default::UserWarning")
@pytest.mark.parametrize(
    ("row", "settings", "message"),
    [
        (
            "maple",
            {"N_CTX": 5},
            "CTX_INIT is ignored and the context starts from random vectors, because N_CTX is 5. Words can only initialize",
        ),
        (
            "coop_middle_csc",
            {"CTX_INIT": "a photo"},
            "TRAINER.COOP.CSC is not used, because CTX_INIT gives all classes the same",
        ),
        (
            "coop_front_words",
            {"N_CTX": 7},
            "TRAINER.COOP.N_CTX 7 is not used, because CTX_INIT sets the number of context tokens to 4, the number of its words",
        ),
        (
            "cocoop",
            {"CTX_INIT": "a photo"},
            "TRAINER.COCOOP.N_CTX 3 is not used, because CTX_INIT sets the number of context tokens to 2, the number of its words",
        ),
    ],
)
def test_setting_that_is_not_used_is_warned_of(row, settings, message, command, capsys):
    assert train.main(["--no-train", *with_settings(command, row, settings)]) == 0
    assert f"warning: {message}" in capsys.readouterr().err


def on_resnet(command, row, resnet_file, *more):
    size = ("INPUT.SIZE", "(64, 64)", "OPTIM.MAX_EPOCH", 1)
    return command(METHODS[row], *bare(resnet_file, RESNET_HEADS), *size, *more)


@pytest.mark.parametrize(
    ("row", "more"),
    [
        ("coop_middle_csc", ()),
        ("cocoop", ()),
        ("prograd", ()),
        ("tcp", ("TRAINER.TCP.LAYER", 1)),
        ("language_prompting", ("TRAINER.IVLP.PROMPT_DEPTH_TEXT", 2)),
        ("coop_lora", ("TRAINER.CLIPLORA.ENCODER", "text")),
    ],
)
def test_methods_of_the_text_side_run_on_a_resnet(row, more, command, resnet_file):
    assert train.main(on_resnet(command, row, resnet_file, *more)) == 0


@pytest.mark.parametrize(
    "row", ["mma", "mmrl", "hicropl", "maple", "vpt", "promptsrc", "dpl", "clip_lora", "mpl_adapters"]
)
def test_methods_of_the_image_side_are_refused_on_a_resnet(row, command, resnet_file, capsys):
    line = refusal(capsys, *on_resnet(command, row, resnet_file))
    name = Path(resnet_file).name
    assert f"{METHODS[row].trainer} adds prompts to a vision transformer, but {name} is a ResNet. Use ViT-B/16" in line


def test_batch_statistics_of_a_resnet_stay(command, resnet_file, monkeypatch):
    seen = Recorder(monkeypatch)
    assert train.main(on_resnet(command, "coop_end", resnet_file)) == 0
    stored = torch.load(resnet_file, weights_only=True)
    for name, value in seen.trainer.clip_model.visual.state_dict().items():
        torch.testing.assert_close(value, stored[f"visual.{name}"], atol=1e-3, rtol=1e-3)  # once half


@pytest.mark.slow
def test_self_regularised_mpl_is_mpl_with_promptsrcs_losses(command, monkeypatch):
    """Its loss minus the plain cross entropy is what the engine's regularisation gives, and it is not nothing."""
    seen, method = Recorder(monkeypatch), METHODS["mpl"]
    weights = {"TEXT_LOSS_WEIGHT": 25, "IMAGE_LOSS_WEIGHT": 10, "LOGITS_LOSS_WEIGHT": 1, "GPA_MEAN": 1, "GPA_STD": 2}
    assert train.main(with_settings(command, "mpl", weights)) == 0
    clip_model, tokens, lengths, names = seen.facts()
    images, labels, loss = seen.batches[0]
    logits = method.logits(clip_model, seen.start, tokens, images, lengths)
    with torch.no_grad():
        teacher = clip_model.encode_image(images)
        teacher = teacher / teacher.norm(dim=-1, keepdim=True)
        frozen = plain.mean_template_features(clip_model, names, DIVERSE)
        text = plain_mpl.text_features(clip_model, seen.start, tokens, n_ctx=1, depth=3)
        image = plain_mpl.image_features(clip_model, seen.start, images, n_add=2, n_rm=1, depth=3)
        text, image = (x / x.norm(dim=-1, keepdim=True) for x in (text, image))
        goal = torch.log_softmax(clip_model.logit_scale.exp() * teacher @ frozen.T, 1)
        expected = torch.nn.functional.cross_entropy(logits, labels)
        extra = 25 * (text - frozen).abs().mean() + 10 * (image - teacher).abs().mean()
        extra += (goal.exp() * (goal - torch.log_softmax(logits, 1))).sum() / logits.numel()
    assert extra > 0.1
    assert loss == pytest.approx((expected + extra).item(), abs=1e-4)


@pytest.mark.parametrize(("row", "prec"), [("cocoop", "amp"), ("maple", "fp16"), ("promptsrc", "bf16")])
def test_other_precisions_train_on_a_cpu(row, prec, command):
    assert train.main(with_settings(command, row, {"PREC": prec}, "OPTIM.MAX_EPOCH", 1)) == 0


@pytest.mark.slow
@pytest.mark.parametrize("row", ["mpl", "cocoop", "promptsrc", "coop_dept"])
def test_stopped_run_in_half_goes_on_to_the_same_prompts(row, command, tmp_path, monkeypatch):
    """With real half tensors: PREC fp16 means on the CPU what it means on a card."""
    resolve, as_on_a_card = precision.resolve, precision.Precision(True, None, False, "")
    monkeypatch.setattr(
        precision, "resolve", lambda prec, device: as_on_a_card if prec == "fp16" else resolve(prec, device)
    )
    words = with_settings(command, row, {"PREC": "fp16"}, "TEST.NO_TEST", "True", "DATASET.NUM_SHOTS", "2")
    with stopped_before(PromptTrainer, 1):
        assert train.main(words) == 130
    assert train.main(words) == 0
    assert train.main(to(words, tmp_path / "whole")) == 0
    resumed, whole = (saved(tmp_path / name, METHODS[row])["state_dict"] for name in ("out", "whole"))
    assert resumed.keys() == whole.keys()
    for name, value in whole.items():
        assert torch.equal(resumed[name], value), name
        assert resumed[name].dtype == value.dtype, name
    assert torch.float16 in {value.dtype for value in whole.values()}
