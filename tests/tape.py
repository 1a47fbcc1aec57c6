"""What a CUDA graph does, on a CPU: a step is written down below autograd, undone, and run again on the same memory.

As in a graph, numbers are those of the recording, and only what lies in a tensor's memory can be others at a replay.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from modprompt.methods.parts.recorder import Recorder


def _tensors(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _same_memory(tree):
    """The same with other tensors on the same memory: nobody notices that those of the step are remembered."""

    def alias(x):
        return torch.empty(0, dtype=x.dtype).set_(x.untyped_storage(), x.storage_offset(), x.shape, x.stride())

    return tree_map_only(torch.Tensor, alias, tree)


class _Writing(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.calls = []
        self.before = {}  # by storage: it and its bytes, as first met

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        for storage in (tensor.untyped_storage() for tensor in _tensors((args, kwargs))):
            self.before.setdefault(storage._cdata, (storage, storage.clone()))
        made = func(*args, **kwargs)
        self.calls.append((func, *_same_memory((args, kwargs, made))))
        return made


class Tape(Recorder):
    """A Recorder for a CPU; how often it recorded and replayed can be asked, and whether it holds a recording."""

    def __init__(self):
        self.recorded = self.replayed = 0
        self.calls = None

    def obstacle(self, device):
        return ""

    def aside(self, step):
        return step()

    def record(self, step):
        self.recorded += 1
        writing = _Writing()
        try:
            with writing:
                done = step()
        finally:  # a card computes nothing
            for storage, content in writing.before.values():
                storage.copy_(content)
        self.calls = writing.calls
        return done

    def replay(self):
        self.replayed += 1
        with torch.no_grad():
            for func, args, kwargs, made in self.calls:
                for old, new in zip(_tensors(made), _tensors(func(*args, **kwargs))):
                    if old.data_ptr() != new.data_ptr():
                        old.copy_(new)

    def release(self):
        self.calls = None
