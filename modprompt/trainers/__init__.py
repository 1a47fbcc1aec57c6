"""The Dassl side: config defaults, and the trainer that prompt-learning methods share.

Importing it fixes what keeps the real Dassl from running on a current PyTorch (mends.py).
"""

from modprompt.compat import mends

mends.apply()
