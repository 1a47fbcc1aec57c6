"""CLIP-LoRA (arXiv 2405.18541): low-rank additions to the attention of both sides, and one template for all.

Shapes: M matrices of a layer, r rank, D width of a side.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from modprompt.clip.build import layers_of
from modprompt.clip.facts import called
from modprompt.clip.towers import CLIP, has_tower, image_width, text_width
from modprompt.engine.layer_change import Changes
from modprompt.engine.low_rank import MATRICES, LowRank
from modprompt.engine.schedule import MOST_TOKENS, Schedules, Shape, without_prompts
from modprompt.errors import SettingError, UserError
from modprompt.fields import setting
from modprompt.methods.parts import templates
from modprompt.methods.parts.capabilities import Logging, Results, RunFacts, SavedAs, Steps, Training, own_scale
from modprompt.methods.parts.learners import AdaptedTemplate, Classes, Learner
from modprompt.methods.together import Addition, require_takes
from modprompt.programs import one_line

NODE = "TRAINER.CLIPLORA"
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


def layers_at(position: str, layers: int) -> tuple[int, ...]:
    """The layers, from 0, that POSITION names on a side with `layers` layers; SettingError for a missing one."""
    if position == _TOP:
        return tuple(range(layers))[-3:]
    if position in _PARTS:
        first, last = (round(share * layers) for share in _PARTS[position])
        return tuple(range(first, last))
    found: list[int] = []
    for word in position.replace(",", " ").split():
        first_word, dash, last_word = word.partition("-")
        if not (first_word.isdecimal() and (last_word.isdecimal() or not dash)):
            names = ", ".join(POSITIONS)
            raise SettingError(
                [("POSITION", f" must be {names}, or layer numbers from 0 such as '0 3 6-11', got {position!r}.")]
            )
        last = int((last_word or first_word)[:9])
        if last >= layers:
            raise SettingError(
                [
                    (
                        "POSITION",
                        f" {position!r} names layer {last}, but the encoder has {layers} layers, numbered from 0.",
                    )
                ]
            )
        found += range(int(first_word), last + 1)
    if not found or found != sorted(set(found)):
        raise SettingError(
            [("POSITION", f" must list at least one layer, each layer once and in ascending order, got {position!r}.")]
        )
    return tuple(found)


class _Layer(nn.Module):
    """The parameters of a layer: a (M, r, D), uniform, and b (M, D, r), zeros."""

    def __init__(self, matrices: int, rank: int, width: int):
        super().__init__()
        self.a = nn.Parameter(torch.empty(matrices, rank, width))
        self.b = nn.Parameter(torch.zeros(matrices, width, rank))

    def draw(self) -> None:
        """Draw a as the reference does: after four layers for attention's matrices, and one for each changed matrix."""
        width = self.a.shape[-1]
        for _ in MATRICES:
            nn.Linear(width, width)
        with torch.no_grad():
            for a in self.a:
                nn.Linear(width, width)
                nn.init.kaiming_uniform_(a, a=math.sqrt(5))


