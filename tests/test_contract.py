"""What every method keeps: each row of tests/methods.py is trained once, two epochs, and all is read from that training.

contract.json holds of each row the losses of its steps and the shapes of what its checkpoint has.
"""

import copy
import csv
import functools
import io
import json
import os
import pickle
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from filelock import FileLock
from PIL import Image

import modprompt
from modprompt import CLIPLoRA
from modprompt.cli import predict, train
from modprompt.engine.schedule import Shape
from modprompt.io.records import KEY
from modprompt.methods.clip_lora import as_repository
from modprompt.methods.table import METHODS as TABLE
from modprompt.trainers.prompt_trainer import PromptTrainer
from tests.conftest import EUROSAT_FOLDERS, ROOT, SAID, bare, bare_config, random_clip, slow_but, write_eurosat
from tests.methods import HEADS, METHODS, SEARCHES, TAUGHT
from tests.modprompt.trainers.test_clip_lora import draws_as_recorded
from tests.recorder import LOSSES, Recorder, own_name
from tests.stopping import stopped_before

# of every kind of learner and head: what the quick suite has of a test of each row
QUICK = ["coop_middle_csc", "coop_dept", "cocoop", "tcp", "mmrl", "mpl", "promptsrc", "dpl_search", "two_sfs"]
QUICK += ["clip_lora", "promptkd", "hicropl_written", "tip_adapter_f", "taskres", "tda"]
ROWS = {**METHODS, **SEARCHES, **TAUGHT, **HEADS}
GOLDEN = json.loads(Path(__file__).with_name("contract.json").read_text())
pytestmark = [
    pytest.mark.filterwarnings("ignore:OPTIM"),  # words for all trainers, also for those that do not read it
    pytest.mark.filterwarnings("ignore:The weights of .* do not state"),  # of a random CLIP
]


class Training(NamedTuple):
    """A row's training.

    out: the run's folder.
    printed: what it said.
    seen: of a Recorder (draws, start, batches, masks, rates), and the run's `texts` and class `names`, its last
        `logits` of its first images, what of the CLIP has changed (`changed`) and what had a gradient (`learned`).
    """

    out: Path
    printed: str
    seen: dict


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """This session's folder of trainings, with images and a CLIP; one for all workers of pytest."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "contract"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "lock"):
        if not (folder / "clip.pt").exists():
            write_eurosat(folder / "data")
            for trainer in {method.trainer for method in ROWS.values()}:
                (folder / f"{trainer}.yaml").write_text(bare_config(trainer))
            torch.save(random_clip(1, text_layers=4, vision_layers=4).state_dict(), folder / "clip.pt")
    return folder


def words_of(shared, method, out, *more):
    """Words of a run of a row on the base classes, into a folder."""
    return [
        *("--root", str(shared / "data"), "--seed", "1", "--trainer", method.trainer, "--output-dir", str(out)),
        *("--config-file", str(shared / f"{method.trainer}.yaml")),
        *("--dataset-config-file", str(ROOT / "configs/datasets/eurosat.yaml")),
        *(*bare(shared / "clip.pt"), "DATASET.NUM_SHOTS", "4", "DATASET.SUBSAMPLE_CLASSES", "base"),
        *(*method.words, *more),
    ]


@functools.cache
def clip_and_preprocess(shared):
    """Loaded once in a process, since nothing is done to a CLIP."""
    return modprompt.load_clip(shared / "clip.pt", device="cpu", **SAID)


def clip_of(shared):
    return clip_and_preprocess(shared)[0]


def recorded(shared, words, has_twin):
    """(what a training printed, what it saw: Training.seen)."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said):
        recorder = Recorder(patch)
        assert train.main(words) == 0
    trainer, stock = recorder.trainer, clip_of(shared).state_dict()
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = trainer.model.eval()(images)
    frozen = trainer.clip_model.state_dict()
    seen = {key: getattr(recorder, key) for key in ("draws", "start", "batches", "masks", "rates")}
    return said.getvalue(), {
        **{**seen, "names": list(trainer.dm.dataset.classnames), "images": images, "logits": logits},
        "texts": list(trainer.model.prompt_learner.prompt_text.texts) if has_twin else [],
        "changed": [name for name, value in stock.items() if not torch.equal(frozen[name], value)],
        "learned": [name for name, one in trainer.model.named_parameters() if one.grad is not None],
    }


