"""How many operations a block of code runs that are no views: on a card, launches."""

from torch.utils._python_dispatch import TorchDispatchMode


class Launches(TorchDispatchMode):
    """Counts them while it is entered; not those of drawing masks, which a card does at once for all matrices."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += not (func.is_view or func.overloadpacket.__name__ in ("empty", "bernoulli_", "logical_not_"))
        return func(*args, **(kwargs or {}))