class LowRankAdditions(nn.Module):
    """Low-rank additions to both sides' layers; float32, whatever CLIP computes in.

    Args:
        settings: which, and how.
        layers: by side, the layers that have any.

    Raises:
        UserError: on a CLIP with sides of another package.
    """

    def __init__(self, settings: "CLIPLoRA", clip_model: CLIP, layers: Mapping[str, Sequence[int]]):
        super().__init__()
        if has_tower(clip_model):
            raise UserError(
                f"Low-rank matrices cannot be added to {called(clip_model)}. CLIPLoRA supports only CLIP models with "
                "the architecture of OpenAI's CLIP."
            )
        self.settings = settings
        for side, chosen in layers.items():
            width = text_width(clip_model) if side == "text" else image_width(clip_model)
            made = {str(layer): _Layer(len(settings.matrices), settings.r, width) for layer in chosen}
            for one in made.values():
                one.draw()
            self.add_module(side, nn.ModuleDict(made))

    @property
    def on_text(self) -> bool:
        """Whether some are on the text side."""
        return "text" in self._modules

    @property
    def on_images(self) -> bool:
        """Whether some are on the image side."""
        return "vision" in self._modules

    def text_changes(self, layers: int) -> Changes:
        """The changes of the text side's layers."""
        return self._changes("text", layers)

    def vision_changes(self, layers: int) -> Changes:
        """The changes of the image side's layers."""
        return self._changes("vision", layers)

    def _changes(self, side: str, layers: int) -> Changes:
        """The current change of each layer of a side; none for a side without additions."""
        if side not in self._modules:
            return ()
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
            for layer, one in self._of(side).items()
        }
        return [made.get(str(layer)) for layer in range(layers)]

    def _of(self, side: str) -> dict[str, _Layer]:
        return {layer: cast(_Layer, one) for layer, one in cast(nn.ModuleDict, self._modules[side]).items()}


_LEAST_RATE = 1e-6  # learning rate of the last step
_LOADERS = 2  # the reference first draws seeds of two loaders, for validation and test images


