"""The trainer of MPL; see modprompt/methods/mpl.py. Importing this module registers it.

Imported by a program, as the import line in a codebase's train.py does, it also enters that (foreign.py).
"""

from modprompt.hosts import foreign
from modprompt.trainers.registration import register

MPL = register("MPL")
if foreign.is_imported_by_a_program():
    foreign.enter_by_line()
