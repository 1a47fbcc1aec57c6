"""Settings that no method can have: each is one line that names the setting, what is allowed and what was given."""

import re

import pytest

import modprompt
from modprompt import UserError
from tests import siglips
from tests.conftest import one_line, random_clip

NAMES = ["cat", "golden retriever", "x"]
PETS = "a type of pet, a photo of a"
FITTING = {  # settings that fit the CLIP of conftest.random_clip, of three layers a side
    "MultiModalAdapter": {"adapter_start": 2, "adapter_end": 3, "adapter_dim": 8},
    "MMRL": {"rep_layers": (2, 3), "rep_dim": 16, "n_rep_tokens": 2},
    "MMRLpp": {"rep_layers": (2, 3), "rep_dim": 16, "n_rep_tokens": 2},
    "HiCroPL": {"n_ctx": 2, "teacher_name": "", "prompt_depth": 3, "cross_layer": 1, "sentences": "template"},
    "LightRA": {"vision_depth": 2, "text_depth": 3, "sentences": "template"},
}
BAD = {  # settings, and the line; `dataset` is no setting
    "TCP": [
        ({}, "LAYER must be less than 3, the number of text layers of this model, got 8"),
        ({"layer": 0}, "LAYER must be at least 1, got 0"),
        ({"n_class": 0}, "N_CLASS must be at least 1, got 0"),
        ({"eps": -1.0}, "EPS must be a number from 0 up, got -1"),
        ({"prompt_template": "X X"}, "PROMPT_TEMPLATE must contain {} in place of the class name, got 'X X'"),
        (
            {"layer": 2, "n_ctx": 6, "dataset": "ImageNet"},
            "N_CTX must be at most 4, the number of tokens before the class name in 'a photo of a {}.', got 6",
        ),
        (
            {"schedule_text": [[0, 4]]},
            "SCHEDULE_TEXT must add tokens after layer 0, because these tokens are the class tokens",
        ),
        ({"schedule_text": [[0, 3], [0, 1]]}, "layer 0: the number of added tokens must be 4 (N_CTX), but is 3"),
    ],
    "KgCoOp": [
        ({"kg_weight": -1.0}, "W must be a number from 0 up, got -1"),
        ({"n_ctx": 0}, "N_CTX must be at least 1, got 0"),
    ],
    "ProGrad": [
        ({"prograd_lambda": -1.0}, "LAMBDA must be a number from 0 up, got -1"),
        ({"prograd_t": 0.0}, "T must be greater than 0, got 0"),
        ({"teacher_template": "a photo"}, "TEACHER_TEMPLATE must contain {} in place of the class name"),
        (
            {"ctx_init": "True", "n_ctx": 7, "dataset": "OxfordPets"},
            f"N_CTX must be at least 8, the number of words of '{PETS}', got 7",
        ),
        ({"ctx_init": "a photo of a", "n_ctx": 3}, "N_CTX must be at least 4"),
    ],
    "MPL": [
        ({"kg_weight": -1.0}, "KG_WEIGHT must be a number from 0 up, got -1"),
        ({"teacher_template": "a photo"}, "TEACHER_TEMPLATE must contain {} in place of the class name, got 'a photo'"),
    ],
    "MultiModalAdapter": [
        (
            {"adapter_end": 4},
            "ADAPTER_END must be at most 3, the number of layers in the encoder with fewer layers, got 4",
        ),
        (
            {"adapter_start": 3, "adapter_end": 2},
            "ADAPTER_START 3 is greater than ADAPTER_END 2, so no layer has an adapter",
        ),
        ({"adapter_dim": 64}, "ADAPTER_DIM must differ from the widths of the two encoders (64 and 128), got 64"),
        ({"adapter_dim": 0}, "ADAPTER_DIM must be at least 1, got 0"),
        ({"adapter_start": -1}, "ADAPTER_START must be at least 0, got -1"),
        ({"adapter_scale": float("nan")}, "ADAPTER_SCALE must be a finite number, got nan"),
        ({"adapter_scale": 0}, "ADAPTER_SCALE must not be 0"),
        ({"text_ctx_init": "very " * 80}, "The prompt of class 'cat' is longer than the maximum of 77 text tokens"),
    ],
    "MMRL": [
        (
            {"rep_layers": ()},
            "REP_LAYERS must be layers from 1 to 3, because both encoders must have these layers, got []",
        ),
        ({"rep_layers": (2, 4)}, "REP_LAYERS must be layers from 1 to 3"),
        ({"rep_layers": (3, 2)}, "REP_LAYERS must be a list of layers, counted from 1, in ascending order, got (3, 2)"),
        ({"rep_layers": "all"}, "REP_LAYERS must be a list of layers, counted from 1, in ascending order"),
        ({"alpha": 1.1}, "ALPHA must be at most 1, got 1.1"),
        ({"logits": "rep"}, "LOGITS must be"),
        ({"per_dataset": "mine"}, "PER_DATASET must be"),
        ({"template": "a photo"}, "TEMPLATE must contain {} in place of the class name, got 'a photo'"),
    ],
    "MMRLpp": [({"beta": 1.5}, "BETA must be at most 1"), ({"res_lora_dim": 0}, "RES_LORA_DIM must be at least 1")],
    "HiCroPL": [
        ({"cross_layer": 0}, "CROSS_LAYER must be at least 1, got 0"),
        ({"cross_layer": 3}, "CROSS_LAYER must be less than PROMPT_DEPTH 3, got 3"),
        ({"prompt_depth": 4}, "PROMPT_DEPTH must be from 1 to 3, the number of layers of this model, got 4"),
        ({"flow": "learned", "tests_write": True}, "TESTS_WRITE True has no effect with FLOW learned"),
        (
            {"sentences": "", "dataset": "EuroSAT"},
            "SENTENCES is empty, and the default file gpt_file/eurosat_prompt.json does not exist",
        ),
        ({"sentences": "nowhere.json"}, "SENTENCES: the file nowhere.json does not exist"),
        ({"sentences": "digits"}, "contains no phrases for 3 of 3 classes: 'cat'"),
    ],
    "LightRA": [
        ({"vision_depth": 4}, "VISION_DEPTH must be at most 3, the number of layers in this encoder, got 4"),
        ({"text_depth": 0}, "TEXT_DEPTH must be at least 1, got 0"),
        ({"n_ctx_text": 0}, "N_CTX_TEXT must be at least 1, got 0"),
        ({"template": "a photo"}, "TEMPLATE must contain {} in place of the class name, got 'a photo'"),
        (
            {"sentences": "", "dataset": "EuroSAT"},
            "SENTENCES is empty, and the default file prompts/EuroSAT.json does not exist (current folder",
        ),
        ({"mean": "sum"}, "MEAN must be"),
    ],
    "CLIPLoRA": [
        ({"position": "top"}, "POSITION must be all, bottom, mid, up, half-bottom, half-up, top3, or layer numbers"),
        (
            {"position": "3 1"},
            "POSITION must list at least one layer, each layer once and in ascending order, got '3 1'",
        ),
        ({"position": "1 1-2"}, "POSITION must list at least one layer, each layer once and in ascending order"),
        ({"position": " "}, "POSITION must list at least one layer, each layer once and in ascending order"),
        ({"position": "0-99999999999999999999"}, "POSITION '0-99999999999999999999' names layer 999999999"),
        ({"position": "2 3"}, "names layer 3, but the encoder has 3 layers, numbered from 0"),
        ({"params": "q w"}, "PARAMS must be a list of q, k, v and o, each at most once, got 'q w'"),
        ({"params": "q q"}, "PARAMS must be a list of q, k, v and o"),
        ({"params": ""}, "PARAMS must be a list of q, k, v and o"),
        ({"dropout": 1.0}, "DROPOUT must be less than 1, got 1"),
        ({"r": 0}, "R must be at least 1, got 0"),
        ({"gradient": "reference"}, "GRADIENT reference is supported only with DROPOUT 0"),
        ({"encoder": "image"}, "ENCODER"),
        ({"joins": True}, "ON does not work for CLIPLoRA itself"),
    ],
    "ADAPTER": [
        ({"init": "CrossModal"}, "INIT must be one of RANDOM, ZS, TR, ClipA, TipA, got 'CrossModal'"),
        ({"init": "RANDOM2"}, "INIT must be one of"),
        ({"init": "TR-grid_search"}, "INIT TR-grid_search is not supported, because only TipA has a search"),
        ({"constraint": "l1"}, "CONSTRAINT must be none, or l2 and any of balanced, constant"),
        ({"constraint": "l2-balancd"}, "CONSTRAINT must be none, or l2 and any of"),
        ({"init": "ClipA"}, "CONSTRAINT must be none with INIT ClipA"),
        ({"views": 0}, "VIEWS must be"),
    ],
}


