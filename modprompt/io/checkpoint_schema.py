"""What of a checkpoint is checked before it is used, and names in it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from modprompt.feature import features
from modprompt.io.safe_open import Refused

CLASS_TOKENS = ("token_prefix", "token_suffix")  # they belong to the class names, not to what was learned
CHOICE = ("selected_on", *(part for one in features() for part in one.chosen), "selected_on_test")  # of an epoch
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def require_learned(values: Mapping[str, Any]) -> None:
    """Check learned tensors, by name.

    Raises:
        Refused: if one is not made of finite numbers with a point.
    """
    for key, value in values.items():
        plain = isinstance(value, Tensor) and value.layout == torch.strided and not value.is_meta
        if not plain or value.dtype not in _FLOATS:
            raise Refused(f"its {key} is no plain tensor of numbers with a point")
        if not torch.isfinite(value).all():
            raise Refused(f"its {key} is not made of finite numbers: the training went wrong")
