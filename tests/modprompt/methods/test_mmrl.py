"""MMRL and MMRL++: the reference's own numbers, which logits count, what follows from the data set, and both forms of files."""

import csv
import json
import warnings
from pathlib import Path

import pytest
import torch

import modprompt
from modprompt import MMRL, MMRLpp, UserError
from modprompt.cli import train
from modprompt.methods.mmrl import logits_of_task
from modprompt.methods.parts.capabilities import RunFacts
from modprompt.methods.records import view_of
from modprompt.use.export_model import ExportedModel
from tests import plain_mmrl, plain_teachers
from tests.conftest import ROOT, bare, published, random_clip, slow_but
from tests.modprompt.methods.reference_runs import half
from tests.test_runs import result

NAMES = ["cat", "golden retriever", "x"]
SMALL = {"rep_layers": (2, 3), "rep_dim": 16, "n_rep_tokens": 2}
BOTH = [MMRL, MMRLpp]
GAP = ["N_REP_TOKENS", "3", "REP_DIM", "48"]

# What the repository (27d8821) says of two epochs in fp32 on a CPU, and its counts on base and on new classes. Without a
# card its .cuda() and .half() must do nothing, and clip._download give a file with `published(random_clip(1, ...))`:
#   python train.py --root DATA --seed 1 --trainer MMRL --config-file configs/trainers/MMRL/vit_b16.yaml
#     --dataset-config-file configs/datasets/eurosat.yaml --output-dir OUT USE_CUDA False TRAINER.MMRL.PREC fp32
#     INPUT.SIZE "(32, 32)" DATASET.NUM_SHOTS 4 DATALOADER.NUM_WORKERS 0 OPTIM.MAX_EPOCH 2 DATALOADER.TRAIN_X.BATCH_SIZE 4
#     DATASET.SUBSAMPLE_CLASSES base TASK B2N        and with --eval-only --model-dir OUT and SUBSAMPLE_CLASSES new
# with the trainer, config, layers of the CLIP, TASK and options below; OPTIM.WARMUP_EPOCH 0 behind TASK FS.
# DATA is write_eurosat's, with a split that a run of ours has made; losses are the values that backward() is called on.
RECORDED = json.loads(Path(__file__).with_name("golden_mmrl.json").read_text())
RUNS = {  # trainer, config, layers, TASK, options
    "mmrl, as published": ("MMRL", "vit_b16", 12, "B2N", []),
    "mmrl, a gap": (
        *("MMRL", "vit_b16_few_shot", 4, "FS"),
        ["REP_LAYERS", "[2, 4]", *GAP, "ALPHA", "0.6", "REG_WEIGHT", "0.5"],
    ),
    "mmrl, from the first layer": (
        *("MMRL", "vit_b16_cross_datasets", 4, "CD"),
        ["REP_LAYERS", "[1, 2, 3]", "REP_DIM", "48"],
    ),
    "mmrlpp, as published": ("MMRLpp", "vit_b16", 12, "B2N", []),
    "mmrlpp, a gap": (
        *("MMRLpp", "vit_b16_few_shot", 4, "FS"),
        [
            "REP_LAYERS",
            "[1, 3, 4]",
            *["BETA", "0.7", "PROJ_LORA_DIM", "8", "RES_LORA_DIM", "2", "REG_WEIGHT", "1"],
            *GAP,
        ],
    ),
}


@pytest.fixture
def images():
    return torch.randn(3, 3, 32, 32)


@pytest.fixture
def words(eurosat_root, tmp_path):
    """Words of a run as the repository's are, with its values for the data set."""

    def of(trainer, config, layers, task, options, *more):
        path = tmp_path / "weights.pt"
        if not path.exists():
            torch.save(published(random_clip(1, text_layers=layers, vision_layers=layers)), path)
        node = f"TRAINER.{trainer}."
        own = [word for key, value in zip(options[::2], options[1::2]) for word in (node + key, value)]
        return [
            *("--root", str(eurosat_root), "--seed", "1", "--trainer", trainer, "--output-dir", str(tmp_path / "out")),
            *("--config-file", str(ROOT / f"configs/trainers/{trainer}/{config}.yaml")),
            *("--dataset-config-file", str(ROOT / "configs/datasets/eurosat.yaml"), *more, *bare(path)),
            *(node + "PREC", "fp32", "INPUT.SIZE", "(32, 32)", "DATASET.NUM_SHOTS", "4", "DATALOADER.NUM_WORKERS", "0"),
            *("OPTIM.MAX_EPOCH", "2", "DATALOADER.TRAIN_X.BATCH_SIZE", "4", node + "PER_DATASET", "published"),
            *(node + "LITERAL_SCALE", "100"),  # which a config has for OpenAI's CLIPs alone
            *(*own, "TASK", task, "OPTIM.WARMUP_EPOCH", "0" if task == "FS" or task == "CD" else "1"),
        ]

    return of


