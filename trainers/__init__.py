"""Fronts of the trainers under the names of the family's files, made of the methods' rows: `import trainers.coop`."""

import sys
from types import ModuleType

from modprompt.methods.table import METHODS
from modprompt.trainers.registration import register

for _row in METHODS:
    _name = _row.front or _row.module.rpartition(".")[2]
    _front = sys.modules.setdefault(f"{__name__}.{_name}", ModuleType(f"{__name__}.{_name}"))
    setattr(_front, _row.name, register(_row.name))
    globals()[_name] = _front
