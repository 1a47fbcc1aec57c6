"""Optimisers by name, with the settings of cfg.OPTIM."""

import torch
from torch import nn

from dassl.utils import check_availability


def _staged_groups(model, optim_cfg):
    """Two groups: NEW_LAYERS at the full learning rate; the other child modules at BASE_LR_MULT of it."""
    if not isinstance(model, nn.Module):
        raise TypeError("OPTIM.STAGED_LR needs a module, not a list of parameters. Pass the module.")
    model = model.module if isinstance(model, nn.DataParallel) else model
    new = [optim_cfg.NEW_LAYERS] if isinstance(optim_cfg.NEW_LAYERS, str) else optim_cfg.NEW_LAYERS
    base_params, new_params = [], []
    for name, child in model.named_children():
        (new_params if name in new else base_params).extend(child.parameters())
    return [{"params": base_params, "lr": optim_cfg.LR * optim_cfg.BASE_LR_MULT}, {"params": new_params}]


def build_optimizer(model, optim_cfg, param_groups=None):
    """The optimiser that optim_cfg.NAME names.

    Args:
        model: a module, or an iterable of parameters.
        optim_cfg: cfg.OPTIM.
        param_groups: optimise these in place of the model's.

    Raises:
        ValueError: on an unknown name.
    """
    if param_groups is None:
        if optim_cfg.STAGED_LR:
            param_groups = _staged_groups(model, optim_cfg)
        else:
            param_groups = model.parameters() if isinstance(model, nn.Module) else model
    common = {"lr": optim_cfg.LR, "weight_decay": optim_cfg.WEIGHT_DECAY}
    betas = {"betas": (optim_cfg.ADAM_BETA1, optim_cfg.ADAM_BETA2)}
    momentum = {"momentum": optim_cfg.MOMENTUM}
    choices = {
        "adam": (torch.optim.Adam, betas),
        "amsgrad": (torch.optim.Adam, {**betas, "amsgrad": True}),
        "adamw": (torch.optim.AdamW, betas),
        "radam": (torch.optim.RAdam, {**betas, "decoupled_weight_decay": True}),  # as Dassl's has it
        "rmsprop": (torch.optim.RMSprop, {**momentum, "alpha": optim_cfg.RMSPROP_ALPHA}),
        "sgd": (torch.optim.SGD, {**momentum, "dampening": optim_cfg.SGD_DAMPNING, "nesterov": optim_cfg.SGD_NESTEROV}),
    }
    check_availability(optim_cfg.NAME, list(choices), "OPTIM.NAME")
    kind, options = choices[optim_cfg.NAME]
    return kind(param_groups, **common, **options)
