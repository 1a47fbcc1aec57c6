"""The sides of towers into which prompts can go, under the names of a stock CLIP, whichever package built them.

SigLIP's two sides, and text sides with a causal mask and words of their own (PE's, MetaCLIP 2's).

Nothing is copied: the sides hold the modules and parameters of open_clip's text transformer and timm's vision
transformer, with their activations, which differ. A module that has more than these (register tokens, scaled layers,
rotary positions) is not such a side.

Shapes: B images, L tokens, D width of a side, E joint width.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, cast

from torch import Tensor, nn

from modprompt.clip.structure import Transformer


class _Attention(nn.Module):
    """The attention of a block of timm's, by the names of PyTorch's."""

    def __init__(self, products: nn.Linear, out_proj: nn.Linear, heads: int):
        super().__init__()
        self.products, self.out_proj, self.num_heads = products, out_proj, heads

    @property
    def in_proj_weight(self) -> Tensor:
        """(3 D, D)."""
        return self.products.weight

    @property
    def in_proj_bias(self) -> Tensor:
        """(3 D,)."""
        return self.products.bias


class _Block(nn.Module):
    """A block by its parts."""

    def __init__(self, ln_1: nn.Module, attn: nn.Module, ln_2: nn.Module, mlp: nn.Module):
        super().__init__()
        self.ln_1, self.attn, self.ln_2, self.mlp = ln_1, attn, ln_2, mlp


class _Blocks(nn.Module):
    """The blocks of a side."""

    def __init__(self, blocks: Iterable[nn.Module]):
        super().__init__()
        self.resblocks = nn.ModuleList(blocks)


class TextSide(nn.Module):
    """A text side of stock blocks: with a causal mask it is read at the end token, without one at the last position.

    positions: (L, D). projection: a linear map with a bias, a matrix (D, E), or None if D is E. causal: whether a token
    only sees those before it; without that the padding is read too.
    """

    token_embedding: nn.Embedding
    positional_embedding: nn.Parameter
    transformer: Transformer
    ln_final: nn.LayerNorm
    text_projection: nn.Linear | nn.Parameter | None

    def __init__(
        self, token_embedding: Any, positions: Any, blocks: Iterable[Any], ln_final: Any, projection: Any, causal: bool
    ):
        super().__init__()
        self.token_embedding, self.positional_embedding = token_embedding, positions
        self.transformer = cast(Transformer, _Blocks(blocks))
        self.ln_final, self.text_projection, self.causal = ln_final, projection, causal

    def project(self, x: Tensor) -> Tensor:
        """Features (..., E) of what ln_final gave (..., D)."""
        projection = self.text_projection
        if projection is None:
            return x
        if isinstance(projection, nn.Parameter):
            return x.to(projection.dtype) @ projection
        features: Tensor = projection(x.to(projection.weight.dtype))
        return features


class ImageSide(nn.Module):
    """An image side whose patches are pooled by attention.

    positions: of patches, (L, D) or (1, L, D). pool: from tokens (B, L, D) to features (B, E).
    """

    conv1: nn.Conv2d
    positional_embedding: nn.Parameter
    transformer: Transformer
    ln_post: nn.LayerNorm

    def __init__(self, conv1: Any, positions: Any, blocks: Iterable[Any], ln_post: Any, pool: nn.Module):
        super().__init__()
        self.conv1, self.positional_embedding = conv1, positions
        self.ln_pre = cast(nn.LayerNorm, nn.Identity())  # which a stock side has
        self.transformer = cast(Transformer, _Blocks(blocks))
        self.ln_post, self.pool = ln_post, pool


def text_side_of(clip_model: Any) -> TextSide | None:
    """The text side of a CLIP with a text tower (towers.py), if prompts can go into it; else None.

    A causal one must read features at the tokenizer's end token, and texts must begin with a start token.
    """
    module: Any = getattr(getattr(clip_model, "text", None), "module", None)
    side = text_side(module)
    if side is None or not side.causal:
        return side
    end = clip_model.tokenizer.facts.end
    read = module.eos_id if module.pool_type == "eos" else module.vocab_size - 1
    return side if end == read and clip_model.tokenizer.row("").index(end) == 1 else None


def image_side_of(visual: Any) -> ImageSide | None:
    """The image side of an image tower (towers.py), if prompts can go into it; else None."""
    return image_side(getattr(visual, "module", None))


def text_side(text: Any) -> TextSide | None:
    """open_clip's module as a text side; None if it is not one."""
    if not (hasattr(text, "ln_final") and hasattr(text, "pool_type")):
        return None
    causal, last, projection = text.attn_mask is not None, text.pool_type == "last", text.text_projection
    if text.use_pad_mask or text.cls_emb is not None or text.pool_type not in ("last", "argmax", "eos"):
        return None
    if last == causal or last == isinstance(projection, nn.Parameter):  # CLIPA's, MobileCLIP's
        return None
    blocks = text.transformer.resblocks
    if not all(isinstance(one.attn, nn.MultiheadAttention) and _do_nothing(one.ls_1, one.ls_2) for one in blocks):
        return None
    return TextSide(text.token_embedding, text.positional_embedding, blocks, text.ln_final, projection, causal)


def _do_nothing(*modules: Any) -> bool:
    return all(isinstance(one, nn.Identity) for one in modules)


def image_side(module: Any) -> ImageSide | None:
    """timm's module as an image side; None if it is not a vision transformer that pools patches by attention."""
    trunk: Any = getattr(module, "trunk", None)
    if type(trunk).__name__ != "VisionTransformer" or not all(map(_is_plain_timm, trunk.blocks)):
        return None
    patches, mapped = trunk.patch_embed, trunk.global_pool == "map" and not trunk.num_prefix_tokens
    plain = not hasattr(patches, "backbone") and _do_nothing(patches.norm, trunk.norm_pre)
    if not (mapped and plain) or trunk.pos_embed is None:
        return None
    pool = nn.Sequential(trunk.attn_pool, trunk.fc_norm, trunk.head_drop, trunk.head, module.head)
    return ImageSide(patches.proj, trunk.pos_embed, map(_timm_block, trunk.blocks), trunk.norm, pool)


def _is_plain_timm(block: Any) -> bool:
    """Whether a block of timm's has only attention and an MLP."""
    if type(block).__name__ != "Block" or type(block.attn).__name__ != "Attention" or type(block.mlp).__name__ != "Mlp":
        return False
    attn = block.attn
    extras = [block.ls1, block.ls2, attn.q_norm, attn.k_norm, block.mlp.norm]
    extras += [attn.norm] if hasattr(attn, "norm") else []
    return _do_nothing(*extras) and attn.qkv.bias is not None and getattr(attn, "gate", None) is None


def _timm_block(block: Any) -> nn.Module:
    attn, mlp = block.attn, block.mlp
    feed_forward = nn.Sequential(OrderedDict(c_fc=mlp.fc1, gelu=mlp.act, c_proj=mlp.fc2))
    attention = _Attention(attn.qkv, attn.proj, attn.num_heads)
    return _Block(block.norm1, attention, block.norm2, feed_forward)
