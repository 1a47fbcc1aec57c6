"""The tensors of a CLIP's weights, from whatever file has them, and what is known of them before they are read."""

from pathlib import Path
from typing import Any, Dict, Mapping, NamedTuple, Tuple

import torch
from torch import Tensor

from modprompt.clips import config_files, key_mapping, known, source
from modprompt.clips.design import Images
from modprompt.clips.infer_shape import measure, pixels, require_agreement, shapes_of
from modprompt.clips.key_mapping import to_openai
from modprompt.clips.plain import can_assign
from modprompt.clips.resolve_config import Settled, require_settled, settle
from modprompt.clips.source import Asked, Source
from modprompt.errors import UserError
from modprompt.storage.arrays import read_all_arrays
from modprompt.storage.opening import open_regular
from modprompt.storage.safetensors_files import names_and_shapes, read_safetensors
from modprompt.storage.shards import read_shards, shard_names
from modprompt.storage.tensors import read_weights

EMBEDDED_FILE = Path(__file__).parent / "models" / "glyph_clip.npz"
_ROOM = 64 << 20  # bytes of tensors that a file may have more than four times its own


class Weights(NamedTuple):
    """Tensors under OpenAI's names, the dialect that they were in, what they measure, and how they are run."""

    state: Dict[str, Tensor]
    dialect: str
    found: Mapping[str, int]
    settled: Settled


def read_embedded() -> Dict[str, Tensor]:
    """State dict of the embedded model; words that its training never used have zero embeddings."""
    try:
        arrays = {name: torch.from_numpy(array) for name, array in read_all_arrays(EMBEDDED_FILE).items()}
        rows, size = arrays.pop("token_embedding.rows"), int(arrays.pop("token_embedding.size"))
        table = rows.new_zeros(size, rows.shape[1])
        table[arrays.pop("token_embedding.ids").long()] = rows
    except Exception:
        raise UserError(f"the embedded model {EMBEDDED_FILE} is missing or damaged: check it out again") from None
    return {**arrays, "token_embedding.weight": table}


def read(source: Source) -> Weights:
    """The weights of a CLIP; nothing in a file is run.

    Raises:
        UserError: if they are damaged, not a CLIP's of the stock shape, or nothing says how they are run.
    """
    where = source.called
    if source.weights is None:
        state: Dict[str, Any] = read_embedded()
    else:
        require_settled(source)
        state = read_file(source.weights)
    dialect = key_mapping.recognise(state, where)
    shapes_of(state, where)
    state = key_mapping.to_openai(state, dialect, where)
    found = measure(shapes_of(state, where), where)
    settled = settle(source, dialect)
    require_agreement(found, settled.design, where, settled.said_by)
    return Weights(state, told(dialect, settled), found, settled)


def told(dialect: str, settled: Settled) -> str:
    """OpenAI's names are open_clip's, too: whoever says how they are run tells which they are."""
    row = settled.row
    if dialect != key_mapping.OPENAI:
        return dialect
    if row is None:
        return "open_clip" if settled.said_by.endswith(config_files.OPEN_CLIP_FILE) else "bare"
    return row.dialect


def read_file(path: Path) -> Dict[str, Any]:
    """The tensors of a file, or of an index of several, under the names that they have there.

    Raises:
        UserError: if it is damaged.
    """
    return key_mapping.plain_names(_content(path))


def _content(path: Path) -> Any:
    if path.name.endswith(".index.json"):
        return read_shards(path, _content)
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    _refuse_other_kinds(path)
    content = read_weights(path, own=True)
    if not isinstance(content, Mapping):
        raise UserError(f"{path} is not the state dict of a CLIP: it holds no tensors by name")
    _require_as_large_as_stored(content, path)
    return content


def _refuse_other_kinds(path: Path) -> None:
    """Raise UserError if a file is a config, or has another name than its kind has."""
    if path.suffix == ".json":
        raise UserError(f"{path} is a config, not weights: give the folder, or the file of weights beside it")
    try:
        with open_regular(path) as file:
            head = file.read(9)
    except FileNotFoundError:
        return  # told of by whoever reads it
    if len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
        raise UserError(f"{path} is a file of safetensors: give it a name that ends in .safetensors")


def _require_as_large_as_stored(content: Any, path: Path) -> None:
    """Raise UserError if a small file would make a model that does not fit into memory.

    Tensors of a file may share their numbers, or repeat one of them; those of a model do not.
    """
    tensors = [value for value in key_mapping.plain_names(content).values() if isinstance(value, Tensor)]
    size = sum(value.numel() * value.element_size() for value in tensors)
    if size > 4 * path.stat().st_size + _ROOM:
        raise UserError(f"{path} is not the state dict of a CLIP: its tensors are far larger than the file")


def dialect_and_shapes(source: Source) -> Tuple[str, Dict[str, Tuple[int, ...]]]:
    """The dialect of weights, and the shapes of their tensors by its names; as little as possible is read.

    Raises:
        UserError: as `read`.
    """
    path, shapes = source.weights, {}
    assert path is not None  # the table says it of the embedded model
    files = [path.parent / name for name in shard_names(path)] if path.name.endswith(".index.json") else [path]
    for file in files:
        if file.suffix == ".safetensors":
            shapes.update(names_and_shapes(file))
        else:
            _refuse_other_kinds(file)
            shapes.update(shapes_of(key_mapping.plain_names(read_weights(file)), str(file)))
    return key_mapping.recognise(shapes, source.called), shapes


def images_of(asked: Asked) -> Images:
    """How its images are made, with their size; nothing is downloaded but what will be read later anyway.

    Raises:
        UserError: as source.find and resolve_config.settle.
    """
    row = None if asked.path else known.find(asked.name)
    if row is not None:
        return row.design.images
    _, shapes, settled = _look(source.find(asked))
    images = settled.design.images
    return images if images.size else images._replace(size=pixels(shapes))


def _look(found: source.Source) -> Tuple[str, Dict[str, Tuple[int, ...]], Settled]:
    """The dialect of weights, the shapes of their tensors by its names, and how they are run."""
    require_settled(found)
    dialect, shapes = dialect_and_shapes(found)
    return dialect, shapes, settle(found, dialect)


def describe(asked: Asked) -> str:
    """What a CLIP is and who says so, in one line.

    Raises:
        UserError: as images_of.
    """
    found = source.find(asked)
    if found.weights is None:
        return f"{found.called}, which ships with the package"
    dialect, shapes, settled = _look(found)
    (text, image), size = settled.design.heads, settled.design.images.size or pixels(shapes)
    if can_assign():
        empty = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
        renamed = to_openai(empty, dialect, found.called)
        measured = measure(shapes_of(renamed, found.called), found.called)
        require_agreement(measured, settled.design, found.called, settled.said_by)
    how = f"{settled.design.activation}, {text} and {image} heads (text, image), {size} pixels"
    return f"{found.called}: {told(dialect, settled)} weights, {how}, by {settled.said_by}"
