"""What the parts of a trainer share: the trainer they are of, and the facts of its run."""

from dataclasses import dataclass
from typing import Any

from modprompt.compat.run_settings import RunSettings
from modprompt.engine.precision import Precision
from modprompt.methods.base import Method
from modprompt.methods.model import PromptedModel


@dataclass(frozen=True)
class Run:
    """What a run is of.

    Attributes:
        cfg: Dassl's node of it.
        node_name: the method's node under TRAINER; empty for a method without settings.
        method: its method, prepared.
        config: its settings but the method's, typed.
        precision: how it computes; as all below, known once CLIP is loaded.
        fingerprint: of CLIP's weights.
        keeps_in_half: whether half precision holds these weights.
        feature_width: E of its features.
    """

    cfg: Any
    node_name: str
    method: Method
    config: RunSettings
    precision: Precision = Precision(False, None, False, "")
    fingerprint: str = ""
    keeps_in_half: bool = True
    feature_width: int = 0

    @property
    def node(self) -> Any:
        """The method's node of the configuration."""
        return self.cfg.TRAINER[self.node_name]


class Part:
    """A part of a trainer.

    Args:
        trainer: whose; loaders, optimisers, names and counters of Dassl are found there.
    """

    def __init__(self, trainer: Any):
        self.trainer = trainer

    @property
    def cfg(self) -> Any:
        """Dassl's node of the run."""
        return self.trainer.cfg

    @property
    def config(self) -> RunSettings:
        """The run's settings but the method's, typed."""
        return self.run.config

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
