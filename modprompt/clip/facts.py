"""What is known of a CLIP besides its weights: where it came from, how its images are made, which one it is.

One hash of all its weights, and of what its tensors do not show, identifies it.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from modprompt.clip.cast import rounded_to
from modprompt.clip.design import GELU, QUICK_GELU
from modprompt.clip.key_mapping import BOOKKEEPING
from modprompt.clip.resolve_config import Resolved
from modprompt.clip.sides import has_stock_text, tokenizer_of
from modprompt.clip.source import Source
from modprompt.clip.structure import CLIP
from modprompt.clip.tokenizers import ClipTokenizer
from modprompt.clip.towers import Tower, TowerCLIP
from modprompt.errors import UserError

_PLACE = "modprompt_facts"  # a CLIP's attribute with its facts
_SEEN = "modprompt_seen"  # another with the state of its tensors when they were hashed
VERSION, TOWER_VERSION = "2", "t1"
_THREADS = 4  # hashing and casting run at the same time
_PORTION = 1 << 15  # elements cast at a time: no large tensor is held twice, and PyTorch uses no other thread
ACTIVATION_OF = {"QuickGELU": QUICK_GELU, "GELU": GELU}  # by names of modules


def _shortest(flat: Tensor) -> torch.dtype:
    """The shortest type that holds a flat tensor's values exactly: a half tensor and its float copy get one hash."""
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


def _unshown(side: nn.Module) -> Iterator[int | str]:
    """What a side's tensors do not show, in order: numbers of heads, and classes of activations."""
    for part in side.modules():
        heads = getattr(part, "num_heads", None)
        if heads is not None:
            yield heads
        if isinstance(part, nn.Sequential) and hasattr(part, "gelu"):
            yield type(part.gelu).__name__


def _sides(clip_model: CLIP) -> tuple[nn.Module, nn.Module]:
    """The text side (a stock one's blocks) and the image side."""
    text = "transformer" if has_stock_text(clip_model) else "text"
    return clip_model.get_submodule(text), clip_model.visual


def shape_of(clip_model: CLIP) -> tuple[str, tuple[int, ...]]:
    """The activation (design.py), and the number of heads of the text side and of the image side; 0 for none."""
    sides = [shape_of_side(side) for side in _sides(clip_model)]
    names = sorted({name for names, _ in sides for name in names})
    return " ".join(names), tuple(heads for _, heads in sides)


def shape_of_side(side: nn.Module) -> tuple[set[str], int]:
    """What a side's tensors do not show: its activations, and its number of heads (0 for none, and for a tower)."""
    found = [] if isinstance(side, Tower) else list(_unshown(side))
    heads = next((one for one in found if isinstance(one, int) and one), 0)
    return {ACTIVATION_OF.get(one, one) for one in found if isinstance(one, str)}, heads


def _whole(shape: str, digests: Iterable[bytes]) -> str:
    return hashlib.sha256(shape.encode() + b"".join(digests)).hexdigest()[:24]


@contextlib.contextmanager
def hashing(state_dict: Mapping[str, Tensor]) -> Iterator[Callable[[CLIP], str]]:
    """Hash weights while the block builds their model; gives a function from the model to its `fingerprint`."""
    named = sorted((name, tensor) for name, tensor in state_dict.items() if name not in BOOKKEEPING)
    with ThreadPoolExecutor(_THREADS) as pool:
        # in a forked process PyTorch's first thread makes a new pool, which fails if two threads are first at once
        pool.submit(torch.get_num_threads).result()
        digests = pool.map(lambda pair: _digest(*pair), named)

        def finish(clip_model: CLIP) -> str:
            if isinstance(clip_model, TowerCLIP):
                return f"{TOWER_VERSION}:{_whole(clip_model.unshown, digests)}"
            unshown = [one for side in _sides(clip_model) for one in _unshown(side)]
            shape = " ".join(f"{one} heads" if isinstance(one, int) else one for one in unshown)
            return f"{VERSION}:{_whole(shape, digests)}"

        yield finish


def fingerprint(state_dict: Mapping[str, Tensor], clip_model: CLIP) -> str:
    """What tells one CLIP from another, whatever the precision of its file: "2:" and 24 hex digits; "t1:" with towers.

    Args:
        state_dict: its weights as they were read, before any cast.
        clip_model: the model built from them.
    """
    if isinstance(clip_model, TowerCLIP):  # counts of a BatchNorm play no part
        state_dict = {name: one for name, one in state_dict.items() if not name.endswith(".num_batches_tracked")}
    with hashing(state_dict) as finish:
        return finish(clip_model)


