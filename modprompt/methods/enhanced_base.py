"""Class features through another text projection than CLIP's: the enhanced base of TaskRes (arXiv 2211.10277)."""

from dataclasses import dataclass
from typing import ClassVar, Dict, Optional, TypeVar

import torch
from torch import nn

from modprompt.clips.structure import CLIP
from modprompt.errors import SettingError, UserError
from modprompt.fields import setting
from modprompt.learners.base import Learner
from modprompt.methods.contract import Classes
from modprompt.methods.headed import HeadedModel, HeadMethod
from modprompt.runs.same import ENHANCED_BASE
from modprompt.storage.tensors import read_tensors
from modprompt.storage.text import sha256_of

NONE = "none"
M = TypeVar("M", bound="EnhancedBase")


@dataclass(frozen=True, repr=False)
class EnhancedBase(HeadMethod):
    """A head whose class features may come through a text projection of a file."""

    enhanced_base: str = setting(
        "none", "file whose state_dict has a text projection, weight, to use in place of CLIP's", compared=False
    )

    projection: ClassVar[Optional[torch.Tensor]] = None  # (T, D), of an instance whose file is read

    def prepared(self: M) -> M:
        """This method, its enhanced base read.

        Raises:
            SettingError: if there is none, or it holds something else.
        """
        method = super().prepared()
        if self.enhanced_base == NONE or self.projection is not None:
            return method
        try:
            weight = read_tensors(self.enhanced_base)["state_dict"]["weight"]
            projection = weight.detach().float().t().contiguous()
        except (OSError, UserError, LookupError, TypeError, AttributeError) as error:
            raise SettingError([("ENHANCED_BASE", f": {self.enhanced_base} is no enhanced base ({error})")]) from None
        return method.having(projection=projection)

    def made_of(self) -> Dict[str, str]:
        """The enhanced base, by its hash."""
        own = {} if self.enhanced_base == NONE else {ENHANCED_BASE: sha256_of(self.enhanced_base)}
        return {**super().made_of(), **own}

    def model(self, learner: Learner, clip_model: CLIP, classes: Classes, epochs: int) -> HeadedModel:
        """The head; its class features come through the enhanced base, if there is one."""
        made = super().model(learner, clip_model, classes, epochs)
        if self.projection is not None:
            own = clip_model.text_projection
            if self.projection.shape != own.shape:
                shapes = f"{tuple(self.projection.shape)}, not {tuple(own.shape)}"
                raise SettingError([("ENHANCED_BASE", f": its projection is {shapes}")])
            made.text_encoder.text_projection = nn.Parameter(self.projection.to(own), requires_grad=False)
        return made
