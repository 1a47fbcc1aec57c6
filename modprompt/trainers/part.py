"""What the parts of a trainer share: their trainer, and the facts of its run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modprompt.engine.precision import Precision
from modprompt.methods.base import Method
from modprompt.methods.model import PromptedModel


@dataclass(frozen=True)
class Run:
    """The facts of a run.

    Attributes:
        cfg: its Dassl node.
        node_name: the method's node under TRAINER; empty for a method without settings.
        method: its method, prepared.
        precision: of its computation; this and all below are known once CLIP is loaded.
        fingerprint: of CLIP's weights.
        tokenizer: what tells the CLIP's tokenizer from others, as {name: text}; empty for CLIP's own.
        keeps_in_half: whether half precision holds the weights of a stock CLIP.
        feature_width: E of its features.
    """

    cfg: Any
    node_name: str
    method: Method
    precision: Precision = Precision(False, None, False, "")
    fingerprint: str = ""
    tokenizer: Mapping[str, str] = field(default_factory=dict)
    keeps_in_half: bool = True
    feature_width: int = 0

    @property
    def node(self) -> Any:
        """The method's node of the configuration."""
        return self.cfg.TRAINER[self.node_name]


class Part:
    """A part of a trainer.

    Args:
        trainer: its trainer, which has Dassl's loaders, optimisers, names and counters.
    """

    def __init__(self, trainer: Any):
        self.trainer = trainer

    @property
    def cfg(self) -> Any:
        """The run's Dassl node."""
        return self.trainer.cfg

    @property
    def run(self) -> Run:
        """The facts of the run."""
        run: Run = self.trainer.run
        return run

    @property
    def method(self) -> Method:
        """The run's."""
        return self.run.method

    @property
    def model(self) -> PromptedModel:
        """The trainer's."""
        model: PromptedModel = self.trainer.model
        return model
