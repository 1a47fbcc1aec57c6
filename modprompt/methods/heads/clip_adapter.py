"""CLIP-Adapter (arXiv 2110.04544): a small residual network behind the image features."""

from dataclasses import dataclass
from typing import Sequence

from modprompt.errors import SettingError
from modprompt.fields import setting
from modprompt.methods.heads.clip_adapter_head import CLIPAdapterHead
from modprompt.methods.heads.head_groups import FreshViewsHead


@dataclass(frozen=True, repr=False)
class CLIP_Adapter(FreshViewsHead):  # noqa: N801 - the name that its users know
    """Two layers without biases, mixed with the features that they read; the same for all classes."""

    node = "TRAINER.CLIP_ADAPTER"
    folder = "clip_adapter"
    log_accuracy = True

    ratio: float = setting(0.2, "share of the adapted features, from 0 to 1", least=0)
    reduction: int = setting(4, "how much narrower the network is in the middle", least=1)

    def check(self) -> None:
        """Complain about a share above 1."""
        super().check()
        if self.ratio > 1:
            raise SettingError([("RATIO", f" must be at most 1, got {self.ratio}")])

    def head(self, names: Sequence[str], width: int) -> CLIPAdapterHead:
        """The network, newly drawn."""
        return CLIPAdapterHead(names, width, self.ratio, self.reduction)
