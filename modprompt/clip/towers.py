"""The encoders of a CLIP model: types for OpenAI's architecture, and wrappers for encoders of other packages.

A stock encoder has OpenAI's architecture. Models of `clip.load` and `build_model` have the attributes of the class CLIP
below, whatever their classes are, since CoOp-style codebases change these classes. Every other encoder is wrapped in a
`Tower`. Towers stay in eval mode, because batch normalisation and drop path would change their features.

Shapes: B images, C texts, L tokens, D width of an encoder, E joint width.
"""

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modprompt.clip.spec import FEATURES, PROMPTED, RESNET, Kinds
from modprompt.clip.tokenizers import ClipTokenizer, Tokenizer

T = TypeVar("T", bound="Tower")
STOCK_TEXT = ("transformer", "token_embedding", "positional_embedding", "ln_final", "text_projection")


class QuickGELU(nn.Module):
    """OpenAI's approximation: x * sigmoid(1.702 x)."""

    def forward(self, x: Tensor) -> Tensor:
        """x of any shape."""
        return x * torch.sigmoid(1.702 * x)


class MLP(nn.Module):
    """The feed-forward part of a block: D to 4 D and back."""

    c_fc: nn.Linear
    gelu: nn.Module
    c_proj: nn.Linear


class Block(nn.Module):
    """A residual attention block, whose normalisations keep the type of their input."""

    ln_1: nn.LayerNorm
    attn: nn.MultiheadAttention
    ln_2: nn.LayerNorm
    mlp: MLP


class Transformer(nn.Module):
    """The blocks of an encoder."""

    resblocks: Sequence[Block]


class VisionTransformer(nn.Module):
    """An image encoder: class embedding (D,), positions (L, D), projection (D, E)."""

    input_resolution: int
    conv1: nn.Conv2d
    class_embedding: nn.Parameter
    positional_embedding: nn.Parameter
    ln_pre: nn.LayerNorm
    transformer: Transformer
    ln_post: nn.LayerNorm
    proj: nn.Parameter


class ResNet(nn.Module):
    """An image encoder without a transformer."""

    input_resolution: int
    conv1: nn.Conv2d


class CLIP(nn.Module):
    """A CLIP model; positions (L, D) and projection (D, E) belong to the text encoder."""

    visual: VisionTransformer | ResNet
    transformer: Transformer
    token_embedding: nn.Embedding
    positional_embedding: nn.Parameter
    ln_final: nn.LayerNorm
    text_projection: nn.Parameter
    logit_scale: nn.Parameter
    dtype: torch.dtype
    encode_text: Callable[[Tensor], Tensor]
    encode_image: Callable[[Tensor], Tensor]
    fingerprint: str  # only on models of load_clip


