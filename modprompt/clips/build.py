"""A stock CLIP by name, from a file, or the small one that ships with the package."""

import inspect
import io
import os
from contextlib import redirect_stdout
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import torch
from torch import Tensor

from modprompt.checks import check_name
from modprompt.clips.cast import cast_products
from modprompt.clips.facts import note
from modprompt.clips.fingerprint import hashing
from modprompt.clips.package import import_clip
from modprompt.clips.published import warn_of_impostor
from modprompt.clips.structure import CLIP
from modprompt.errors import UserError
from modprompt.storage.arrays import read_all_arrays
from modprompt.storage.tensors import read_weights

EMBEDDED = "glyph-clip"
_EMBEDDED_FILE = Path(__file__).parent / "models" / "glyph_clip.npz"
# layers of the text and of the vision side, by name, for what is told before the weights are there
LAYERS = {
    EMBEDDED: (8, 8),
    "ViT-B/32": (12, 12),
    "ViT-B/16": (12, 12),
    "ViT-L/14": (12, 24),
    "ViT-L/14@336px": (12, 24),
}
_MOST_POSITIONS = 8192  # a text's mask has their square
_ROOM = 64 << 20  # bytes of tensors that a file may have more than four times its own
_BOOKKEEPING = ("input_resolution", "context_length", "vocab_size")
_RUN_EMBEDDED = f"`python train.py --trainer MPL` alone, or MODEL.BACKBONE.NAME {EMBEDDED}, runs the embedded model"


def read_embedded() -> Dict[str, Tensor]:
    """State dict of the embedded model; words that its training never used have zero embeddings."""
    try:
        arrays = {name: torch.from_numpy(array) for name, array in read_all_arrays(_EMBEDDED_FILE).items()}
        rows, size = arrays.pop("token_embedding.rows"), int(arrays.pop("token_embedding.size"))
        table = rows.new_zeros(size, rows.shape[1])
        table[arrays.pop("token_embedding.ids").long()] = rows
    except Exception:
        raise UserError(f"the embedded model {_EMBEDDED_FILE} is missing or damaged: check it out again") from None
    return {**arrays, "token_embedding.weight": table}


def read_file(path: Path) -> Dict[str, Tensor]:
    """State dict of a CLIP on disk: a TorchScript archive as OpenAI publishes them, or a saved state dict.

    Nothing in the file is run.

    Raises:
        UserError: if it is missing, damaged, or not a CLIP.
    """
    if not path.exists():
        raise UserError(f"MODEL.BACKBONE.PATH: no file at {path}; {_RUN_EMBEDDED}")
    state = read_weights(path)
    state = state.get("state_dict", state) if isinstance(state, dict) else {}
    missing = [key for key in ("text_projection", "positional_embedding", "ln_final.weight") if key not in state]
    if missing:
        raise UserError(f"{path} is not the state dict of a CLIP: it has no {missing[0]}")
    _require_as_large_as_stored(state, path)
    # in a TorchScript archive the causal masks stand beside the weights; each model makes its own
    return {key: value for key, value in state.items() if not str(key).endswith(".attn_mask")}


def _require_as_large_as_stored(state: Dict[str, Tensor], path: Path) -> None:
    """Raise UserError if a small file would make a model that does not fit into memory.

    Tensors of a file may share their numbers, or repeat one of them; those of a model do not.
    """
    tensors = [value for value in state.values() if isinstance(value, Tensor)]
    size = sum(value.numel() * value.element_size() for value in tensors)
    if size > 4 * path.stat().st_size + _ROOM:
        raise UserError(f"{path} is not the state dict of a CLIP: its tensors are far larger than the file")
    positions = state["positional_embedding"]
    if isinstance(positions, Tensor) and positions.dim() and positions.shape[0] > _MOST_POSITIONS:
        raise UserError(f"{path} is not the state dict of a CLIP: it has {positions.shape[0]:,} positions in a text")


def _download(name: str) -> Dict[str, Tensor]:
    clip = import_clip()
    cache = Path(os.path.expanduser("~/.cache/clip"))
    url = clip._MODELS[name]
    try:
        path = clip._download(url, str(cache))  # checked by the sha256 in its address
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"no weights for {name}: {cache / os.path.basename(url)} is not there and the download failed ({error}); "
            f"put the file there or give MODEL.BACKBONE.PATH; {_RUN_EMBEDDED}"
        ) from None
    return read_file(Path(path))


def known() -> List[str]:
    """Names of CLIPs: the embedded one and those of the `clip` package."""
    return [EMBEDDED, *import_clip().available_models()]


