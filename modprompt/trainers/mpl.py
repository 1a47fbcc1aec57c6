"""The trainer of MPL; see modprompt/methods/mpl.py. Importing this module registers it.

Imported by a program, as by the import line in a codebase's train.py, it also prepares that program:
modprompt/hosts/ has what other codebases need.
"""

import sys

from modprompt.hosts import foreign
from modprompt.trainers.registration import register

MPL = register("MPL")
if foreign.is_imported_by_a_program(sys._getframe()):
    foreign.enter_by_line()