class ClipFacts(NamedTuple):
    """What a CLIP is.

    name: as it was asked for, a hub's repository with the commit; empty for a file or a module from elsewhere.
    file: base name of the file or folder that it was read from; empty if there is a name.
    size: side of its images in pixels.
    mean, std: of its images' channels; empty for a module from elsewhere, whose images are not known.
    interpolation, resize: how images are scaled (design.py).
    activation, heads: what its tensors do not show, heads as (text side, image side).
    fingerprint: of all its weights, as `fingerprint` gives it.
    dialect: whose names its tensors had: openai, open_clip, custom_text or transformers; bare if
        only the options say how it is run.
    commit: of the hub's repository that it came from.
    sha256: of the file that it was read from, if it was a single one.
    model: the name that was given with a file that does not say what it is.
    tokenizer: the facts of its tokenizer (tokenizers.py), as plain values; empty for CLIP's own of 77 ids.
    """

    name: str
    file: str
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    activation: str
    heads: tuple[int, ...]
    fingerprint: str
    dialect: str = ""
    commit: str = ""
    sha256: str = ""
    resize: str = ""
    model: str = ""
    tokenizer: Mapping[str, Any] = {}

    def as_record(self) -> dict[str, Any]:
        """Plain values for a file; fields that only CLIPs with towers have are left out of others."""
        found = {key: list(value) if isinstance(value, tuple) else value for key, value in self._asdict().items()}
        return {key: value for key, value in found.items() if value or key not in ("model", "tokenizer")}

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> "ClipFacts":
        """From a file's record; missing fields are empty.

        Raises:
            UserError: on values of another type.
        """
        empty = cls("", "", 0, (), (), "", "", (), "")
        found: dict[str, Any] = {}
        for key, default in empty._asdict().items():
            value = record.get(key, default)
            value = tuple(value) if isinstance(value, (list, tuple)) else value
            if type(value) is not type(default):
                raise UserError(f"what the file says of its CLIP is damaged ({key} {str(value)[:40]!r})")
            found[key] = value
        found["activation"] = ACTIVATION_OF.get(found["activation"], found["activation"])  # older ones
        return cls(**found)


def note(clip_model: CLIP, source: Source, resolved: Resolved) -> None:
    """Keep what is known of a CLIP, whose `fingerprint` is set, on the module."""
    images = resolved.design.images
    clip_model.__dict__[_PLACE] = _of_module(clip_model)._replace(
        name=source.name,
        file=source.file,
        mean=images.mean,
        std=images.std,
        interpolation=images.interpolation,
        resize=images.resize,
        fingerprint=str(clip_model.fingerprint),
        dialect=resolved.dialect,
        commit=source.commit,
        sha256=source.sha256,
        model=source.asked.model,
    )
    look_at(clip_model)


def _tokenizer_of(clip_model: CLIP) -> Mapping[str, Any]:
    found = tokenizer_of(clip_model).facts
    return {} if found == ClipTokenizer().facts else found.as_record()


def facts_of(clip_model: CLIP, sure: bool = False) -> ClipFacts:
    """What is known of a CLIP; for a module from elsewhere its input size and fingerprint, computed now if not before.

    Its weights are hashed anew if tensors were written, replaced, cast or moved since they were last looked at. If a
    cast has rounded its matrices, the fingerprint stays that from before, unless a tensor was written since.

    Args:
        clip_model: the CLIP.
        sure: always hash: a write through `.data` or by a fused optimiser leaves no trace on a tensor.
    """
    facts: ClipFacts | None = clip_model.__dict__.get(_PLACE)
    if facts is None or _may_differ(clip_model, sure):
        found = fingerprint(clip_model.state_dict(), clip_model)
        if facts is None or str(found) != facts.fingerprint:
            clip_model.__dict__["fingerprint"] = found
            facts = clip_model.__dict__[_PLACE] = _of_module(clip_model)._replace(fingerprint=str(found))
        look_at(clip_model)
    return facts


def look_at(clip_model: CLIP) -> None:
    """Count a CLIP's present tensors as the hashed ones: only for code that has cast or moved them."""
    clip_model.__dict__[_SEEN] = _state_of(clip_model)


def _may_differ(clip_model: CLIP, sure: bool) -> bool:
    """Whether a CLIP may have other weights (of a fine-tuned model) than those that were hashed last."""
    if clip_model.logit_scale.is_meta:
        return False
    before, now = clip_model.__dict__.get(_SEEN, {}), _state_of(clip_model)
    if not rounded_to(clip_model):
        return sure or before != now
    same = [name for name, one in now.items() if name in before and before[name].tensor == one.tensor]
    # a copy cannot be judged: its versions begin anew
    return any(before[name].version != now[name].version for name in same if now[name].is_parameter)


class _Seen(NamedTuple):
    """A tensor's state when it was looked at: the object, how often it was written, where its numbers are."""

    tensor: int
    version: int | None
    place: tuple[Any, ...]
    is_parameter: bool


def _state_of(clip_model: CLIP) -> dict[str, _Seen]:
    return {
        name: _Seen(id(one), _version(one), (one.data_ptr(), one.dtype, str(one.device)), isinstance(one, nn.Parameter))
        for name, one in clip_model.state_dict(keep_vars=True).items()
    }


def _version(tensor: Tensor) -> int | None:
    try:
        return tensor._version
    except RuntimeError:  # inference tensors have none
        return None


def called(clip_model: nn.Module) -> str:
    """The name of a CLIP in messages."""
    facts = clip_model.__dict__.get(_PLACE)
    return (facts is not None and (facts.file or facts.name)) or "this CLIP"


def _of_module(clip_model: CLIP) -> ClipFacts:
    activation, heads = shape_of(clip_model)
    found = ClipFacts("", "", clip_model.visual.input_resolution, (), (), "", activation, heads, "")
    return found._replace(tokenizer=_tokenizer_of(clip_model))
