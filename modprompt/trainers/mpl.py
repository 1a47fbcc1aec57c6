"""The trainer of MPL; see modprompt/methods/mpl.py. Importing this module registers it.

Imported by a program, as the import line in a codebase's train.py does, it also enters that: what
other codebases need is in modprompt/hosts/.
"""

import sys

from modprompt.feature import features
from modprompt.trainers.registration import register

MPL = register("MPL")
for one in features():
    one.imported(sys._getframe())
