"""What acquisitions are given: fixed random matrices, and those of the golden picks; and how a round's CSV is filled in."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import torch

from modprompt.active import selection  # noqa: F401 - it enters the acquisitions
from modprompt.active.acquisition import Seen

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())


def seen_of(features, probabilities, labelled=0, labels=(), text=None, batch_size=32):
    """The first so many rows as those with a label."""
    features, p = torch.as_tensor(features).float(), torch.as_tensor(probabilities).float()
    text = torch.zeros(p.shape[1], features.shape[1]) if text is None else text
    labels, best = torch.as_tensor(labels, dtype=torch.int64)[:labelled], p[labelled:].max(dim=1)
    with_label = features[:labelled], p[:labelled], labels
    return Seen(features[labelled:], p[labelled:], *with_label, text, batch_size, best.indices, best.values)


def random_seen(seed, images, labelled=0, batch_size=32):
    """Features around class features, with logits that follow them, and true labels of those that have one."""
    rng = np.random.RandomState(seed)
    text = unit(rng.randn(5, 8))
    true = rng.randint(5, size=labelled + images)
    features = torch.tensor(unit(text[true] + 0.5 * rng.randn(labelled + images, 8)), dtype=torch.float32)
    text = torch.tensor(text, dtype=torch.float32)
    p = (4 * features @ text.t()).softmax(dim=1)
    return seen_of(features, p, labelled, true[:labelled], text, batch_size)


def golden_seen(labelled=2, batch_size=32):
    """The matrices of golden.json: 200 images, 10 classes."""
    rng = np.random.RandomState(0)
    with_label, without, logits = rng.randn(15, 32), rng.randn(200, 32), 3 * rng.randn(200, 10)
    p = torch.tensor(logits, dtype=torch.float32).softmax(dim=1)
    features = torch.tensor(np.concatenate([unit(with_label)[:labelled], unit(without)]), dtype=torch.float32)
    return seen_of(features, torch.cat([p[:labelled], p]), labelled, [0] * labelled, batch_size=batch_size)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def picks_in(path):
    """The lines of a round's CSV."""
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"), newline="")))


def fill(path, labels):
    """Write the labels of images, by their file, into a round's CSV."""
    rows = picks_in(path)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({**row, "label": labels.get(row["file"], row["label"])} for row in rows)
