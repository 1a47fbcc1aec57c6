"""The test matrix of the trainers that learn prompts: a row each, small settings for the CLIP of conftest.clip_file.

That CLIP has 4 layers a side, text width 64, vision width 128, joint width 32.
"""

import atexit
import functools
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from modprompt.clip.build import layers_of
from modprompt.methods.parts.templates import DIVERSE
from tests import (
    plain_dept,
    plain_dpl,
    plain_hicropl,
    plain_lora,
    plain_mma,
    plain_mmrl,
    plain_mpl,
    plain_tcp,
    plain_teachers,
)
from tests import plain_neighbours as plain
from tests.modprompt.methods import promptkd_inputs


class Method(NamedTuple):
    """A trainer under some settings.

    options: KEY VALUE pairs behind the ones every run has; a value may be a function that gives it.
    folder: of its checkpoints.
    prefix: of the names in them, for what is not kept inside an encoder.
    logits: the plain implementation: (clip_model, params, tokens, images, name_lengths) -> (B, C); None for none.
    parameters: the paper's formula for these settings; None for none.
    more: other KEY VALUE words.
    step: the plain step of those whose gradients are not cross entropy's: (clip_model, params, tokens, images, labels,
        name_lengths, names) -> (loss, gradients).
    """

    trainer: str
    node: str
    options: dict
    folder: str
    prefix: str
    logits: Callable | None
    parameters: int | None
    more: tuple = ()
    step: Callable | None = None

    @property
    def words(self):
        """The options as a list of words."""
        settings = {"PREC": "fp32", **self.options}
        said = {key: value() if callable(value) else value for key, value in settings.items()}
        own = [word for key, value in said.items() for word in (f"TRAINER.{self.node}.{key}", str(value))]
        return [*own, *self.more]


DEPTH = ("prompt_depth", "prompt_depth_text", "prompt_depth_vision")
LENGTHS = (2, 0, 1)  # of DPL's layers, over and over