@pytest.mark.parametrize(("name", "settings", "line"), [(name, *row) for name, rows in BAD.items() for row in rows])
def test_bad_setting_is_one_line(name, settings, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = {**FITTING.get(name, {}), **settings}
    dataset = given.pop("dataset", "")
    with one_line(re.escape(line)):
        getattr(modprompt, name)(**given).on(random_clip(), NAMES, dataset=dataset)


def test_what_low_rank_additions_do_not_stand_beside_is_one_line():
    lora = modprompt.CLIPLoRA()
    with pytest.raises(UserError, match="POSITION '7-7' names layer 7"):
        modprompt.CLIPLoRA(position="7-7").over(modprompt.CoOp()).on(random_clip(), NAMES)
    with pytest.raises(UserError, match="ON does not work for KgCoOp. CLIPLoRA can be added to the prompts of CoOp"):
        lora.over(modprompt.KgCoOp())
    with pytest.raises(UserError, match="only CLIP models with the architecture of OpenAI's CLIP"):
        modprompt.CLIPLoRA(encoder="text").on(siglips.clip_of(siglips.made("open_clip")), NAMES)
    with pytest.raises(UserError, match="ON does not work for CoOp with CLIPLoRA"):
        modprompt.Search().over(lora.over(modprompt.CoOp()))
