"""Samplers by name."""

from torch.utils.data.sampler import RandomSampler, SequentialSampler

_SAMPLERS = {"RandomSampler": RandomSampler, "SequentialSampler": SequentialSampler}


def build_sampler(sampler_type, cfg=None, data_source=None, batch_size=32, n_domain=0, n_ins=16):
    """A sampler over data_source.

    Raises:
        ValueError: for a domain or class sampler, which only the full Dassl has, or an unknown name.
    """
    if sampler_type not in _SAMPLERS:
        raise ValueError(f"sampler {sampler_type!r}: this Dassl has {', '.join(_SAMPLERS)}; others need the full Dassl")
    return _SAMPLERS[sampler_type](data_source)
