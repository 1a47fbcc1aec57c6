"""Modular prompt learning for CLIP, and its neighbours, as a library and a plugin for the Dassl/CoOp family.

    clip_model, preprocess = modprompt.load_clip("ViT-B/16")
    model = modprompt.MPL(n_ctx=1, prompt_depth=9).on(clip_model, ["cat", "dog"])

Names are imported when they are asked for: `import modprompt` alone loads no PyTorch. Their types are in __init__.pyi.
"""

import importlib

from modprompt.clips import pkg_resources_mend
from modprompt.errors import SettingError, UserError
from modprompt.version import __version__

_LAZY = {
    "load_clip": "clips.load",
    "Schedule": "engine.schedule",
    "Schedules": "engine.schedule",
    "Method": "methods.base",
    "PromptedModel": "methods.model",
    "ADAPTER": "methods.adapter",
    "ALVLM": "methods.alvlm",
    "CLIP_Adapter": "methods.clip_adapter",
    "CoCoOp": "methods.cocoop",
    "CoOp": "methods.coop",
    "DPL": "methods.dpl",
    "DPLSearch": "methods.dpl_search",
    "IVLP": "methods.ivlp",
    "KgCoOp": "methods.kgcoop",
    "LPPlusPlus": "methods.lpplusplus",
    "MaPLe": "methods.maple",
    "MPL": "methods.mpl",
    "ProGrad": "methods.prograd",
    "PromptSRC": "methods.promptsrc",
    "TaskRes": "methods.taskres",
    "TipAdapter": "methods.tip_adapter",
    "TipAdapterF": "methods.tip_adapter",
    "Search": "methods.search",
    "TCP": "methods.tcp",
    "VPT": "methods.vpt",
    "ZeroshotCLIP": "methods.zeroshot",
    "ZeroshotCLIP2": "methods.zeroshot",
    "load": "methods.loading",
}

__all__ = ["SettingError", "UserError", "__version__", *_LAZY]  # noqa: PLE0604 - names

pkg_resources_mend.enter()  # for whoever imports `clip` himself


def __getattr__(name):
    if name not in _LAZY:
        raise AttributeError(f"module 'modprompt' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"modprompt.{_LAZY[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})
