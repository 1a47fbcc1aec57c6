"""The two towers of a CLIP: a stock one's parts as types, other packages' modules, and what may be asked of both.

A stock side is OpenAI's: models of `clip.load` and `build_model` have the attributes of CLIP, whatever their classes,
which codebases of the family patch. Any other side is a Tower, which gives features; the parts of some, into which
prompts can go, have a stock side's names here. Towers always stay in eval mode: BatchNorm and drop path would change
features (ConvNeXt, ViTamin, MobileCLIP).

Shapes: B images, C texts, L tokens, D width of a side, E joint width.
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
    """A residual attention block; its normalisations' output has the type of their input, as in all of a CLIP."""

    ln_1: nn.LayerNorm
    attn: nn.MultiheadAttention
    ln_2: nn.LayerNorm
    mlp: MLP


class Transformer(nn.Module):
    """The blocks of a side, an nn.Sequential."""

    resblocks: Sequence[Block]


class VisionTransformer(nn.Module):
    """The image side: class embedding (D,), positions (L, D), projection (D, E)."""

    input_resolution: int
    conv1: nn.Conv2d
    class_embedding: nn.Parameter
    positional_embedding: nn.Parameter
    ln_pre: nn.LayerNorm
    transformer: Transformer
    ln_post: nn.LayerNorm
    proj: nn.Parameter


class ResNet(nn.Module):
    """The image side of a CLIP without a vision transformer."""

    input_resolution: int
    conv1: nn.Conv2d


class CLIP(nn.Module):
    """The whole model: positions (L, D) and projection (D, E) are the text side's."""

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
    """A package's module that encodes one side, unchanged in `module`, to features (B, E) that are not normalised.

    Its weights stay float32: with PREC amp, fp16 and bf16 its products run under autocast on a GPU, in the type
    `products`, to which a stock side's matrices would be cast (None: float32). Of several outputs the first counts.
    """

    products: torch.dtype | None = None

    def __init__(self, module: nn.Module, pixels: int = 0):
        super().__init__()
        self.module, self.input_resolution = module, pixels  # of an image side
        self.train()

    @property
    def feature_type(self) -> torch.dtype:
        """The type of its weights and of its features."""
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
        """A context in which products on a GPU have the type `products`; it does nothing on a CPU."""
        if self.products is None or device.type == "cpu":
            return contextlib.nullcontext()
        return torch.autocast(device.type, dtype=self.products)


class TowerCLIP(nn.Module):
    """A dual encoder that the `clip` package does not build; other code asks about its sides by the functions below.

    `visual` is a stock side or a Tower; so is `text`, but the parts of a stock one (STOCK_TEXT) become attributes here,
    and `text` is None. Of width E. `logit_scale`, a logarithm, stays float32, whatever the type of the rest;
    `logit_bias` is added to logits if each class has a sigmoid of its own, None for most.
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
        """The type in which prompts are made: a stock side's, or that of the towers' products."""
        if self.text is None:
            return self.text_projection.dtype
        if isinstance(self.visual, Tower):
            return self.visual.products or self.visual.feature_type
        return self.visual.conv1.weight.dtype

    def encode_image(self, image: Tensor) -> Tensor:
        """Features (B, E) of images (B, 3, H, W), not normalised."""
        features: Tensor = self.visual(image)
        return features

    def encode_text(self, ids: Tensor) -> Tensor:
        """Features (C, E) of token ids (C, L), not normalised; a stock text side is read at the highest id, the end."""
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
        """(logits (images, texts), their transpose)."""
        images, texts = F.normalize(self.encode_image(image), dim=-1), F.normalize(self.encode_text(ids), dim=-1)
        logits = self.logit_scale.exp() * images @ texts.t()
        logits = logits if self.logit_bias is None else logits + self.logit_bias
        return logits, logits.t()


def kinds_of(clip_model: CLIP) -> Kinds:
    """The kinds of its sides."""
    other = FEATURES if has_image_tower(clip_model) else RESNET
    return Kinds(
        PROMPTED if prompted_text(clip_model) else FEATURES, PROMPTED if prompted_image(clip_model.visual) else other
    )


def has_stock_text(clip_model: CLIP) -> bool:
    """Whether its text side is the stock one, in the CLIP's own attributes."""
    return not isinstance(clip_model, TowerCLIP) or clip_model.text is None


def text_parameters(clip_model: CLIP) -> list[tuple[nn.Module, str]]:
    """Return the module and the name of each parameter of its text side, word embeddings included."""
    modules = [part for path, part in clip_model.named_modules() if path.partition(".")[0] != "visual"]
    return [(part, name) for part in modules for name in part._parameters if not name.startswith("logit_")]


def has_stock_image(clip_model: CLIP) -> bool:
    """Whether its image side is the stock transformer: neither a ResNet nor a tower."""
    return hasattr(clip_model.visual, "transformer")


def has_image_tower(clip_model: CLIP) -> bool:
    """Whether its image side is a package's own."""
    return isinstance(clip_model.visual, Tower)


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
    side: Any = prompted_image(clip_model.visual) if has_image_tower(clip_model) else clip_model.visual
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
    return clip_model.logit_bias if isinstance(clip_model, TowerCLIP) else None


def prompted_text(clip_model: CLIP) -> Any:
    """The module with the parts of its text side, named as a stock one's, if prompts can go into it; else None.

    Of a tower it is open_clip's own (SigLIP's, PE's, MetaCLIP 2's). Its mask is None if padding is read too. A causal
    one must read features at the tokenizer's end token, and texts must begin with a start token.
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
    """Whether open_clip's text module has stock blocks and parts, and nothing more that is run."""
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
    """The same for an image side; a tower's must be a plain vision transformer of timm's with a pool (SigLIP's).

    It then holds the tower's own weights; `positional_embedding` is of patches, (L, D) or (1, L, D), and `pool` makes
    features (B, E) of tokens (B, L, D).
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
    """Whether a block of timm's has only attention and an MLP."""
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
