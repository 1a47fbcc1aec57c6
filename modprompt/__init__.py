"""Modular prompt learning for CLIP, and its neighbours, as a library and a plugin for the Dassl/CoOp family.

    clip_model, preprocess = modprompt.load_clip("ViT-B/16")
    model = modprompt.MPL(n_ctx=1, prompt_depth=9).on(clip_model, ["cat", "dog"])

Names are imported at first use: `import modprompt` alone loads no PyTorch. Their types are in __init__.pyi.
"""

import importlib

from modprompt.clip.package import mend_imports
from modprompt.errors import SettingError, UserError
from modprompt.version import __version__

_LAZY = {
    "load_clip": "clip.load",
    "Schedule": "engine.schedule",
    "Schedules": "engine.schedule",
    "Method": "methods.base",
    "PromptedModel": "methods.model",
    "ADAPTER": "methods.heads.adapter",
    "ALVLM": "active.alvlm",
    "CLIPLoRA": "methods.clip_lora",
    "CLIP_Adapter": "methods.heads.clip_adapter",
    "CoCoOp": "methods.cocoop",
    "CoOp": "methods.coop",
    "DePT": "methods.dept",
    "DPL": "methods.dpl",
    "DPLSearch": "methods.search.dpl_search",
    "ExtrasLinearProbeCoCoOp": "methods.dept",
    "ExtrasLinearProbeCoOp": "methods.dept",
    "ExtrasLinearProbeKgCoOp": "methods.dept",
    "ExtrasLinearProbeMaPLe": "methods.dept",
    "HiCroPL": "methods.hicropl",
    "IVLP": "methods.ivlp",
    "KDPL": "methods.kdpl",
    "KgCoOp": "methods.kgcoop",
    "LPPlusPlus": "methods.heads.lpplusplus",
    "MaPLe": "methods.maple",
    "MMRL": "methods.mmrl",
    "MMRLpp": "methods.mmrl",
    "MPL": "methods.mpl",
    "MultiModalAdapter": "methods.mma",
    "ProGrad": "methods.prograd",
    "PromptKD": "methods.promptkd",
    "PromptSRC": "methods.promptsrc",
    "TaskRes": "methods.heads.taskres",
    "TipAdapter": "methods.heads.tip_adapter",
    "TipAdapterF": "methods.heads.tip_adapter",
    "Search": "methods.search.over",
    "TCP": "methods.tcp",
    "VPT": "methods.vpt",
    "ZeroshotCLIP": "methods.zeroshot",
    "ZeroshotCLIP2": "methods.zeroshot",
    "load": "methods.loading",
    # for your own methods
    "Learner": "methods.parts.learners",
    "LearnedText": "methods.parts.groups",
    "PromptsVision": "methods.parts.groups",
    "Regularised": "methods.parts.groups",
    "Term": "methods.parts.losses",
    "register_own": "methods.own",
    "setting": "fields",
}

__all__ = ["SettingError", "UserError", "__version__", *_LAZY]  # noqa: PLE0604 - names

mend_imports()  # for code that imports `clip` directly


def __getattr__(name):
    if name not in _LAZY:
        raise AttributeError(f"module 'modprompt' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"modprompt.{_LAZY[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})
