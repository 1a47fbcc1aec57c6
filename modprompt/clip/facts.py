"""Information about a CLIP model besides its weights: its origin, its image preprocessing and its fingerprint.

The fingerprint is a hash of all weights and of the parts of the architecture that the weights do not show.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from modprompt.clip.cast import rounded_to
from modprompt.clip.known import plain
from modprompt.clip.spec import GELU, QUICK_GELU, Images
from modprompt.clip.tokenizers import ClipTokenizer
from modprompt.clip.towers import CLIP, Tower, TowerCLIP, has_stock_text, has_tower, tokenizer_of
from modprompt.errors import UserError

_PLACE = "modprompt_facts"  # a CLIP's attribute with its facts
VERSION, TOWER_VERSION = "2", "t1"
_THREADS = 4  # hashing and casting run at the same time
PORTION = 1 << 15  # elements cast at a time: no large tensor is held twice, and PyTorch uses no other thread
_ACTIVATIONS = {"QuickGELU": QUICK_GELU, "GELU": GELU}  # by names of modules


def digest_of(name: str, tensor: Tensor) -> bytes:
    """Return a hash of a tensor that is the same for float16 values stored as float16 or as float32."""
    flat = tensor.detach().cpu().contiguous().flatten()
    wide = () if flat.dtype == torch.float16 else (part.float() for part in flat.split(PORTION))
    kind = torch.float16 if all(torch.equal(part.half().float(), part) for part in wide) else torch.float32
    kind = kind if flat.is_floating_point() else torch.int64
    digest = hashlib.sha256(f"{name} {kind} {tuple(tensor.shape)}\n".encode())
    for part in flat.split(PORTION):
        digest.update(part.to(kind).numpy().data)
    return digest.digest()


def _unshown(side: nn.Module) -> Iterator[int | str]:
    """Yield what the tensors of an encoder do not show: numbers of attention heads, and names of activations."""
    for part in side.modules():
        heads = getattr(part, "num_heads", None)
        if heads is not None:
            yield heads
        if isinstance(part, nn.Sequential) and hasattr(part, "gelu"):
            yield type(part.gelu).__name__


def _sides(clip_model: CLIP) -> tuple[nn.Module, nn.Module]:
    """Return the modules of the text encoder and the image encoder."""
    text = "transformer" if has_stock_text(clip_model) else "text"
    return clip_model.get_submodule(text), clip_model.visual


def shape_of_side(side: nn.Module) -> tuple[set[str], int]:
    """Return the activations and the number of attention heads of an encoder; 0 heads if the number is unknown."""
    found = [] if isinstance(side, Tower) else list(_unshown(side))
    heads = next((one for one in found if isinstance(one, int) and one), 0)
    return {_ACTIVATIONS.get(one, one) for one in found if isinstance(one, str)}, heads


@contextlib.contextmanager
def hashing(state_dict: Mapping[str, Tensor]) -> Iterator[Callable[[CLIP], str]]:
    """Hash weights in threads while the block builds the model; yield a function that returns the fingerprint."""
    named = sorted(state_dict.items())
    with ThreadPoolExecutor(_THREADS) as pool:
        # in a forked process PyTorch's first thread makes a new pool, which fails if two threads are first at once
        pool.submit(torch.get_num_threads).result()
        digests = pool.map(lambda pair: digest_of(*pair), named)

        def finish(clip_model: CLIP) -> str:
            if isinstance(clip_model, TowerCLIP) and has_tower(clip_model):
                version, shape = TOWER_VERSION, clip_model.unshown
            else:
                unshown = [one for side in _sides(clip_model) for one in _unshown(side)]
                version, shape = VERSION, " ".join(one if isinstance(one, str) else f"{one} heads" for one in unshown)
            return f"{version}:{hashlib.sha256(shape.encode() + b''.join(digests)).hexdigest()[:24]}"

        yield finish


def fingerprint(state_dict: Mapping[str, Tensor], clip_model: CLIP) -> str:
    """Return the fingerprint of a CLIP model, which does not depend on the precision of its file.

    The fingerprint is "2:" and 24 hex digits, or "t1:" and 24 hex digits for models with towers of other packages.

    Args:
        state_dict: the weights as they were read, before any cast.
        clip_model: the model that was built from the weights.
    """
    if has_tower(clip_model):  # counts of a BatchNorm play no part
        state_dict = {name: one for name, one in state_dict.items() if not name.endswith(".num_batches_tracked")}
    with hashing(state_dict) as finish:
        return finish(clip_model)


class ClipFacts(NamedTuple):
    """Information about a CLIP model that is stored in checkpoints and results."""

    name: str  # as it was asked for, a hub's repository with the commit; empty for a file or a module from elsewhere
    file: str  # base name of the file or folder that it was read from; empty if there is a name
    size: int  # side of its images in pixels
    mean: tuple[float, ...]  # of its images' channels; empty for a module from elsewhere, whose images are not known
    std: tuple[float, ...]
    interpolation: str  # how images are scaled (known.py), as `resize`
    activation: str  # what its tensors do not show, as `heads`: (text side, image side)
    heads: tuple[int, ...]
    fingerprint: str  # of all its weights, as `fingerprint` gives it
    dialect: str = ""  # who says how it is run (load.py)
    commit: str = ""  # of the hub's repository that it came from
    sha256: str = ""  # of OpenAI's file
    resize: str = ""
    model: str = ""  # the name that was given with a file that does not say what it is
    tokenizer: Mapping[str, Any] = {}  # its facts (tokenizers.py) as plain values; empty for CLIP's own of 77 ids

    def as_record(self) -> dict[str, Any]:
        """Return plain values that can be stored in a file."""
        found = {key: list(value) if isinstance(value, tuple) else value for key, value in self._asdict().items()}
        return {key: value for key, value in found.items() if value or key not in ("model", "tokenizer")}

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> "ClipFacts":
        """Create the information from a stored record; missing fields are empty.

        Raises:
            UserError: if a value has the wrong type.
        """
        empty = cls("", "", 0, (), (), "", "", (), "")
        found: dict[str, Any] = {}
        for key, default in empty._asdict().items():
            value = record.get(key, default)
            value = tuple(value) if isinstance(value, (list, tuple)) else value
            if type(value) is not type(default):
                raise UserError(
                    f"The file contains an invalid description of its CLIP model ({key} has the value "
                    f"{str(value)[:40]!r}). Save the model again."
                )
            found[key] = value
        return cls(**found)


def note(clip_model: CLIP, images: Images, **said: Any) -> None:
    """Store information about a CLIP model on its module, whose `fingerprint` must be set."""
    said.update({key: value for key, value in images._asdict().items() if key not in ("size", "stated")})
    clip_model.__dict__[_PLACE] = _of_module(clip_model)._replace(fingerprint=clip_model.fingerprint, **said)


def facts_of(clip_model: CLIP, anew: bool = False) -> ClipFacts:
    """Return the information about a CLIP model; for models that modprompt did not load, input size and fingerprint.

    Args:
        clip_model: the CLIP model.
        anew: whether to compute the fingerprint again, because the weights may have been trained. If a cast has rounded
            the weights, the fingerprint from before the cast is returned.
    """
    facts: ClipFacts | None = clip_model.__dict__.get(_PLACE)
    if facts is None or (anew and not rounded_to(clip_model) and not clip_model.logit_scale.is_meta):
        found = fingerprint(clip_model.state_dict(), clip_model)
        if facts is None or found != facts.fingerprint:
            clip_model.__dict__["fingerprint"] = found
            facts = clip_model.__dict__[_PLACE] = _of_module(clip_model)._replace(fingerprint=found)
    return facts


def called(clip_model: nn.Module) -> str:
    """Return the name of a CLIP model for messages."""
    facts = clip_model.__dict__.get(_PLACE)
    return (facts is not None and (facts.file or facts.name)) or "this CLIP model"


def name_in_configs(clip_model: nn.Module) -> str:
    """Return the name under which configs know a CLIP; empty for a module or a file of no known architecture."""
    facts = clip_model.__dict__.get(_PLACE)
    return "" if facts is None else plain(facts.name or facts.model)


def _of_module(clip_model: CLIP) -> ClipFacts:
    text, image = map(shape_of_side, _sides(clip_model))
    activation, heads = " ".join(sorted(text[0] | image[0])), (text[1], image[1])
    tokenizer = tokenizer_of(clip_model).facts
    said = {} if tokenizer == ClipTokenizer().facts else tokenizer._asdict()
    return ClipFacts("", "", clip_model.visual.input_resolution, (), (), "", activation, heads, "", tokenizer=said)