@dataclass(frozen=True, repr=False)
class CLIPLoRA(Addition):
    """CLIP-LoRA: low-rank additions to attention, trained for a number of steps; with ENCODER text also on ResNets."""

    node = NODE
    saved_as = SavedAs(prefix="")
    prec = "amp"
    logging = Logging(accuracy=True)
    not_searched = "CLIPLoRA has no prompts, so no schedule can be searched"

    n_iters: int = setting(
        500,
        "the number of training steps per training image of a class, independent of the number of classes",
        least=1,
        compared=False,
    )
    literal_scale: float = setting(
        0.0, "the logit scale, a factor on the cosine similarities; 0 uses exp(logit_scale) of the CLIP model", least=0
    )
    joins: bool = setting(
        False, "adds these low-rank matrices to the prompts of CoOp or MPL if True", key="ON", compared=False
    )
    encoder: str = setting(
        "both", "the encoder whose layers are adapted: text, vision or both", choices=tuple(OF_ENCODER)
    )
    params: str = setting(
        "q k v", "the adapted attention matrices (q, k, v, o); their order is the order of the random initialization"
    )
    position: str = setting(
        "all",
        "the adapted layers: all, bottom, mid, up, half-bottom, half-up, top3, or layer numbers from 0 such "
        "as 0 3 6-11",
    )
    r: int = setting(2, "the rank of the low-rank matrices", least=1)
    alpha: float = setting(
        1.0, "the scaling of the low-rank matrices, which are multiplied by ALPHA / sqrt(R)", least=0
    )
    dropout: float = setting(
        0.25, "the dropout probability of the input of the low-rank matrices during training", least=0, compared=False
    )
    dropout_shared: bool = setting(
        False,
        "uses a single dropout mask for the text tokens that all classes share if True, which is faster; the "
        "original code draws a mask for each class",
        compared=False,
    )
    gradient: str = setting(
        "true",
        "the gradient of the low-rank matrices: true, or reference for the original code, which with DROPOUT "
        "0 passes no gradient to their input",
        choices=("true", "reference"),
        compared=False,
    )

    def check(self) -> None:
        super().check()
        words = self.matrices
        if not words or len(set(words)) < len(words) or not set(words) <= set(MATRICES):
            raise SettingError(
                [("PARAMS", f" must be a list of q, k, v and o, each at most once, got {self.params!r}.")]
            )
        if self.dropout >= 1:
            raise SettingError([("DROPOUT", f" must be less than 1, got {self.dropout:g}.")])
        if self.gradient == "reference" and self.dropout:
            raise SettingError(
                [
                    (
                        "GRADIENT",
                        " reference is supported only with DROPOUT 0, because the original code "
                        "drops this gradient only then. Set DROPOUT to 0 or GRADIENT true.",
                    )
                ]
            )
        if self.position not in POSITIONS:
            layers_at(self.position, MOST_TOKENS)
        if self.joins:
            require_takes(type(self).__name__, "CLIPLORA")

    @property
    def matrices(self) -> tuple[str, ...]:
        """The matrices of a layer."""
        return tuple(self.params.replace(",", " ").split())

    @property
    def scale(self) -> float:
        """The factor of the additions."""
        return self.alpha / math.sqrt(self.r)

    def layers(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        """The layers that have additions, by side.

        Raises:
            SettingError: if a number is too large for a chosen side.
        """
        counts = dict(zip(SIDES, (shape.text_layers, shape.vision_layers)))
        return {side: layers_at(self.position, counts[side]) for side in OF_ENCODER[self.encoder]}

    @property
    def wants_text(self) -> bool:
        return "text" in OF_ENCODER[self.encoder]

    @property
    def wants_vision(self) -> bool:
        return "vision" in OF_ENCODER[self.encoder]

    @property
    def training(self) -> Training:
        return Training(steps=Steps(self.n_iters, _LEAST_RATE))

    @classmethod
    def decides(cls, settings: Mapping[str, Any], facts: RunFacts) -> dict[str, Any]:
        return own_scale(settings, facts)

    @property
    def results(self) -> Results:
        said = []
        if self.dropout_shared and self.dropout and "text" in OF_ENCODER[self.encoder]:
            said.append(
                "The text tokens that all classes share had a single dropout mask (DROPOUT_SHARED), while the "
                "original code draws a mask for each class."
            )
        if self.gradient == "reference":
            said.append(
                "With DROPOUT 0, part of the gradient is left out, as in the original code (GRADIENT reference)."
            )
        return Results(notes=tuple(said))

    def schedules(self, shape: Shape) -> Schedules:
        self.layers(shape)
        return without_prompts(shape)

    def learner(self, clip_model: CLIP, classes: Classes, schedules: Schedules) -> "LowRankTemplates":
        """Class names in one template, and the additions.

        Raises:
            UserError: on a CLIP with sides of another package.
        """
        for _ in range(_LOADERS):
            torch.empty((), dtype=torch.int64).random_()
        return LowRankTemplates(self, classes.names, clip_model, schedules)

    def join(self, learner: Learner, again: Callable[[], Learner], clip_model: CLIP, classes: Classes) -> Learner:
        learner.take(LowRankAdditions(self, clip_model, self.layers(Shape(*layers_of(clip_model)))))
        return learner


class LowRankTemplates(AdaptedTemplate):
    """Class names in the default template, and low-rank additions to the layers of both sides.

    Args:
        method: which additions, and how.

    Raises:
        UserError: as TemplatePrompts, or on a CLIP with sides of another package.
    """

    def __init__(self, method: CLIPLoRA, classnames: Sequence[str], clip_model: CLIP, schedules: Schedules):
        super().__init__(classnames, clip_model, schedules, [templates.DEFAULT])
        self.settings = method
        self.layers = method.layers(Shape(*layers_of(clip_model)))
        self.take(LowRankAdditions(method, clip_model, self.layers))
        self.literal_scale = method.literal_scale

    @property
    def beginning(self) -> str:
        settings = self.settings
        where = [f"{side} layers {' '.join(map(str, chosen))}" for side, chosen in self.layers.items()]
        what = f"{' '.join(settings.matrices)} with rank {settings.r} and scale {settings.scale:.4g}"
        return f"Low-rank matrices: {what}, in {', '.join(where)}"

    @staticmethod
    def checkpoint_key(name: str) -> str:
        """A parameter's name in checkpoints: side, layer, a or b."""
        return name.replace("adapters.", "", 1)

    def of_repository(self, content: Mapping[str, Any], path: str) -> Mapping[str, Any]:
        return of_repository(content, self.settings, self.layers, path)

    def as_repository(self) -> dict[str, Any]:
        state = {self.checkpoint_key(name): one for name, one in self.named_parameters()}
        return as_repository(state, self.settings, self.layers)


_NAMES = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "proj"}


