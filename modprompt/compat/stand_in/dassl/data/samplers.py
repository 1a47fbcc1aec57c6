"""Samplers by name."""

from torch.utils.data.sampler import RandomSampler, SequentialSampler

_SAMPLERS = {"RandomSampler": RandomSampler, "SequentialSampler": SequentialSampler}


def build_sampler(sampler_type, cfg=None, data_source=None, batch_size=32, n_domain=0, n_ins=16):
    """A sampler over data_source.

    Raises:
        ValueError: for a domain or class sampler, which only the full Dassl has, or an unknown name.
    """
    if sampler_type not in _SAMPLERS:
        raise ValueError(
            f"The sampler {sampler_type!r} is not available in the minimal Dassl replacement, which provides "
            f"{', '.join(_SAMPLERS)}. Install Dassl.pytorch to use other samplers."
        )
    return _SAMPLERS[sampler_type](data_source)
