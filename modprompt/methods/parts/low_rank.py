"""Learned low-rank additions to the attention of a CLIP's layers (CLIP-LoRA, arXiv 2405.18541): where, how, how many.

Shapes: M matrices of a layer, r rank, D width of a side.
"""

import math
from dataclasses import dataclass
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, TypeVar

import torch
from torch import Tensor, nn

from modprompt.clip.build import layers_of
from modprompt.clip.facts import called
from modprompt.clip.sides import has_tower, image_width, text_width
from modprompt.clip.structure import CLIP
from modprompt.engine.layer_change import Changes
from modprompt.engine.low_rank import MATRICES, LowRank
from modprompt.engine.prompts import Prompts
from modprompt.engine.schedule import MOST_TOKENS, Shape
from modprompt.errors import SettingError, UserError
from modprompt.fields import Configured, setting
from modprompt.methods.base import Method
from modprompt.methods.parts.learner import Learner

L = TypeVar("L", bound=Learner)
NODE, SWITCH = "TRAINER.CLIPLORA", "ON"  # of CLIPLoRA; the key is for methods that have additions beside prompts
SIDES = ("text", "vision")
OF_ENCODER = {"both": SIDES, "text": ("text",), "vision": ("vision",)}
_PARTS = {  # of a side's layers, as shares
    "all": (0, 1),
    "bottom": (0, 1 / 3),
    "mid": (1 / 3, 2 / 3),
    "up": (2 / 3, 1),
    "half-bottom": (0, 1 / 2),
    "half-up": (1 / 2, 1),
}
_TOP = "top3"
POSITIONS = (*_PARTS, _TOP)


def layers_at(position: str, layers: int) -> Tuple[int, ...]:
    """The layers, from 0, of a side of so many, that POSITION names; of a number that is not there a SettingError."""
    if position == _TOP:
        return tuple(range(layers))[-3:]
    if position in _PARTS:
        first, last = (round(share * layers) for share in _PARTS[position])
        return tuple(range(first, last))
    found: List[int] = []
    for word in position.replace(",", " ").split():
        first_word, dash, last_word = word.partition("-")
        if not (first_word.isdecimal() and (last_word.isdecimal() or not dash)):
            names = ", ".join(POSITIONS)
            raise SettingError([("POSITION", f" must be {names}, or layers from 0 as in '0 3 6-11', got {position!r}")])
        last = int((last_word or first_word)[:9])
        if last >= layers:
            raise SettingError([("POSITION", f" {position!r} names layer {last}, but a side has {layers} from 0 on")])
        found += range(int(first_word), last + 1)
    if not found or found != sorted(set(found)):
        raise SettingError([("POSITION", f" must name layers, each once and in order, got {position!r}")])
    return tuple(found)


@dataclass(frozen=True, repr=False)
class LowRankSettings(Configured):
    """Which matrices of which layers have an addition, of which rank, and how it is trained."""

    encoder: str = setting("both", "which side's layers", choices=tuple(OF_ENCODER))
    params: str = setting("q k v", "which matrices: q, k, v, o; their order is that of the draws")
    position: str = setting("all", f"which layers: {', '.join(POSITIONS)}, or by number from 0, as in 0 3 6-11")
    r: int = setting(2, "rank of the additions", least=1)
    alpha: float = setting(1.0, "they are scaled by ALPHA / sqrt(R)", least=0)
    dropout: float = setting(0.25, "share of what they read that is left out in training", least=0, compared=False)
    dropout_shared: bool = setting(
        False,
        "one mask for what several classes have in common, which is computed once then; the reference has one for each",
        compared=False,
    )
    gradient: str = setting(
        "true",
        "reference: with DROPOUT 0 what an addition reads gets no gradient of it, as in the reference",
        choices=("true", "reference"),
        compared=False,
    )

    def check(self) -> None:
        """Complain about matrices that are none, a share that leaves nothing, and layers that are none."""
        super().check()
        words = self.matrices
        if not words or len(set(words)) < len(words) or not set(words) <= set(MATRICES):
            raise SettingError([("PARAMS", f" must be some of q k v o, each once, got {self.params!r}")])
        if self.dropout >= 1:
            raise SettingError([("DROPOUT", f" must be below 1, got {self.dropout:g}")])
        if self.gradient == "reference" and self.dropout:
            raise SettingError([("GRADIENT", " reference is what the reference does with DROPOUT 0 alone")])
        if self.position not in POSITIONS:
            layers_at(self.position, MOST_TOKENS)

    @property
    def matrices(self) -> Tuple[str, ...]:
        """The matrices of a layer."""
        return tuple(self.params.replace(",", " ").split())

    @property
    def scale(self) -> float:
        """Of the additions."""
        return self.alpha / math.sqrt(self.r)

    def layers(self, shape: Shape) -> Dict[str, Tuple[int, ...]]:
        """By side, the layers that have additions.

        Raises:
            SettingError: if a number is beyond a side that is chosen.
        """
        counts = dict(zip(SIDES, (shape.text_layers, shape.vision_layers)))
        return {side: layers_at(self.position, counts[side]) for side in OF_ENCODER[self.encoder]}

    def remarks_of_additions(self) -> List[str]:
        """What a result must say of a training with these settings."""
        text = "text" in OF_ENCODER[self.encoder]
        shared = ["what classes have in common had one dropout mask (DROPOUT_SHARED), not one each as in the reference"]
        wrong = ["gradients are the reference's, in which DROPOUT 0 leaves a part out (GRADIENT reference)"]
        return [
            *(shared if self.dropout_shared and self.dropout and text else []),
            *(wrong if self.gradient == "reference" else []),
        ]


