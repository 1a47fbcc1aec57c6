"""Registering the trainers of modprompt in the registry of Dassl, next to trainers of a codebase with equal names."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from dassl.engine import TRAINER_REGISTRY

from modprompt.methods import own, together
from modprompt.methods.base import Method
from modprompt.methods.table import BY_NAME, METHODS, PROMPTS, ZERO_SHOT, row_of
from modprompt.trainers.config import register_method
from modprompt.trainers.prompt_trainer import PromptTrainer
from modprompt.trainers.zero_shot import ZeroShotTrainer

PREFIX = "Mod"  # before a name that the codebase uses itself
_TRAINERS = {PROMPTS: PromptTrainer, ZERO_SHOT: ZeroShotTrainer}  # by kind of method
_entered: dict[str, type[PromptTrainer]] = {}  # by method
T = TypeVar("T", bound=type)


def is_ours(trainer: object) -> bool:
    """Return True if a registered class belongs to this package."""
    return isinstance(trainer, type) and issubclass(trainer, PromptTrainer)


def _enter(name: str, trainer: type) -> None:
    renamed = type(name, (trainer,), {"__module__": trainer.__module__, "__doc__": trainer.__doc__})
    TRAINER_REGISTRY.register(force=True)(renamed)
    print(
        f"This codebase has its own trainer {trainer.__name__}. To use the trainer of modprompt, set --trainer {name}."
    )


def _trainer_of(kind: str) -> type[PromptTrainer]:
    """Return the base class of the trainers for a kind of methods, such as heads."""
    if kind in _TRAINERS:
        return _TRAINERS[kind]
    from modprompt.trainers.heads import HeadTrainer  # late: only heads need it

    return HeadTrainer


def register(name: str) -> type[PromptTrainer]:
    """Register the trainer and the configuration node of a method; repeated calls do nothing.

    Args:
        name: the name of the method.

    Returns:
        The trainer class.

    Raises:
        SettingError: if there is no method of this name.
    """
    row = row_of(name)
    if name not in _entered:
        _entered[name] = register_method_as_trainer(row.method, _trainer_of(row.kind))
    return _entered[name]


def register_method_as_trainer(method: type[Method], trainer: type[PromptTrainer]) -> type[PromptTrainer]:
    """Register the trainer of a method under the name of this method.

    Args:
        method: the class of the method.
        trainer: the trainer class for methods of this kind.

    Returns:
        The trainer, a subclass of this class.
    """
    register_method(method)
    names: dict[str, Any] = {"method_class": method, "__doc__": method.__doc__, "__module__": __name__}
    if method.node_name():
        names["node_name"] = method.node_name()
    return register_trainer(type(method.__name__, (trainer,), names))


def register_all() -> None:
    """Register the trainers of all methods."""
    for row in METHODS:
        register(row.name)


def register_trainer(trainer: T) -> T:
    """Decorate a trainer class to register it under its name, or as Mod<name> if the codebase has taken this name."""
    name = trainer.__name__
    taken = name in TRAINER_REGISTRY.registered_names() and not is_ours(TRAINER_REGISTRY.get(name))
    if taken:
        _enter(PREFIX + name, trainer)
    else:
        TRAINER_REGISTRY.register(force=True)(trainer)
    return trainer


def give_way() -> None:
    """Rename the registered trainers of modprompt with the prefix Mod, so that a codebase can register these names."""
    plain = TRAINER_REGISTRY.register

    def entered(trainer: T, force: bool) -> T:
        name = trainer.__name__
        own: Any = TRAINER_REGISTRY.get(name) if name in TRAINER_REGISTRY.registered_names() else None
        yields = is_ours(own) and not is_ours(trainer)
        plain(trainer, force=force or yields)
        if yields:
            _enter(PREFIX + name, own)
        return trainer

    @functools.wraps(plain)
    def register(obj: T | None = None, force: bool = False) -> T | Callable[[T], T]:
        if obj is None:
            return lambda trainer: entered(trainer, force)
        return entered(obj, force)

    TRAINER_REGISTRY.register = register


def _own_trainer(method: type[Method]) -> None:
    register_method_as_trainer(method, _trainer_of(BY_NAME[method.__name__].kind))


own.each(_own_trainer)
for _plug_in in together.plug_ins():
    register_method(_plug_in)
