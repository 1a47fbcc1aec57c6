"""One part of the campaign, in this process.

    python -m tests.campaign.part NAME SCRATCH SEED SHARE ANSWER

ANSWER gets its figures as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import hypothesis

from modprompt.compat import find as compat
from modprompt.io.text import write_json
from tests.campaign.parts import PARTS, run_of


def main(argv: list[str]) -> None:
    """Run a part and leave its figures."""
    name, scratch, seed, share, answer = argv
    compat.add_to_path()
    hypothesis.settings.register_profile(
        "campaign", deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    hypothesis.settings.load_profile("campaign")
    Path(scratch).mkdir(parents=True, exist_ok=True)
    part = next(part for part in PARTS if part.name == name)
    figures = run_of(part)(Path(scratch), int(seed), float(share))
    write_json(answer, json.loads(json.dumps([figure.as_json() for figure in figures])))


if __name__ == "__main__":
    main(sys.argv[1:])
