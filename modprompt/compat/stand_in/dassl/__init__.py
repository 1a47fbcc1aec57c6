"""A small Dassl: the names, behaviour and numbers that the CoOp family uses of `Dassl.pytorch` 0.6.3.

It stands in where the real one is not installed (its parent folder goes to the end of the path) and runs on a current
PyTorch. What it adds: whole-file checkpoints, and after every epoch a training state from which a killed run goes on.
"""

__version__ = "0.6.3.small"
