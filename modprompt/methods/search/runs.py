"""Runs that search for a schedule: SEARCH.ON, or a method that is a search by itself."""

import warnings
from collections.abc import Mapping
from typing import Any

from modprompt.errors import SettingError, UserError
from modprompt.methods import table
from modprompt.methods.search.over import Search

RUNS = "RUNS"  # of the node SEARCH, set for a run whose method searches: it needs validation images


def help_text(method: Any) -> str:
    """Help for the settings of a search; empty for a method that cannot be searched."""
    if not table.BY_NAME[method.__name__].sides or method.searching.refused:
        return ""
    return f"its search for a schedule (docs/search.md):\n{Search.help_text()}"


def decided(cfg: Any, given: Mapping[str, Any], method: Any, node: str) -> dict[str, bool]:
    """Whether a run searches, as a setting.

    Args:
        cfg: its configuration, merged.
        given: what files, flags and options give.
        method: the class of the trainer's method; None for a trainer that is not ours.
        node: the method's under TRAINER; empty for one that learns nothing.

    Raises:
        UserError: if it should search, but has no prompts to learn.
    """
    always = method is not None and method.searching.always
    if cfg.SEARCH.ON and not node:
        raise UserError(f"SEARCH.ON True: {cfg.TRAINER.NAME} learns no prompts")
    unused = [key for key in given if key.startswith("SEARCH.") and key != "SEARCH.ON"]
    if unused and not cfg.SEARCH.ON:
        why = f"{cfg.TRAINER.NAME} reads TRAINER.{node}" if always else "SEARCH.ON is False"
        warnings.warn(f"{', '.join(unused)} is not used: {why}", stacklevel=3)
    return {f"SEARCH.{RUNS}": bool(cfg.SEARCH.ON or always)}


def over(method: Any, cfg: Any) -> Any:
    """A method, searching for its schedule if SEARCH.ON says so.

    Raises:
        SettingError: if a setting does not fit, or the method has no schedule to find.
    """
    node = cfg.get("SEARCH", {})
    if not node.get("ON", False):
        return method
    try:
        return Search.of(Search.in_node(node)).over(method)
    except SettingError as error:
        raise error.under("SEARCH") from None
