"""Which CLIP a run was made with: one hash of all its weights and of what its tensors do not show."""

import contextlib
import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Iterator, Mapping, Set, Tuple

import torch
from torch import Tensor, nn

from modprompt.clips.design import GELU, QUICK_GELU
from modprompt.clips.dialects import BOOKKEEPING
from modprompt.clips.structure import CLIP
from modprompt.storage.versioned import Versioned

VERSION = "2"
_THREADS = 4  # hashing and casting run beside each other
_PORTION = 1 << 15  # elements cast at a time: no large tensor is held twice, and PyTorch waits for no other thread
ACTIVATION_OF = {"QuickGELU": QUICK_GELU, "GELU": GELU}  # by the names of their modules


def _shortest(flat: Tensor) -> torch.dtype:
    """The shortest type that has a flat tensor's values exactly, so that a half tensor and its float copy are one."""
    if not flat.is_floating_point():
        return torch.int64
    if flat.dtype == torch.float16:
        return torch.float16
    wide = (part.float() for part in flat.split(_PORTION))
    return torch.float16 if all(torch.equal(part.half().float(), part) for part in wide) else torch.float32


def _digest(name: str, tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().flatten()
    kind = _shortest(flat)
    digest = hashlib.sha256(f"{name} {kind} {tuple(tensor.shape)}\n".encode())
    for part in flat.split(_PORTION):
        digest.update(part.to(kind).numpy().data)
    return digest.digest()


def _shape(clip_model: CLIP) -> str:
    """Activation and heads of both sides: no tensor shows them."""
    facts = []
    for side in (clip_model.transformer, clip_model.visual):
        for part in side.modules():
            heads = getattr(part, "num_heads", None)
            if heads is not None:
                facts.append(f"{heads} heads")
            if isinstance(part, nn.Sequential) and hasattr(part, "gelu"):
                facts.append(type(part.gelu).__name__)
    return " ".join(facts)


def shape_of(clip_model: CLIP) -> Tuple[str, Tuple[int, ...]]:
    """The activation (design.py), and the number of heads of the text side and of the image side; 0 for none."""
    sides = [shape_of_side(side) for side in (clip_model.transformer, clip_model.visual)]
    names = sorted({name for names, _ in sides for name in names})
    return " ".join(names), tuple(heads for _, heads in sides)


def shape_of_side(side: nn.Module) -> Tuple[Set[str], int]:
    """What no tensor of a side shows: the activations in it, and its number of heads, 0 for none."""
    parts = list(side.modules())
    heads = next(filter(None, (getattr(part, "num_heads", 0) for part in parts)), 0)
    found = {type(part.gelu).__name__ for part in parts if isinstance(part, nn.Sequential) and hasattr(part, "gelu")}
    return {ACTIVATION_OF.get(name, name) for name in found}, heads


@contextlib.contextmanager
def hashing(state_dict: Mapping[str, Tensor]) -> Iterator[Callable[[CLIP], Versioned]]:
    """Hash weights while the block builds a model of them; gives what makes the model's `fingerprint`."""
    named = sorted((name, tensor) for name, tensor in state_dict.items() if name not in BOOKKEEPING)
    with ThreadPoolExecutor(_THREADS) as pool:
        digests = pool.map(lambda pair: _digest(*pair), named)

        def finish(clip_model: CLIP) -> Versioned:
            whole = hashlib.sha256(_shape(clip_model).encode() + b"".join(digests)).hexdigest()
            return Versioned(f"{VERSION}:{whole[:24]}", old=of_two_tensors(clip_model))

        yield finish


def fingerprint(state_dict: Mapping[str, Tensor], clip_model: CLIP) -> Versioned:
    """What tells one CLIP from another, whatever precision its file keeps: "2:" and 24 hex digits.

    Args:
        state_dict: its weights as they were read, before any cast.
        clip_model: the stock model that was built of them.

    Returns:
        The hash; its `old` is what version 1 had, which two tensors decide.
    """
    with hashing(state_dict) as finish:
        return finish(clip_model)


def of_two_tensors(clip_model: CLIP) -> str:
    """A short hash of two tensors, as version 1 of the fingerprint had it."""
    digest = hashlib.sha256()
    for tensor in (clip_model.text_projection, next(clip_model.visual.parameters())):
        digest.update(tensor.detach().half().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
