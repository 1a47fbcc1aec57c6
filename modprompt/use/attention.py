"""Where a vision transformer looks: attention of the class token and of prompt tokens over the patches, layer by layer.

Shapes: B images, H heads, d width of a head, L tokens, n prompt tokens of a layer.
"""

from typing import Any, NamedTuple

import torch
from PIL import Image, ImageOps
from torch import Tensor

from modprompt.clip.facts import called, facts_of
from modprompt.clip.spec import OPENAI_MEAN, OPENAI_STD, Images
from modprompt.clip.towers import has_image_tower
from modprompt.engine.blocks import Attend
from modprompt.engine.encoders import VisionEncoder
from modprompt.engine.tower_vision import TowerVisionEncoder
from modprompt.errors import UserError
from modprompt.methods.model import PromptedModel

_SHARE = 0.6  # share of the colours in an overlay
_SMALLEST = 224  # pixels of a side of an overlay


class Attention(NamedTuple):
    """How much each layer's tokens attend to each patch, averaged over heads; attention to other tokens makes it 1.

    grid: rows and columns of patches.
    class_token: (layers, B, rows, columns), the class token's; None if there is none (SigLIP).
    prompts: by layer (n, B, rows, columns), that of each prompt token of the layer, the oldest first.
    """

    grid: tuple[int, int]
    class_token: Tensor | None
    prompts: list[Tensor]


def unseen(model: PromptedModel) -> str:
    """Why a model's attention cannot be shown, to follow its CLIP's name; empty if it can."""
    side = _side(model)
    if side is None and has_image_tower(model.clip_model):
        return "uses an image encoder of another package, so attention maps are not supported"
    if side is None:
        return "is a ResNet, which has no attention layers over image patches"
    if isinstance(model.image_encoder, TowerVisionEncoder) and not any(model.prompt_learner.schedules.vision.counts):
        return "has no class token, and the model has no vision prompts, so attention maps cannot be shown"
    return ""


def layers_of(model: PromptedModel) -> int:
    """How many layers' attention can be shown; 0 for none."""
    return 0 if unseen(model) else len(_side(model).transformer.resblocks)


def attention_of(model: PromptedModel, images: Tensor) -> Attention:
    """Attention over the patches of images (B, 3, H, W), as a model's transform makes them, on the CPU.

    Raises UserError as `unseen` says, or if the images do not fit.
    """
    reason = unseen(model)
    if reason:
        raise UserError(f"{called(model.clip_model)} {reason}.")
    model.require_images(images)
    rows, columns = (pixels // step for pixels, step in zip(images.shape[-2:], _side(model).conv1.stride))
    layers: list[Tensor] = []  # of each (B, L, L)

    def watch(layer: int, attend: Attend) -> Attend:
        def watched(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
            layers.append(_weights(attend, query, key, value, mask).cpu())
            return attend(query, key, value, mask)

        return watched

    with torch.no_grad():
        prompts = model.vision_prompts()
        images = images.to(model.logit_scale.device)
        model.image_encoder(images, prompts.vision_additions, prompts.vision_changes, watch)
    first = 0 if isinstance(model.image_encoder, TowerVisionEncoder) else 1  # of the patches, behind the class token
    behind = first + rows * columns
    maps = [weights[..., first:behind].unflatten(-1, (rows, columns)) for weights in layers]
    class_token = torch.stack([tokens[:, 0] for tokens in maps]) if first else None
    return Attention((rows, columns), class_token, [tokens[:, behind:].transpose(0, 1) for tokens in maps])


def _side(model: PromptedModel) -> Any:
    """The image side, with the names of a stock one, if its layers are run here; else None."""
    encoder = model.image_encoder
    if isinstance(encoder, TowerVisionEncoder):
        return encoder.side
    return encoder.visual if isinstance(encoder, VisionEncoder) else None


def _weights(attend: Attend, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """The weights (B, L, L), averaged over heads, with which `attend` sums values (B, L, H, d).

    It is linear in the values, plus a part without them (prompts of a search's options): values of 0 show that part,
    and values of 1 at one token show that token's weight, d tokens at a time.
    """
    length, width = value.shape[1], value.shape[-1]
    constant = attend(query, key, torch.zeros_like(value), mask)
    weights = []
    for first in range(0, length, width):
        ones = torch.eye(length, dtype=value.dtype, device=value.device)[:, first : first + width]
        ones = torch.nn.functional.pad(ones, (0, width - ones.shape[1]))
        weights.append(attend(query, key, ones[None, :, None].expand_as(value), mask) - constant)
    return torch.cat(weights, dim=-1)[..., :length].float().mean(dim=2)


def as_seen(model: PromptedModel, image: Tensor, made: Images | None = None) -> Image.Image:
    """The image (3, H, W) that a model was given, in its original colours.

    `made` is how its transform made it, if not as the transform of the model's CLIP.
    """
    how = facts_of(model.clip_model) if made is None else made
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (how.mean or OPENAI_MEAN, how.std or OPENAI_STD))
    values = (image.detach().float().cpu() * std + mean).clamp(0, 1)
    return Image.fromarray((values * 255).round().byte().permute(1, 2, 0).numpy())


def overlay(image: Image.Image, map: Tensor) -> Image.Image:
    """What a model was given (`as_seen`; a small one is enlarged), with attention (rows, columns) over all of it.

    In colours from dark blue (least) to yellow (most).
    """
    larger = max(1.0, _SMALLEST / min(image.size))
    size = (round(image.width * larger), round(image.height * larger))
    shares = (map - map.min()) / (map.max() - map.min()).clamp(min=1e-12)
    patches = Image.fromarray((255 * shares).round().byte().numpy()).resize(size, Image.Resampling.BICUBIC)
    colours = ImageOps.colorize(patches, black=(12, 16, 64), mid=(214, 62, 84), white=(255, 242, 150))
    grey = image.convert("L").resize(size, Image.Resampling.BICUBIC).convert("RGB")
    return Image.blend(grey, colours, _SHARE)
