"""Modules that stood elsewhere in the version before: their old names work for this one version, with a warning."""

import importlib
import importlib.abc
import importlib.machinery
import sys
import types
import warnings
from typing import Any, Dict, Optional, Sequence, Tuple

# old path: where its names are now, looked up in this order
MOVED: Dict[str, Tuple[str, ...]] = {
    "modprompt.backbone": ("modprompt.clips.build",),
    "modprompt.blocks": ("modprompt.engine.blocks",),
    "modprompt.checkpoint": ("modprompt.methods.parts.view",),
    "modprompt.clip_package": ("modprompt.clips.package",),
    "modprompt.context": ("modprompt.engine.context",),
    "modprompt.encoders": ("modprompt.engine.encoders",),
    "modprompt.given": ("modprompt.runs.settings",),
    "modprompt.interpret": ("modprompt.use.words",),
    "modprompt.lr_schedule": ("modprompt.methods.parts.lr_schedule",),
    "modprompt.memory": ("modprompt.engine.memory",),
    "modprompt.model": ("modprompt.engine.model",),
    "modprompt.names": ("modprompt.checks",),
    "modprompt.packing": ("modprompt.engine.packing",),
    "modprompt.precision": ("modprompt.engine.precision", "modprompt.clips.cast"),
    "modprompt.prompts": ("modprompt.engine.prompts", "modprompt.clips.tokens"),
    "modprompt.regularise": ("modprompt.methods.parts.regularise", "modprompt.methods.parts.average"),
    "modprompt.schedule": ("modprompt.engine.schedule",),
    "modprompt.templates": ("modprompt.methods.parts.templates",),
    "modprompt.zeroshot": ("modprompt.methods.parts.teacher",),
    "modprompt.plugin": (),
    "modprompt.plugin.clip_trainer": ("modprompt.trainers.clip_trainer",),
    "modprompt.plugin.config": ("modprompt.trainers.nodes",),
    "modprompt.plugin.feature_cache": ("modprompt.trainers.feature_cache",),
    "modprompt.plugin.learner_checkpoints": ("modprompt.trainers.learner_checkpoints",),
    "modprompt.plugin.mends": ("modprompt.compat.mends",),
    "modprompt.plugin.once": ("modprompt.trainers.once",),
    "modprompt.plugin.prompt_trainer": ("modprompt.trainers.prompt_trainer",),
    "modprompt.plugin.registration": ("modprompt.trainers.registration",),
    "modprompt.plugin.regularised_trainer": ("modprompt.trainers.regularised_trainer",),
    "modprompt.plugin.result": ("modprompt.trainers.result",),
    "modprompt.plugin.resuming": ("modprompt.trainers.resuming",),
    "modprompt.plugin.run_folder": ("modprompt.trainers.run_folder",),
    "modprompt.plugin.settings": ("modprompt.trainers.config",),
    "modprompt.plugin.training_state": ("modprompt.trainers.training_state",),
}


class _Old(types.ModuleType):
    """A module at an old path; each name is imported from its new module when it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        for place in MOVED[self.__name__]:
            module = importlib.import_module(place)
            if hasattr(module, name):
                text = f"{self.__name__}.{name} is {place}.{name} now; the old name goes with the next version"
                warnings.warn(text, DeprecationWarning, stacklevel=2)
                return getattr(module, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    of_modprompt = True  # by which a finder is known, also one of another copy of this module

    def find_spec(
        self, fullname: str, path: Optional[Sequence[str]] = None, target: Optional[types.ModuleType] = None
    ) -> Optional[importlib.machinery.ModuleSpec]:
        """A module for an old path, nothing for any other."""
        if fullname not in MOVED:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=fullname == "modprompt.plugin")

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """An empty module that looks up what is asked of it."""
        return _Old(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing to run, but what importing the whole old package did."""
        if module.__name__ == "modprompt.plugin":
            importlib.import_module("modprompt.trainers")


def enter() -> None:
    """Have the old paths found, in front of all that lies on the path."""
    if not any(
        type(finder).__name__ == _Finder.__name__ and hasattr(finder, "of_modprompt") for finder in sys.meta_path
    ):
        sys.meta_path.insert(0, _Finder())
