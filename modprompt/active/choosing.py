"""Which images a round asks for: the previous round's model scores them, and an acquisition chooses."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from dassl.engine import TRAINER_REGISTRY

from modprompt.active import acquisition, generators, selection
from modprompt.active.acquisition import Seen
from modprompt.active.pool import Pool, given
from modprompt.active.record import Picked
from modprompt.active.scoring import Scorer
from modprompt.data.rounds import Active
from modprompt.errors import UserError
from modprompt.trainers.run_config import RunConfig

ZERO_SHOT = "ZeroshotCLIP"  # the trainer that scores where a first round is not drawn


class Chooser:
    """Chooses from a pool.

    Args:
        cfg: the configuration of the run.
        active: its settings of rounds.
        pool: the images.
        budget: images a round.

    Raises:
        UserError: if the pool has fewer images than all rounds together ask for, or a share of it than a round.
    """

    def __init__(self, cfg: RunConfig, active: Active, pool: Pool, budget: int) -> None:
        self.cfg, self.active, self.pool, self.budget = cfg, active, pool, budget
        self.acquisition = acquisition.find(active.method)
        self._scorer = Scorer(pool.images)
        wanted, left = active.rounds * budget, len(pool.unlabelled)
        if wanted > left:
            raise UserError(
                f"ACTIVE.ROUNDS {active.rounds} of {budget} labels ask for {wanted} images, but the pool of "
                f"{cfg.DATASET.NAME} has {left} without a label: lower ACTIVE.ROUNDS or ACTIVE.BUDGET"
            )
        selection.candidates(active, budget, len(pool.images), left)

    def choose(self, trainer: Any) -> list[Picked]:
        """The picks of a round; draws from all generators as the reference does.

        Args:
            trainer: that of the previous round; None in the first.
        """
        pool, unlabelled = self.pool, self.pool.unlabelled
        if trainer is None and not self.acquisition.first:
            drawn = random.sample(unlabelled, self.budget)
            return [Picked(pool.file(place), None, None, None, "drawn at random: the first round") for place in drawn]
        seen = seen_of(
            self._scorer, trainer or self._zero_shot(), unlabelled, pool.labels, self.cfg.DATALOADER.TRAIN_X.BATCH_SIZE
        )
        generators.take_numbers(self.acquisition.passes + selection.has_pcb(self.active))
        picks = selection.select(seen, self.active, self.budget, len(pool.images), pool.counts(), pool.names)
        return [
            Picked(
                pool.file(unlabelled[pick.position]),
                pick.predicted,
                pick.probability,
                pick.score,
                pick.reason,
                pick.free,
            )
            for pick in picks
        ]

    def _zero_shot(self) -> Any:
        """The trainer of zero-shot CLIP; building it draws the random numbers of a CLIP's constructor."""
        cfg = self.cfg.of_one_training(OUTPUT_DIR="", RESUME="", VERBOSE=False, **{"TRAINER.NAME": ZERO_SHOT})
        with given(cfg.DATASET.NAME, self.pool.for_scoring()):
            return TRAINER_REGISTRY.get(ZERO_SHOT)(cfg)


def seen_of(
    scorer: Scorer, trainer: Any, unlabelled: Sequence[int], labels: Mapping[int, int], batch_size: int
) -> Seen:
    """What an acquisition may look at: a trainer's outputs, labelled images first, so that no part is copied.

    Args:
        scorer: of all images.
        trainer: whose model scores them.
        unlabelled: places of those without a label, ascending.
        labels: of the others, by place.
        batch_size: images in a training batch.
    """
    scored, many = scorer.scored(trainer, [*labels, *unlabelled]), len(labels)
    features, p = scored.features, scored.probabilities
    known = torch.tensor(list(labels.values()), dtype=torch.long)
    return Seen(features[many:], p[many:], features[:many], p[:many], known, scored.text, batch_size)