def read_state_dict(name: str, path: str = "") -> Dict[str, Tensor]:
    """State dict of a CLIP.

    Args:
        name: one of clip.available_models() (downloaded and checked by the clip package), or "glyph-clip".
        path: a file on disk, which takes precedence over the name.

    Raises:
        UserError: on an unknown name or weights that cannot be had; it says what to do.
    """
    if path:
        file = Path(os.path.expanduser(path))
        warn_of_impostor(file)
        return read_file(file)
    if name == EMBEDDED:
        return read_embedded()
    check_name(name, known(), "MODEL.BACKBONE.NAME")
    return _download(name)


def build_clip(state_dict: Dict[str, Tensor]) -> CLIP:
    """The stock model of a state dict, half-precision and in eval mode, as `clip.build_model` makes it.

    Its constructor draws from torch's generator before the weights are loaded; that is part of the seed's stream.

    Raises:
        UserError: if the tensors do not make up a CLIP; the first line of the reason is given.
    """
    state_dict = {key: value for key, value in state_dict.items() if key not in _BOOKKEEPING}
    try:
        with redirect_stdout(io.StringIO()):
            model = _plain_model(import_clip().build_model, dict(state_dict))
    except (KeyError, IndexError, RuntimeError, AttributeError, AssertionError, TypeError) as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise UserError(f"these weights do not make up a CLIP ({reason}): check MODEL.BACKBONE") from None
    _require_weights(model, state_dict)
    cast_products(model, torch.float16)  # some builds leave a part in float32
    return model


_PLAIN_DESIGN = {"trainer": "CoOp", "vision_depth": 0, "language_depth": 0, "vision_ctx": 0, "language_ctx": 0}


def _plain_model(build_model: Callable[..., CLIP], state_dict: Dict[str, Tensor]) -> CLIP:
    """A CLIP without prompts, from build_model(state_dict) or, as MaPLe has it, build_model(state_dict, design)."""
    required = [
        parameter
        for parameter in inspect.signature(build_model).parameters.values()
        if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    return build_model(state_dict, dict(_PLAIN_DESIGN)) if len(required) > 1 else build_model(state_dict)


def _require_weights(model: CLIP, state_dict: Dict[str, Tensor]) -> None:
    """Raise UserError unless a model has the tensors of a state dict, by name and in value.

    The family's build_model falls back to loading what fits, without a word.
    """
    where = f"the `clip` package at {os.path.dirname(str(import_clip().__file__))}"
    built = model.state_dict()
    odd = sorted(set(built) ^ set(state_dict))
    if odd:
        raise UserError(f"{where} does not build a plain CLIP: {odd[0]} is {'added' if odd[0] in built else 'missing'}")
    last = next(name for name in reversed(list(built)) if name.endswith("mlp.c_proj.weight"))
    for name in ("positional_embedding", "visual.conv1.weight", "text_projection", last):
        if not torch.equal(built[name].half(), state_dict[name].to(built[name].device).half()):
            raise UserError(f"{where} did not take over the weights: {name} differs")


def load_clip(name: str, path: str = "") -> CLIP:
    """A stock CLIP by name or from a file; see read_state_dict. Its `fingerprint` tells it from all others.

    What is known of it is noted on it; see facts.py.
    """
    state_dict = read_state_dict(name, path)
    with hashing(state_dict) as fingerprint_of:
        clip_model = build_clip(state_dict)
        clip_model.fingerprint = fingerprint_of(clip_model)
    note(clip_model, "" if path else name, os.path.basename(path))
    return clip_model


def layers_of(clip_model: CLIP) -> Tuple[int, int]:
    """Number of transformer layers of the text and of the vision side; a ResNet has none."""
    vision = getattr(clip_model.visual, "transformer", None)
    return len(clip_model.transformer.resblocks), 0 if vision is None else len(vision.resblocks)


def require_vision_transformer(clip_model: CLIP, name: str, method: str) -> None:
    """Raise UserError if the image side of a CLIP is a ResNet, which has no layers to put prompts into."""
    if not layers_of(clip_model)[1]:
        raise UserError(
            f"{method} puts prompts into a vision transformer, but {name} is a ResNet: "
            "choose ViT-B/16, ViT-B/32 or ViT-L/14; CoOp, CoCoOp and zero-shot run on a ResNet"
        )


def require_input_size(clip_model: CLIP, *sides: int) -> None:
    """Raise UserError unless images of these side lengths (pixels) fit the model."""
    resolution = clip_model.visual.input_resolution
    if any(side != resolution for side in sides):
        raise UserError(
            f"INPUT.SIZE is {' x '.join(map(str, sides))}, but this model takes images of "
            f"{resolution} x {resolution} pixels: set INPUT.SIZE ({resolution}, {resolution})"
        )
