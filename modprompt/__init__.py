"""Prompt engine for a stock CLIP: schedules, encoders with prompts on both sides, and the learner of MPL.

The modules of this package know nothing of Dassl; `modprompt.plugin` is the side that does.
"""

from modprompt.errors import UserError

__all__ = ["UserError"]
