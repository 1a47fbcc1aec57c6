"""The sides of towers into which prompts can go, under the names of a stock CLIP, whichever package built them.

SigLIP's two sides, the text sides of MobileCLIP, PE and MetaCLIP 2, and image sides whose class token is read
(MobileCLIP2-L-14's).

Nothing is copied: the sides hold the modules and parameters of open_clip's text transformer, timm's vision transformer
and transformers' SigLIP, with their activations, which differ. A module that has more than these (register tokens,
scaled layers, rotary positions) is not such a side.

Shapes: B images, L tokens, D width of a side, E joint width.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from modprompt.clip.structure import Norm, Transformer
from modprompt.clip.tokenizers import Tokenizer


class _Attention(nn.Module):
    """The attention of a block, with one product for queries, keys and values, or with three."""

    def __init__(self, products: Sequence[nn.Linear], out_proj: nn.Linear, heads: int):
        super().__init__()
        self.products = nn.ModuleList(products)
        self.out_proj = out_proj
        self.num_heads = heads

    @property
    def in_proj_weight(self) -> Tensor:
        """(3 D, D)."""
        return _whole([cast(Tensor, one.weight) for one in self.products])

    @property
    def in_proj_bias(self) -> Tensor:
        """(3 D,)."""
        return _whole([cast(Tensor, one.bias) for one in self.products])


def _whole(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


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


def _mlp(fc1: nn.Module, activation: nn.Module, fc2: nn.Module) -> nn.Module:
    return nn.Sequential(OrderedDict(c_fc=fc1, gelu=activation, c_proj=fc2))


class TextSide(nn.Module):
    """A text side of stock blocks, with or without a causal mask; without one it reads its padding too.

    Args:
        token_embedding: of all ids, D wide.
        positions: (L, D).
        blocks: with the names of stock blocks.
        ln_final: after the blocks.
        projection: a linear map with a bias, a matrix (D, E), or None if D is E.
        causal: whether a token only sees those before it.
        reads_last: whether the feature is that of the last position; else of the end token.
    """

    token_embedding: nn.Embedding
    positional_embedding: nn.Parameter
    transformer: Transformer
    ln_final: Norm
    text_projection: nn.Linear | nn.Parameter | None

    def __init__(
        self,
        token_embedding: nn.Embedding,
        positions: nn.Parameter,
        blocks: Iterable[nn.Module],
        ln_final: nn.Module,
        projection: nn.Module | nn.Parameter | None,
        causal: bool = False,
        reads_last: bool = True,
    ):
        super().__init__()
        self.token_embedding = token_embedding
        self.positional_embedding = positions
        self.transformer = cast(Transformer, _Blocks(blocks))
        self.ln_final = cast(Norm, ln_final)
        self.text_projection = cast(nn.Linear | nn.Parameter | None, projection)
        self.causal = causal
        self.reads_last = reads_last

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
    """An image side whose patches are pooled by attention, or whose class token is read.

    Args:
        conv1: makes patches.
        class_embedding: (1, 1, D), or None.
        positions: of its tokens, (L, D) or (1, L, D).
        ln_pre: before the blocks; may do nothing.
        blocks: with the names of stock blocks.
        ln_post: after the blocks.
        pool: from tokens (B, L, D) to features (B, E).
    """

    conv1: nn.Conv2d
    class_embedding: nn.Parameter | None
    positional_embedding: nn.Parameter
    ln_pre: Norm
    transformer: Transformer
    ln_post: Norm

    def __init__(
        self,
        conv1: nn.Module,
        class_embedding: nn.Parameter | None,
        positions: nn.Parameter,
        ln_pre: nn.Module,
        blocks: Iterable[nn.Module],
        ln_post: nn.Module,
        pool: nn.Module,
    ):
        super().__init__()
        self.conv1 = cast(nn.Conv2d, conv1)
        self.class_embedding = class_embedding
        self.positional_embedding = positions
        self.ln_pre = cast(Norm, ln_pre)
        self.transformer = cast(Transformer, _Blocks(blocks))
        self.ln_post = cast(Norm, ln_post)
        self.pool = pool


class _First(nn.Module):
    """The first token (B, D) of tokens (B, L, D)."""

    def forward(self, x: Tensor) -> Tensor:
        """The class token."""
        return x[:, 0]


def text_side_of(clip_model: Any) -> TextSide | None:
    """The text side of a CLIP with a text tower (towers.py), if prompts can go into it; else None."""
    module = getattr(getattr(clip_model, "text", None), "module", None)
    side = text_side(module)
    return side if side is not None and _agrees(side, module, clip_model.tokenizer) else None


def _agrees(side: TextSide, module: Any, tokenizer: Tokenizer) -> bool:
    """Whether a side reads features at the tokenizer's end token, and begins with a start token if it is causal."""
    if side.reads_last:
        return True
    end = tokenizer.facts.end
    read = module.eos_id if module.pool_type == "eos" else module.vocab_size - 1
    return bool(end == read and (not side.causal or tokenizer.row("").index(end) == 1))