@pytest.fixture
def trained(shared):
    """Gives the training of a row, which whoever asks first has run."""

    def of(row):
        folder = shared / row
        with FileLock(shared / f"{row}.lock"):
            if not (folder / "seen.pt").exists():
                printed, seen = recorded(shared, words_of(shared, ROWS[row], folder / "out"), ROWS[row].logits)
                (folder / "printed.txt").write_text(printed)
                torch.save(seen, folder / "seen.pt")
        seen = torch.load(folder / "seen.pt", weights_only=True)
        return Training(folder / "out", (folder / "printed.txt").read_text(), seen)

    return of


def checkpoint_of(out, row):
    (path,) = (out / ROWS[row].folder).glob("model.pth.tar-*")
    return torch.load(path, weights_only=True)


def losses_of(out):
    """Those of all steps, of which a cache that nothing trains has none."""
    if not (out / "steps.csv").exists():
        return []
    steps = csv.DictReader((out / "steps.csv").read_text().splitlines())
    return [float(next(step[key] for key in LOSSES if key in step)) for step in steps]


def result_of(out):
    return json.loads((out / "result.json").read_text())


def test_every_method_that_learns_has_a_row():
    """But those that are a method and a head beside it."""
    learning = {row.name for row in TABLE if row.kind != "zero-shot" and not row.beside}
    assert {method.trainer for method in ROWS.values()} == learning
    assert not GOLDEN.keys() - ROWS.keys()


@pytest.mark.parametrize("row", ROWS)
def test_losses_and_checkpoint_are_golden_and_the_clip_is_not_touched(row, trained):
    training, method = trained(row), ROWS[row]
    losses, state = losses_of(training.out), checkpoint_of(training.out, row)["state_dict"]
    entry = {"losses": losses, "tensors": {name: list(value.shape) for name, value in state.items()}}
    expected = GOLDEN.get(row, {"losses": [], "tensors": {}})  # of what learns nothing
    assert row in GOLDEN or entry == expected, f"a new row: write into contract.json\n{json.dumps({row: entry})}"
    first = 1 if row == "clip_lora" and not draws_as_recorded() else None  # masks count from the second step on
    assert len(losses) == len(expected["losses"])
    assert losses[:first] == pytest.approx(expected["losses"][:first], abs=1e-4)
    assert entry["tensors"] == expected["tensors"]
    if method.parameters and row not in SEARCHES:
        assert f"Parameters to be updated: {method.parameters:,} in " in training.printed
        assert result_of(training.out)["trained_parameters"] == method.parameters
    assert training.seen["changed"] == []
    assert all(name.startswith(("prompt_learner.", "head.")) for name in training.seen["learned"])


