"""PromptKD: the reference's own numbers, what a teacher must be, what its files hold, and which images are tested."""

import csv
import json
from pathlib import Path

import pytest
import torch
import yaml

import modprompt
from modprompt import PromptKD, UserError
from modprompt.cli import train
from modprompt.clip.facts import facts_of
from modprompt.clip.load import load_clip
from modprompt.methods.parts.learners import Classes
from modprompt.methods.parts.teachers import Teacher, TeacherLogits, read, renormalised
from modprompt.trainers.prompt_trainer import PromptTrainer
from modprompt.use.export_model import ExportedModel
from tests.conftest import RESNET_HEADS, ROOT, bare, published, random_clip, slow_but
from tests.methods import small
from tests.modprompt.methods.promptkd_inputs import (
    CASES,
    DEPTH,
    PLACES,
    SETTINGS,
    STUDENT,
    TEACHER,
    TEACHERS_CONFIG,
    inputs,
    teacher_checkpoint,
)
from tests.stopping import stopped_before
from tests.test_runs import result, to
from tests.test_train import refusal
from tests.tower_clips import PIXELS, tower_clip

# as promptkd_inputs says: losses of two epochs, right ones of a validation behind each and of the end, and the number that
# is drawn in front of the first step
RECORDED = json.loads(Path(__file__).with_name("golden_promptkd.json").read_text())
NAMES = ["cat", "golden retriever", "x"]
DEEP = "TRAINER:\n  PROMPTSRC:\n    PROMPT_DEPTH_VISION: 3\n    PROMPT_DEPTH_TEXT: 3\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What promptkd_inputs.inputs makes, and the config of the teacher, which has three layers."""
    folder = inputs(tmp_path_factory.mktemp("promptkd"))
    (folder / "teacher.yaml").write_text(DEEP)
    return folder


@pytest.fixture
def words(made, tmp_path, monkeypatch):
    """Words of a run as the repository's are, in a folder that has its teacher_model."""

    def of(case, *more):
        modal, config, options = CASES[case]
        node = "TRAINER.PROMPTKD."
        return [
            *("--root", str(made / "data"), "--seed", "1", "--trainer", "PromptKD"),
            *("--output-dir", str(tmp_path / "out")),
            *("--config-file", str(ROOT / f"configs/trainers/PromptKD/{config}.yaml")),
            *("--dataset-config-file", str(ROOT / "configs/datasets/eurosat.yaml")),
            *(*bare(made / "student.pt"), *SETTINGS, *options, "TRAINER.MODAL", modal, node + "PREC", "fp32"),
            *(node + "PROMPT_DEPTH_VISION", str(DEPTH[case]), node + "PROMPT_DEPTH_TEXT", str(DEPTH[case])),
            *(node + "TEACHER_NAME", str(made / "teacher"), node + "TEACHER_CONFIG", str(made / "teacher.yaml"), *more),
        ]

    monkeypatch.chdir(made)
    return of


PUBLISHED_CHOICE = ("TEST.FINAL_MODEL", "best_val", "TRAINER.PROMPTKD.CHOOSE_ON", "test")


@pytest.mark.parametrize("case", slow_but(RECORDED, "base2novel"))
def test_losses_draws_and_counts_are_the_references(case, words, tmp_path, monkeypatch):
    losses, counts, draw = RECORDED[case].values()
    tests, drawn = [], []
    test, step = PromptTrainer.test, PromptTrainer.forward_backward

    def tested(trainer, split=None):
        found = test(trainer, split)
        tests.append(round(found / 100 * (25 if case == "base2novel" else 50)))
        return found

    def stepped(trainer, batch):
        if not drawn:
            state = torch.get_rng_state()
            drawn.append(float(torch.rand(())))
            torch.set_rng_state(state)
        return step(trainer, batch)

    monkeypatch.setattr(PromptTrainer, "test", tested)
    monkeypatch.setattr(PromptTrainer, "forward_backward", stepped)
    assert train.main(words(case, *PUBLISHED_CHOICE)) == 0
    rows = list(csv.DictReader((tmp_path / "out" / "steps.csv").read_text().splitlines()))
    assert [float(row["loss"]) for row in rows] == pytest.approx(losses, abs=1e-4)
    assert drawn == [draw]
    found = result(tmp_path / "out")
    apart = found.get("halves_apart")
    assert (*tests[:2], tests[2] if apart is None else apart["new"]["correct"]) == tuple(counts)
    assert found["selected_on_test"] == "selected on test"
    assert found["selected_on"] == "test"
    assert ("new" in found["seen"]) == (case == "base2novel")


