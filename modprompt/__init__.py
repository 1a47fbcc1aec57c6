"""Modular prompt learning for CLIP, and its neighbours, as a library and a plugin for the Dassl/CoOp family.

    clip_model, preprocess = modprompt.load_clip("ViT-B/16")
    model = modprompt.MPL(prompt_depth=6).on(clip_model, ["cat", "dog"])

Settings that are not passed have the values of the method's config file for that CLIP, as in `--trainer MPL`.
Names are imported at first use: `import modprompt` alone loads no PyTorch. Their types are in __init__.pyi,
which tools/stub.py writes.
"""

import importlib

from modprompt.clip.package import mend_imports
from modprompt.errors import SettingError, UserError
from modprompt.methods.table import METHODS, PLUG_INS
from modprompt.version import __version__

LAZY = {  # name: its module
    "load_clip": "clip.load",
    "Schedule": "engine.schedule",
    "Schedules": "engine.schedule",
    "Method": "methods.base",
    "PromptedModel": "methods.model",
    **{row.name: f"{row.room}.{row.module}" for row in (*METHODS, *PLUG_INS)},
    "Search": "methods.search.over",
    "load": "methods.loading",
    "from_pretrained": "use.sharing",
    # for your own methods
    "Learner": "methods.parts.learners",
    "LearnedText": "methods.parts.groups",
    "PromptsVision": "methods.parts.groups",
    "Regularised": "methods.parts.groups",
    "Term": "methods.parts.losses",
    "register_own": "methods.own",
    "setting": "fields",
}
_TRAINERS = {row.name for row in METHODS}

__all__ = ["SettingError", "UserError", "__version__", *LAZY]  # noqa: PLE0604 - names

mend_imports()  # for code that imports `clip` directly


def __getattr__(name):
    if name not in LAZY:
        raise AttributeError(f"module 'modprompt' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"modprompt.{LAZY[name]}"), name)
    if name in _TRAINERS:
        importlib.import_module("modprompt.python_help").describe(value, name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(__all__)