def _layers(layers: Mapping[str, Sequence[int]]) -> dict[str, str]:
    """Layers under our names, `{side}.{layer}`, by those in its files: text first."""
    chosen = [f"{side}.{layer}" for side in SIDES for layer in layers.get(side, ())]
    return {f"layer_{j}": layer for j, layer in enumerate(chosen)}


def _metadata(settings: "CLIPLoRA") -> dict[str, object]:
    alpha = int(settings.alpha) if settings.alpha == int(settings.alpha) else settings.alpha
    return {
        "r": settings.r,
        "alpha": alpha,
        "encoder": settings.encoder,
        "params": list(settings.matrices),
        "position": settings.position,
    }


def _require_known(settings: "CLIPLoRA", layers: Mapping[str, Sequence[int]]) -> None:
    """Raise UserError unless its program knows these words for layers (of twelve, for the top), and this ALPHA."""
    images = layers.get("vision", ())
    thirds = settings.position in ("bottom", "mid", "up") and len(images) not in (0, 4)
    top = settings.position == "top3" and bool(images) and images[-1] != 11
    if settings.position not in POSITIONS or thirds or top:
        raise UserError(
            f"POSITION {settings.position!r} cannot be exported, because the original CLIP-LoRA code does not support "
            "this position for an encoder with as many layers as this model has."
        )
    if settings.alpha != int(settings.alpha):
        raise UserError(
            f"ALPHA {settings.alpha:g} cannot be exported, because the original CLIP-LoRA code accepts "
            "only whole numbers."
        )


def as_repository(
    state: Mapping[str, Tensor], settings: "CLIPLoRA", layers: Mapping[str, Sequence[int]]
) -> dict[str, object]:
    """The content of the reference's file for these additions; `state` has our names.

    Raises:
        UserError: if its program lacks such a position on that CLIP, or such an ALPHA.
    """
    _require_known(settings, layers)
    weights = {
        theirs: {
            _NAMES[which]: {
                f"w_lora_{one.upper()}": state[f"{ours}.{one}"][n].detach().cpu().clone() for one in ("a", "b")
            }
            for n, which in enumerate(settings.matrices)
        }
        for theirs, ours in _layers(layers).items()
    }
    return {"weights": weights, "metadata": _metadata(settings)}


def of_repository(
    content: Mapping[str, Any], settings: "CLIPLoRA", layers: Mapping[str, Sequence[int]], path: str
) -> Mapping[str, Any]:
    """The parameters, under our names, from the content of a reference's file; a file of another form as it is.

    Raises:
        UserError: if its metadata has other settings, or a matrix is missing.
    """
    weights, theirs = content.get("weights"), content.get("metadata")
    if not isinstance(weights, dict) or not isinstance(theirs, dict):
        return content
    for name, mine in _metadata(settings).items():
        there = theirs.get(name)
        if not isinstance(there, (int, float, str, list)) or there != mine:
            raise UserError(
                f"{path} was trained with other settings: {name} is {ascii(there)[:40]} in the file, but {mine} in "
                "this model. Use the settings that were used for training."
            )
    places, names = _layers(layers), [_NAMES[which] for which in settings.matrices]
    if set(weights) != set(places):
        raise UserError(
            f"{path} contains low-rank matrices for {len(weights)} layers, but this model has low-rank matrices in "
            f"{len(places)} layers."
        )
    try:
        return {
            f"{ours}.{one}": torch.stack(
                [weights[layer][name][f"w_lora_{one.upper()}"].detach().float() for name in names]
            )
            for layer, ours in places.items()
            for one in ("a", "b")
        }
    except (LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise UserError(f"{path} is damaged ({one_line(error)[:120]}). Use another copy of the file.") from None
