"""Data set readers of the CoOp family; importing one registers it. A reader is facts."""
