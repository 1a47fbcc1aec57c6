"""Lasting workers draw what workers of one epoch draw."""

import random

import dassl
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler

from modprompt.cli import train

loaders = pytest.importorskip("dassl.data.loaders")
assert dassl


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


@pytest.mark.cover(1)
@pytest.mark.parametrize("drop_last", [True, False])
def test_same_samples_and_the_same_stream_as_with_new_workers(drop_last):
    dataset = Draws()
    common = {"batch_size": 4, "num_workers": 2, "drop_last": drop_last}
    plain, after = epochs(DataLoader(dataset, sampler=RandomSampler(dataset), **common))
    lasting, lasting_after = epochs(
        loaders.lasting_loader(dataset, sampler=RandomSampler(dataset), pin_memory=False, **common)
    )
    assert after == lasting_after
    for one, two in zip(plain, lasting):
        assert torch.equal(one[:, :4], two[:, :4])
    processes = [set(epoch[:, 4].tolist()) for epoch in lasting]
    assert processes[0] == processes[1] == processes[2]
    assert not set(plain[0][:, 4].tolist()) & set(plain[1][:, 4].tolist())


@pytest.mark.slow
def test_runs_with_workers_have_the_losses_of_runs_with_new_ones(mpl_flags, mpl_options, tmp_path, monkeypatch):
    import dassl.data.data_manager as data_manager

    from tests.test_train import losses

    found = []
    assert train.main([*mpl_flags, "--no-train", *mpl_options]) == 0  # makes the split
    for name in ("lasting", "new"):
        if name == "new":
            monkeypatch.setattr(data_manager, "lasting_loader", DataLoader)
        flags = [*mpl_flags]
        flags[flags.index("--output-dir") + 1] = str(tmp_path / name)
        assert train.main([*flags, *mpl_options, "DATALOADER.NUM_WORKERS", "2", "OPTIM.MAX_EPOCH", "3"]) == 0
        found.append(losses((tmp_path / name / "log.txt").read_text()))
    assert found[0] == found[1]
    assert len(found[0]) == 15


def test_loader_says_of_what_it_is_made():
    sampler = RandomSampler(Draws())
    loader = loaders.lasting_loader(Draws(), 4, sampler, num_workers=1, drop_last=True, pin_memory=False)
    assert (loader.batch_size, loader.sampler, len(loader)) == (4, sampler, 2)


@pytest.mark.slow
def test_kept_images_change_nothing(mpl_flags, mpl_options, tmp_path):
    from tests.test_train import losses

    found = []
    assert train.main([*mpl_flags, "--no-train", *mpl_options]) == 0  # makes the split
    for name, keep in (("read", "False"), ("kept", "True")):
        flags = [*mpl_flags]
        flags[flags.index("--output-dir") + 1] = str(tmp_path / name)
        assert train.main([*flags, *mpl_options, "DATALOADER.KEEP_IMAGES", keep]) == 0
        found.append(losses((tmp_path / name / "log.txt").read_text()))
    assert found[0] == found[1] != {}
