"""TF32 is off where a model of float32 weights computes, forward and backward, and is what it was after that.

The flags are a CPU's, too; models stand on one, as if on a GPU.
"""

import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
import torch

import modprompt
from modprompt.engine import additions, blocks, tf32
from modprompt.methods.parts.teacher import FrozenCLIP
from modprompt.use.attention import attention_of
from tests.conftest import ROOT, lay_out_for, random_clip
from tests.methods import small

NAMES = ["cat", "dog", "eel"]
IMAGES, LABELS = torch.randn(3, 3, 32, 32), torch.arange(3)
OFF, ON = (False, False), (True, True)


def flags():
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.fixture(autouse=True)
def _allowed():
    """The process allows TF32."""
    before = flags()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.fixture
def seen(monkeypatch):
    """The flags at each attention and each of its gradients; models are as on a GPU."""
    found, plain = {"forward": set(), "backward": set()}, additions.attention

    def attend(*inputs, **named):
        found["forward"].add(flags())
        out = plain(*inputs, **named)
        if out.requires_grad:
            out.register_hook(lambda gradient: found["backward"].add(flags()))
        return out

    monkeypatch.setattr(tf32, "_matters", lambda model: model.image_encoder.feature_type == torch.float32)
    monkeypatch.setattr(additions, "attention", attend)
    return found


def made(name="MPL", **settings):
    return small(getattr(modprompt, name), **settings).on(random_clip(), NAMES)


@pytest.mark.parametrize("chunk", [0, 1])
@pytest.mark.parametrize("name", ["MPL", "CoCoOp"])
def test_it_is_off_forward_and_backward_and_given_back(name, chunk, seen, monkeypatch):
    lay_out_for(monkeypatch, "shared")  # whose beginning is computed again in the backward pass
    model = made(name)
    model.limit_text(chunk)
    loss = model.loss(IMAGES, LABELS)
    assert (seen["forward"], flags()) == ({OFF}, ON)
    seen["forward"].clear()
    loss.backward()
    assert (seen["backward"], flags()) == ({OFF}, ON)
    assert seen["forward"] == {OFF}, "nothing was computed again"


@pytest.mark.parametrize("asks", ["output", "encode_image", "class_features", "of_features"])
def test_it_is_off_in_whatever_a_model_is_asked(asks, seen):
    model = made("CoOp").eval()
    inputs = {"output": [IMAGES], "encode_image": [IMAGES], "of_features": [torch.randn(3, 32)]}.get(asks, [])
    getattr(model, asks)(*inputs)
    assert (seen["forward"], flags()) == ({OFF}, ON)


@torch.no_grad()
def test_it_is_off_in_heads_and_in_teachers(seen):
    head = modprompt.TipAdapterF().on(random_clip(), NAMES, dataset="EuroSAT").eval()
    teacher = FrozenCLIP(random_clip())
    for call in (
        head.raw_text,
        lambda: head.plain_logits(head.encode_image(IMAGES)),
        lambda: teacher.encode_image(IMAGES),
        lambda: teacher.class_features(NAMES, "a {}."),
        lambda: attention_of(made("VPT"), IMAGES),
    ):
        call()
        assert (seen["forward"], flags()) == ({OFF}, ON)
        seen["forward"].clear()


def test_gradients_that_are_asked_for_twice_and_one_inside_another_give_it_back_once(seen):
    model = made("ProGrad")  # whose loss asks for gradients of its own
    model.loss(IMAGES, LABELS).backward()
    assert (seen["backward"], flags()) == ({OFF}, ON)
    output = made("MPL").output(IMAGES)
    for _ in range(2):
        seen["backward"].clear()
        output.logits.sum().backward(retain_graph=True)
        assert (seen["backward"], flags()) == ({OFF}, ON)


class Broken(Exception):
    pass


def broken(*_):
    raise Broken


def test_a_pass_that_fails_gives_it_back(seen, monkeypatch):
    model = made()
    output = model.output(IMAGES)
    output.logits.register_hook(lambda gradient: seen["backward"].add(flags()))
    next(model.prompt_learner.parameters()).register_hook(broken)
    with pytest.raises(Broken):
        output.logits.sum().backward()
    assert OFF in seen["backward"]
    assert flags() == ON
    monkeypatch.setattr(additions, "attention", broken)
    with pytest.raises(Broken):
        model.output(IMAGES)
    assert flags() == ON


def test_what_was_off_stays_off_and_numbers_are_the_same(seen):
    model = made()
    (loss,) = losses = [model.loss(IMAGES, LABELS)]
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    losses.append(model.loss(IMAGES, LABELS))
    losses[1].backward()
    assert flags() == OFF
    assert torch.equal(loss, losses[1])


@pytest.mark.parametrize(
    ("device", "cast", "off"), [("cuda", "float", True), ("cpu", "float", False), ("cuda", "bfloat16", False)]
)
def test_it_matters_for_float32_on_a_gpu_alone(device, cast, off):
    model = getattr(made("CoOp"), cast)()
    encoder = SimpleNamespace(device=torch.device(device))
    like = SimpleNamespace(text_encoder=encoder, image_encoder=model.image_encoder)
    assert tf32._matters(like) is off
    assert not tf32._matters(model)


