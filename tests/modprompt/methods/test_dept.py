"""DePT against its repository's numbers, which logits count, what it refuses, and files of both kinds."""

import json

import pytest
import torch

import modprompt
from modprompt import MPL, CoCoOp, CoOp, DePT, ExtrasLinearProbeCoOp, KgCoOp, MaPLe, PromptSRC, UserError
from modprompt.cli import train
from modprompt.methods.parts.learners import Classes, places
from modprompt.methods.parts.lr_schedule import build_lr_scheduler
from modprompt.use.export import metadata_of
from modprompt.use.export_model import ExportedModel
from modprompt.use.trained import images_of, open_trained
from tests.conftest import slow_but
from tests.modprompt.methods.reference_runs import require_recorded
from tests.recorder import Recorder
from tests.test_runs import to
from tests.test_train import refusal

BARE_HEAD = ("LINEAR_PROBE.WEIGHT", "0.4", "FILM.LINEAR_PROBE", "False", "LINEAR_PROBE.TEST_TIME_FUSION", "False")
SIMILARITY = ("LINEAR_PROBE.TYPE", "similarity")
CONFIGS = {  # the repository's, and the base's node in it
    "CoOp": ("vit_b16_ep10_bs4_lr35", "COOP"),
    "CoCoOp": ("vit_b16_c4_ep10_batch1_ctxv1", "COCOOP"),
    "KgCoOp": ("vit_b16_ep10_ctxv1_bs4_lr35", "COOP"),
    "MaPLe": ("vit_b16_c2_ep10_batch4_2ctx", "MAPLE"),
}
CASES = {  # the base, options below TRAINER
    "coop": ("CoOp", ()),
    "coop, words, a bare head": ("CoOp", ("COOP.CTX_INIT", "a photo of a", "COOP.N_CTX", "4", *BARE_HEAD)),
    "coop, similarity": ("CoOp", SIMILARITY),
    "cocoop": ("CoCoOp", ()),
    "cocoop, random, a bare head": ("CoCoOp", ("COCOOP.CTX_INIT", "", "COCOOP.N_CTX", "3", *BARE_HEAD)),
    "kgcoop": ("KgCoOp", ()),
    "kgcoop, a bare head": ("KgCoOp", ("COOP.W", "8.0", *BARE_HEAD)),
    "kgcoop, similarity": ("KgCoOp", SIMILARITY),
    "maple": ("MaPLe", ("MAPLE.PROMPT_DEPTH", "4")),
    "maple, a bare head": ("MaPLe", ("MAPLE.PROMPT_DEPTH", "2", "MAPLE.N_CTX", "3", *BARE_HEAD)),
    "maple, similarity": ("MaPLe", ("MAPLE.PROMPT_DEPTH", "4", *SIMILARITY)),
}


QUICK = ["coop", "cocoop, random, a bare head", "kgcoop, similarity"]  # each kind and way


@pytest.mark.parametrize("case", slow_but(CASES, *QUICK))
def test_every_loss_and_all_counts_are_the_repositorys(case, tmp_path, monkeypatch, capsys):
    base, options = CASES[case]
    (config, node), trainer = CONFIGS[base], f"ExtrasLinearProbe{base}"
    own = [word if at % 2 else f"TRAINER.{word}" for at, word in enumerate((f"{node}.PREC", "fp32", *options))]
    own += ["DATALOADER.TRAIN_X.BATCH_SIZE", "1"] if case == "cocoop" else []
    require_recorded("dept", case, base, trainer, f"{trainer}/{config}.yaml", own, tmp_path, monkeypatch)
    assert (
        "note: The logits are scaled cosine similarities only, because the DePT head was not trained on 5 of the 5"
        in capsys.readouterr().out
    )


NAMES = ["cat", "golden retriever", "x"]
BASES = {
    "CoOp": CoOp(n_ctx=2),
    "CoCoOp": CoCoOp(n_ctx=2),
    "KgCoOp": KgCoOp(n_ctx=2),
    "MaPLe": MaPLe(prompt_depth=2),
    "MPL": MPL(n_ctx=1, prompt_depth=2),
    "PromptSRC": PromptSRC(prompt_depth_text=2, prompt_depth_vision=2, gpa_std=0.0),
}
KINDS = [DePT(), DePT(type="similarity"), DePT(film=False, test_time_fusion=False)]


