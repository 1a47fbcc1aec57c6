"""Reads of values, which wait for a card; and the way of a card, on a CPU."""

from torch.utils._python_dispatch import TorchDispatchMode

from modprompt.trainers import prompt_trainer, unread


class Reads(TorchDispatchMode):
    """Counts, within it, values that Python asks for."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """The operation itself."""
        self.count += "_local_scalar_dense" in str(func)
        return func(*args, **(kwargs or {}))


def as_on_a_card(monkeypatch):
    """Every tensor is handled as one of a card is."""
    for module in (unread, prompt_trainer):
        monkeypatch.setattr(module, "waits", lambda device: True)