def with_additions(learner: L, additions: "LowRankAdditions", layers: Mapping[str, Sequence[int]]) -> L:
    """A learner whose prompts have these additions, which it learns with its own."""
    learner.additions = additions
    learner.trains_text = learner.trains_text or "text" in layers
    learner.changes_images = "vision" in layers
    learner.register_forward_hook(_changed)
    return learner


def _changed(learner: nn.Module, inputs: object, prompts: Prompts) -> Prompts:
    additions = learner.additions
    assert isinstance(additions, LowRankAdditions)
    return prompts._replace(text_changes=additions.changes("text"), vision_changes=additions.changes("vision"))


class _Layer(nn.Module):
    """What is learned of a layer: a (M, r, D), uniform, and b (M, D, r), zeros."""

    def __init__(self, matrices: int, rank: int, width: int):
        super().__init__()
        self.a = nn.Parameter(torch.empty(matrices, rank, width))
        self.b = nn.Parameter(torch.zeros(matrices, width, rank))

    def draw(self) -> None:
        """Draw a as the reference does: behind four layers for the attention's matrices, and one for each changed."""
        width = self.a.shape[-1]
        for _ in MATRICES:
            nn.Linear(width, width)
        with torch.no_grad():
            for a in self.a:
                nn.Linear(width, width)
                nn.init.kaiming_uniform_(a, a=math.sqrt(5))


class LowRankAdditions(nn.Module):
    """Low-rank additions of both sides' layers; float32, however CLIP computes.

    Args:
        settings: which, and how.
        clip_model: a stock CLIP.
        layers: by side, those that have any.

    Raises:
        UserError: on a CLIP of another package's sides.
    """

    def __init__(self, settings: LowRankSettings, clip_model: CLIP, layers: Mapping[str, Sequence[int]]):
        super().__init__()
        if has_tower(clip_model):
            raise UserError(f"{called(clip_model)}: low-rank additions go into the layers of OpenAI's kind of CLIP alone")
        self.settings = settings
        self.counts: Dict[str, int] = {}
        for side, chosen in layers.items():
            width = text_width(clip_model) if side == "text" else image_width(clip_model)
            self.counts[side] = layers_of(clip_model)[SIDES.index(side)]
            made = {str(layer): _Layer(len(settings.matrices), settings.r, width) for layer in chosen}
            for one in made.values():
                one.draw()
            self.add_module(side, nn.ModuleDict(made))

    @property
    def described(self) -> str:
        """Where they are and how large, in a line."""
        settings = self.settings
        where = [f"{side} layers {' '.join(layers)}" for side, layers in self.named_children()]
        what = f"{' '.join(settings.matrices)} of rank {settings.r}, times {settings.scale:.4g}"
        return f"Low-rank additions: {what}, in {', '.join(where)}"

    def changes(self, side: str) -> Changes:
        """The change of each layer of a side, of this moment; none for a side without any."""
        layers = self._modules.get(side)
        if layers is None:
            return ()
        assert isinstance(layers, nn.ModuleDict)
        settings = self.settings
        made = {
            layer: LowRank(
                settings.matrices,
                one.a,
                one.b,
                settings.scale,
                rate=settings.dropout if self.training else 0.0,
                shared=settings.dropout_shared and side == "text",
                through=settings.gradient == "true",
                merges=not (self.training or torch.is_grad_enabled()),
            )
            for layer, one in layers.items()
        }
        return [made.get(str(layer)) for layer in range(self.counts[side])]