@pytest.mark.parametrize("case", slow_but(RUNS, "mmrl, a gap", "mmrlpp, a gap"))
def test_losses_and_counts_are_the_references(case, words, tmp_path):
    run, expected = RUNS[case], RECORDED[case]
    assert train.main(half(words(*run), "base", tmp_path / "out")) == 0
    rows = list(csv.DictReader((tmp_path / "out" / "steps.csv").read_text().splitlines()))
    assert [float(row["loss"]) for row in rows] == pytest.approx(expected["losses"], abs=1e-4)
    assert train.main(half(words(*run), "new", tmp_path / "new", tmp_path / "out")) == 0
    found = [result(tmp_path / name) for name in ("out", "new")]
    assert [one["correct"] for one in found] == [expected["base"], expected["new"]]
    fused = {"B2N": ("fused", "class"), "FS": ("fused", "fused, by LOGITS fused (auto: class)")}
    assert tuple(one["logits"] for one in found) == fused.get(run[3], ("class, by LOGITS class (auto: fused)", "class"))


def made(cls, clip_model, names=NAMES, **settings):
    torch.manual_seed(0)
    model = cls(**{**SMALL, **settings}).on(clip_model, names, dataset="EuroSAT")
    with torch.no_grad():
        for one in model.prompt_learner.parameters():
            one.add_(0.1 * torch.randn_like(one))  # so that nothing is zero
    return model


def plain_params(model):
    return view_of(model.method, model.prompt_learner).state_dict(keep_vars=True)


def ids_of(names, template=plain_teachers.CENTERED):
    from clip import clip

    return torch.cat([clip.tokenize(template.format(name)) for name in names]).long()


