"""transformers' config.json of dual encoders that are not of the stock shape: the supported kinds."""

from pathlib import Path
from typing import Any, NamedTuple

from modprompt.clip import config_files
from modprompt.clip.config_files import TRANSFORMERS_FILE, part_of, read_config
from modprompt.clip.design import Design, Images
from modprompt.clip.infer_shape import POSITIONS
from modprompt.errors import UserError

KINDS = ("siglip", "chinese_clip", "altclip", "metaclip_2")
REFUSED = {
    "siglip2": "NaFlex: patches of images of any shape; SigLIP 2 of a fixed size has model_type siglip",
    **dict.fromkeys(("align", "aimv2", "blip", "clipseg", "clap", "flava", "groupvit", "owlv2", "owlvit", "tipsv2",
                     "vision-text-dual-encoder", "x_clip"), "another form of features or logits"),
}  # fmt: skip
NAMED = (*KINDS, *REFUSED)
_PADDING = {"chinese_clip": 0}  # default if a config leaves it out


class TransformersConfig(NamedTuple):
    """One of transformers' dual encoders.

    model: its config.json, without what plays no part in a frozen CLIP.
    kind: its model_type.
    images: how its images are made.
    length: ids of a text.
    vocabulary: number of embeddings.
    padding: id of the text side's padding, which is masked; SigLIP masks nothing.
    end: the id at which MetaCLIP 2's text is read; None for the others.
    """

    model: dict[str, Any]
    kind: str
    images: Images
    length: int
    vocabulary: int
    padding: int
    end: Any = None

    @property
    def design(self) -> Design:
        """The design of its stock sides: there are none."""
        return Design("", (0, 0), self.images)


def read(folder: Path) -> TransformersConfig:
    """The content of the config.json and preprocessor_config.json of a folder.

    Raises:
        UserError: if one is missing or damaged, or is of a kind that is not supported.
    """
    path = folder / TRANSFORMERS_FILE
    config = read_config(path)
    kind = str(config.get("model_type"))
    if kind in REFUSED:
        raise UserError(
            f"{path}: model_type {kind} is not supported ({REFUSED[kind]}); these are: clip, {', '.join(KINDS)}"
        )
    text, image = part_of(config, "text_config", str(path)), part_of(config, "vision_config", str(path))
    model = kept(config, f"{path}: ")
    model.update(text_config=kept(text, f"{path}: text_config."), vision_config=kept(image, f"{path}: vision_config."))
    size = config_files.pixels(image.get("image_size", 224), f"{path}: vision_config.image_size")
    usual = {"siglip": (64, 32000), "metaclip_2": (POSITIONS, 49408)}.get(kind, (POSITIONS, 0))
    positions = text.get("max_position_embeddings", usual[0])
    length = positions if kind == "siglip" or not isinstance(positions, int) else min(POSITIONS, positions)
    padding = text.get("pad_token_id", _PADDING.get(kind, 1))
    end = text.get("eos_token_id", 2) if kind == "metaclip_2" else None
    images = config_files.images_of_folder(folder, size)
    vocabulary = text.get("vocab_size", usual[1])
    for key, value in {"max_position_embeddings": length, "vocab_size": vocabulary, "pad_token_id": padding}.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise UserError(f"{path}: text_config.{key} must be a whole number, got {str(value)[:40]}")
    return TransformersConfig(model, kind, images, length, vocabulary, padding, end)


def kept(part: dict[str, Any], at: str) -> dict[str, Any]:
    """The keys of a config that decide what is computed, without references to code and types of numbers.

    Raises:
        UserError: on a number larger than any CLIP's.
    """
    config_files.require_bounded(part, at)
    left = ("auto_map", "text_config", "vision_config", "_attn_implementation", "attn_implementation")
    deciding = ("pad_token_id", "bos_token_id", "eos_token_id", "projection_dim", "tie_word_embeddings")
    return {
        key: value
        for key, value in part.items()
        if key in deciding or (key not in config_files.ELSEWHERE and key not in left)
    }
