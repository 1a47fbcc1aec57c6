"""help(modprompt.MPL): the settings, as --trainer MPL --help lists them."""

from __future__ import annotations

import inspect

from modprompt.cli.flags import shown_configs
from modprompt.fields import Configured, as_config


def describe(cls: type[Configured], trainer: str) -> None:
    """Give a method's class a docstring with its settings, and a signature that begins with `n_ctx`.

    Args:
        cls: the class.
        trainer: the name of its trainer, from whose configs `.on()` takes the settings that were not passed.
    """
    settings = sorted(cls.settings(), key=lambda one: one.field != "n_ctx")
    if not settings:
        return
    width = max(len(one.field) for one in settings)
    lines = [f"    {one.field:<{width}}  {one.meaning} ({as_config(one.default)!r})" for one in settings]
    for clip, (path, set_there) in shown_configs(trainer).items():
        values = {one.field: set_there.get(f"{cls.node}.{one.key}") for one in settings}
        others = {
            one.field: values[one.field]
            for one in settings
            if values[one.field] is not None and as_config(one.fitted(values[one.field])) != as_config(one.default)
        }
        said = ", ".join(f"{field}={value!r}" for field, value in others.items()) or "the defaults above"
        lines.append(f"    on {clip}, the settings of {path} apply: {said}")
    said = (
        "`.on()` takes all settings that are not passed from the config file for the CLIP model, like "
        f"--trainer {trainer}."
    )
    cls.__doc__ = "\n".join([f"{cls.__doc__}\n", f"Settings, with the defaults of this class ({said})", *lines])
    by_field = inspect.signature(cls).parameters
    order = dict.fromkeys([*(one.field for one in settings), *by_field])
    keyword = inspect.Parameter.KEYWORD_ONLY
    cls.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [by_field[name].replace(kind=keyword) for name in order if name in by_field]
    )
