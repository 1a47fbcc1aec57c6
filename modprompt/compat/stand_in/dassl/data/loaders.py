"""Workers that live as long as the run, with the random numbers of workers that start anew in every epoch."""

import random

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info
from torch.utils.data._utils import worker as torch_worker


def _seed_worker(base_seed):
    """What PyTorch does in a worker that it starts in an epoch with this base seed."""
    number = get_worker_info().id
    random.seed(base_seed + number)
    torch.manual_seed(base_seed + number)
    if hasattr(torch_worker, "_generate_state"):  # where PyTorch seeds numpy too
        np.random.seed(torch_worker._generate_state(base_seed, number))


class _SeededBatches:
    """A batch sampler that sends the epoch's base seed along with the first index of each batch."""

    def __init__(self, sampler, batch_size, drop_last):
        self.batches = torch.utils.data.BatchSampler(sampler, batch_size, drop_last)

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        base_seed = torch.empty((), dtype=torch.int64).random_().item()  # as a new DataLoader iterator draws it
        for first, *rest in self.batches:
            yield [(base_seed, first), *rest]


class _Seeded(Dataset):
    """A data set that is read by _SeededBatches."""

    def __init__(self, inner):
        self.inner = inner
        self.base_seed = None

    def __len__(self):
        return len(self.inner)

    def __getattr__(self, name):
        if name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    def __getitem__(self, index):
        if isinstance(index, tuple):
            base_seed, index = index
            if base_seed != self.base_seed:
                _seed_worker(base_seed)
                self.base_seed = base_seed
        return self.inner[index]


def lasting_loader(dataset, batch_size, sampler, num_workers, drop_last, pin_memory):
    """A DataLoader whose workers survive epochs, with the same samples and draws as one whose workers do not.

    It also has a batch size and a sampler, which heads need that make another loader from it.
    """
    loader = DataLoader(
        _Seeded(dataset),
        batch_sampler=_SeededBatches(sampler, batch_size, drop_last),
        num_workers=num_workers,
        pin_memory=pin_memory,
        persistent_workers=True,
        generator=torch.Generator(),  # its own draws stay out of the run's stream
    )
    loader.__dict__.update(batch_size=batch_size, sampler=sampler)  # a DataLoader of batches accepts neither
    return loader
