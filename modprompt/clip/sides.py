"""What a method may ask of a CLIP, whatever its sides are: stock ones (structure.py) or towers (towers.py)."""

from typing import Optional

from torch import Tensor

from modprompt.clip.structure import CLIP
from modprompt.clip.tokenizers import Tokenizer


def has_stock_text(clip_model: CLIP) -> bool:
    """Whether prompts can go into the words, and into the layers, of its text side."""
    return hasattr(clip_model, "token_embedding") and hasattr(clip_model, "transformer")


def has_stock_image(clip_model: CLIP) -> bool:
    """Whether prompts can go into the layers of its image side: not of a ResNet's, nor a tower's."""
    return hasattr(clip_model.visual, "transformer")


def joint_width(clip_model: CLIP) -> int:
    """E, of the features of both sides."""
    raise NotImplementedError


def tokenizer_of(clip_model: CLIP) -> Tokenizer:
    """What makes ids of its texts."""
    raise NotImplementedError


def logit_bias_of(clip_model: CLIP) -> Optional[Tensor]:
    """What is added to its logits where each class is judged by itself (a sigmoid), a scalar; None for most."""
    return getattr(clip_model, "logit_bias", None)
