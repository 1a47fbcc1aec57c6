"""Prompt engine for a stock CLIP: schedules, encoders with prompts on both sides, and prompt learners.

The modules of this package know nothing of Dassl; `modprompt.plugin` is the side that does.
"""

from modprompt.errors import UserError

__all__ = ["UserError"]