@pytest.fixture
def images():
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def spread(model):
    """The model in eval mode, its head learned a little."""
    with torch.no_grad():
        for one in model.prompt_learner.joint_head.parameters():
            one.add_(torch.randn_like(one), alpha=0.3)
    return model.eval()


@pytest.mark.parametrize(("base", "kind"), [*zip(BASES, KINDS * 2)], ids=repr)
def test_loss_files_and_classifiers_beside_every_base(base, kind, clip_model, images, tmp_path):
    model, labels = kind.over(BASES[base]).on(clip_model, NAMES), torch.tensor([0, 1, 1])
    plain = {name: one.clone() for name, one in model.prompt_learner.named_parameters()}
    model.loss(images, labels).backward()
    assert [name for name, one in model.prompt_learner.named_parameters() if one.grad is None] == []
    assert plain.keys() == dict(model.prompt_learner.named_parameters()).keys()
    spread(model)
    with torch.no_grad():
        found = model.output(images)
        cosines, own = found.each
        both = 0.3 * cosines + 0.7 * own if kind.test_time_fusion else own
        torch.testing.assert_close(found.logits, both)
        assert not torch.allclose(found.logits, cosines, atol=1e-2)
        if kind.type == "linear":
            head, (image, _) = model.prompt_learner.joint_head, found.raw
            film = dict(head.film_lp_img.named_parameters())
            image = image * film["scale"] + film["bias"] if film else image
            torch.testing.assert_close(own, head.linear_probe_proj(image))
        model.save(tmp_path / "saved.pt")
        assert torch.equal(modprompt.load(tmp_path / "saved.pt", clip_model)(images), model(images))
        if base != "CoCoOp":
            for one in (model, model.with_classes(["x", "cat"]), model.with_classes(["cat", "bird"])):
                torch.testing.assert_close(one.classifier()(one.encode_image(images)), one(images))


@pytest.mark.parametrize("base", ["CoCoOp", "MaPLe"])
def test_rows_go_by_name_and_cosines_stand_alone_where_one_lacks(base, clip_model, images, tmp_path):
    model = spread(DePT().over(BASES[base]).on(clip_model, NAMES))
    with torch.no_grad():
        some, new = model.with_classes(["x", "cat"]), model.with_classes(["cat", "bird"])
        torch.testing.assert_close(some(images), model(images)[:, [2, 0]])
        (alone,) = new.output(images).each
        assert torch.equal(new(images), alone)
        torch.testing.assert_close(alone[:, 0], model.output(images).each[0][:, 0])
        assert some.said_of(some.classes.names) == ""
        said = "The logits are scaled cosine similarities only, because the DePT head was not trained on 1 of the 2 classes."
        assert new.said_of(new.classes.names) == said
        assert (model.said_of_logits, new.said_of_logits) == ("0.3 cosine + 0.7 joint head", "cosine")
        new.save(tmp_path / "new.pt")  # with the rows of the training
        loaded = modprompt.load(tmp_path / "new.pt", clip_model)
        assert torch.equal(loaded(images), new(images))
        assert torch.equal(loaded.with_classes(NAMES)(images), model(images))
    with pytest.raises(UserError, match="DePT cannot be trained on a model that .with_classes returned"):
        some.loss(images, torch.tensor([0, 1, 1]))


def test_classes_of_one_name_are_told_apart_by_their_place_in_the_data_set():
    whole = Classes(("kite", "crane", "crane"), "ImageNet", (0, 0, 1))
    assert places(whole, whole) == [0, 1, 2]
    assert places(whole, Classes(("crane", "kite"), "ImageNetR", (1, 0))) == [2, 0]
    assert places(whole, Classes(("crane", "kite"), "ImageNetR", (0, 0))) == [1, 0]
    assert places(whole, Classes(("crane", "kite"), "Birds")) == [-1, 0]  # nobody knows which crane
    assert places(whole, Classes(("crane", "crane"), "Birds")) == [1, 2]
    base, new = Classes(("crane", "kite"), "ImageNet", (0, 0)), Classes(("crane", "kite"), "ImageNet", (1, 0))
    assert places(base, new) == [-1, 1]


