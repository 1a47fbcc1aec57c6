"""Building a CLIP model with the `clip` package."""

import inspect
import io
import re
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from modprompt.clip.cast import cast_products
from modprompt.clip.package import import_clip
from modprompt.clip.spec import GELU
from modprompt.clip.towers import CLIP, prompted_image, prompted_text
from modprompt.errors import UserError
from modprompt.programs import one_line

BOOKKEEPING = ("input_resolution", "context_length", "vocab_size")  # numbers that OpenAI's files have besides weights
_MATRIX = re.compile(r"(conv1\.weight|in_proj_\w+|out_proj\.\w+|c_fc\.\w+|c_proj\.\w+|text_projection|visual\.proj)$")
DRAWN = "modprompt_drawn"  # a CLIP's attribute: the generator's states before and after its constructor; or None


def build_clip(state_dict: dict[str, Tensor], activation: str = "", heads: Sequence[int] = ()) -> CLIP:
    """Build a CLIP model in eval mode with the `clip` package.

    The constructor of the package draws random numbers before the weights are loaded. These draws are kept, because the
    original code of CoOp and similar methods has them, too. A model with another activation or other heads than in the
    package leaves the random number generator unchanged.

    Args:
        state_dict: tensors with the names of OpenAI. If all weight matrices are in half precision, so are those of the
            model; else the model is in single precision.
        activation: quick_gelu or gelu; only read if `heads` is given.
        heads: the attention heads of the text and the image encoder; () for those of the package.

    Raises:
        UserError: if the tensors do not form a CLIP model; the message names what is wrong.
    """
    state = {key: value for key, value in state_dict.items() if key not in BOOKKEEPING}
    before = torch.get_rng_state()
    model = construct(state)
    model.__dict__[DRAWN] = before, torch.get_rng_state()
    if heads and _run_as(model, activation, heads):
        model.__dict__[DRAWN] = None
        torch.set_rng_state(before)
    if all(tensor.dtype == torch.float16 for name, tensor in state.items() if _MATRIX.search(name)):
        cast_products(model, torch.float16)  # some builds leave a part in float32
    else:
        model.float()
    model.load_state_dict(state)  # the package's own loading rounds to half; some codebases' load only what fits
    return model


def _run_as(model: CLIP, activation: str, heads: Sequence[int]) -> bool:
    """Set the activation and the attention heads of a CLIP model; return True if the model had others."""
    changed = False
    for side, count in zip((model.transformer, model.visual), heads):
        part: Any
        for part in side.modules():
            if isinstance(part, nn.Sequential) and hasattr(part, "gelu") and activation == GELU:
                part.gelu, changed = nn.GELU(), True
            if hasattr(part, "num_heads"):
                width = (part.out_proj if hasattr(part, "out_proj") else part.k_proj).in_features  # a ResNet's pool
                if width % count:
                    raise UserError(
                        f"MODEL.BACKBONE.HEADS {tuple(heads)} does not fit this model, because its width {width} is "
                        f"not divisible by {count}. Set MODEL.BACKBONE.HEADS to the number of heads with which the "
                        "weights were trained."
                    )
                changed = changed or part.num_heads != count
                part.num_heads, part.head_dim = count, width // count
    return changed


# names that a build_model(state_dict, design_details) may have for a model without prompts, with all depths 0
_PLAIN_WORDS = ("CoOp", "IVLP", "VPT")
_NO_PROMPTS = {"vision_depth": 0, "language_depth": 0, "vision_ctx": 0, "language_ctx": 0}


def construct(state: dict[str, Tensor]) -> CLIP:
    """Construct a CLIP model without prompts with build_model(state_dict), or build_model(state_dict, design_details).

    Codebases such as MaPLe have changed the function build_model of the `clip` package. Its second argument selects a
    model by the name of a trainer; several names are tried until the model has the tensors of the state dict.

    Raises:
        UserError: if there is no such model; the message says what was tried.
    """
    clip = import_clip()
    named = inspect.signature(clip.build_model).parameters.values()
    places = [one for one in named if one.kind is one.POSITIONAL_OR_KEYWORD]
    weights = next((one.name for one in places if "state" in one.name), places[0].name)
    asked = [one.name for one in places if one.default is one.empty and one.name != weights]
    designs = [*(one.name for one in places if "design" in one.name), *asked[:1]]
    asks, may = bool(asked), bool(designs)
    generator, tried = torch.get_rng_state(), []
    for word in (*([] if asks else [""]), *(_PLAIN_WORDS if may else ())):
        torch.set_rng_state(generator)
        design = {designs[0]: {"trainer": word, **_NO_PROMPTS}} if word else {}
        try:
            with redirect_stdout(io.StringIO()):
                model: CLIP = clip.build_model(**{**dict.fromkeys(asked), weights: dict(state), **design})
            built = model.state_dict()
            odd = sorted(set(built) ^ set(state))
            if not odd:
                return model
            fault = f"the built model has {'an additional' if odd[0] in built else 'no'} tensor {odd[0]}"
        except Exception as error:  # whatever a codebase's own code raises
            fault = (
                f"the tensor {error} is missing" if isinstance(error, KeyError) else one_line(error)[:200].rstrip(".")
            )
        tried.append(f"with the trainer {word} in design_details, {fault}" if word else fault)
    torch.set_rng_state(generator)
    raise UserError(
        f"These weights do not form a CLIP model that the `clip` package at {Path(str(clip.__file__)).parent} can "
        f"build ({'; '.join(tried)}). Check MODEL.BACKBONE, and set MODEL.BACKBONE.MODEL if the architecture is not "
        "one of OpenAI's."
    )


def layers_of(clip_model: CLIP) -> tuple[int, int]:
    """Return the numbers of layers of the text and image encoders that accept prompts; 0 for a ResNet, for example."""
    sides = prompted_text(clip_model), prompted_image(clip_model.visual)
    text, vision = (0 if side is None else len(side.transformer.resblocks) for side in sides)
    return text, vision


def require_input_size(resolution: int, *sides: int) -> None:
    """Raise UserError unless images of these side lengths (pixels) fit a model for images of this side."""
    if any(side != resolution for side in sides):
        raise UserError(
            f"INPUT.SIZE is {' x '.join(map(str, sides))}, but this model needs images of {resolution} x {resolution} "
            f"pixels. Set INPUT.SIZE to ({resolution}, {resolution})."
        )
