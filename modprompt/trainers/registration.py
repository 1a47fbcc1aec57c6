"""Trainers in Dassl's registry, beside those of a codebase that may have one of the same name."""

import functools

from dassl.engine import TRAINER_REGISTRY

from modprompt.trainers.clip_trainer import CLIPTrainer

PREFIX = "Mod"  # in front of a name that the codebase has taken


def is_ours(trainer) -> bool:
    """Whether a registered class is one of this package's."""
    return isinstance(trainer, type) and issubclass(trainer, CLIPTrainer)


def _enter(name, trainer):
    renamed = type(name, (trainer,), {"__module__": trainer.__module__, "__doc__": trainer.__doc__})
    TRAINER_REGISTRY.register(force=True)(renamed)
    print(f"This codebase has a trainer {trainer.__name__} of its own; modprompt's is --trainer {name}")


def register_trainer(trainer):
    """Class decorator: register under the class's name, or as Mod<name> where the codebase has that name already."""
    name = trainer.__name__
    taken = name in TRAINER_REGISTRY.registered_names() and not is_ours(TRAINER_REGISTRY.get(name))
    if taken:
        _enter(PREFIX + name, trainer)
    else:
        TRAINER_REGISTRY.register(force=True)(trainer)
    return trainer


def give_way() -> None:
    """Let trainers of the codebase that are registered from now on take their names from ours, which get the prefix."""
    plain = TRAINER_REGISTRY.register

    def entered(trainer, force):
        name = trainer.__name__
        own = TRAINER_REGISTRY.get(name) if name in TRAINER_REGISTRY.registered_names() else None
        yields = is_ours(own) and not is_ours(trainer)
        plain(trainer, force=force or yields)
        if yields:
            _enter(PREFIX + name, own)
        return trainer

    @functools.wraps(plain)
    def register(obj=None, force=False):
        if obj is None:
            return lambda trainer: entered(trainer, force)
        return entered(obj, force)

    TRAINER_REGISTRY.register = register
