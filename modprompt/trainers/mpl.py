"""The trainer of MPL; see modprompt/methods/mpl.py. Importing this module registers it.

Imported by a program, as by the import line in a codebase's train.py, it also prepares that program:
modprompt/hosts/ has what other codebases need.
"""

import sys

from modprompt.feature import features
from modprompt.trainers.registration import register

MPL = register("MPL")
for one in features():
    one.imported(sys._getframe())