# ------------------------------ the run


@pytest.mark.slow
def test_a_run_tests_both_halves_each_among_its_own_and_says_what_it_saw(words, tmp_path):
    assert train.main(words("base2novel")) == 0
    found = result(tmp_path / "out")
    apart = found["halves_apart"]
    assert [apart[half]["images"] for half in ("base", "new")] == [25, 25]
    assert found["correct"] == sum(apart[half]["correct"] for half in ("base", "new"))
    assert found["seen"] == "unlabelled images and names of new classes seen"
    assert "selected_on_test" not in found
    assert found["method"]["the teacher"] != found["backbone_hash"]
    # the new classes alone, by their own rows, are answered as in the run
    more = ["--eval-only", "--model-dir", str(tmp_path / "out")]
    alone = [*more, *to(words("base2novel"), tmp_path / "new"), "DATASET.SUBSAMPLE_CLASSES", "new"]
    assert train.main(alone) == 0
    assert result(tmp_path / "new")["correct"] == apart["new"]["correct"]
    assert "halves_apart" not in result(tmp_path / "new")


@pytest.mark.slow
def test_best_val_without_a_name_is_by_validation_images_of_base_classes(words, tmp_path, capsys):
    assert train.main(words("base2novel", "TEST.FINAL_MODEL", "best_val")) == 0
    assert "* total: 10\n" in capsys.readouterr().out  # 2 of each of 5
    found = result(tmp_path / "out")
    assert (found["selected_on"], "selected_on_test" in found) == ("validation", False)
    assert found["labels_of_choice"] == 10


@pytest.mark.slow
def test_a_stopped_run_does_not_go_on_with_another_teacher(words, made, tmp_path, capsys):
    with stopped_before(PromptTrainer, 1):
        assert train.main(words("cross")) == 130
    content = torch.load(made / "teacher_model" / PLACES[1])
    content["state_dict"]["prompt_learner.ctx"] += 1
    torch.save(content, tmp_path / "other.tar")
    other = ("TRAINER.PROMPTKD.TEACHER_CKPT", str(tmp_path / "other.tar"))
    assert "the teacher's prompts" in refusal(capsys, *words("cross", *other))


@pytest.mark.filterwarnings("ignore:The weights of .* do not state")
@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["DATASET.SUBSAMPLE_CLASSES", "base"], "Set DATASET.SUBSAMPLE_CLASSES to all"),
        (["DATALOADER.TRAIN_X.BATCH_SIZE", "1"], "BATCH_SIZE must be at least 2"),
        (["TEST.OOD", "dtd"], "tests base and new classes separately"),
        (["TRAINER.PROMPTKD.CHOOSE_ON", "test"], "CHOOSE_ON test has no effect"),
        (
            ["TEST.SPLIT", "val", "TEST.FINAL_MODEL", "best_val"],
            "because the epoch would be selected on images of new classes",
        ),
        (["INPUT.PIXEL_MEAN", "[0.5, 0.5, 0.5]"], "Remove INPUT.PIXEL_MEAN"),
        (["INPUT.TRANSFORMS", "['random_flip']"], "must include 'normalize'"),
        (["TRAINER.PROMPTKD.TEACHER_CKPT", "nowhere.tar"], "TEACHER_CKPT"),
        (["TRAINER.PROMPTKD.TEACHER_CONFIG", ""], "The teacher (teacher_model"),
        (["TRAINER.PROMPTKD.CE_WEIGHT", "1.0"], "PromptKD does not use labels"),
        (["TRAINER.PROMPTKD.PROJECT_LAYER", "3"], "PROJECT_LAYER must be 2"),
    ],
)
def test_what_does_not_go_is_said_in_a_line(more, said, words, capsys):
    assert said in refusal(capsys, *words("base2novel", *more))


# ------------------------------ the teacher


@pytest.fixture
def student():
    return random_clip(1, **STUDENT)


def taught(made, **settings):
    place = made / "teacher_model" / PLACES[0]
    given = {"teacher_name": str(made / "teacher"), "teacher_ckpt": str(place), "kd_weight": 100.0}
    depths = {"prompt_depth_vision": 3, "prompt_depth_text": 3, "teacher_config": str(made / "teacher.yaml")}
    return PromptKD(**{**given, **depths, **settings})


@pytest.fixture
def images():
    return torch.randn(4, 3, 32, 32)


def written(made, tmp_path, change, depth=3):
    content = teacher_checkpoint(torch.load(made / "teacher" / "open_clip_pytorch_model.bin"), depth)
    change(content["state_dict"])
    torch.save(content, tmp_path / "teacher.tar")
    return str(tmp_path / "teacher.tar")


