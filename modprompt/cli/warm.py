"""Import the packages of all runs once, in the server process from which experiments/running/forked.py forks runs."""

from __future__ import annotations

import gc
import sys
import threading

from modprompt.cli import main, train  # noqa: F401
from modprompt.experiments.running import forked, run  # noqa: F401 - what a child needs before its command
from modprompt.programs import one_line


def _import() -> str:
    """Import it; why runs must not be forked from here, empty if they may."""
    try:
        train.import_all()
    except (Exception, SystemExit) as error:  # a run of its own will show where
        return f"a module that all runs need cannot be imported ({one_line(error)})"
    if threading.active_count() > 1:
        return "a module that all runs need starts threads"
    return "a module that all runs need uses a GPU" if sys.modules["torch"].cuda.is_initialized() else ""


WHY_NOT = _import()
if WHY_NOT:
    print(f"note: starting each run takes longer, because all modules are imported again: {WHY_NOT}.", file=sys.stderr)
PATH = [folder for folder in sys.path if folder]  # '': the working directory, before Python 3.11
gc.collect()
gc.freeze()  # children neither scan nor copy these objects
