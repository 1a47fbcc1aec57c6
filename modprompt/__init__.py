"""Modular prompt learning for CLIP, and its neighbours, as a library and a plugin for the Dassl/CoOp family."""

from modprompt import moved
from modprompt.errors import UserError

__version__ = "0.2.0"

moved.enter()

__all__ = ["UserError"]