def plain_training(method, shared, seen):
    """The learner's parameters behind each of two epochs: SGD with momentum written out, at 1e-5 and 0.0035."""
    from clip import clip

    from modprompt.clip.tokenizers import ClipTokenizer
    from modprompt.clip.tokens import readable

    clip_model, names = clip_of(shared), [readable(name) for name in seen["names"]]
    tokens = torch.cat([clip.tokenize(text) for text in seen["texts"]]).long()
    lengths = [len(ClipTokenizer().words(name)) for name in names]
    params = {name: value.clone().requires_grad_(True) for name, value in seen["start"].items()}
    speed = {name: torch.zeros_like(value) for name, value in params.items()}
    half, epochs = len(seen["batches"]) // 2, []
    for number, (images, labels, loss_seen) in enumerate(seen["batches"]):
        if method.step:
            loss, gradients = method.step(clip_model, params, tokens, images, labels, lengths, names, **method.settings)
        else:
            logits = method.logits(clip_model, params, tokens, images, lengths, **method.settings)
            loss = torch.nn.functional.cross_entropy(logits, labels)
            gradients = torch.autograd.grad(loss, list(params.values()))
        assert loss_seen == pytest.approx(loss.item(), abs=1e-4), number
        with torch.no_grad():
            for (name, value), gradient in zip(params.items(), gradients):
                speed[name] = 0.9 * speed[name] + gradient + 5e-4 * value
                value -= (1e-5 if number < half else 0.0035) * speed[name]
        if number + 1 in (half, 2 * half):
            epochs.append({name: value.detach().clone() for name, value in params.items()})
    return epochs


@pytest.mark.parametrize("row", slow_but([row for row, method in METHODS.items() if method.logits], *QUICK))
def test_two_epochs_equal_the_plain_implementation(row, trained, shared):
    method, training = METHODS[row], trained(row)
    first, expected = plain_training(method, shared, training.seen)
    if row == "promptsrc":  # the average over epochs, around the second
        assert "Using GPA model for final inference..." in training.printed
        shares = torch.tensor([-0.5, 0.0]).softmax(0)
        expected = {name: shares[0] * first[name] + shares[1] * value for name, value in expected.items()}
    state = checkpoint_of(training.out, row)["state_dict"]
    assert {own_name(name) for name in state} == set(expected)
    for name, value in state.items():
        assert name == own_name(name) or name.startswith(method.prefix)
        torch.testing.assert_close(value, expected[own_name(name)], atol=1e-5, rtol=1e-4)


def plain_loop(shared, seen, method, cast=None):
    """A loop in Python over a run's batches: its model, and the losses."""
    torch.set_rng_state(seen["draws"])
    clip_model, _ = modprompt.load_clip(shared / "clip.pt", device="cpu", **SAID)  # which draws
    model = method.on(clip_model, seen["names"], dataset="EuroSAT", epochs=2)
    model = model if cast is None else model.to(cast)
    optimiser = torch.optim.SGD(model.prompt_learner.parameters(), lr=1, momentum=0.9, weight_decay=5e-4)
    half, losses = len(seen["batches"]) // 2, []
    for number, (images, labels, _) in enumerate(seen["batches"]):
        optimiser.param_groups[0]["lr"] = seen["rates"][number]
        if isinstance(method, (modprompt.CLIPLoRA, modprompt.LightRA)):  # their steps draw random numbers
            torch.set_rng_state(seen["masks"][number])
        loss = model.loss(images, labels)
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if (number + 1) % half == 0:
            assert model.end_epoch() == (number + 1 == 2 * half and method.training.averaging is not None)
    return model.eval(), losses


@pytest.mark.parametrize(
    ("row", "prec"),
    [("coop_middle_csc", ""), ("cocoop", ""), ("prograd", ""), ("promptsrc", ""), ("clip_lora", ""), ("mpl", "bf16")],
)
def test_a_loop_in_python_has_the_runs_numbers_to_the_last_digit(row, prec, trained, shared, tmp_path, capsys):
    out, _, seen = trained(row)
    method = modprompt.load(out, clip_of(shared)).method
    if prec:
        words = words_of(shared, ROWS[row], tmp_path / "out", f"TRAINER.{ROWS[row].node}.PREC", prec)
        _, seen = recorded(shared, words, has_twin=False)
    model, losses = plain_loop(shared, seen, method, torch.bfloat16 if prec else None)
    assert losses == [loss for *_, loss in seen["batches"]]
    with torch.no_grad():
        assert torch.equal(model(seen["images"]), seen["logits"])
    assert capsys.readouterr().out == ""  # a library does not print


