"""Lasting workers draw what workers of one epoch draw."""

import random

import dassl.data.data_manager as data_manager
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler

from modprompt.cli import train
from tests.test_runs import to
from tests.test_train import losses

loaders = pytest.importorskip("dassl.data.loaders")


class Draws(Dataset):
    """Every sample is its index and one draw of each generator; and the process it came from."""

    def __len__(self):
        return 11

    def __getitem__(self, index):
        import os

        numbers = [float(index), torch.rand(1).item(), random.random(), np.random.rand()]
        return torch.tensor([*numbers, os.getpid()], dtype=torch.float64)


def epochs(loader, count=3):
    torch.manual_seed(5)
    random.seed(5)
    seen = [torch.cat(list(loader)) for _ in range(count)]
    return seen, torch.rand(1).item()


@pytest.mark.slow
def test_same_samples_and_the_same_stream_as_with_new_workers():
    dataset = Draws()
    common = {"batch_size": 4, "num_workers": 2, "drop_last": True}
    plain, after = epochs(DataLoader(dataset, sampler=RandomSampler(dataset), **common))
    loader = loaders.lasting_loader(dataset, sampler=RandomSampler(dataset), pin_memory=False, **common)
    lasting, lasting_after = epochs(loader)
    assert after == lasting_after
    for one, two in zip(plain, lasting):
        assert torch.equal(one[:, :4], two[:, :4])
    processes = [set(epoch[:, 4].tolist()) for epoch in lasting]
    assert processes[0] == processes[1] == processes[2]
    assert not set(plain[0][:, 4].tolist()) & set(plain[1][:, 4].tolist())


def test_loader_says_of_what_it_is_made():
    sampler = RandomSampler(Draws())
    loader = loaders.lasting_loader(Draws(), 4, sampler, num_workers=1, drop_last=True, pin_memory=False)
    assert (loader.batch_size, loader.sampler, len(loader)) == (4, sampler, 2)


@pytest.mark.slow
def test_lasting_workers_and_kept_images_change_no_loss(mpl_flags, mpl_options, tmp_path, monkeypatch):
    assert train.main([*mpl_flags, "--no-train", *mpl_options]) == 0  # makes the split

    def losses_of(name, *options):
        assert train.main([*to(mpl_flags, tmp_path / name), *mpl_options, "OPTIM.MAX_EPOCH", "3", *options]) == 0
        return losses((tmp_path / name / "log.txt").read_text())

    lasting = losses_of("lasting", "DATALOADER.NUM_WORKERS", "2")
    read, kept = losses_of("read"), losses_of("kept", "DATALOADER.KEEP_IMAGES", "True")
    monkeypatch.setattr(data_manager, "lasting_loader", DataLoader)
    assert lasting == losses_of("new", "DATALOADER.NUM_WORKERS", "2")
    assert read == kept
    assert len(lasting) == len(read) == 15
