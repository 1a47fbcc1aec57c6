"""Low-rank additions (low_rank.py) beside the prompts of a method, by settings of its own."""

from dataclasses import dataclass
from typing import Dict, List

from modprompt.clip.build import layers_of
from modprompt.clip.structure import CLIP
from modprompt.engine.schedule import Shape
from modprompt.errors import SettingError
from modprompt.fields import setting
from modprompt.methods.base import Method
from modprompt.methods.parts.low_rank import NODE, OF_ENCODER, L, LowRankAdditions, LowRankSettings, with_additions

SWITCH = f"{NODE}.ON"  # what asks for them, in the node of CLIPLoRA
_OWN = "LORA_"  # in front of the settings' names in the node of a method that has prompts


def of_node() -> Dict[str, str]:
    """The settings of the additions' own node as those of a method that has them beside its prompts."""
    keys = [one.key for one in LowRankSettings.settings()]
    return {SWITCH: "LORA", **{f"{NODE}.{key}": f"{_OWN}{key}" for key in keys}}


@dataclass(frozen=True, repr=False)
class WithLowRank(Method):
    """Low-rank additions beside the prompts of a method that names them in `shared` of its repository."""

    lora: bool = setting(False, f"low-rank additions beside the prompts ({SWITCH})")
    lora_encoder: str = setting("both", "of the additions: which side's layers", choices=tuple(OF_ENCODER))
    lora_params: str = setting("q k v", "of the additions: which matrices, of q, k, v, o")
    lora_position: str = setting("all", "of the additions: which layers, as TRAINER.CLIPLORA.POSITION")
    lora_r: int = setting(2, "of the additions: their rank", least=1)
    lora_alpha: float = setting(1.0, "of the additions: they are scaled by LORA_ALPHA / sqrt(LORA_R)", least=0)
    lora_dropout: float = setting(0.25, "of the additions: share left out in training", least=0, compared=False)
    lora_dropout_shared: bool = setting(
        False, "of the additions: one mask for what several classes have in common", compared=False
    )
    lora_gradient: str = setting(
        "true", "of the additions: as TRAINER.CLIPLORA.GRADIENT", choices=("true", "reference"), compared=False
    )

    def check(self) -> None:
        """Complain about settings of the additions, and about a method that cannot have them."""
        super().check()
        if not self.lora:
            return
        if SWITCH not in self.repository.shared:
            raise SettingError([("LORA", f": {type(self).__name__} has no low-rank additions; CoOp and MPL have")])
        try:
            self.low_rank()
        except SettingError as error:
            raise SettingError([(f"{_OWN}{key}", text) for key, text in error.faults]) from None

    def low_rank(self) -> LowRankSettings:
        """The settings of the additions."""
        fields = [one.field for one in LowRankSettings.settings()]
        return LowRankSettings(**{field: getattr(self, f"lora_{field}") for field in fields})

    @property
    def wants_vision(self) -> bool:
        """Where its prompts or the additions are on the image side."""
        return super().wants_vision or (self.lora and "vision" in OF_ENCODER[self.lora_encoder])

    @property
    def draws_masks(self) -> bool:
        """Those of the additions' dropout."""
        return self.lora and self.lora_dropout > 0

    def remarks(self) -> List[str]:
        """Those of the additions."""
        return [*super().remarks(), *(self.low_rank().remarks_of_additions() if self.lora else [])]

    def beside(self, learner: L, clip_model: CLIP) -> L:
        """A learner of this method, with the additions if there are any.

        Raises:
            UserError: on a CLIP of another package's sides.
        """
        if not self.lora:
            return learner
        settings = self.low_rank()
        try:
            layers = settings.layers(Shape(*layers_of(clip_model)))
        except SettingError as error:
            raise SettingError([(f"{_OWN}{key}", text) for key, text in error.faults]) from None
        return with_additions(learner, LowRankAdditions(settings, clip_model, layers), layers)
