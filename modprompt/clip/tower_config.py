"""open_clip's config of a dual encoder with a side that is not of the stock shape: which side, and how it is made.

All keys go to open_clip's own classes, which know their names; what would make these download or run something, or fill
the memory before a tensor is checked, is refused here.
"""

import copy
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from modprompt.clip import config_files
from modprompt.clip.config_files import OPEN_CLIP_IMAGE, OPEN_CLIP_TEXT, part_of, read_by
from modprompt.clip.design import GELU, QUICK_GELU, Design, Images
from modprompt.clip.infer_shape import POSITIONS, VOCABULARY
from modprompt.errors import UserError

_TIMM = "timm_model_name"
_TIMM_NAME = re.compile(r"[a-z0-9_]+")  # with an owner before it timm would ask a hub
_NO_PART = (  # in eval mode, or once weights are loaded
    "timm_model_pretrained", "timm_drop", "timm_drop_path", "patch_dropout", "hf_model_pretrained", "custom_text",
    "init_logit_scale", "output_dict", "cast_dtype",
)  # fmt: skip


class TowerConfig(NamedTuple):
    """A dual encoder by its config.

    model: open_clip's model_cfg, without what plays no part in a frozen CLIP.
    images: how its images are made.
    activation: of stock sides, and of open_clip's own towers if their config gives no other.
    text, image: what a stock side's tensors show (named as in infer_shape.py) and its heads; empty for a tower.
    """

    model: dict[str, Any]
    images: Images
    activation: str
    text: dict[str, int]
    image: dict[str, int]

    @property
    def has_tower(self) -> bool:
        """Whether a side is not of the stock shape, except OpenAI's kind of ResNet with a stock text side."""
        is_resnet = isinstance(self.model["vision_cfg"].get("layers"), list) and not self.model["vision_cfg"].get(_TIMM)
        return not self.text or not (self.image or is_resnet)

    @property
    def design(self) -> Design:
        """The design of its stock sides; a tower has 0 heads."""
        heads = (self.text.get("heads", 0), self.image.get("heads", 0))
        return Design(self.activation, heads, self.images)


def read(model: Mapping[str, Any], images: Images, where: str) -> TowerConfig:
    """The content of a model_cfg.

    Raises:
        UserError: on what open_clip would download, run, or build for ever; the key is named.
    """
    found: dict[str, Any] = copy.deepcopy(dict(model))
    whole = read_by(config_files.OPEN_CLIP_MODEL, found, f"{where}: ")
    text, image = part_of(found, "text_cfg", where), part_of(found, "vision_cfg", where)
    for part in (found, text, image, *(one for one in [found.get("multimodal_cfg")] if isinstance(one, dict))):
        for key in _NO_PART:
            part.pop(key, None)
        config_files.require_bounded(part, f"{where}: ")
    name = image.get(_TIMM)
    if name and not _TIMM_NAME.fullmatch(str(name)):
        raise UserError(f"{where}: vision_cfg.timm_model_name is {str(name)[:60]!r}, which is not a model of timm's")
    activation = QUICK_GELU if whole["quick_gelu"] else GELU
    if activation == GELU:
        found.pop("quick_gelu", None)  # with or without it, it is one model, with one fingerprint
    embed = whole["embed_dim"]
    return TowerConfig(found, images, activation, _stock_text(text, embed), _stock_image(image, embed))


def _stock_text(part: Mapping[str, Any], embed: int) -> dict[str, int]:
    try:
        found = read_by(OPEN_CLIP_TEXT, part, "")
    except UserError:
        return {}
    width = found["width"]
    said = {"text layers": found["layers"], "text width": width, "text hidden": int(width * found["mlp_ratio"])}
    return {**said, "heads": found["heads"], "embed": embed, "vocabulary": VOCABULARY, "positions": POSITIONS}


def _stock_image(part: Mapping[str, Any], embed: int) -> dict[str, int]:
    try:
        found = read_by(OPEN_CLIP_IMAGE, part, "")
    except UserError:
        return {}
    width = found["width"]
    said = {"image layers": found["layers"], "image width": width, "image hidden": int(width * found["mlp_ratio"])}
    heads = width // found["head_width"]
    return {**said, "heads": heads, "embed": embed, "patch": found["patch_size"], "pixels": found["image_size"]}
