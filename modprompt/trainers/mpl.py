"""The trainer of MPL; see modprompt/methods/mpl.py. Importing this module registers it.

Other codebases import this module, so it also changes how yacs merges settings. If a program imports it, as by the
import line in a codebase's train.py, that program is prepared, too: modprompt/hosts/ has what other codebases need.
"""

import sys

from modprompt.hosts import foreign, settings
from modprompt.trainers.registration import register

MPL = register("MPL")
settings.patch_yacs()
if foreign.is_imported_by_a_program(sys._getframe()):
    foreign.enter_by_line()
