"""Which images a round asks for: the previous round's model scores them, and an acquisition chooses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from dassl.engine import TRAINER_REGISTRY
from torch import Tensor

from modprompt.active import acquisition, blocks, generators, selection
from modprompt.active.acquisition import Seen
from modprompt.active.pool import Pool, given
from modprompt.active.record import Picked
from modprompt.active.scoring import Scored, Scorer
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
        self.clip = ""  # the weights of the zero-shot CLIP, if it chose
        wanted, there = active.rounds * budget, len(pool.unlabelled)
        if wanted > there:
            raise UserError(
                f"ACTIVE.ROUNDS {active.rounds} of {budget} labels ask for {wanted} images, but the pool of "
                f"{cfg.DATASET.NAME} has {there} without a label: lower ACTIVE.ROUNDS or ACTIVE.BUDGET"
            )
        selection.candidates(active, budget, len(pool.images), there)

    def choose(self, trainer: Any) -> list[Picked]:
        """The picks of a round; draws from all generators as the reference does.

        Args:
            trainer: that of the previous round; None in the first.
        """
        unlabelled = self.pool.unlabelled
        if trainer is None and not self.acquisition.first:
            drawn = selection.first_at_random(len(unlabelled), self.budget)
            return [self._drawn(unlabelled[position]) for position in drawn]
        scored = self._by_zero_shot() if trainer is None else self._scorer.scored(trainer)
        generators.take_numbers(self.acquisition.passes + selection.has_pcb(self.active))
        picks = selection.select(
            self._seen(scored, unlabelled),
            self.active,
            self.budget,
            len(self.pool.images),
            self.pool.counts(),
            self.pool.names,
        )
        return [
            Picked(
                self.pool.file(unlabelled[pick.position]),
                pick.predicted,
                pick.probability,
                pick.score,
                pick.reason,
                pick.free,
            )
            for pick in picks
        ]

    def _drawn(self, place: int) -> Picked:
        return Picked(self.pool.file(place), None, None, None, "drawn at random: the first round")

    def _by_zero_shot(self) -> Scored:
        """The scores of zero-shot CLIP; building it draws the random numbers of a CLIP's constructor."""
        cfg = self.cfg.of_one_training(OUTPUT_DIR="", RESUME="", VERBOSE=False, **{"TRAINER.NAME": ZERO_SHOT})
        with given(cfg.DATASET.NAME, self.pool.for_scoring()):
            trainer = TRAINER_REGISTRY.get(ZERO_SHOT)(cfg)
        self.clip = str(trainer.run.fingerprint)
        return Scorer(self.pool.images).scored(trainer)

    def _seen(self, scored: Scored, unlabelled: list[int]) -> Seen:
        batch = int(self.cfg.DATALOADER.TRAIN_X.BATCH_SIZE)
        return seen_of(scored, unlabelled, self.pool.labels, batch)


def seen_of(scored: Scored, unlabelled: Sequence[int], labels: Mapping[int, int], batch_size: int) -> Seen:
    """What an acquisition may look at; it takes over the memory of the scored matrices.

    Args:
        scored: all images.
        unlabelled: places of those without a label, ascending.
        labels: of the others, by place.
        batch_size: images in a training batch.
    """
    free, taken = (torch.tensor(places, dtype=torch.long) for places in (unlabelled, list(labels)))
    labelled = scored.features[taken], scored.probabilities[taken]
    return Seen(
        _moved_up(scored.features, free),
        _moved_up(scored.probabilities, free),
        *labelled,
        torch.tensor(list(labels.values()), dtype=torch.long),
        scored.text,
        batch_size,
    )


def _moved_up(matrix: Tensor, rows: Tensor) -> Tensor:
    """Rows of a matrix, ascending, moved up within its memory: a large pool's would not fit twice."""
    for first in range(0, len(rows), blocks.rows_of(matrix)):
        part = rows[first : first + blocks.rows_of(matrix)]
        matrix[first : first + len(part)] = matrix[part]
    return matrix[: len(rows)]
