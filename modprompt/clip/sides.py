"""What a method may ask of a CLIP, whether its sides are stock ones (structure.py) or towers (towers.py)."""

from typing import Any

from torch import Tensor, nn

from modprompt.clip.design import FEATURES, PROMPTED, RESNET, Kinds
from modprompt.clip.structure import CLIP
from modprompt.clip.tokenizers import ClipTokenizer, Tokenizer
from modprompt.clip.tower_sides import image_side_of, text_side_of
from modprompt.clip.towers import ImageTower, TowerCLIP


def kinds_of(clip_model: CLIP) -> Kinds:
    """The kinds of its sides."""
    other = FEATURES if has_image_tower(clip_model) else RESNET
    return Kinds(PROMPTED if prompted_text(clip_model) else FEATURES, PROMPTED if prompted_image(clip_model) else other)


def prompted_text(clip_model: CLIP) -> Any:
    """The module with the parts of its text side, named as in structure.py, if prompts can go into it; else None."""
    return clip_model if has_stock_text(clip_model) else text_side_of(clip_model)


def prompted_image(clip_model: CLIP) -> Any:
    """The same for its image side."""
    return clip_model.visual if has_stock_image(clip_model) else image_side_of(clip_model.visual)


def has_stock_text(clip_model: CLIP) -> bool:
    """Whether its text side is the stock one, in the CLIP's own attributes."""
    return hasattr(clip_model, "token_embedding") and hasattr(clip_model, "transformer")


def has_stock_image(clip_model: CLIP) -> bool:
    """Whether its image side is the stock transformer: neither a ResNet nor a tower."""
    return hasattr(clip_model.visual, "transformer")


def has_image_tower(clip_model: CLIP) -> bool:
    """Whether its image side is a package's own."""
    return isinstance(clip_model.visual, ImageTower)


def has_tower(clip_model: CLIP) -> bool:
    """Whether a side is a package's own."""
    return has_image_tower(clip_model) or not has_stock_text(clip_model)


def joint_width(clip_model: CLIP) -> int:
    """E, of the features of both sides."""
    return clip_model.width if isinstance(clip_model, TowerCLIP) else int(clip_model.text_projection.shape[1])


def text_width(clip_model: CLIP) -> int:
    """T, of the tokens of its text side; 0 if prompts cannot go into it."""
    side = prompted_text(clip_model)
    return int(side.ln_final.weight.shape[0]) if side else 0


def image_width(clip_model: CLIP) -> int:
    """V, of the tokens of its image side, or of a ResNet's stem; 0 for a tower without prompts."""
    side: Any = prompted_image(clip_model) if has_image_tower(clip_model) else clip_model.visual
    return int(side.conv1.weight.shape[0]) if side else 0


def token_table(clip_model: CLIP) -> nn.Embedding:
    """The word embeddings of its text side, into which prompts can go."""
    table: nn.Embedding = prompted_text(clip_model).token_embedding
    return table


def tokenizer_of(clip_model: CLIP) -> Tokenizer:
    """Its tokenizer."""
    if isinstance(clip_model, TowerCLIP):
        return clip_model.tokenizer
    return ClipTokenizer(int(clip_model.positional_embedding.shape[0]))


def logit_bias_of(clip_model: CLIP) -> Tensor | None:
    """The scalar that is added to its logits if each class is judged by itself (a sigmoid); None for most."""
    return getattr(clip_model, "logit_bias", None)
