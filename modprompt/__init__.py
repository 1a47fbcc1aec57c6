"""Modular prompt learning for CLIP, and its neighbours, as a library and a plugin for the Dassl/CoOp family.

    clip_model, preprocess = modprompt.load_clip("ViT-B/16")
    model = modprompt.MPL(n_ctx=1, prompt_depth=9).on(clip_model, ["cat", "dog"])

Names are imported when they are asked for: `import modprompt` alone loads no PyTorch.
"""

import importlib
from typing import TYPE_CHECKING, Any, Dict, List

from modprompt import moved
from modprompt.clips import pkg_resources_mend
from modprompt.errors import SettingError, UserError

if TYPE_CHECKING:
    from modprompt.clips.load import load_clip
    from modprompt.engine.schedule import Schedule, Schedules
    from modprompt.methods.base import Method
    from modprompt.methods.cocoop import CoCoOp
    from modprompt.methods.coop import CoOp
    from modprompt.methods.ivlp import IVLP
    from modprompt.methods.loading import load
    from modprompt.methods.maple import MaPLe
    from modprompt.methods.model import PromptedModel
    from modprompt.methods.mpl import MPL
    from modprompt.methods.promptsrc import PromptSRC
    from modprompt.methods.vpt import VPT
    from modprompt.methods.zeroshot import ZeroshotCLIP, ZeroshotCLIP2

__version__ = "0.2.0"

_LAZY: Dict[str, str] = {
    "load_clip": "clips.load",
    "Schedule": "engine.schedule",
    "Schedules": "engine.schedule",
    "Method": "methods.base",
    "PromptedModel": "methods.model",
    "CoCoOp": "methods.cocoop",
    "CoOp": "methods.coop",
    "IVLP": "methods.ivlp",
    "MaPLe": "methods.maple",
    "MPL": "methods.mpl",
    "PromptSRC": "methods.promptsrc",
    "VPT": "methods.vpt",
    "ZeroshotCLIP": "methods.zeroshot",
    "ZeroshotCLIP2": "methods.zeroshot",
    "load": "methods.loading",
}

__all__ = [  # noqa: F822 - most are lazy
    "MPL",
    "VPT",
    "CoCoOp",
    "CoOp",
    "IVLP",
    "MaPLe",
    "Method",
    "PromptSRC",
    "PromptedModel",
    "Schedule",
    "Schedules",
    "SettingError",
    "UserError",
    "ZeroshotCLIP",
    "ZeroshotCLIP2",
    "load",
    "load_clip",
]

moved.enter()
pkg_resources_mend.enter()  # for whoever imports `clip` himself


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'modprompt' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"modprompt.{_LAZY[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> List[str]:
    return sorted({*globals(), *__all__})