def test_a_file_that_does_not_name_its_classes_is_fused_only_on_demand(clip_model, images, tmp_path):
    model = spread(ExtrasLinearProbeCoOp(n_ctx=2).on(clip_model, NAMES))
    model.save(tmp_path / "saved.pt")
    state = torch.load(tmp_path / "saved.pt", weights_only=True)["state_dict"]
    assert {
        "prompt_learner.ctx",
        *(f"film_lp_{side}.{part}" for side in ("img", "text") for part in ("scale", "bias")),
        *(f"linear_probe_proj.{part}" for part in ("weight", "bias")),
    } == set(state)
    frozen = {f"text_encoder.{name}": one for name, one in clip_model.transformer.state_dict().items()}
    tokens = {"prompt_learner.token_prefix": torch.zeros(3, 1, 64), "logit_scale": torch.zeros(())}
    torch.save({"state_dict": {**state, **frozen, **tokens}, "epoch": 10}, tmp_path / "theirs.pt")
    loaded = modprompt.load(tmp_path / "theirs.pt", clip_model, method=model.method, names=NAMES)
    with torch.no_grad():
        assert torch.equal(loaded(images), model(images))
    head = model.prompt_learner.joint_head
    with pytest.warns(UserWarning, match="the checkpoint does not record the classes of its DePT head"):
        head.learned_on(Classes(()))
    assert not head.knows
    head.demands = True
    head.learned_on(Classes(()))
    assert head.knows
    with pytest.raises(
        UserError, match="The DePT head in this file has 3 rows, but the file lists 2 classes, so the file is damaged"
    ):
        head.learned_on(Classes(("a", "b")))
    with pytest.raises(
        UserError,
        match=r"not trained on 1 of the 1 classes\. Use the classes with which the prompts were trained, or set TRAINER.DEPT.DEMAND_FUSION to False",
    ):
        model.with_classes(["bird"])


def test_its_other_terms_are_those_of_the_base(clip_model, images):
    """With w 0 the loss is the base's, whatever the head says; with w 1 all but its cross entropy stays."""
    labels, losses = torch.tensor([0, 1, 1]), {}
    for weight in (None, 0.0, 1.0):
        torch.manual_seed(0)
        base = KgCoOp(n_ctx=2, kg_weight=5.0)
        method = base if weight is None else DePT(weight=weight).over(base)
        model = method.on(clip_model, NAMES)
        losses[weight] = model.loss(images, labels)
        if weight is None:
            entropy = torch.nn.functional.cross_entropy(model(images), labels)
    assert losses[0.0] == losses[None]
    head = model.prompt_learner.joint_head
    found = model.output(images)
    own = head.loss(found.each[1], found.raw[1], labels)
    torch.testing.assert_close(losses[1.0], losses[None] - entropy + own)


def test_average_over_epochs_takes_the_head_in(clip_model):
    method = DePT().over(PromptSRC(prompt_depth_text=2, prompt_depth_vision=2, gpa_mean=1, gpa_std=1.0))
    model = method.on(clip_model, NAMES, epochs=2)
    weight = model.prompt_learner.joint_head.linear_probe_proj.weight
    with torch.no_grad():
        weight.fill_(1.0)
        assert not model.end_epoch()
        weight.fill_(2.0)
        assert model.end_epoch()
    assert 1 < weight[0, 0] < 2


