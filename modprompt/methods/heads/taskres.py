"""TaskRes (arXiv 2211.10277): a learned vector beside each class feature."""

from dataclasses import dataclass
from typing import Sequence

from modprompt.fields import setting
from modprompt.methods.heads.enhanced_base import EnhancedBase
from modprompt.methods.heads.head_groups import FreshViewsHead
from modprompt.methods.heads.taskres_head import TaskResHead


@dataclass(frozen=True, repr=False)
class TaskRes(EnhancedBase, FreshViewsHead):
    """Residuals of the class features, from zeros on."""

    node = "TRAINER.TaskRes"
    log_accuracy = True

    residual_scale: float = setting(1.0, "what residuals are multiplied by", least=0)

    def head(self, names: Sequence[str], width: int) -> TaskResHead:
        """The residuals."""
        return TaskResHead(names, width, self.residual_scale)
