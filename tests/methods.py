"""The test matrix of the trainers: a row each, small settings for the CLIP of conftest.clip_file.

That CLIP has 4 layers a side, text width 64, vision width 128, joint width 32.
"""

import atexit
import functools
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from modprompt.clip.build import layers_of
from tests import (
    plain_dept,
    plain_dpl,
    plain_hicropl,
    plain_lightra,
    plain_lora,
    plain_mma,
    plain_mmrl,
    plain_mpl,
    plain_neighbours,
    plain_tcp,
    plain_teachers,
)
from tests.modprompt.methods import promptkd_inputs

TEACHER = "the folder of a teacher"  # a value that `words` replaces


def words_of(node, settings):
    """KEY VALUE words of a node below TRAINER."""
    return tuple(word for key, value in settings.items() for word in (f"TRAINER.{node}.{key}", str(value)))


class Method(NamedTuple):
    """A trainer under some settings.

    options: KEY VALUE pairs behind the ones every run has.
    folder: of its checkpoints.
    prefix: of the names in them, for what is not kept inside an encoder.
    parameters: the paper's formula for these settings; None for none.
    logits: the plain implementation: (clip_model, params, tokens, images, name_lengths) -> (B, C); None for none.
    step: the plain step of those whose gradients are not cross entropy's: (clip_model, params, tokens, images, labels,
        name_lengths, names) -> (loss, gradients).
    settings: further arguments of both.
    more: other KEY VALUE words.
    """

    trainer: str
    node: str
    options: dict
    folder: str = "prompt_learner"
    prefix: str = ""
    parameters: int | None = None
    logits: Callable | None = None
    step: Callable | None = None
    settings: dict = {}
    more: tuple = ()

    @property
    def words(self):
        """The options as a list of words."""
        own = words_of(self.node, {"PREC": "fp32", **self.options})
        return [teacher_folder() if word == TEACHER else word for word in (*own, *self.more)]


@functools.cache
def teacher_folder():
    """A folder with a random CLIP of other widths, whose config stands beside it; gone when the process ends."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    state = torch.get_rng_state()
    promptkd_inputs.write_teacher(Path(folder))
    torch.set_rng_state(state)
    return folder


LENGTHS = (2, 0, 1)  # of DPL's layers, over and over


def small(cls, clip_model=None, **settings):
    """Return a method that fits a CLIP, conftest.random_clip's without one; no setting is left to a config file."""
    text, vision = (3, 3) if clip_model is None else layers_of(clip_model)
    fields = {setting.field for setting in cls.settings()}
    fitting = {
        **dict.fromkeys(("prompt_depth", "prompt_depth_text", "prompt_depth_vision"), 2),
        **{"cross_layer": 1, "flow": "learned", "sentences": "template", "layer": 1},
        **dict.fromkeys(("vision_depth", "text_depth"), 2),
        **{"adapter_start": 2, "adapter_end": min(3, text, vision), "adapter_dim": 8},
        **{"rep_layers": (1, 2), "rep_dim": 16},
        **{"lengths_text": (LENGTHS * text)[:text], "lengths_vision": (LENGTHS * vision)[:vision]},
    }
    fitting = {name: value for name, value in fitting.items() if name in fields}
    if "teacher_ckpt" in fields:
        fitting.update(teacher_name=teacher_folder(), teacher_ckpt="none")
    return cls.of({**fitting, **settings})


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
MAPLE = ("MultiModalPromptLearner", "prompt_learner.")  # where checkpoints lie, and how names in them begin
IVLP = ("VLPromptLearner", "prompt_learner.")
MMRL = ("MultiModalRepresentationLearner", "representation_learner.")
LORA = words_of("CLIPLORA", {"ON": "True", "DROPOUT": "0", "POSITION": "half-up", "PARAMS": "q v"})
OF_LORA = 2 * 2 * 2 * 2 * (T + V)  # layers of a side, matrices, A and B, rank
ADAPTERS = {"ADAPTER_START": 2, "ADAPTER_END": 3, "ADAPTER_DIM": 8, "ADAPTER_SCALE": plain_mma.SCALE}
ADAPTED = words_of("MMADAPTER", {"ON": True, **ADAPTERS})
OF_ADAPTERS = 2 * ((8 * T + 8) + (T * 8 + T) + (8 * V + 8) + (V * 8 + V) + (8 * 8 + 8))
OF_MPL = 3 * T + (1 + 2 * 2) * BRIDGE
PHRASES = str(Path(__file__).with_name("eurosat_phrases.json"))

