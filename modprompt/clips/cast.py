"""The matrices of a stock CLIP in another type."""

import torch
from torch import nn


def cast_products(clip_model: nn.Module, dtype: torch.dtype) -> None:
    """Cast the matrices of a stock CLIP in place; normalisations and embeddings stay as they are."""
    matrices = ("in_proj_weight", "in_proj_bias", "q_proj_weight", "k_proj_weight", "v_proj_weight", "bias_k", "bias_v")
    for module in clip_model.modules():
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            module.to(dtype)
        names = matrices if hasattr(module, "in_proj_weight") else ("text_projection", "proj")
        for name in names:
            tensor = getattr(module, name, None)
            if isinstance(tensor, torch.Tensor):
                tensor.data = tensor.data.to(dtype)