def image_side_of(visual: Any) -> ImageSide | None:
    """The image side of an image tower (towers.py), if prompts can go into it; else None."""
    return image_side(getattr(visual, "module", None))


def text_side(module: Any) -> TextSide | None:
    """A package's module as a text side; None if it is not one."""
    module = _alone(module)
    if hasattr(module, "final_layer_norm") and hasattr(module, "head"):
        return _of_transformers(module)
    if hasattr(module, "ln_final") and hasattr(module, "pool_type"):
        return _of_open_clip(module)
    return None


def image_side(module: Any) -> ImageSide | None:
    """A package's module as an image side; None if it is not one."""
    module = _alone(module)
    if hasattr(module, "post_layernorm") and getattr(module, "use_head", False):
        embeddings = module.embeddings
        positions = embeddings.position_embedding.weight
        blocks = map(_transformers_block, module.encoder.layers)
        patches, behind = embeddings.patch_embedding, module.post_layernorm
        return ImageSide(patches, None, positions, nn.Identity(), blocks, behind, module.head)
    return _of_timm(module.trunk, module.head) if hasattr(module, "trunk") and hasattr(module, "head") else None


# ---------------------------------------------------------------- each package's names


def _alone(module: Any) -> Any:
    """The `model` of one of transformers' sides without a projection; any other module unchanged."""
    return module if hasattr(module, "projection") else getattr(module, "model", module)


def _of_open_clip(text: Any) -> TextSide | None:
    causal, last, projection = text.attn_mask is not None, text.pool_type == "last", text.text_projection
    if text.use_pad_mask or text.cls_emb is not None or text.pool_type not in ("last", "argmax", "eos"):
        return None
    if last and (causal or isinstance(projection, nn.Parameter)):
        return None  # CLIPA's
    if not last and not isinstance(projection, nn.Parameter):
        return None
    blocks = text.transformer.resblocks
    if not all(map(_is_plain, blocks)):
        return None
    return TextSide(text.token_embedding, text.positional_embedding, blocks, text.ln_final, projection, causal, last)


def _is_plain(block: Any) -> bool:
    """Whether a block of open_clip's has only attention and an MLP."""
    return isinstance(block.attn, nn.MultiheadAttention) and _do_nothing(block.ls_1, block.ls_2)


def _do_nothing(*modules: Any) -> bool:
    return all(isinstance(one, nn.Identity) for one in modules)


def _of_transformers(text: Any) -> TextSide:
    embeddings, blocks = text.embeddings, map(_transformers_block, text.encoder.layers)
    positions = embeddings.position_embedding.weight
    return TextSide(embeddings.token_embedding, positions, blocks, text.final_layer_norm, text.head)


def _transformers_block(layer: Any) -> nn.Module:
    attn, mlp = layer.self_attn, layer.mlp
    attention = _Attention([attn.q_proj, attn.k_proj, attn.v_proj], attn.out_proj, attn.num_heads)
    return _Block(layer.layer_norm1, attention, layer.layer_norm2, _mlp(mlp.fc1, mlp.activation_fn, mlp.fc2))


def _of_timm(trunk: Any, head: nn.Module) -> ImageSide | None:
    """A vision transformer that pools patches by attention, or reads a class token."""
    if type(trunk).__name__ != "VisionTransformer" or not all(map(_is_plain_timm, trunk.blocks)):
        return None
    patches = trunk.patch_embed
    if hasattr(patches, "backbone") or not _do_nothing(patches.norm) or trunk.pos_embed is None:
        return None
    pooled = trunk.global_pool == "map" and not trunk.num_prefix_tokens
    is_first = trunk.cls_token is not None and trunk.num_prefix_tokens == 1
    read = trunk.global_pool == "token" and is_first and not trunk.no_embed_class
    if not (pooled or read):
        return None
    first = None if pooled else trunk.cls_token
    pool = nn.Sequential(trunk.attn_pool if pooled else _First(), trunk.fc_norm, trunk.head_drop, trunk.head, head)
    blocks = map(_timm_block, trunk.blocks)
    return ImageSide(patches.proj, first, trunk.pos_embed, trunk.norm_pre, blocks, trunk.norm, pool)


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
    attention = _Attention([attn.qkv], attn.proj, attn.num_heads)
    return _Block(block.norm1, attention, block.norm2, _mlp(mlp.fc1, mlp.act, mlp.fc2))
