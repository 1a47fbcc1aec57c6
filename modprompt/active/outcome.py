"""What came of rounds: what a log says at the end, and what result.json has under "active"."""

from __future__ import annotations

import hashlib
from typing import Any, Sequence

from modprompt.active.pool import Pool
from modprompt.active.record import Round
from modprompt.active.settings import Active
from modprompt.io.result import NO_IMAGES, NO_TEST

_KEPT_ASIDE = ("results", "trainer")  # of a round's facts: they are for who goes on


def picks_hash(one: Round) -> str:
    """Twelve hex digits of a round's picks, in order, and their labels."""
    text = "".join(f"{pick.file}\t{pick.label}\n" for pick in one.picks)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def overview(done: Sequence[Round]) -> str:
    """One line per round, as the reference's log has them; behind free labels their number."""
    lines, of_all = [], [one.facts or {} for one in done]
    has_free = any(facts["free"] for facts in of_all)
    for facts in of_all:
        accuracy = "no test images" if facts["accuracy_pct"] is None else str(facts["accuracy_pct"])
        free = f", {facts['asked']} asked for and {facts['free']} free" if has_free else ""
        new = "" if facts["new_accuracy_pct"] is None else f", new classes {facts['new_accuracy_pct']}"
        lines.append(f"{facts['round']}: {accuracy}{new}{free}")
    return "\n".join(["=== Result Overview ===", *lines, "======================="])


def active_record(
    active: Active, budget: int, of_choice: int, pool: Pool, done: Sequence[Round], no_test: bool
) -> dict[str, Any]:
    """What result.json says of a run in rounds, over what it says of its last training.

    Args:
        active: its settings.
        budget: labels that a round asks for.
        of_choice: labels of validation images that a choice takes, which all rounds count.
        pool: of the images.
        done: its rounds.
        no_test: whether nothing was to be tested.
    """
    rounds = [
        {
            **{key: value for key, value in (one.facts or {}).items() if key not in _KEPT_ASIDE},
            "labels": (one.facts or {})["labels"] + of_choice,  # records count those that were asked for
            "picks_hash": picks_hash(one),
        }
        for one in done
    ]
    facts: dict[str, Any] = {
        "active": {
            "method": active.method,
            "pcb": active.pcb,
            "gamma": active.gamma,
            "budget": budget,
            "labels_of_choice": of_choice,
            "classes": len(pool.names),
            "pool": len(pool.images),
            "labelled_before": pool.known_at_start,
            "new_classes": any(one["new_accuracy_pct"] is not None for one in rounds),
            "rounds": rounds,
        },
        "elapsed_s": round(sum(one["elapsed_s"] for one in rounds), 1),
    }
    if rounds[-1]["accuracy_pct"] is None:  # there were no test images
        untested = NO_TEST if no_test else NO_IMAGES
        facts.update({"accuracy_pct": None, "images": 0, "correct": 0, "tested_on": "nothing", "untested": untested})
    return facts
