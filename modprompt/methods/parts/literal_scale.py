"""A literal in place of CLIP's logit scale: the value of OpenAI's CLIPs, which repositories have in their configs."""

from collections.abc import Mapping
from typing import Any

from modprompt.methods.parts.capabilities import RunFacts


def own_scale(settings: Mapping[str, Any], facts: RunFacts) -> dict[str, float]:
    """LITERAL_SCALE 0, that is exp(logit_scale) of the CLIP, for a run on another CLIP than OpenAI's; else nothing."""
    return {"LITERAL_SCALE": 0.0} if settings.get("LITERAL_SCALE") and not facts.openai else {}
