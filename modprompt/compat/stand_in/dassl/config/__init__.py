"""Default configuration, and clones of it."""

from dassl.config.defaults import _C as cfg_default

__all__ = ["cfg_default", "clean_cfg", "get_cfg_default"]


def get_cfg_default():
    """A clone of the default configuration; a change of `cfg_default` is in all later clones."""
    return cfg_default.clone()


def clean_cfg(cfg, trainer):
    """Remove from cfg.TRAINER, in place, the nodes of all trainers but `trainer`."""
    for name in list(cfg.TRAINER.keys()):
        if name not in ("NAME", trainer.upper()):
            cfg.TRAINER.pop(name)
