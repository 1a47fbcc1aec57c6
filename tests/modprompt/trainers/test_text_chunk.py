import json
from types import SimpleNamespace

import pytest
import torch

from modprompt import CoCoOp, CoOp
from modprompt.cli import train
from modprompt.compat.defaults import DEFAULTS, OURS
from modprompt.engine import encoders
from modprompt.trainers.run_facts import text_chunk
from tests.methods import METHODS

NAMES = ["cat", "a golden retriever", "dog"]


@pytest.fixture
def cfg():
    made = DEFAULTS.clone()
    made.MODEL.TEXT_CHUNK = OURS.MODEL.TEXT_CHUNK
    return made


@pytest.fixture
def model(clip_model):
    return CoOp().on(clip_model, NAMES)


@pytest.fixture
def room(monkeypatch):
    """Sets how many text tokens free memory has room for."""

    def of(tokens):
        monkeypatch.setattr(encoders, "most_text_tokens", lambda *facts: tokens)

    return of


def test_free_memory_decides_and_room_for_all_is_no_limit(model, cfg, room):
    for tokens, expected in ((None, None), (model.own_tokens, None), (model.own_tokens - 1, model.own_tokens - 1)):
        room(tokens)
        model.limit_text(cfg.MODEL.TEXT_CHUNK)
        assert text_chunk(SimpleNamespace(model=model, cfg=cfg)) == expected


def test_number_of_tokens_is_what_decides_whether_there_are_chunks(model, monkeypatch):
    chunks, split = [], encoders.split
    monkeypatch.setattr(encoders, "split", lambda *given: chunks.append(split(*given)) or chunks[-1])
    for tokens in (model.own_tokens, model.own_tokens - 1):
        model.text_encoder.most_tokens = tokens
        model(torch.randn(1, 3, 32, 32))
    assert [len(one) for one in chunks] == [1, 2]


def test_prompts_of_single_images_take_as_much_as_a_batch_of_them(clip_model, cfg, room):
    model = CoCoOp().on(clip_model, NAMES)
    cfg.DATALOADER.TRAIN_X.BATCH_SIZE, cfg.DATALOADER.TEST.BATCH_SIZE = 4, 10
    for tokens, expected in ((10 * model.own_tokens, None), (10 * model.own_tokens - 1, 10 * model.own_tokens - 1)):
        room(tokens)
        model.limit_text(cfg.MODEL.TEXT_CHUNK)
        assert text_chunk(SimpleNamespace(model=model, cfg=cfg)) == expected


def test_the_result_says_it(command, room, tmp_path):
    room(9)
    assert train.main(command(METHODS["coop_end"], "OPTIM.MAX_EPOCH", 1)) == 0
    assert json.loads((tmp_path / "out" / "result.json").read_text())["text_chunk"] == 9
