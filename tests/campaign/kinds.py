"""All kinds of files that this project reads."""

from __future__ import annotations

from tests.campaign import kinds_clips, kinds_data, kinds_learned, kinds_runs
from tests.campaign.kind import Kind


def all_kinds() -> list[Kind]:
    """Every kind, each under a name of its own."""
    return [*kinds_learned.kinds(), *kinds_clips.kinds(), *kinds_data.kinds(), *kinds_runs.kinds()]