_COOP = Method("CoOp", "COOP", {"N_CTX": 4}, parameters=4 * T, logits=plain_neighbours.coop)
_MAPLE = Method("MaPLe", "MAPLE", {"PROMPT_DEPTH": 3}, *MAPLE, 3 * (2 * T + BRIDGE), plain_neighbours.maple)
_MPL = Method("MPL", "MPL", {"N_CTX": 1, "PROMPT_DEPTH": 3}, *MAPLE, OF_MPL, plain_mpl.logits_of_row)
METHODS = {
    "coop_end": _COOP,
    "coop_middle_csc": _COOP._replace(
        options={"N_CTX": 5, "CSC": True, "CLASS_TOKEN_POSITION": "middle"},
        parameters=C * 5 * T,
        settings={"position": "middle"},
    ),
    "coop_front_words": _COOP._replace(
        options={"CTX_INIT": "a_photo_of_a", "CLASS_TOKEN_POSITION": "front"}, settings={"position": "front"}
    ),
    "coop_lora": _COOP._replace(parameters=4 * T + OF_LORA, logits=plain_lora.coop, more=LORA),
    "coop_adapters": _COOP._replace(
        parameters=4 * T + OF_ADAPTERS,
        logits=plain_mma.beside_coop,
        step=plain_mma.step_of(plain_mma.beside_coop),
        more=ADAPTED,
    ),
    "coop_dept": _COOP._replace(
        parameters=4 * T + 2 * 2 * E + C * E + C,
        logits=plain_dept.coop,
        step=plain_dept.step,
        more=("TRAINER.DEPT.ON", "True", "TRAINER.DEPT.LR_EXP", "1"),  # the plain step has one rate
    ),
    "cocoop": Method(
        *("CoCoOp", "COCOOP", {"N_CTX": 3}),
        parameters=3 * T + (E * (E // 16) + E // 16) + (E // 16 * T + T),
        logits=plain_neighbours.cocoop,
    ),
    "kgcoop": Method(
        *("KgCoOp", "KGCOOP", {"CTX_INIT": "True", "W": 8}),
        parameters=4 * T,
        logits=plain_neighbours.coop,
        step=plain_teachers.kgcoop,
    ),
    "prograd": Method(
        *("ProGrad", "PROGRAD", {"CTX_INIT": "True", "N_CTX": 7, "LAMBDA": 0.8, "T": 2}),
        parameters=7 * T,
        logits=plain_neighbours.coop,
        step=plain_teachers.prograd,
    ),
    "tcp": Method(
        *("TCP", "TCP", {"LAYER": 2}),
        parameters=4 * T + (E * (E // 4) + E // 4) + (E // 4 * 4 * T + 4 * T),
        logits=plain_tcp.logits,
        step=plain_tcp.step,
    ),
    "mma": Method(
        *("MultiModalAdapter", "MMADAPTER", {"TEXT_CTX_INIT": "a photo of a", **ADAPTERS}),
        folder="adapter_learner",
        parameters=OF_ADAPTERS,
        logits=plain_mma.logits,
        step=plain_mma.step_of(plain_mma.logits),
    ),
    "mmrl": Method(
        *("MMRL", "MMRL", {"REP_LAYERS": [2, 4], "REP_DIM": 16, "N_REP_TOKENS": 3}, *MMRL),
        parameters=3 * 16 + 2 * (V * 16 + V) + 2 * (T * 16 + T) + V * E,
        logits=plain_mmrl.fused,
        step=plain_mmrl.step,
        settings={"layers": (2, 4)},
    ),
    "mmrlpp": Method(
        *("MMRLpp", "MMRLpp"),
        {"REP_LAYERS": [1, 2, 4], "REP_DIM": 16, "N_REP_TOKENS": 2, "BETA": 0.7, "PROJ_LORA_DIM": 8, "RES_LORA_DIM": 2},
        *MMRL,
        parameters=2 * 16 + (V + T) * 16 + 3 * ((V + T) * 2 + 2 * 2 * 16 + V + T) + V * 8 + 8 * E,
        logits=plain_mmrl.fused,
        step=plain_mmrl.step,
        settings={"layers": (1, 2, 4), "beta": 0.7},
    ),
    "hicropl": Method(
        *("HiCroPL", "HICROPL"),
        {"PROMPT_DEPTH": 4, "CROSS_LAYER": 2, "FLOW": "learned", "SENTENCES": "template"},
        *IVLP,
        parameters=4 * 2 * (T + V) + _mapper(V, T) + _mapper(T, V) + 2 * (_pool(T) + _pool(V)),
        logits=plain_hicropl.logits,
        step=plain_hicropl.step,
    ),
    "lightra": Method(
        *("LightRA", "LightRA"),
        {"VISION_DEPTH": 2, "TEXT_DEPTH": 4, "N_CTX_TEXT": 3, "SENTENCES": "template", **plain_lightra.WEIGHTS},
        "ResidualAttention",
        parameters=2 * 2 * 4 * V + 4 * 2 * 3 * T,
        logits=plain_lightra.logits,
        step=plain_lightra.step,
    ),
    "alvlm": Method(
        *("ALVLM", "COOP", {"N_CTX": 3, "AEPATH": PHRASES}),
        parameters=3 * T,
        logits=plain_neighbours.of_phrases,
        more=("ACTIVE.ROUNDS", "0"),
    ),
    "maple": _MAPLE,
    "maple_random": _MAPLE._replace(
        options={"PROMPT_DEPTH": 2, "N_CTX": 5, "CTX_INIT": ""}, parameters=2 * (5 * T + BRIDGE)
    ),
    "ivlp": Method("IVLP", "IVLP", DEEP, *IVLP, 3 * 2 * T + 2 * 3 * V, plain_neighbours.ivlp),
    "language_prompting": Method(
        *("IVLP", "IVLP"),
        {"PROMPT_DEPTH_TEXT": 4, "PROMPT_DEPTH_VISION": 0, "N_CTX_TEXT": 4, "N_CTX_VISION": 0},
        *IVLP,
        parameters=4 * 4 * T,
        logits=plain_neighbours.ivlp,
    ),
    "vpt": Method(
        *("VPT", "VPT", {"PROMPT_DEPTH_VISION": 4, "N_CTX_VISION": 2}, "prompt_learner", "prompt_learner."),
        *(4 * 2 * V, plain_neighbours.ivlp),
    ),
    "promptsrc": Method(
        *("PromptSRC", "PROMPTSRC", {**DEEP, "GPA_MEAN": 2.0}, *IVLP, 3 * 2 * T + 2 * 3 * V, plain_neighbours.ivlp),
        step=plain_neighbours.promptsrc_step,
    ),
    "dpl": Method(
        *("DPL", "DPL", {"LENGTHS_TEXT": [2, 0, 3, 1], "LENGTHS_VISION": [0, 2, 1, 0]}, *MAPLE),
        *(6 * T + 3 * V, plain_dpl.trained_logits),
    ),
    "dpl_ensemble": Method(
        *("TrainerSubnet", "TRAINERSUBNET", {"LENGTHS_TEXT": [0, 1, 1, 2], "LENGTHS_VISION": [2, 0, 1, 1]}, *MAPLE),
        *(4 * T + 4 * V, plain_dpl.ensemble),
    ),
    "clip_lora": Method(
        *("CLIPLoRA", "CLIPLORA", {"N_ITERS": 2, "PARAMS": "q v o", "POSITION": "half-up"}),
        parameters=2 * 3 * 2 * 2 * (T + V),
    ),
    "two_sfs": Method(
        *("TwoSFS", "TWOSFS", {"N_ITERS": 2, "LN_TEXT_START": 1}), parameters=2 * 2 * (3 * T + 4 * V) + C * E
    ),
    "mpl": _MPL,
    "mpl_lora": _MPL._replace(parameters=OF_MPL + OF_LORA, logits=plain_lora.mpl, more=LORA),
    "mpl_adapters": _MPL._replace(
        parameters=OF_MPL + OF_ADAPTERS,
        logits=plain_mma.beside_mpl,
        step=plain_mma.step_of(plain_mma.beside_mpl),
        more=ADAPTED,
    ),
}
# Their steps are of two kinds, each with an optimiser of its own: tests of single optimisers pass them over.
# `parameters` are those of the prompts.
SEARCHES = {
    "dpl_search": Method(
        *("DPLSearch", "DPLSEARCH", {"N_CTX_TEXT": 2, "N_CTX_VISION": 3}, *MAPLE),
        parameters=4 * ((1 + 2) * T + (1 + 2 + 3) * V),
        logits=plain_dpl.search,
    ),
    "dpl_supernet": Method(
        *("TrainerSupernet", "TRAINERSUPERNET", {"N_CTX_TEXT": 1, "N_CTX_VISION": 2}, *MAPLE),
        parameters=4 * (T + (1 + 2) * V),
        logits=plain_dpl.search,
    ),
    "mpl_search": _MPL._replace(
        more=("SEARCH.ON", "True", "SEARCH.ADD", "2", "SEARCH.REMOVE", "1"), logits=None, parameters=None
    ),
}
# A teacher, or a flow that each step writes, decides: tests of plain logits pass them over.
TAUGHT = {
    "promptkd": Method(
        *("PromptKD", "PROMPTKD"),
        {
            **{"MODAL": "cross", "TEACHER_NAME": TEACHER, "TEACHER_CKPT": "none", "TEACHER_RESIZE": "True"},
            **{"PROMPT_DEPTH_VISION": 3, "PROMPT_DEPTH_TEXT": 3},
        },
        "VLPromptLearner",
        parameters=3 * 4 * V + 48 * (E + 48 + 4),  # 48: the teacher's joint width
    ),
    "coop_kdpl": _COOP._replace(logits=None, more=("TRAINER.KDPL.ON", "True", "TRAINER.KDPL.TEACHER", TEACHER)),
    "hicropl_written": METHODS["hicropl"]._replace(
        options={**METHODS["hicropl"].options, "FLOW": "written"}, parameters=None, logits=None, step=None
    ),
}
_TIP = {"AUGMENT_EPOCH": 2, "TRAIN_EPOCH": 2, "SEARCH_STEP": "[5, 4]"}
HEADS = {
    "tip_adapter": Method("TipAdapter", "TIPADAPTER", _TIP, "tip_adapter"),
    "tip_adapter_f": Method("TipAdapterF", "TIPADAPTER", _TIP, "tip_adapter"),
    "clip_adapter": Method("CLIP_Adapter", "CLIP_ADAPTER", {}, "clip_adapter"),
    "taskres": Method("TaskRes", "TaskRes", {"VIEWS": 2}),
    "lpplusplus": Method("LPPlusPlus", "LPPLUSPLUS", {"TRAIN_EPOCH": 12}, "lpplusplus"),
    "tda": Method("TDA", "TDA", {"ALPHA": 1.5, "ORDERS": 3}, "tda"),
    "adapter": Method("ADAPTER", "ADAPTER", {"INIT": "ZS", "CONSTRAINT": "l2-adaptative", "VIEWS": 2}, "adapter"),
}
