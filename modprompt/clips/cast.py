"""The matrices of a stock CLIP in another type."""

from typing import Iterator, Tuple

import torch
from torch import nn


def cast_products(clip_model: nn.Module, dtype: torch.dtype) -> bool:
    """Cast the matrices of a stock CLIP in place; normalisations and embeddings stay as they are.

    Returns:
        Whether any value was rounded, so that no cast back brings it again.
    """
    rounded = False
    for owner, name in _products(clip_model):
        tensor = getattr(owner, name)
        if tensor.dtype != dtype:
            cast = tensor.data.to(dtype)
            rounded = rounded or not torch.equal(cast.to(tensor.dtype), tensor.data)
            tensor.data = cast
    return rounded


def _products(clip_model: nn.Module) -> Iterator[Tuple[nn.Module, str]]:
    """The matrices and what is added to them, as (module, name)."""
    matrices = ("in_proj_weight", "in_proj_bias", "q_proj_weight", "k_proj_weight", "v_proj_weight", "bias_k", "bias_v")
    for module in clip_model.modules():
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            yield from ((module, name) for name, _ in module.named_parameters(recurse=False))
        names = matrices if hasattr(module, "in_proj_weight") else ("text_projection", "proj")
        yield from ((module, name) for name in names if isinstance(getattr(module, name, None), torch.Tensor))
