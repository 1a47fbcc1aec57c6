"""Rounds of active learning written out plainly: every loader is iterated over, every round trains by hand.

Random first round, entropy, then PCB as the reference has it. Shapes: N images, C classes.
"""

import random

import numpy as np
import torch
from dassl.data.data_manager import DatasetWrapper
from dassl.data.datasets import Datum
from dassl.engine import build_trainer
from dassl.utils import set_random_seed

from modprompt.active.pool import given


def _logits(trainer, images):
    """(N, C), by a loader that is really made: it takes its number from PyTorch's generator."""
    transform = trainer.test_loader.dataset.transform
    data = DatasetWrapper(trainer.cfg, images, transform=transform, is_train=False)
    loader = torch.utils.data.DataLoader(data, batch_size=trainer.cfg.DATALOADER.TRAIN_X.BATCH_SIZE)
    trainer.set_model_mode("eval")
    with torch.no_grad():
        return torch.cat([trainer.model(batch["img"]) for batch in loader])


def _pcb(predicted, counts, budget):
    """Positions of candidates (PCB, arXiv 2311.11178), giving up when a class runs out."""
    counts, picked = np.array(counts, dtype=np.float32), []
    while len(picked) < budget:
        poorest = int(counts.argmin())
        mine = [position for position, own in enumerate(predicted) if own == poorest]
        random.shuffle(mine)
        mine = [position for position in mine if position not in picked]
        if mine:
            picked.append(mine[0])
            counts[poorest] += 1
            continue
        drawn = random.randint(0, len(predicted) - 1)
        while drawn in picked:
            drawn = random.randint(0, len(predicted) - 1)
        picked.append(drawn)
    return picked


def run(cfg_of, dataset, rounds, gamma):
    """Picks (paths) and test accuracies in percent, by round.

    Args:
        cfg_of: gives the configuration of a round's training.
        dataset: a data set whose training images are the pool.
        rounds: how many.
        gamma: share of the pool that are candidates.
    """
    pool, classes = list(dataset.train_x), len(dataset.classnames)
    labelled, unlabelled, picks, accuracies, trainer = [], list(range(len(pool))), [], [], None
    set_random_seed(cfg_of(0).SEED)
    for number in range(rounds):
        if trainer is None:
            chosen = random.sample(unlabelled, classes)
        else:
            p = _logits(trainer, [pool[i] for i in unlabelled]).double().softmax(dim=1)
            scores = (p * (p + 1e-6).log()).sum(dim=1).numpy()
            candidates = [unlabelled[i] for i in np.argsort(scores, kind="stable")[: int(len(pool) * gamma)]]
            predicted = _logits(trainer, [pool[i] for i in candidates]).argmax(dim=1).tolist()
            counts = np.bincount([pool[i].label for i in labelled], minlength=classes)
            chosen = [candidates[i] for i in _pcb(predicted, counts, classes)]
        labelled += chosen
        unlabelled = [i for i in unlabelled if i not in chosen]
        dataset._train_x = [Datum(pool[i].impath, pool[i].label, 0, pool[i].classname) for i in labelled]
        with given(cfg_of(number).DATASET.NAME, dataset):
            trainer = build_trainer(cfg_of(number))
        found = {}
        evaluate = trainer.evaluator.evaluate
        trainer.evaluator.evaluate = lambda evaluate=evaluate, found=found: found.update(evaluate()) or found
        trainer.train()
        picks.append([pool[i].impath for i in chosen])
        accuracies.append(found["accuracy"])
    return picks, accuracies, trainer