def image_of(shared):
    return next((shared / "data/eurosat/2750" / EUROSAT_FOLDERS[0]).glob("*.jpg"))


@pytest.mark.parametrize("row", slow_but(ROWS, *QUICK))
def test_it_comes_back_in_python_saves_itself_and_answers(row, trained, shared, tmp_path, capsys):
    training = trained(row)
    images, clip_model, draws = training.seen["images"], clip_of(shared), torch.get_rng_state()
    model = modprompt.load(training.out, clip_model)
    assert torch.equal(torch.get_rng_state(), draws)
    model.save(tmp_path / "saved.pt")
    record = torch.load(tmp_path / "saved.pt", weights_only=True)[KEY]
    assert json.loads(json.dumps(record)) == record  # plain values
    assert list(model.classes.names) == record["classes"]["names"] == training.seen["names"]
    assert record["clip"]["fingerprint"] == clip_model.fingerprint
    with torch.no_grad():
        logits = model(images)
        torch.testing.assert_close(logits, training.seen["logits"], atol=1e-5, rtol=1e-5)
        for other in (
            modprompt.load(tmp_path / "saved.pt", clip_model),
            copy.deepcopy(model),
            pickle.loads(pickle.dumps(model)),
        ):
            assert other.method == model.method
            assert torch.equal(other(images), logits)

    asked = [str(training.out), str(image_of(shared)), "--clip", str(shared / "clip.pt"), "--top", "1"]
    assert predict.main(asked) == 0
    with torch.no_grad():
        shares = model(clip_and_preprocess(shared)[1](Image.open(image_of(shared)))[None]).softmax(-1)[0]
    name = model.classes.names[int(shares.argmax())]
    assert f": {name} {100 * shares.max():.1f}%\n" in capsys.readouterr().out


@pytest.mark.parametrize("row", slow_but([row for row in ROWS if row != "coop_middle_csc"], *QUICK))
def test_other_classes_are_tested_with_what_was_trained(row, trained, shared, tmp_path, monkeypatch):
    training, method, seen = trained(row), ROWS[row], []
    test = PromptTrainer.test
    monkeypatch.setattr(PromptTrainer, "test", lambda trainer, *args: seen.append(trainer) or test(trainer, *args))
    flags = ["--eval-only", "--model-dir", str(training.out)]
    assert train.main([*flags, *words_of(shared, method, tmp_path / "new", "DATASET.SUBSAMPLE_CLASSES", "new")]) == 0
    whole, tested = result_of(training.out), result_of(tmp_path / "new")
    assert tested.get("prompts_hash") == whole.get("prompts_hash")  # TDA learns nothing
    assert tested["images_hash"] != whole["images_hash"]
    assert (tested["evaluated"], tested["images"]) == (f"{training.out} epoch last", 20)
    names = list(seen[0].dm.dataset.classnames)
    assert not {*names} & {*training.seen["names"]}
    if row == "promptkd":  # whose teacher is not in the checkpoint
        return
    with torch.no_grad():
        other = modprompt.load(training.out, clip_of(shared)).with_classes(names, dataset="EuroSAT")
        images = training.seen["images"]
        torch.testing.assert_close(seen[0].model.eval()(images), other(images), atol=1e-5, rtol=1e-5)


