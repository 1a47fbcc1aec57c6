"""Running values and averages for the log."""

from collections import defaultdict


class AverageMeter:
    """Last value and average of a number; with `ema`, the average forgets (0.9 old, 0.1 new)."""

    def __init__(self, ema=False):
        self.ema = ema
        self.reset()

    def reset(self):
        """Forget everything."""
        self.val = self.avg = self.sum = self.count = 0

    def update(self, val, n=1):
        """Add a value (number or one-element tensor) that counts n times."""
        self.val = float(val)
        self.sum += self.val * n
        self.count += n
        self.avg = self.avg * 0.9 + self.val * 0.1 if self.ema else self.sum / self.count


class MetricMeter:
    """Average meters by name, printed as `loss 0.5123 (0.6001)`."""

    def __init__(self, delimiter=" "):
        self.meters = defaultdict(AverageMeter)
        self.delimiter = delimiter

    def update(self, input_dict):
        """Add one value per name; None is ignored.

        Raises:
            TypeError: if it is not a dictionary.
        """
        if input_dict is None:
            return
        if not isinstance(input_dict, dict):
            raise TypeError("MetricMeter.update() needs a dictionary")
        for name, value in input_dict.items():
            self.meters[name].update(value)

    def __str__(self):
        return self.delimiter.join(f"{name} {m.val:.4f} ({m.avg:.4f})" for name, m in self.meters.items())