# ---------------------------------------------------------------- beside a method's prompts

_OWN = "LORA_"  # in front of the settings' names in the node of a method that has prompts


def of_node() -> Dict[str, str]:
    """The settings of the additions' own node as those of a method that has them beside its prompts."""
    keys = [one.key for one in LowRankSettings.settings()]
    return {f"{NODE}.{SWITCH}": "LORA", **{f"{NODE}.{key}": f"{_OWN}{key}" for key in keys}}


@dataclass(frozen=True, repr=False)
class WithLowRank(Method):
    """Low-rank additions beside the prompts of a method that names them in `shared` of its repository."""

    lora: bool = setting(False, f"low-rank additions beside the prompts ({NODE}.{SWITCH})")
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
        if f"{NODE}.{SWITCH}" not in self.repository.shared:
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


# ---------------------------------------------------------------- files of the reference

_NAMES = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "proj"}


class Place(NamedTuple):
    """Where a matrix's addition is in what is learned: `{side}.{layer}`, and the number of the matrix there."""

    prefix: str
    number: int


def _places(settings: LowRankSettings, layers: Mapping[str, Sequence[int]]) -> Dict[str, Dict[str, Place]]:
    """By the names of its files, layers in their order: text first."""
    chosen = [f"{side}.{layer}" for side in SIDES for layer in layers.get(side, ())]
    return {
        f"layer_{j}": {_NAMES[which]: Place(prefix, n) for n, which in enumerate(settings.matrices)}
        for j, prefix in enumerate(chosen)
    }


def _metadata(settings: LowRankSettings) -> Dict[str, object]:
    alpha = int(settings.alpha) if settings.alpha == int(settings.alpha) else settings.alpha
    return {
        "r": settings.r,
        "alpha": alpha,
        "encoder": settings.encoder,
        "params": list(settings.matrices),
        "position": settings.position,
    }


def as_repository(
    state: Mapping[str, Tensor], settings: LowRankSettings, layers: Mapping[str, Sequence[int]]
) -> Dict[str, object]:
    """What the reference's file of these additions holds, of what is learned by our names."""
    weights = {
        layer: {
            name: {
                f"w_lora_{one.upper()}": state[f"{place.prefix}.{one}"][place.number].detach().cpu().clone()
                for one in ("a", "b")
            }
            for name, place in matrices.items()
        }
        for layer, matrices in _places(settings, layers).items()
    }
    return {"weights": weights, "metadata": _metadata(settings)}


def of_repository(
    content: Mapping[str, object], settings: LowRankSettings, layers: Mapping[str, Sequence[int]], path: str
) -> Optional[Dict[str, Tensor]]:
    """What is learned, by our names, of what a file of the reference holds; None for a file of another form.

    Raises:
        UserError: if its metadata is of other settings, or a matrix is not there.
    """
    weights, theirs = content.get("weights"), content.get("metadata")
    if not isinstance(weights, dict) or not isinstance(theirs, dict):
        return None
    for name, mine in _metadata(settings).items():
        if theirs.get(name) != mine:
            raise UserError(f"{path} was made with other settings: {name} is {mine} here and {theirs.get(name)!r} there")
    places = _places(settings, layers)
    if set(weights) != set(places):
        raise UserError(f"{path} has additions of {len(weights)} layers, and this model {len(places)}")
    found: Dict[str, Dict[int, Tensor]] = {}
    for layer, matrices in places.items():
        for name, place in matrices.items():
            for one in ("a", "b"):
                found.setdefault(f"{place.prefix}.{one}", {})[place.number] = _matrix(
                    weights[layer], name, f"w_lora_{one.upper()}", path
                )
    return {name: _stacked([each[n] for n in sorted(each)], name, path) for name, each in found.items()}


def _matrix(layer: object, name: str, key: str, path: str) -> Tensor:
    of_name = layer.get(name) if isinstance(layer, dict) else None
    found = of_name.get(key) if isinstance(of_name, dict) else None
    if not isinstance(found, Tensor) or found.dim() != 2:
        raise UserError(f"{path} is damaged (it has no matrix {name}.{key}): take another copy of it")
    return found


def _stacked(each: Sequence[Tensor], name: str, path: str) -> Tensor:
    if len({one.shape for one in each}) > 1:
        raise UserError(f"{path} is damaged (the matrices of {name} are of different shapes): take another copy of it")
    return torch.stack([one.detach().float() for one in each])