def reference_state(state, method, clip_model):
    """A checkpoint as the reference writes it: with 37 class tokens, mostly all of CLIP, for PromptSRC and DPL twice."""
    if method.node == "CLIPLORA":
        settings = CLIPLoRA(params="q v o", position="half-up")
        return as_repository(state, settings, settings.layers(Shape(4, 4)))
    state, visual = dict(state), clip_model.visual.state_dict()
    if method.node in ("MMRL", "MMRLpp"):
        state["prompt_embeddings"] = torch.zeros(37, 77, 64)
    elif method.node != "VPT":
        state[method.prefix + "token_prefix"] = torch.zeros(37, 1, 64)
        state[method.prefix + "token_suffix"] = torch.zeros(37, 70, 64)
    if method.prefix:
        state.update({f"image_encoder.{name}": value for name, value in visual.items()})
        state.update({f"text_encoder.transformer.{k}": v for k, v in clip_model.transformer.state_dict().items()})
        state["logit_scale"] = clip_model.logit_scale.detach()
    if method.node == "KGCOOP":
        state.update({"bias_vectors": torch.zeros(1, 512), "meta_net.linear1.weight": torch.zeros(512, 512)})
        state["meta_net.linear1.bias"] = torch.zeros(512)
    if method.node == "PROMPTSRC":
        state.update({f"prompt_learner.ZS_image_encoder.{name}": value for name, value in visual.items()})
    if method.trainer in ("DPL", "TrainerSubnet"):
        state.update({f"prompt_learner.ZS_image.{name}": value for name, value in clip_model.state_dict().items()})
        for side, width in (("img", 128), ("txt", 64)):
            names = [f"prompt_learner.ctx_{side}_lst.{layer}" for layer in range(4)]
            state.update({name: torch.empty(0, width) for name in names if name not in state})
    return state


@pytest.mark.filterwarnings("ignore:.*does not record")
@pytest.mark.parametrize("row", slow_but(METHODS, *QUICK))
def test_checkpoint_of_the_reference_is_read(row, trained, shared, tmp_path):
    training, clip_model = trained(row), clip_of(shared)
    model = modprompt.load(training.out, clip_model)
    state = reference_state(checkpoint_of(training.out, row)["state_dict"], METHODS[row], clip_model)
    content = {"state_dict": state, "epoch": 2, "optimizer": None, "scheduler": None, "val_result": None}
    torch.save(content, tmp_path / "theirs.pt")
    theirs = modprompt.load(tmp_path / "theirs.pt", clip_model, method=model.method, names=model.classes.names)
    theirs = theirs if row == "coop_middle_csc" else theirs.with_classes(model.classes.names, dataset="EuroSAT")
    with torch.no_grad():
        torch.testing.assert_close(theirs(training.seen["images"]), training.seen["logits"], atol=1e-4, rtol=1e-4)


STOPPED = ["coop_dept", "cocoop", "mpl", "promptsrc", "tip_adapter_f"]  # a learner of every kind
# batch statistics, two optimisers, steps without epochs, written prompts, heads with a state of their own
WITH_MORE = [*TAUGHT, "dpl_search", "mpl_search", "clip_lora", "mpl_adapters", "lpplusplus", "adapter"]


@pytest.mark.parametrize("row", slow_but([*STOPPED, *WITH_MORE], "coop_dept", "mpl", "tip_adapter_f"))
def test_a_stopped_training_goes_on_to_the_same_numbers_and_is_finished(row, trained, shared, tmp_path, capsys):
    whole, words = trained(row), words_of(shared, ROWS[row], tmp_path / "out")
    with stopped_before(PromptTrainer, 1):
        assert train.main(words) == 130
    assert not (tmp_path / "out" / "result.json").exists()
    torch.manual_seed(77)
    assert train.main(words) == 0
    assert "Resuming after epoch 1" in capsys.readouterr().out
    assert train.main(words) == 0
    assert "is already finished" in capsys.readouterr().out
    state, expected = (checkpoint_of(out, row)["state_dict"] for out in (tmp_path / "out", whole.out))
    assert state.keys() == expected.keys()
    assert [name for name, value in expected.items() if not torch.equal(state[name], value)] == []
    results = [result_of(out) for out in (whole.out, tmp_path / "out")]
    for key in ("correct", "macro_f1_pct", "prompts_hash", "searched", "search", "selected_on", "selected_on_test"):
        assert results[0].get(key) == results[1].get(key), key
    assert not {path.name for path in (tmp_path / "out").iterdir()} & {"training_state.pth.tar", "bank.pth.tar"}
