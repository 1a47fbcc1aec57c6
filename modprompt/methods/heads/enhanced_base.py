"""Class features through another text projection than CLIP's: the enhanced base of TaskRes (arXiv 2211.10277)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import nn

from modprompt.clip.structure import CLIP
from modprompt.engine.encoders import TextEncoder
from modprompt.errors import SettingError, UserError
from modprompt.fields import setting
from modprompt.io.checkpoint import require_learned
from modprompt.io.safe_open import Refused
from modprompt.io.same_run import ENHANCED_BASE
from modprompt.io.tensors import read_tensors
from modprompt.io.text import sha256_of
from modprompt.methods.heads.headed import HeadMethod
from modprompt.methods.heads.headed_model import HeadedModel
from modprompt.methods.heads.prompted_head import BASE
from modprompt.methods.parts.classes import Classes
from modprompt.methods.parts.learner import Learner

NONE, UNKNOWN = "none", "not known"
M = TypeVar("M", bound="EnhancedBase")


def _require_projection(value: Any, where: str) -> None:
    """Raise Refused unless a value of a file is a matrix of finite numbers."""
    require_learned({where: value})
    if value.dim() != 2:
        raise Refused(f"{where} has the shape {tuple(value.shape)}, which no projection has")


@dataclass(frozen=True, repr=False)
class EnhancedBase(HeadMethod):
    """A head whose class features may pass through a text projection from a file."""

    enhanced_base: str = setting(
        "none", "file whose state_dict has a text projection, weight, that replaces CLIP's", compared=False
    )

    projection: ClassVar[torch.Tensor | None] = None  # (T, D), set when the file was read
    of_checkpoint: ClassVar[str] = ""  # hash of the file, set when a checkpoint holds the projection
    digest: ClassVar[str] = ""  # the same, set when the file was read

    def prepared(self: M) -> M:
        """This method, with its enhanced base read.

        Raises:
            SettingError: if there is no such file, or it holds something else.
        """
        method = super().prepared()
        if self.enhanced_base == NONE or self.projection is not None or self.of_checkpoint:
            return method
        try:
            digest = sha256_of(self.enhanced_base)
            weight = read_tensors(self.enhanced_base)["state_dict"]["weight"]
            _require_projection(weight, "weight")
        except (OSError, UserError, LookupError, TypeError, Refused) as error:
            raise SettingError([("ENHANCED_BASE", f": {self.enhanced_base} is no enhanced base ({error})")]) from None
        return method.replace_private(projection=weight.detach().float().t().contiguous(), digest=digest)

    def metadata(self) -> dict[str, Any]:
        """The enhanced base, by its hash."""
        if self.enhanced_base == NONE:
            return super().metadata()
        return {**super().metadata(), ENHANCED_BASE: self.of_checkpoint or self.prepared().digest}

    def restore(self: M, stated: Mapping[str, Any], classes: Mapping[str, Any], path: str) -> M:
        """This method as a file describes it, with the enhanced base from that file; no other file is opened."""
        method = super().restore(stated, classes, path)
        if self.enhanced_base == NONE:
            return method
        return method.replace_private(of_checkpoint=str(stated.get(ENHANCED_BASE, "")) or UNKNOWN)

    def beside(self, model: Any) -> dict[str, torch.Tensor]:
        """Also the enhanced base."""
        own = {} if self.enhanced_base == NONE else {BASE: model.text_encoder.text_projection.detach().float()}
        return {**super().beside(model), **own}

    def take_beside(self, model: Any, state: Mapping[str, torch.Tensor], path: str) -> None:
        """Load a checkpoint's enhanced base."""
        super().take_beside(model, state, path)
        if BASE in state:
            try:
                _require_projection(state[BASE], BASE)
            except Refused as error:
                raise UserError(f"{path} is damaged ({error}): use another copy of it") from None
            self._put(model, state[BASE])
        elif self.of_checkpoint:
            raise UserError(
                f"{path} does not hold the enhanced base that it was made with, {self.enhanced_base}: give the method "
                "with that file, or use the trainer that made it"
            )

    def model(self, learner: Learner, clip_model: CLIP, classes: Classes, epochs: int) -> HeadedModel:
        """The head; its class features pass through the enhanced base, if there is one."""
        made = super().model(learner, clip_model, classes, epochs)
        if self.projection is not None:
            self._put(made, self.projection)
        return made

    def _put(self, model: HeadedModel, projection: torch.Tensor) -> None:
        encoder = model.text_encoder
        if not isinstance(encoder, TextEncoder):
            why = " is a projection for a stock text side, which this CLIP does not have: leave it out"
            raise SettingError([("ENHANCED_BASE", why)])
        own = encoder.text_projection
        if projection.shape != own.shape:
            shapes = f"{tuple(projection.shape)}, not {tuple(own.shape)}"
            raise SettingError([("ENHANCED_BASE", f": its projection is {shapes}, in {self.enhanced_base}")])
        encoder.text_projection = nn.Parameter(projection.to(own), requires_grad=False)
