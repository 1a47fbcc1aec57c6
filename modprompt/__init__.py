"""Modular prompt learning for CLIP, and its neighbours, as a library and a plugin for the Dassl/CoOp family."""

from modprompt import moved
from modprompt.clips import pkg_resources_mend
from modprompt.errors import UserError

moved.enter()
pkg_resources_mend.enter()  # for whoever imports `clip` himself

__all__ = ["UserError"]