@pytest.mark.parametrize(
    "missing",
    [
        "prompt_learner.ctx",
        "image_encoder.transformer.resblocks.2.VPT_shallow",
        "text_encoder.transformer.resblocks.1.VPT_shallow",
        "image_encoder.conv1.weight",
        "logit_scale",
    ],
)
def test_a_tensor_that_lacks_is_refused(missing, made, student, tmp_path):
    path = written(made, tmp_path, lambda state: state.pop(missing))
    with pytest.raises(UserError) as caught:
        taught(made, teacher_ckpt=path).on(student, NAMES)
    assert "\n" not in str(caught.value)
    assert missing.removeprefix("prompt_learner.") in str(caught.value)


@pytest.mark.slow
def test_a_published_teacher_is_read_with_all_that_it_holds(student, images, tmp_path):
    """Of nine layers, with PromptSRC's frozen image side inside its learner."""
    clip_model = published(random_clip(2, **{**TEACHER, "text_layers": 9, "vision_layers": 9}))
    parts = {side: {**TEACHERS_CONFIG[side], "layers": 9} for side in ("vision_cfg", "text_cfg")}
    torch.save(clip_model, tmp_path / "open_clip_pytorch_model.bin")
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": {**TEACHERS_CONFIG, **parts}}))
    content = teacher_checkpoint(clip_model, depth=9)
    state = content["state_dict"]
    visual = {name[7:]: one for name, one in clip_model.items() if name.startswith("visual.")}
    state.update({f"prompt_learner.ZS_image_encoder.{name}": one for name, one in visual.items()})
    torch.save(content, tmp_path / "teacher.tar")
    depths = {"prompt_depth_vision": 3, "prompt_depth_text": 3}
    files = {"teacher_name": str(tmp_path), "teacher_ckpt": str(tmp_path / "teacher.tar")}
    model = PromptKD(**files, **depths).on(student, NAMES)
    learner = model.objective.terms[0].of.teacher.model.prompt_learner
    learned = {key: one for key, one in state.items() if key.endswith(("prompt_learner.ctx", ".VPT", ".VPT_shallow"))}
    assert len(learned) == 1 + 1 + 2 * 8
    mine = [one for one in learner.parameters() if one.numel()]
    assert len(mine) == len(learned)
    assert all(any(torch.equal(one, other) for other in mine if other.shape == one.shape) for one in learned.values())
    assert torch.isfinite(model.loss(images, torch.zeros(4).long()))


@pytest.mark.slow
def test_a_teacher_with_another_clip_inside_or_of_fewer_prompts_is_refused(made, student, tmp_path):
    def change(state):
        state["image_encoder.conv1.weight"] = state["image_encoder.conv1.weight"] + 1

    for changed, depth, said in (
        (change, 3, "was made with a different CLIP model"),
        (lambda state: None, 2, "is missing in the file"),
    ):
        path = written(made, tmp_path, changed, depth)
        with pytest.raises(UserError, match=said):
            taught(made, teacher_ckpt=path).on(student, NAMES)


def of_ones_own(kind, made, names):
    """A method on the teacher's CLIP, its prompts anywhere."""
    clip_model, _ = load_clip(made / "teacher", "cpu")
    model = small(kind, clip_model).on(clip_model, names)
    with torch.no_grad():
        for one in model.prompt_learner.parameters():
            one.add_(0.1 * torch.randn_like(one))
    return model.eval()


@pytest.mark.parametrize("kind", [modprompt.MPL, modprompt.CoOp])
@pytest.mark.slow
def test_ones_own_checkpoint_says_what_it_is(kind, made, student, images, tmp_path):
    own = of_ones_own(kind, made, NAMES[:2])
    own.save(tmp_path / "own.pt")
    expected = own.with_classes(NAMES)
    model = taught(made, teacher_ckpt=str(tmp_path / "own.pt"), teacher_config="").on(student, NAMES)
    torch.testing.assert_close(model.class_matrix(), expected.class_matrix())
    said = model.objective.terms[0].of.teacher.logits(images)
    torch.testing.assert_close(said, expected(images).detach(), atol=1e-5, rtol=1e-4)