class Tower(nn.Module):
    """Wraps an encoder of another package, which returns features (B, E) that are not normalised.

    The weights stay in float32. With PREC amp, fp16 and bf16, matrix products run under autocast on a GPU, in the type
    `products` (None for float32). If the encoder returns several outputs, the first is used.
    """

    products: torch.dtype | None = None

    def __init__(self, module: nn.Module, pixels: int = 0):
        super().__init__()
        self.module, self.input_resolution = module, pixels  # of an image side
        self.train()

    @property
    def feature_type(self) -> torch.dtype:
        """The type of the weights and the features."""
        return next(self.module.parameters()).dtype

    def train(self: T, mode: bool = True) -> T:
        """Stay in eval mode."""
        return super().train(False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Features (B, E) of images (B, 3, H, W), or (C, E) of token ids (C, L), of the length of its tokenizer."""
        with self.autocast(inputs.device):
            found = self.module(inputs.to(self.feature_type) if inputs.is_floating_point() else inputs)
            features: Tensor = found[0] if isinstance(found, tuple) else found
            return features.to(self.feature_type)

    def autocast(self, device: torch.device) -> contextlib.AbstractContextManager[Any]:
        """Return a context in which matrix products on a GPU have the type `products`; it has no effect on a CPU."""
        if self.products is None or device.type == "cpu":
            return contextlib.nullcontext()
        return torch.autocast(device.type, dtype=self.products)


class TowerCLIP(nn.Module):
    """A CLIP model that the `clip` package cannot build.

    The functions below return properties of its encoders. `visual` and `text` are stock encoders or towers. The parts
    of a stock text encoder (STOCK_TEXT) become attributes of this module, and `text` is None. `logit_scale`, a
    logarithm, stays in float32. `logit_bias` is added to logits in models with a sigmoid for each class, and None in
    others.
    """

    unshown: str = ""  # how it is run, as far as tensors do not show it; a part of its fingerprint
    transformer: Any  # like the other parts of a stock text side
    token_embedding: nn.Embedding
    positional_embedding: nn.Parameter
    ln_final: nn.LayerNorm
    text_projection: nn.Parameter

    def __init__(
        self,
        visual: VisionTransformer | ResNet | Tower,
        text: nn.Module,
        tokenizer: Tokenizer,
        width: int,
        logit_scale: float,
        logit_bias: float | None = None,
    ):
        super().__init__()
        self.visual = visual
        self.text = text if isinstance(text, Tower) else None
        if self.text is None:
            for name in STOCK_TEXT:
                setattr(self, name, getattr(text, name))
        self.tokenizer = tokenizer
        self.width = width
        self.logit_scale = nn.Parameter(torch.tensor(logit_scale, dtype=torch.float32))
        self.logit_bias = None if logit_bias is None else nn.Parameter(torch.tensor(logit_bias, dtype=torch.float32))
        self.eval()

    @property
    def dtype(self) -> torch.dtype:
        """The type of prompts: that of a stock encoder, or of the matrix products of towers."""
        if self.text is None:
            return self.text_projection.dtype
        if isinstance(self.visual, Tower):
            return self.visual.products or self.visual.feature_type
        return self.visual.conv1.weight.dtype

    def encode_image(self, image: Tensor) -> Tensor:
        """Return features (B, E) of images (B, 3, H, W), which are not normalised."""
        features: Tensor = self.visual(image)
        return features

    def encode_text(self, ids: Tensor) -> Tensor:
        """Return features (C, E) of token ids (C, L), which are not normalised."""
        if self.text is not None:
            features: Tensor = self.text(ids)
            return features
        positions, kind = self.positional_embedding, self.dtype
        mask = torch.full((len(positions),) * 2, float("-inf"), dtype=kind, device=positions.device).triu(1)
        x = self.token_embedding(ids).to(kind) + positions.to(kind)
        x = self.ln_final(self.transformer(x, attn_mask=mask))
        ends: Tensor = x[torch.arange(len(x), device=x.device), ids.argmax(dim=-1)]
        return ends.to(kind) @ self.text_projection

    def forward(self, image: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits (images, texts) and their transpose."""
        images, texts = F.normalize(self.encode_image(image), dim=-1), F.normalize(self.encode_text(ids), dim=-1)
        logits = self.logit_scale.exp() * images @ texts.t()
        logits = logits if self.logit_bias is None else logits + self.logit_bias
        return logits, logits.t()


def kinds_of(clip_model: CLIP) -> Kinds:
    """Return the kinds of both encoders."""
    other = FEATURES if has_image_tower(clip_model) else RESNET
    return Kinds(
        PROMPTED if prompted_text(clip_model) else FEATURES, PROMPTED if prompted_image(clip_model.visual) else other
    )


def has_stock_text(clip_model: CLIP) -> bool:
    """Return True if the text encoder has OpenAI's architecture."""
    return not isinstance(clip_model, TowerCLIP) or clip_model.text is None


def text_parameters(clip_model: CLIP) -> list[tuple[nn.Module, str]]:
    """Return the module and the name of each parameter of its text side, word embeddings included."""
    modules = [part for path, part in clip_model.named_modules() if path.partition(".")[0] != "visual"]
    return [(part, name) for part in modules for name in part._parameters if not name.startswith("logit_")]


def has_stock_image(clip_model: CLIP) -> bool:
    """Return True if the image encoder is a vision transformer of OpenAI's architecture."""
    return hasattr(clip_model.visual, "transformer")


def has_image_tower(clip_model: CLIP) -> bool:
    """Return True if the image encoder is that of another package."""
    return isinstance(clip_model.visual, Tower)


def has_tower(clip_model: CLIP) -> bool:
    """Return True if an encoder is that of another package."""
    return has_image_tower(clip_model) or not has_stock_text(clip_model)


def joint_width(clip_model: CLIP) -> int:
    """Return E, the width of image and text features."""
    return clip_model.width if isinstance(clip_model, TowerCLIP) else int(clip_model.text_projection.shape[1])


def text_width(clip_model: CLIP) -> int:
    """Return the width of the tokens of the text encoder, or 0 if no prompts can be inserted."""
    side = prompted_text(clip_model)
    return int(side.ln_final.weight.shape[0]) if side else 0


def image_width(clip_model: CLIP) -> int:
    """Return the width of the tokens of the image encoder or of the stem of a ResNet, or 0 without prompts."""
    side: Any = prompted_image(clip_model.visual) if has_image_tower(clip_model) else clip_model.visual
    return int(side.conv1.weight.shape[0]) if side else 0


def token_table(clip_model: CLIP) -> nn.Embedding:
    """Return the word embeddings of the text encoder."""
    table: nn.Embedding = prompted_text(clip_model).token_embedding
    return table


def tokenizer_of(clip_model: CLIP) -> Tokenizer:
    """Return the tokenizer of a CLIP model."""
    if isinstance(clip_model, TowerCLIP):
        return clip_model.tokenizer
    return ClipTokenizer(int(clip_model.positional_embedding.shape[0]))


def logit_bias_of(clip_model: CLIP) -> Tensor | None:
    """Return the bias that is added to logits in models with a sigmoid for each class, or None."""
    return clip_model.logit_bias if isinstance(clip_model, TowerCLIP) else None


def prompted_text(clip_model: CLIP) -> Any:
    """Return the module with the parts of the text encoder under OpenAI's names, or None if it accepts no prompts.

    Text encoders of open_clip (SigLIP, PE, MetaCLIP 2) accept prompts. Their attention mask is None if they read
    padding as well. A causal encoder must read features at the end token, and texts must begin with a start token.
    """
    if not isinstance(clip_model, TowerCLIP) or clip_model.text is None:
        return clip_model
    module: Any = clip_model.text.module
    if not takes_text_prompts(module) or module.attn_mask is None:
        return module if takes_text_prompts(module) else None
    end = clip_model.tokenizer.facts.end
    read = module.eos_id if module.pool_type == "eos" else module.vocab_size - 1
    return module if end == read and clip_model.tokenizer.row("").index(end) == 1 else None


def takes_text_prompts(text: Any) -> bool:
    """Return True if a text encoder of open_clip consists of the same parts as OpenAI's."""
    if not (hasattr(text, "ln_final") and hasattr(text, "pool_type")):
        return False
    causal, last = text.attn_mask is not None, text.pool_type == "last"
    if text.use_pad_mask or text.cls_emb is not None or text.pool_type not in ("last", "argmax", "eos"):
        return False
    if last == causal or last == isinstance(text.text_projection, nn.Parameter):  # CLIPA's, MobileCLIP's
        return False
    blocks = text.transformer.resblocks
    return all(isinstance(one.attn, nn.MultiheadAttention) and _do_nothing(one.ls_1, one.ls_2) for one in blocks)


def _do_nothing(*modules: Any) -> bool:
    return all(isinstance(one, nn.Identity) for one in modules)


def prompted_image(visual: Any) -> Any:
    """Return the module with the parts of the image encoder under OpenAI's names, or None if it accepts no prompts.

    Of towers, only plain vision transformers of timm with attention pooling (SigLIP) accept prompts. Their attribute
    `positional_embedding` belongs to patches, (L, D) or (1, L, D), and `pool` returns features (B, E) of tokens
    (B, L, D).
    """
    if hasattr(visual, "transformer"):
        return visual
    trunk: Any = getattr(getattr(visual, "module", None), "trunk", None)
    if type(trunk).__name__ != "VisionTransformer" or not all(map(_is_plain_timm, trunk.blocks)):
        return None
    patches, mapped = trunk.patch_embed, trunk.global_pool == "map" and not trunk.num_prefix_tokens
    plain = not hasattr(patches, "backbone") and _do_nothing(patches.norm, trunk.norm_pre)
    if not (mapped and plain) or trunk.pos_embed is None:
        return None
    return _module(
        conv1=patches.proj,
        positional_embedding=trunk.pos_embed,
        ln_pre=nn.Identity(),  # which a stock side has
        transformer=_module(resblocks=nn.ModuleList(map(_timm_block, trunk.blocks))),
        ln_post=trunk.norm,
        pool=nn.Sequential(trunk.attn_pool, trunk.fc_norm, trunk.head_drop, trunk.head, visual.module.head),
    )


def _is_plain_timm(block: Any) -> bool:
    """Return True if a block of timm has only attention and an MLP."""
    if type(block).__name__ != "Block" or type(block.attn).__name__ != "Attention" or type(block.mlp).__name__ != "Mlp":
        return False
    attn = block.attn
    extras = [block.ls1, block.ls2, attn.q_norm, attn.k_norm, block.mlp.norm]
    extras += [attn.norm] if hasattr(attn, "norm") else []
    return _do_nothing(*extras) and attn.qkv.bias is not None and getattr(attn, "gate", None) is None


def _timm_block(block: Any) -> nn.Module:
    attn, mlp = block.attn, block.mlp
    attention = _module(
        in_proj_weight=attn.qkv.weight, in_proj_bias=attn.qkv.bias, out_proj=attn.proj, num_heads=attn.num_heads
    )
    feed_forward = nn.Sequential(OrderedDict(c_fc=mlp.fc1, gelu=mlp.act, c_proj=mlp.fc2))
    return _module(ln_1=block.norm1, attn=attention, ln_2=block.norm2, mlp=feed_forward)


def _module(**parts: Any) -> nn.Module:
    found = nn.Module()
    for name, part in parts.items():
        setattr(found, name, part)
    return found