def test_loading_changes_nothing(tmp_path):
    model = made("CoOp")
    model.save(tmp_path / "prompts.pt")
    modprompt.load(tmp_path / "prompts.pt", random_clip())
    assert flags() == ON


def test_flags_that_are_frozen_are_left_alone(seen, monkeypatch):
    # as torch.backends.disable_global_flags does, which nothing takes back
    monkeypatch.setitem(torch.backends.flags_frozen.__globals__, "__allow_nonbracketed_mutation_flag", False)
    with pytest.raises(RuntimeError, match="not allowed to set"):
        torch.backends.cudnn.allow_tf32 = False
    made().loss(IMAGES, LABELS).backward()
    assert (seen["forward"], seen["backward"], flags()) == ({ON}, {ON}, ON)


def test_a_pytorch_without_the_older_name_is_served(seen, monkeypatch):
    class Place:
        """Of a PyTorch to come."""

        __slots__ = ("fp32_precision",)

    places = {"matmul": Place(), "conv": Place(), "rnn": Place()}
    for place in places.values():
        place.fp32_precision = "tf32"
    monkeypatch.setattr(tf32, "_PLACES", {"matmul": places["matmul"], "cudnn": Place()})
    monkeypatch.setattr(tf32, "_newer", lambda: places)
    was = tf32.without_tf32()
    assert [place.fp32_precision for place in places.values()] == ["ieee"] * 3
    assert tf32.without_tf32() is None
    tf32.give_back(was)
    assert [place.fp32_precision for place in places.values()] == ["tf32"] * 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of what the compiler looks into
def test_what_is_compiled_is_as_it_was(seen, monkeypatch):
    import torch._dynamo as dynamo

    model = made()
    plain = model.loss(IMAGES, LABELS)
    monkeypatch.setattr(additions, "attention", blocks.attention)
    dynamo.reset()
    model.compile_encoders("aot_eager")
    loss = model.loss(IMAGES, LABELS)
    loss.backward()
    torch.testing.assert_close(loss, plain)
    assert flags() == ON
    model.compile_encoders("")
    dynamo.reset()
    found = torch.compile(model.encode_image, backend="aot_eager")(IMAGES)
    torch.testing.assert_close(found, model.encode_image(IMAGES))
    dynamo.reset()


# ------------------------------------------------------------------ both names of the switch

TF32 = """
import os, torch, traceback, warnings
from modprompt.engine import tf32

backends = torch.backends
NEWER = hasattr(backends, "fp32_precision")
NAMES = ["backends.cuda.matmul.allow_tf32", "backends.cudnn.allow_tf32", "torch.get_float32_matmul_precision()"]
STARTS = ["pass", f"{NAMES[0]} = True", f"{NAMES[1]} = False"]
STARTS += [f"torch.set_float32_matmul_precision({word!r})" for word in ("high", "medium")]
if NEWER:
    NAMES += [f"backends.{part}.fp32_precision" for part in ("cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul")]
    STARTS += [f"backends.fp32_precision = {word!r}" for word in ("ieee", "tf32")]
    STARTS += [f"backends.{part}.fp32_precision = 'ieee'" for part in ("cudnn", "cudnn.conv")]
    STARTS += ["backends.cuda.matmul.fp32_precision = 'tf32'"]

def read(what):
    try:
        return eval(what)
    except RuntimeError:  # both names were used against each other
        return "cannot be asked"

def there_and_back(start):
    warnings.simplefilter("error")
    exec(start)
    before = {name: read(name) for name in NAMES}
    was = tf32.without_tf32()
    assert [read(name) for name in NAMES[:2]] == [False, False]
    assert all(read(name) in ("ieee", "none") for name in NAMES[3:6])
    assert tf32.without_tf32() is None
    if was is not None:
        tf32.give_back(was)
    after = {name: read(name) for name in NAMES}
    assert all(after[name] == value for name, value in before.items() if value != "cannot be asked"), (before, after)

for start in STARTS:
    child = os.fork()
    if not child:
        try:
            there_and_back(start)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    print("failed" if os.waitpid(child, 0)[1] else "passed", start)
"""


@pytest.mark.slow
def test_tf32_is_off_and_then_as_it_was_by_both_of_its_names():
    # in processes of their own: where both names were used against each other nothing brings one back
    done = subprocess.run([sys.executable, "-c", TF32], capture_output=True, text=True, cwd=ROOT, check=False)
    lines = done.stdout.splitlines()
    assert len(lines) == (10 if hasattr(torch.backends, "fp32_precision") else 5), done.stderr
    assert [line for line in lines if not line.startswith("passed")] == [], done.stderr


def test_one_thread_does_not_give_back_what_another_needs(seen):
    model, begun, done, inside = made(), threading.Event(), threading.Event(), []

    def other():
        with tf32.off(model):
            begun.set()
            assert done.wait(60)
            inside.append(flags())

    thread = threading.Thread(target=other)
    thread.start()
    assert begun.wait(60)
    model(IMAGES)  # which is over before the other's
    assert flags() == OFF
    done.set()
    thread.join()
    assert inside == [OFF]
    assert flags() == ON
