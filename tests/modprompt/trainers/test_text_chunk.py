import json

import pytest
import torch

from modprompt import CoCoOp, CoOp
from modprompt.cli import train
from modprompt.compat.run_settings import EvalLoader, Model, RunSettings, TrainX
from modprompt.engine import encoders
from modprompt.io.safe_open import Refused
from modprompt.trainers import text_chunk, training_state
from modprompt.trainers.prompt_trainer import PromptTrainer
from tests.methods import METHODS

NAMES = ["cat", "a golden retriever", "dog"]


@pytest.fixture
def config():
    return RunSettings()


@pytest.fixture
def model(clip_model):
    return CoOp().on(clip_model, NAMES)


@pytest.fixture
def room(monkeypatch):
    """Sets how many text tokens free memory has room for."""

    def of(tokens):
        monkeypatch.setattr(encoders, "most_text_tokens", lambda *facts: tokens)

    return of


def test_free_memory_decides_and_room_for_all_is_no_limit(model, config, room):
    for tokens, expected in ((None, None), (model.own_tokens, None), (model.own_tokens - 1, model.own_tokens - 1)):
        room(tokens)
        text_chunk.decide(model, config)
        assert text_chunk.in_use(model, config) == expected


def test_number_of_tokens_is_what_decides_whether_there_are_chunks(model, monkeypatch):
    from modprompt.engine.encoders import TextEncoder

    sizes, plain = [], TextEncoder._features
    monkeypatch.setattr(
        TextEncoder, "_features", lambda self, text, chunk, *a: sizes.append(len(chunk)) or plain(self, text, chunk, *a)
    )
    for tokens, chunks in ((model.own_tokens, 1), (model.own_tokens - 1, 2)):
        model.text_encoder.most_tokens = tokens
        sizes.clear()
        model(torch.randn(1, 3, 32, 32))
        assert len(sizes) == chunks


def test_prompts_of_single_images_take_as_much_as_a_batch_of_them(clip_model, room):
    model = CoCoOp().on(clip_model, NAMES)
    config = RunSettings(train_x=TrainX(batch_size=4), test_loader=EvalLoader(batch_size=10))
    for tokens, expected in ((10 * model.own_tokens, None), (10 * model.own_tokens - 1, 10 * model.own_tokens - 1)):
        room(tokens)
        text_chunk.decide(model, config)
        assert text_chunk.in_use(model, config) == expected


CHANGES = [  # kept, room now, in use then, what is said
    (None, None, None, ""),
    (7, 7, 7, ""),
    (7, None, 7, "The text side is computed 7 tokens at a time, as this run began"),
    (7, 9, 7, "The text side is computed 7 tokens at a time, as this run began"),
    (
        7,
        5,
        7,
        "The text side is computed 7 tokens at a time, as this run began, though memory for 5 is free: give "
        "MODEL.TEXT_CHUNK, in classes, if it runs out",
    ),
    (
        None,
        5,
        None,
        "The text side is computed all at once, as this run began, though memory for 5 is free: give MODEL.TEXT_CHUNK, "
        "in classes, if it runs out",
    ),
]


@pytest.mark.parametrize(("kept", "now", "used", "said"), CHANGES)
def test_a_run_goes_on_as_it_began(model, config, room, capsys, kept, now, used, said):
    room(now)
    text_chunk.decide(model, config)
    text_chunk.take_back(model, config, {"text_chunk": kept})
    assert text_chunk.in_use(model, config) == used
    assert capsys.readouterr().out == said + "\n" * bool(said)


def test_what_is_given_is_done_and_said(model, capsys):
    config = RunSettings(model=Model(text_chunk=1))
    text_chunk.decide(model, config)
    longest = text_chunk.in_use(model, config)
    text_chunk.take_back(model, config, {"text_chunk": longest})
    assert capsys.readouterr().out == ""
    text_chunk.take_back(model, config, {"text_chunk": None})
    assert text_chunk.in_use(model, config) == longest
    line = (
        f"MODEL.TEXT_CHUNK: the text side is computed {longest} tokens at a time, not all at once as before: sums round"
    )
    assert line in capsys.readouterr().out


def test_state_that_does_not_say_is_gone_on_with_and_told(model, config, room, capsys):
    room(5)
    text_chunk.decide(model, config)
    text_chunk.take_back(model, config, {})
    assert text_chunk.in_use(model, config) == 5
    assert capsys.readouterr().out.endswith("how the text side was computed: 5 tokens at a time from here\n")


@pytest.mark.parametrize("kept", [0, -3, True, "7", 2.5, [7]])
def test_what_is_no_number_of_tokens_is_damage(kept):
    text_chunk.FORM(7, "text_chunk")
    text_chunk.FORM(None, "text_chunk")
    with pytest.raises(Refused, match="its part text_chunk is "):
        text_chunk.FORM(kept, "text_chunk")


@pytest.mark.slow
def test_state_and_result_have_it_and_it_comes_back(command, room, tmp_path, capsys, monkeypatch):
    def stop(self):
        if self.epoch == 1:
            raise KeyboardInterrupt

    words = command(METHODS["coop_end"], "TRAIN.PRINT_FREQ", 1)
    whole = [*words]
    whole[whole.index("--output-dir") + 1] = str(tmp_path / "whole")
    room(9)
    assert train.main(whole) == 0
    expected = losses(capsys.readouterr().out)
    with monkeypatch.context() as patch:
        patch.setattr(PromptTrainer, "before_epoch", stop)
        assert train.main(words) == 130
    state = torch.load(tmp_path / "out" / training_state.FILE_NAME, weights_only=True)
    assert state["extras"]["text_chunk"] == 9
    room(None)
    found = losses(capsys.readouterr().out)
    assert train.main(words) == 0
    out = capsys.readouterr().out
    assert "The text side is computed 9 tokens at a time, as this run began\n" in out
    assert found + losses(out) == expected
    results = [json.loads((tmp_path / folder / "result.json").read_text()) for folder in ("whole", "out")]
    assert [result["text_chunk"] for result in results] == [9, 9]
    assert train.main(["--eval-only", "--model-dir", str(tmp_path / "out"), *words]) == 0  # decided anew
    (path,) = (tmp_path / "out" / "tests").glob("*/result.json")
    assert json.loads(path.read_text())["text_chunk"] is None


def losses(out):
    return [line.split(" lr ")[0].split(" loss ")[1] for line in out.splitlines() if line.startswith("epoch [")]