def test_a_file_of_the_family_is_what_its_config_says(made, student, tmp_path):
    own = of_ones_own(modprompt.MPL, made, NAMES)
    torch.save({"state_dict": own.saved_state(), "epoch": 5}, tmp_path / "theirs.tar")
    config = {"TRAINER": {own.method.node_name(): {**own.method.as_config(), "PREC": "fp16"}}}
    (tmp_path / "theirs.yaml").write_text(yaml.safe_dump(config))
    files = {"teacher_ckpt": str(tmp_path / "theirs.tar"), "teacher_config": str(tmp_path / "theirs.yaml")}
    model = taught(made, **files).on(student, NAMES)
    torch.testing.assert_close(model.class_matrix(), own.class_matrix())


@pytest.mark.parametrize("text", ["- a list", "TRAINER: {IVLP: {}, MPL: {}}", "TRAINER: {IVLP: {N_CTX_TEXT: 0}}"])
def test_a_config_of_no_method_is_refused(text, made, student, tmp_path):
    (tmp_path / "odd.yaml").write_text(text)
    with pytest.raises(UserError, match="TEACHER_CONFIG"):
        taught(made, teacher_config=str(tmp_path / "odd.yaml")).on(student, NAMES)


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (modprompt.CoCoOp(), "CoCoOp .* cannot be a teacher, because the method has no class features"),
        (modprompt.CoOp(n_ctx=2, csc=True), "does not fit"),
    ],
)
@pytest.mark.slow
def test_what_gives_no_class_features_of_these_classes_is_no_teacher(method, said, made, student, tmp_path):
    method.on(load_clip(made / "teacher", "cpu")[0], NAMES[:2]).save(tmp_path / "own.pt")
    with pytest.raises(UserError, match=said):
        taught(made, teacher_ckpt=str(tmp_path / "own.pt")).on(student, NAMES)


def test_a_teacher_without_prompts_has_the_data_sets_template(made, student, images):
    model = taught(made, teacher_ckpt="none").on(student, NAMES, dataset="EuroSAT")
    plain = modprompt.ZeroshotCLIP().on(load_clip(made / "teacher", "cpu")[0], NAMES, dataset="EuroSAT").eval()
    torch.testing.assert_close(model.class_matrix(), plain.class_matrix())
    with torch.no_grad():
        torch.testing.assert_close(model.objective.terms[0].of.teacher.logits(images), plain(images))


def test_batch_statistics_are_those_of_the_mode(made, student, images):
    model = taught(made).on(student, NAMES)
    norm = model.prompt_learner.projection[1]
    model.train()(images)
    assert int(norm.num_batches_tracked) == 1
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(model(images)[:1], model(images[:1]))
    assert int(norm.num_batches_tracked) == 1
    with pytest.raises(UserError, match="The training batch has 1 image"):
        model.train()(images[:1])


@pytest.mark.slow
def test_the_teacher_computes_as_the_student_does_and_its_class_features_are_exact(made, student, images):
    model = taught(made).on(student, NAMES)
    exact = model.class_matrix()
    model.bfloat16()
    assert torch.isfinite(model.loss(images, torch.zeros(4).long()))
    teacher = model.objective.terms[0].of.teacher
    assert teacher.model.clip_model.dtype == torch.bfloat16
    assert teacher.teacher.clip_model.dtype == torch.float32
    assert torch.equal(teacher.class_features, exact)
    others = model.with_classes(["dog", "bird"])  # the teacher is at hand
    plain = taught(made).on(random_clip(1, **STUDENT), ["dog", "bird"])
    torch.testing.assert_close(others.class_matrix(), plain.class_matrix())


def test_in_half_precision_the_convolutions_alone_are_half(made, student):
    model = taught(made).on(student, NAMES).eval()
    raw, learner = torch.randn(4, 32), model.prompt_learner
    with torch.no_grad():
        exact = model.of_features(raw).logits
        learner.cast(torch.float16)
        half = {name for name, one in learner.state_dict().items() if one.dtype == torch.float16}
        assert half == {f"projection.{at}.{name}" for at in (0, 3) for name in ("weight", "bias")}
        logits = model._logits(raw.half(), learner.given_text).logits
    assert logits.dtype == torch.float16
    torch.testing.assert_close(logits.float(), exact, atol=0.2, rtol=0.02)