@pytest.mark.slow
def test_the_head_has_a_rate_of_its_own_and_warms_up_with_the_rest(command, monkeypatch):
    seen = Recorder(monkeypatch)
    words = command("CoOp", "TRAINER.DEPT.ON", "True", "OPTIM.MAX_EPOCH", 2, "TRAINER.DEPT.LR_EXP", 4)
    assert train.main(["--no-train", *words]) == 0
    assert train.main(words) == 0
    trainer = seen.trainer
    prompts, head = trainer.optim.param_groups
    assert [one.shape for one in prompts["params"]] == [trainer.model.prompt_learner.ctx.shape]
    assert head["initial_lr"] == pytest.approx(4 * prompts["initial_lr"])
    sched = build_lr_scheduler(
        torch.optim.SGD([{"params": prompts["params"]}, {"params": head["params"], "lr": 0.04}], lr=0.01),
        trainer.cfg.OPTIM,
        alike=True,
    )
    assert sched.get_last_lr() == [1e-5, 1e-5]


def test_it_is_no_method_by_itself_nor_beside_a_search(clip_model):
    with pytest.raises(UserError, match="DePT cannot be used alone"):
        DePT().on(clip_model, NAMES)
    with pytest.raises(UserError, match="^ON does not work for a search"):
        DePT().over(modprompt.Search(remove=1, add=1).over(MPL(n_ctx=1, prompt_depth=2)))


@pytest.mark.slow
def test_tests_and_exported_files_say_which_logits_count(command, images, clip_file, tmp_path, capsys):
    words = command("ExtrasLinearProbeMaPLe", "TRAINER.MAPLE.PROMPT_DEPTH", 2, "OPTIM.MAX_EPOCH", 2)
    assert train.main(words) == 0
    whole = json.loads((tmp_path / "out/result.json").read_text())
    assert whole["logits"] == "0.3 cosine + 0.7 joint head"
    new = to([*words, "DATASET.SUBSAMPLE_CLASSES", "new"], tmp_path / "new")
    assert train.main(["--eval-only", "--model-dir", str(tmp_path / "out"), *new]) == 0
    assert (
        "note: The logits are scaled cosine similarities only, because the DePT head was not trained on 5 of the 5"
        in capsys.readouterr().out
    )
    assert json.loads((tmp_path / "new/result.json").read_text())["logits"] == "cosine"
    trained = open_trained(tmp_path / "out", clip=str(clip_file))
    facts = metadata_of(trained.model, images_of(trained.preprocess), "fp32")
    assert facts["logits"] == "0.3 cosine + 0.7 joint head"
    with torch.no_grad():
        torch.testing.assert_close(ExportedModel(trained.model)(images)[1], trained.model(images).softmax(-1))
    other = trained.model.with_classes([*trained.model.classes.names[:2], "lake"])
    assert metadata_of(other, images_of(trained.preprocess), "fp32")["logits"] == "cosine"


@pytest.mark.parametrize(("node", "key", "value"), [("DEPT", "WEIGHT", 0.1), ("CLIPLORA", "ALPHA", 5)])
@pytest.mark.slow
def test_a_test_by_other_settings_of_what_stands_beside_is_refused(node, key, value, command, tmp_path, capsys):
    """They decide logits, and no tensor shows them."""
    words = command("CoOp", f"TRAINER.{node}.ON", "True", "OPTIM.MAX_EPOCH", 1)
    assert train.main(words) == 0
    test = ["--eval-only", "--model-dir", str(tmp_path / "out"), *words]
    test[test.index("--output-dir") + 1] = str(tmp_path / "test")
    assert train.main([*test, f"TRAINER.{node}.{key}", str(value)]) == 2
    assert f"TRAINER.{node}.{key} (here {value}, but " in capsys.readouterr().err
    assert train.main(test) == 0


@pytest.mark.slow
def test_a_head_of_other_classes_is_not_trained_further(command, tmp_path, capsys):
    words = command("CoOp", "TRAINER.DEPT.ON", "True", "OPTIM.MAX_EPOCH", 1)
    assert train.main(words) == 0
    (path,) = (tmp_path / "out/prompt_learner").glob("model.pth.tar-*")
    more = [*words, "MODEL.INIT_WEIGHTS", str(path)]
    assert train.main(to(more, tmp_path / "same")) == 0
    new = to([*more, "DATASET.SUBSAMPLE_CLASSES", "new"], tmp_path / "new")
    assert "its joint head was trained on classes that differ from the classes of this run" in refusal(capsys, *new)
