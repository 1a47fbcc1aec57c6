"""What the parts of a trainer share: the trainer they are of, and the facts of its run."""

from dataclasses import dataclass, field
from typing import Any, Dict, Mapping

from modprompt.compat.run_settings import RunSettings
from modprompt.engine.precision import Precision
from modprompt.io.schema import Form
from modprompt.methods.base import Method
from modprompt.methods.model import PromptedModel
from modprompt.methods.parts.deferred_metrics import Number


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
        tokenizer: what tells CLIP's tokenizer from others, as {name: text}; nothing for its own.
        keeps_in_half: whether half precision holds the weights of a stock CLIP.
        feature_width: E of its features.
    """

    cfg: Any
    node_name: str
    method: Method
    config: RunSettings
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


class FeaturePart(Part):
    """What a feature does in a training; nothing, where it does not say it.

    Attributes:
        alternates: whether steps of its own come between those of the training, which are alone then.
        chooses: whether it learns from validation images.
    """

    alternates = False
    chooses = False

    def check(self) -> None:
        """Complain about settings, before any work."""

    def prepare(self) -> None:
        """Look at the model and the images, behind the building of both."""

    def begin(self) -> None:
        """Begin, behind the start or the resuming of the training."""

    def step(self) -> Mapping[str, Number]:
        """What comes before each step; what the log says of it."""
        return {}

    def end_epoch(self) -> None:
        """What comes behind each epoch."""

    def end(self) -> None:
        """What comes behind the last, before the test."""

    def state(self) -> Dict[str, Any]:
        """What must be remembered to go on."""
        return {}

    def form(self, epoch: int) -> Dict[str, Form]:
        """What state gives behind so many epochs."""
        return {}

    def load_state(self, extras: Mapping[str, Any]) -> None:
        """Take back what state gave, of the form that form says."""

    def result(self, results: Mapping[str, Any]) -> Dict[str, Any]:
        """What result.json says of it.

        Args:
            results: what the run's evaluator found, in percent.
        """
        return {}