def test_towers_teach_without_prompts():
    clip_model = tower_clip("tower", "tower")
    student = modprompt.CoOp(n_ctx=2).on(random_clip(1, resolution=PIXELS), NAMES)
    teacher = Teacher(clip_model, modprompt.ZeroshotCLIP(), None, "", "", "")
    logits = TeacherLogits(teacher, Classes(tuple(NAMES)), student, resize=False)
    batch = torch.randn(4, 3, PIXELS, PIXELS)
    plain = modprompt.ZeroshotCLIP().on(clip_model, NAMES).eval()
    with torch.no_grad():
        torch.testing.assert_close(logits.logits(batch), plain(batch), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("resize", [False, True])
def test_another_size_is_resized_only_when_asked_for(resize, made):
    other = random_clip(1, **STUDENT, resolution=48)
    model = taught(made, teacher_resize=resize).on(other, NAMES)
    batch = torch.randn(4, 3, 48, 48)
    if not resize:
        with pytest.raises(UserError, match="TEACHER_RESIZE to True"):
            model.loss(batch, torch.zeros(4).long())
        return
    assert torch.isfinite(model.loss(batch, torch.zeros(4).long()))


def test_the_teacher_is_given_images_by_its_own_mean_and_std(made, student):
    teacher = read(str(made / "teacher"), "none", "").clip_model
    facts = {"student": ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7)), "teacher": ((0.4, 0.4, 0.5), (0.3, 0.2, 0.1))}
    for one, (mean, std) in zip((student, teacher), facts.values()):
        one.modprompt_facts = facts_of(one)._replace(mean=mean, std=std)
    pixels = torch.rand(2, 3, 32, 32)
    both = [[torch.tensor(numbers)[:, None, None] for numbers in pair] for pair in facts.values()]
    (mean, std), (own_mean, own_std) = both
    changed = renormalised(student, teacher)((pixels - mean) / std)
    torch.testing.assert_close(changed, (pixels - own_mean) / own_std, atol=1e-5, rtol=1e-5)


# ------------------------------ files


def test_saved_loaded_and_exported_without_the_teacher(made, student, images, tmp_path):
    model = taught(made).on(student, NAMES)
    model.train()(images)  # so that running statistics are others than at first
    model.eval().save(tmp_path / "saved.pt")
    back = modprompt.load(tmp_path / "saved.pt", student)
    with torch.no_grad():
        assert torch.equal(back(images), model(images))
        torch.testing.assert_close(back.with_classes(NAMES[::-1])(images), model(images).flip(1))
        features, shares = ExportedModel(back)(images)
        torch.testing.assert_close(features, model.output(images).image, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(shares, model(images).softmax(-1), atol=1e-6, rtol=1e-5)
        matrix = back.finished()
        own = matrix["logit_scale"] * features @ matrix["class_matrix"].T
        torch.testing.assert_close(own, model(images), atol=1e-4, rtol=1e-4)
        raw = back.encode_image(images).float()
        torch.testing.assert_close(back.classifier()(raw), model(images), atol=1e-4, rtol=1e-4)
    with pytest.raises(UserError, match="cannot be used with the class 'dog'"):
        back.with_classes(["dog", "cat"])
    with pytest.raises(UserError, match="does not contain the teacher"):
        back.loss(images, torch.zeros(4).long())


@pytest.mark.parametrize(
    "change", [lambda state: state.pop("class_features"), lambda state: state.update(class_features=torch.ones(2, 48))]
)
def test_a_file_without_a_row_for_each_class_is_damaged(change, made, student, tmp_path):
    taught(made).on(student, NAMES).save(tmp_path / "saved.pt")
    content = torch.load(tmp_path / "saved.pt")
    change(content["state_dict"])
    torch.save(content, tmp_path / "saved.pt")
    with pytest.raises(UserError, match="class_features"):
        modprompt.load(tmp_path / "saved.pt", student)


def test_the_repositorys_own_checkpoint_is_read(made, student, images, tmp_path):
    model = taught(made).on(student, NAMES).eval()
    state = {name: one for name, one in model.saved_state().items() if name != "class_features"}
    clip = {f"image_encoder.{name}": one for name, one in student.visual.state_dict().items()}
    state |= {**clip, "logit_scale": student.logit_scale}
    torch.save({"state_dict": state, "epoch": 20}, tmp_path / "theirs.pt")
    other = taught(made).on(student, NAMES)
    back = modprompt.load(tmp_path / "theirs.pt", student, method=other.method, names=NAMES)
    with torch.no_grad():
        torch.testing.assert_close(back(images), model(images))


def test_a_resnet_is_refused_as_a_student(made, resnet_file):
    resnet = load_clip(resnet_file, "cpu", activation="quick_gelu", heads=RESNET_HEADS)[0].float()
    with pytest.raises(UserError, match="is a ResNet"):
        taught(made).on(resnet, NAMES)


def test_key_that_taught_other_methods_is_refused(words, capsys):
    line = refusal(capsys, *words("base2novel"), "TRAINER.PROMPTKD.ON", "True")
    assert "command line: unknown setting 'TRAINER.PROMPTKD.ON'" in line