@pytest.mark.parametrize("cls", BOTH)
def test_logits_are_fused_for_the_classes_of_the_training_alone(cls, clip_model, images):
    model = made(cls, clip_model).eval()
    beta = getattr(model.method, "beta", 1.0)
    others = model.with_classes(["dog", "bird"])
    for one in (model, others, others.with_classes(NAMES[::-1])):
        with torch.no_grad():
            output = one.output(images)
            ids, params = ids_of(one.classes.names), plain_params(one)
            own, read, image, _ = plain_mmrl.each(clip_model, params, ids, images, (2, 3), beta)
        fused = set(one.classes.names) == set(NAMES)
        torch.testing.assert_close(output.logits, 0.7 * own + 0.3 * read if fused else own, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(output.image, image, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(ExportedModel(one)(images)[1], output.logits.softmax(-1), atol=1e-6, rtol=1e-5)
        assert (one.said_of(one.classes.names) == "") == fused
    assert "not the classes of the training" in others.said_of(others.classes.names)


@pytest.mark.parametrize(
    ("rule", "counts"), [("auto", ("fused", "class")), ("fused", ("fused",) * 2), ("class", ("class",) * 2)]
)
def test_logits_can_be_set(rule, counts, clip_model, images):
    model = made(MMRL, clip_model, logits=rule).eval()
    with torch.no_grad():
        for one, what in zip((model, model.with_classes(["dog"])), counts):
            own, read = one.output(images).each
            expected = 0.7 * own + 0.3 * read if what == "fused" else own
            assert torch.equal(one(images), expected)


def test_a_literal_takes_the_place_of_clips_scale(clip_model, images):
    own, literal = (made(MMRL, clip_model, literal_scale=scale).eval()(images) for scale in (0.0, 100.0))
    torch.testing.assert_close(literal, own * 100 / clip_model.logit_scale.exp(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("cls", BOTH)
def test_saved_and_loaded_it_knows_the_classes_of_its_training(cls, clip_model, images, tmp_path):
    model = made(cls, clip_model).eval()
    for one, name in ((model, "own.pt"), (model.with_classes(["dog", "bird"]), "others.pt")):
        one.save(tmp_path / name)
        found = modprompt.load(tmp_path / name, clip_model)
        with torch.no_grad():
            assert torch.equal(found(images), one(images))
        assert found.prompt_learner.trained_on == tuple(NAMES)
    back = modprompt.load(tmp_path / "others.pt", clip_model).with_classes(NAMES)
    with torch.no_grad():
        assert torch.equal(back(images), model(images))


@pytest.mark.slow
def test_a_seed_behind_the_loading_of_clip_is_the_users(tmp_path):
    path = tmp_path / "clip.pt"
    torch.save(published(random_clip(1)), path)
    clip_model, _ = modprompt.load_clip(path, device="cpu", activation="quick_gelu", heads=(1, 2))
    found = []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        found.append(MMRL(**SMALL).on(clip_model, NAMES).prompt_learner.proj_rep.detach())
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[1])


def the_references(model, path, classes=37):
    """A file as the repository writes it: all of CLIP, and the embedded prompts of its classes."""
    state = {key: one.detach().clone() for key, one in plain_params(model).items()}
    clip_model = model.clip_model
    state.update({f"image_encoder.{key}": value for key, value in clip_model.visual.state_dict().items()})
    state.update({f"text_encoder.transformer.{key}": one for key, one in clip_model.transformer.state_dict().items()})
    state["prompt_embeddings"] = torch.zeros(classes, 77, 64)
    torch.save({"state_dict": state, "epoch": 10}, path)


@pytest.mark.parametrize("cls", BOTH)
def test_the_width_of_the_tokens_is_the_files(cls, clip_model, images, tmp_path):
    model = made(cls, clip_model).eval()
    the_references(model, tmp_path / "model.pth.tar-10")
    method = cls(rep_layers=(2, 3), n_rep_tokens=2)
    with pytest.warns(UserWarning, match="REP_DIM is 16 in the checkpoint, but 512 in this configuration"):
        found = modprompt.load(tmp_path / "model.pth.tar-10", clip_model, method=method, names=NAMES)
    with torch.no_grad():
        assert torch.equal(found.with_classes(NAMES, dataset="EuroSAT")(images), model(images))


@pytest.mark.slow
def test_a_file_that_does_not_say_its_classes_has_no_fused_logits_in_a_run(words, tmp_path, capsys):
    run = ("MMRL", "vit_b16", 4, "", ["REP_LAYERS", "[2, 4]", "REP_DIM", "16"])
    assert train.main([*half(words(*run), "base", tmp_path / "out"), "OPTIM.MAX_EPOCH", "1"]) == 0
    (path,) = (tmp_path / "out" / MMRL.saved_as.folder).glob("model.pth.tar-*")
    content = torch.load(path, weights_only=True)
    del content["modprompt"]
    torch.save(content, path)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert train.main(half(words(*run), "base", tmp_path / "again", tmp_path / "out")) == 0
    assert "The checkpoint does not record its training classes" in capsys.readouterr().err
    assert result(tmp_path / "again")["logits"] == "class"
    assert train.main(half([*words(*run), "TASK", "B2N"], "base", tmp_path / "third", tmp_path / "out")) == 0
    assert result(tmp_path / "third")["correct"] == result(tmp_path / "out")["correct"]


@pytest.mark.slow
def test_the_target_of_a_cross_data_set_test_has_its_own_share_and_is_marked(words, tmp_path, capsys):
    run = ("MMRLpp", "vit_b16_cross_datasets", 4, "CD", ["REP_LAYERS", "[2, 4]", *GAP])
    assert train.main([*half(words(*run), "base", tmp_path / "out"), "OPTIM.MAX_EPOCH", "1"]) == 0
    assert result(tmp_path / "out")["selected_on_test"] == "logits by TASK CD"  # of a source that is not ImageNet
    new = half(words(*run), "new", tmp_path / "new", tmp_path / "out")
    assert train.main([*new, "TEST.KEEP_FEATURES", "True"]) == 0
    found = result(tmp_path / "new")
    capsys.readouterr()
    again = half(words(*run), "new", tmp_path / "again", tmp_path / "out")
    own = ["TRAINER.MMRLpp.TEST_BETA", "0", "TEST.FEATURES_OF", str(tmp_path / "new")]
    assert train.main([*again, *own]) == 0  # tokens are mixed otherwise, and so are features
    assert "all images are encoded again" in capsys.readouterr().out
    assert found["selected_on_test"] == "logits by TASK CD; tuned on test"
    assert (found["method"]["config"]["BETA"], found["method"]["config"]["TEST_BETA"]) == (0.9, 0.3)


def test_values_of_a_data_set_go_over_files_and_under_the_command_line(words, tmp_path, capsys):
    run = ("MMRL", "vit_b16", 4, "B2N", ["REP_LAYERS", "[2, 4]", "REP_DIM", "16"])
    assert train.main([*half(words(*run), "base", tmp_path / "out"), "OPTIM.MAX_EPOCH", "1"]) == 0
    assert "Settings of MMRL for the data set EuroSAT: TRAINER.MMRL.REG_WEIGHT 0.01\n" in capsys.readouterr().out
    config = result(tmp_path / "out")["method"]["config"]
    assert (config["REG_WEIGHT"], config["REP_DIM"], config["TASK"]) == (0.01, 16, "B2N")


@pytest.mark.parametrize(
    ("task", "facts", "found"),
    [
        ("B2N", RunFacts("EuroSAT", "base", True), "fused"),
        ("B2N", RunFacts("EuroSAT", "new", True), "class"),
        ("B2N", RunFacts("EuroSAT", "all", False), "class"),
        ("B2N", RunFacts("EuroSAT", "base", False), None),
        ("FS", RunFacts("EuroSAT", "all", True), "fused"),
        ("CD", RunFacts("ImageNetV2", "all", True), "class"),
        ("CD", RunFacts("ImageNet", "all", True), "fused"),
        ("", RunFacts("EuroSAT", "new", True), None),
    ],
)
def test_the_repositorys_rule(task, facts, found):
    assert logits_of_task(task, facts).get("LOGITS") == found


def test_tables_of_the_repository():
    assert MMRL.published_for("B2N", RunFacts("EuroSAT", "base", False)) == {"REG_WEIGHT": 0.01, "REP_DIM": 2048}
    assert MMRL.published_for("B2N", RunFacts("EuroSAT", "new", True)) == {"REG_WEIGHT": 0.01}
    assert MMRL.published_for("", RunFacts("OwnImages", "all", False)) == {}
    assert len(MMRL.published) == len(MMRLpp.published) == 11
    assert MMRLpp.published_for("FS", RunFacts("Food101", "all", False)) == {"BETA": 0.1, "REG_WEIGHT": 1.0}
    assert MMRLpp.published_for("CD", RunFacts("ImageNet", "all", False)) == {"BETA": 0.9, "REG_WEIGHT": 0.1}
    assert MMRLpp.published_for("CD", RunFacts("StanfordCars", "all", True)) == {"TEST_BETA": 0.3}
    assert MMRLpp.published_for("CD", RunFacts("StanfordCars", "all", False)) == {}


@pytest.mark.slow
def test_results_of_task_are_marked_where_its_rule_is_another_one(words, tmp_path):
    """Trained and tested on all classes: B2N takes the class token's logits there, which auto does not."""
    run = ("MMRL", "vit_b16", 4, "B2N", ["REP_LAYERS", "[2, 4]", "REP_DIM", "16"])
    assert train.main([*half(words(*run), "all", tmp_path / "out"), "OPTIM.MAX_EPOCH", "1"]) == 0
    assert result(tmp_path / "out")["selected_on_test"] == "logits by TASK B2N"
    run = (*run[:3], "FS", run[4])
    assert train.main([*half(words(*run), "all", tmp_path / "fused"), "OPTIM.MAX_EPOCH", "1"]) == 0
    assert "selected_on_test" not in result(tmp_path / "fused")


def test_a_share_of_the_test_does_not_learn(clip_model, images):
    model, other = (MMRLpp(**SMALL, beta=0.9, test_beta=test).on(clip_model, NAMES) for test in (0, 0.1))
    other.prompt_learner.load_state_dict(model.prompt_learner.state_dict())
    labels = torch.tensor([0, 1, 2])
    assert torch.equal(model.train().loss(images, labels), other.train().loss(images, labels))
    with torch.no_grad():
        assert not torch.allclose(model.eval()(images), other.eval()(images))


def test_a_data_set_without_values_is_said():
    with pytest.warns(
        UserWarning,
        match="Setting PER_DATASET to published has no effect, because the original code defines no values for Digits",
    ):
        MMRL.decides({"PER_DATASET": "published"}, RunFacts("Digits", "all", False))


def test_sides_of_unlike_depth_take_layers_of_the_shorter():
    clip_model = random_clip(0, text_layers=2, vision_layers=4)
    with pytest.raises(UserError, match=r"from 1 to 2, .* got \[2, 3\]"):
        MMRL(**SMALL).on(clip_model, NAMES)
    schedules = MMRL(**{**SMALL, "rep_layers": (1, 2)}).on(clip_model, NAMES).prompt_learner.schedules
    assert schedules.text == ((0, 2), (2, 2))
    assert schedules.vision == ((0, 2), (2, 2), (0, 0), (0, 0))


def test_words_are_the_data_sets_or_those_that_are_given(clip_model):
    model = made(MMRL, clip_model)
    assert model.prompt_learner.prompt_text.texts[1] == "a centered satellite photo of golden retriever."
    other = model.with_classes(["dog"], dataset="DescribableTextures")
    assert other.prompt_learner.prompt_text.texts == ["dog texture."]
    own = MMRL(template="a scan of {}.", **SMALL).on(clip_model, NAMES)
    assert own.with_classes(["dog"], dataset="OxfordPets").prompt_learner.prompt_text.texts == ["a scan of dog."]