@functools.cache
def teacher_folder():
    """A folder with a random CLIP of other widths, whose config stands beside it; gone when the process ends."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    state = torch.get_rng_state()
    promptkd_inputs.write_teacher(Path(folder))
    torch.set_rng_state(state)
    return folder


def small(cls, clip_model=None, **settings):
    """An instance of a method whose prompts fit a CLIP; without one, that of conftest.random_clip."""
    layers = dict(zip(("lengths_text", "lengths_vision"), (3, 3) if clip_model is None else layers_of(clip_model)))
    lengths = {name: (LENGTHS * n)[:n] for name, n in layers.items()}
    fields = {one.field for one in cls.settings()}
    adapted = {"adapter_start": 2, "adapter_end": min(3, *layers.values()), "adapter_dim": 8}
    read = {"rep_layers": (1, 2), "rep_dim": 16}
    flows = {"cross_layer": 1, "flow": "learned", "sentences": "template"}
    taught = {"teacher_name": teacher_folder(), "teacher_ckpt": "none"} if "teacher_ckpt" in fields else {}
    fitting = {**dict.fromkeys(DEPTH, 2), **flows, "layer": 1, **adapted, **read, **taught, **lengths}
    fitting = {name: value for name, value in fitting.items() if name in fields}
    return cls(**{**fitting, **settings})


def _coop(position):
    return lambda *args: plain.coop(*args, position=position)


def _described(clip_model, params, tokens, images, name_lengths):
    """Names and phrases from the prompts themselves: `X ... X NAME, which is/has PHRASE.`"""
    from clip import clip

    phrases = {}
    for row in tokens:
        words = clip._tokenizer.decode(row[1 : int(row.argmax())].tolist())
        name, _, phrase = (
            words.replace(" .", "").lstrip("x ").replace(" is / has ", " is/has ").partition(" , which is/has ")
        )
        phrases.setdefault(name, []).append(phrase.strip())
    return plain.described(clip_model, params["ctx"], list(phrases), phrases, images, "AE")


def _coop_lora(clip_model, params, tokens, images, name_lengths):
    changes = plain_lora.of_both(clip_model, params, "qv", 2, prefix="adapters.")
    return plain.coop(clip_model, params, tokens, images, name_lengths, changes=changes)


def _mpl_lora(clip_model, params, tokens, images, name_lengths):
    changes = plain_lora.of_both(clip_model, params, "qv", 2, prefix="adapters.")
    return plain_mpl.logits(clip_model, params, tokens, images, n_ctx=1, n_add=2, n_rm=1, depth=3, changes=changes)


def _mpl(clip_model, params, tokens, images, name_lengths):
    return plain_mpl.logits(clip_model, params, tokens, images, n_ctx=1, n_add=2, n_rm=1, depth=3)


def _dpl_ensemble(clip_model, params, tokens, images, name_lengths):
    """The prompts end in `itap of the NAME.`: their classes in the other templates, embedded words averaged."""
    from clip import clip

    names = [clip._tokenizer.decode(row[5 : int(row.argmax()) - 1].tolist()).strip() for row in tokens]
    each = [clip.tokenize([template.replace("{}", name) for name in names]).long() for template in DIVERSE]
    words = torch.stack([clip_model.token_embedding.weight[ids] for ids in each]).mean(0)
    return plain_dpl.trained_logits(clip_model, params, tokens, images, name_lengths, words)


def _dpl_search(clip_model, params, tokens, images, name_lengths):
    names = {"alphas.vision": "alpha_img", "alphas.text": "alpha_txt"}
    return plain_dpl.logits(clip_model, {names.get(key, key): value for key, value in params.items()}, tokens, images)


def _tcp(clip_model, params, tokens, images, name_lengths):
    """`X X X X NAME.` has the names in it."""
    from clip import clip

    names = [clip._tokenizer.decode(row[5 : int(row.argmax()) - 1].tolist()).strip() for row in tokens]
    made = plain_tcp.class_tokens(params, plain_teachers.teacher(clip_model, names, plain_teachers.CENTERED))
    text = plain_tcp.text_features(clip_model, params, made, tokens, [(0, 4), (0, 0), (4, 4), (0, 0)])
    image = clip_model.encode_image(images)
    return clip_model.logit_scale.exp() * image @ text.T / image.norm(dim=-1, keepdim=True)


def _mmrl(beta, *layers):
    return lambda clip_model, params, tokens, images, lengths: plain_mmrl.fused(
        clip_model, params, tokens, images, layers, beta
    )


def _pool(width):
    """Attention, two norms and a proxy."""
    return 4 * (width * width + width) + 2 * 2 * width + width


def _mapper(width, other):
    """Attention, three products, two norms, two layers."""
    wide = 4 * width
    of_layers = (wide * width + wide) + (width * wide + width)
    return 4 * (width * width + width) + (width * width + width) + 2 * (other * width + width) + 4 * width + of_layers


T, V, E, C = 64, 128, 32, 5  # widths, and base classes of the EuroSAT-shaped tree
BRIDGE = T * V + V
DEEP = {"PROMPT_DEPTH_TEXT": 3, "PROMPT_DEPTH_VISION": 2, "N_CTX_TEXT": 2, "N_CTX_VISION": 3}
LORA = {"ON": "True", "DROPOUT": "0", "POSITION": "half-up", "PARAMS": "q v"}
WITH_LORA = tuple(word for key, value in LORA.items() for word in (f"TRAINER.CLIPLORA.{key}", value))
OF_LORA = 2 * 2 * 2 * 2 * (T + V)  # layers of a side, matrices, A and B, rank
METHODS = {
    "coop_end": Method("CoOp", "COOP", {"N_CTX": 4}, "prompt_learner", "", _coop("end"), 4 * T),
    "coop_middle_csc": Method(
        "CoOp",
        "COOP",
        {"N_CTX": 5, "CSC": True, "CLASS_TOKEN_POSITION": "middle"},
        "prompt_learner",
        "",
        _coop("middle"),
        C * 5 * T,
    ),
    "coop_front_words": Method(
        "CoOp",
        "COOP",
        {"CTX_INIT": "a_photo_of_a", "CLASS_TOKEN_POSITION": "front"},
        "prompt_learner",
        "",
        _coop("front"),
        4 * T,
    ),
    "cocoop": Method(
        "CoCoOp",
        "COCOOP",
        {"N_CTX": 3},
        "prompt_learner",
        "",
        plain.cocoop,
        3 * T + (E * (E // 16) + E // 16) + (E // 16 * T + T),
    ),
    "kgcoop": Method(
        "KgCoOp",
        "KGCOOP",
        {"CTX_INIT": "True", "W": 8},
        "prompt_learner",
        "",
        _coop("end"),
        4 * T,
        step=plain_teachers.kgcoop,
    ),
    "prograd": Method(
        "ProGrad",
        "PROGRAD",
        {"CTX_INIT": "True", "N_CTX": 7, "LAMBDA": 0.8, "T": 2},
        "prompt_learner",
        "",
        _coop("end"),
        7 * T,
        step=plain_teachers.prograd,
    ),
    "tcp": Method(
        "TCP",
        "TCP",
        {"LAYER": 2},
        "prompt_learner",
        "",
        _tcp,
        4 * T + (E * (E // 4) + E // 4) + (E // 4 * 4 * T + 4 * T),
        step=plain_tcp.step,
    ),
    "mma": Method(
        "MultiModalAdapter",
        "MMADAPTER",
        {
            "TEXT_CTX_INIT": "a photo of a",
            "ADAPTER_START": 2,
            "ADAPTER_END": 3,
            "ADAPTER_DIM": 8,
            "ADAPTER_SCALE": plain_mma.SCALE,
        },
        "adapter_learner",
        "",
        plain_mma.logits,
        2 * ((8 * T + 8) + (T * 8 + T) + (8 * V + 8) + (V * 8 + V) + (8 * 8 + 8)),
        step=plain_mma.step_of(plain_mma.logits),
    ),
    "mmrl": Method(
        "MMRL",
        "MMRL",
        {"REP_LAYERS": [2, 4], "REP_DIM": 16, "N_REP_TOKENS": 3},
        "MultiModalRepresentationLearner",
        "representation_learner.",
        _mmrl(1.0, 2, 4),
        3 * 16 + 2 * (V * 16 + V) + 2 * (T * 16 + T) + V * E,
        step=plain_mmrl.step((2, 4)),
    ),
    "mmrlpp": Method(
        "MMRLpp",
        "MMRLpp",
        {"REP_LAYERS": [1, 2, 4], "REP_DIM": 16, "N_REP_TOKENS": 2, "BETA": 0.7, "PROJ_LORA_DIM": 8, "RES_LORA_DIM": 2},
        "MultiModalRepresentationLearner",
        "representation_learner.",
        _mmrl(0.7, 1, 2, 4),
        2 * 16 + (V + T) * 16 + 3 * ((V + T) * 2 + 2 * 2 * 16 + V + T) + V * 8 + 8 * E,
        step=plain_mmrl.step((1, 2, 4), 0.7),
    ),
    "hicropl": Method(
        "HiCroPL",
        "HICROPL",
        {"PROMPT_DEPTH": 4, "CROSS_LAYER": 2, "FLOW": "learned", "SENTENCES": "template"},
        "VLPromptLearner",
        "prompt_learner.",
        plain_hicropl.logits,
        4 * 2 * (T + V) + _mapper(V, T) + _mapper(T, V) + 2 * (_pool(T) + _pool(V)),
        step=plain_hicropl.step,
    ),
    "alvlm": Method(
        "ALVLM",
        "COOP",
        {"N_CTX": 3, "AEPATH": str(Path(__file__).with_name("eurosat_phrases.json"))},
        "prompt_learner",
        "",
        _described,
        3 * T,
        ("ACTIVE.ROUNDS", "0"),
    ),
    "maple": Method(
        "MaPLe",
        "MAPLE",
        {"PROMPT_DEPTH": 3},
        "MultiModalPromptLearner",
        "prompt_learner.",
        plain.maple,
        3 * (2 * T + BRIDGE),
    ),
    "maple_random": Method(
        "MaPLe",
        "MAPLE",
        {"PROMPT_DEPTH": 2, "N_CTX": 5, "CTX_INIT": ""},
        "MultiModalPromptLearner",
        "prompt_learner.",
        plain.maple,
        2 * (5 * T + BRIDGE),
    ),
    "ivlp": Method("IVLP", "IVLP", DEEP, "VLPromptLearner", "prompt_learner.", plain.ivlp, 3 * 2 * T + 2 * 3 * V),
    "language_prompting": Method(
        "IVLP",
        "IVLP",
        {"PROMPT_DEPTH_TEXT": 4, "PROMPT_DEPTH_VISION": 0, "N_CTX_TEXT": 4, "N_CTX_VISION": 0},
        "VLPromptLearner",
        "prompt_learner.",
        plain.ivlp,
        4 * 4 * T,
    ),
    "vpt": Method(
        "VPT",
        "VPT",
        {"PROMPT_DEPTH_VISION": 4, "N_CTX_VISION": 2},
        "prompt_learner",
        "prompt_learner.",
        plain.ivlp,
        4 * 2 * V,
    ),
    "promptsrc": Method(
        "PromptSRC",
        "PROMPTSRC",
        {**DEEP, "GPA_MEAN": 2.0},
        "VLPromptLearner",
        "prompt_learner.",
        plain.ivlp,
        3 * 2 * T + 2 * 3 * V,
    ),
    "dpl": Method(
        "DPL",
        "DPL",
        {"LENGTHS_TEXT": [2, 0, 3, 1], "LENGTHS_VISION": [0, 2, 1, 0]},
        "MultiModalPromptLearner",
        "prompt_learner.",
        plain_dpl.trained_logits,
        6 * T + 3 * V,
    ),
    "dpl_ensemble": Method(
        "TrainerSubnet",
        "TRAINERSUBNET",
        {"LENGTHS_TEXT": [0, 1, 1, 2], "LENGTHS_VISION": [2, 0, 1, 1]},
        "MultiModalPromptLearner",
        "prompt_learner.",
        _dpl_ensemble,
        4 * T + 4 * V,
    ),
    "clip_lora": Method(
        "CLIPLoRA",
        "CLIPLORA",
        {"N_ITERS": 2, "PARAMS": "q v o", "POSITION": "half-up"},
        "prompt_learner",
        "",
        None,
        2 * 3 * 2 * 2 * (T + V),
    ),
    "coop_lora": Method("CoOp", "COOP", {"N_CTX": 4}, "prompt_learner", "", _coop_lora, 4 * T + OF_LORA, WITH_LORA),
    "mpl_lora": Method(
        "MPL",
        "MPL",
        {"N_CTX": 1, "PROMPT_DEPTH": 3},
        "MultiModalPromptLearner",
        "prompt_learner.",
        _mpl_lora,
        3 * T + (1 + 2 * 2) * BRIDGE + OF_LORA,
        WITH_LORA,
    ),
    "mpl": Method(
        "MPL",
        "MPL",
        {"N_CTX": 1, "PROMPT_DEPTH": 3},
        "MultiModalPromptLearner",
        "prompt_learner.",
        _mpl,
        3 * T + (1 + 2 * 2) * BRIDGE,
    ),
}
_ADAPTERS = {"ON": True, "ADAPTER_START": 2, "ADAPTER_END": 3, "ADAPTER_DIM": 8, "ADAPTER_SCALE": plain_mma.SCALE}
_ADAPTED = tuple(word for key, value in _ADAPTERS.items() for word in (f"TRAINER.MMADAPTER.{key}", str(value)))
METHODS.update(
    {
        f"{row}_adapters": METHODS[like]._replace(
            more=_ADAPTED,
            logits=logits,
            parameters=(METHODS[like].parameters or 0) + (METHODS["mma"].parameters or 0),
            step=plain_mma.step_of(logits),
        )
        for row, like, logits in (
            ("coop", "coop_end", plain_mma.beside_coop),
            ("mpl", "mpl", plain_mma.beside_mpl),
        )
    }
)
METHODS["coop_dept"] = METHODS["coop_end"]._replace(
    logits=plain_dept.coop,
    parameters=4 * T + 2 * 2 * E + C * E + C,
    more=("TRAINER.DEPT.ON", "True", "TRAINER.DEPT.LR_EXP", "1"),  # the plain step has one rate
    step=plain_dept.step,
)
QUICK = {  # a learner of every kind; the others are like one of them
    "mpl", "promptsrc", "coop_end", "cocoop", "dpl", "zeroshot", "MPL", "PromptSRC", "CoOp", "CoCoOp", "DPL", "ZeroshotCLIP",
}  # fmt: skip


def some_slow(rows=METHODS):
    """Rows of these tables, or classes of methods, for parametrize: all but those of QUICK behind the slow marker."""
    names = [(row, row if isinstance(row, str) else row.__name__) for row in rows]
    return [row if name in QUICK else pytest.param(row, marks=pytest.mark.slow) for row, name in names]


# Their steps are of two kinds, each with an optimiser of its own: tests of single optimisers pass them over.
# `parameters` are those of the prompts.
SEARCHES = {
    "dpl_search": Method(
        "DPLSearch",
        "DPLSEARCH",
        {"N_CTX_TEXT": 2, "N_CTX_VISION": 3},
        "MultiModalPromptLearner",
        "prompt_learner.",
        _dpl_search,
        4 * ((1 + 2) * T + (1 + 2 + 3) * V),
    ),
    "dpl_supernet": Method(
        "TrainerSupernet",
        "TRAINERSUPERNET",
        {"N_CTX_TEXT": 1, "N_CTX_VISION": 2},
        "MultiModalPromptLearner",
        "prompt_learner.",
        _dpl_search,
        4 * (T + (1 + 2) * V),
    ),
    "mpl_search": METHODS["mpl"]._replace(
        more=("SEARCH.ON", "True", "SEARCH.ADD", "2", "SEARCH.REMOVE", "1"), logits=None, parameters=None
    ),
}


# Its logits are by class features of a teacher, which is another CLIP: tests of plain logits pass it over.
TAUGHT = {
    "promptkd": Method(
        "PromptKD",
        "PROMPTKD",
        {
            "MODAL": "cross",
            "TEACHER_NAME": teacher_folder,
            "TEACHER_CKPT": "none",
            "TEACHER_RESIZE": "True",
            "PROMPT_DEPTH_VISION": 3,
            "PROMPT_DEPTH_TEXT": 3,
        },
        "VLPromptLearner",
        "",
        None,
        None,
    ),
}

# launches of a step, fp16, the whole text side at a time (tests/modprompt/test_gpu_path.py)
LAUNCHES = {
    "coop_end": 198, "coop_middle_csc": 201, "coop_front_words": 201, "alvlm": 207, "coop_dept": 266, "kgcoop": 231,
    "tcp": 255, "mmrl": 416, "mmrlpp": 509, "hicropl": 748, "prograd": 300, "maple": 307, "maple_random": 288,
    "cocoop": 253,  # its beginning is shared, whatever the number of classes
    "ivlp": 285, "language_prompting": 211, "vpt": 159, "mma": 288, "coop_adapters": 338, "mpl_adapters": 406,
    "promptsrc": 383, "mpl": 310, "clip_lora": 325, "coop_lora": 329, "mpl_lora": 399, "dpl": 309, "dpl_ensemble": 283,
    "dpl_search": 1397, "dpl_supernet": 1376, "mpl_search": 944,  # an alternation
}  # fmt: skip
