"""Modular prompt learning for CLIP, and its neighbours, as a library and a plugin for the Dassl/CoOp family."""

from modprompt import moved
from modprompt.errors import UserError

moved.enter()

__all__ = ["UserError"]
