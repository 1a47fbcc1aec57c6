"""A small Dassl: the names, behaviour and numbers of `Dassl.pytorch` 0.6.3 that the CoOp family uses.

It is used if the real one is not installed (its parent folder is at the end of the path) and runs on a current PyTorch.
It adds whole-file checkpoints, and after every epoch a training state from which a killed run resumes.
"""

__version__ = "0.6.3.small"
