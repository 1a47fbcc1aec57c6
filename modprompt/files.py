"""Arrays and tensors in files; they live in `modprompt.storage` now."""

from modprompt.storage.arrays import read_arrays, write_arrays
from modprompt.storage.tensors import read_run, read_tensors, read_weights, write_tensors

__all__ = ["read_arrays", "read_run", "read_tensors", "read_weights", "write_arrays", "write_tensors"]
