"""Losses, step times, memory, evaluation, loss scaling and resuming on a machine with a CUDA GPU."""
