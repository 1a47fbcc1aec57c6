"""The tensors of a CLIP's weights, from any kind of file, and what is known of them before they are read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modprompt.clip import key_mapping, known, source, tower_source
from modprompt.clip.design import Images
from modprompt.clip.infer_shape import Shapes, measure, pixels, require_agreement, shapes_of
from modprompt.clip.resolve_config import Resolved, require_resolvable, resolve
from modprompt.clip.source import Asked, Source
from modprompt.clip.tower_config import TowerConfig
from modprompt.errors import UserError
from modprompt.io.arrays import read_all_arrays
from modprompt.io.safe_open import open_regular
from modprompt.io.safetensors_files import names_and_shapes, read_safetensors
from modprompt.io.shards import read_shards, shard_names
from modprompt.io.tensors import read_weights

EMBEDDED_FILE = Path(__file__).parent / "models" / "glyph_clip.npz"
_ROOM = 64 << 20  # bytes that a file's tensors may have beyond four times the file's


def read(found: Source) -> tuple[dict[str, Tensor], Resolved]:
    """The weights of a CLIP under OpenAI's names, and how they are run; no code in a file is run.

    Raises:
        UserError: if they are damaged, not a CLIP's of the stock shape, or nothing says how they are run.
    """
    where = found.called
    if found.weights is None:
        state: dict[str, Any] = read_embedded()
    else:
        require_resolvable(found)
        state = read_file(found.weights)
    dialect = key_mapping.recognise(state, where)
    shapes_of(state, where)
    state = key_mapping.to_openai(state, dialect, where)
    measured = measure(shapes_of(state, where), where)
    resolved = resolve(found, dialect)
    require_agreement(measured, resolved.design, where, resolved.said_by)
    return state, resolved


def look_at(found: Source) -> tuple[Shapes, str, Resolved]:
    """The shapes of tensors under their own names, whose names these are, and how they are run.

    As little as possible is read.

    Raises:
        UserError: as `read`.
    """
    require_resolvable(found)
    path, shapes = found.weights, {}
    assert path is not None  # for the embedded model the table says it
    files = [path.parent / name for name in shard_names(path)] if path.name.endswith(".index.json") else [path]
    for file in files:
        if file.suffix == ".safetensors":
            shapes.update(names_and_shapes(file))
        else:
            _refuse_other_kinds(file)
            shapes.update(shapes_of(key_mapping.plain_names(read_weights(file)), str(file)))
    dialect = key_mapping.recognise(shapes, found.called)
    return shapes, dialect, resolve(found, dialect)


def images_of(asked: Asked) -> Images:
    """How a CLIP's images are made, with their size; only what will be read later anyway is downloaded.

    Raises:
        UserError: as source.find and `look_at`.
    """
    row = None if asked.path else known.find(asked.name)
    if row is not None:
        return row.design.images
    found = source.find(asked)
    config = tower_source.config_of(found)
    if config is not None:
        return config.images
    shapes, _, resolved = look_at(found)
    images = resolved.design.images
    return images if images.size else images._replace(size=pixels(shapes))


def describe(asked: Asked) -> str:
    """What a CLIP is and what says so, in one line.

    Raises:
        UserError: as images_of.
    """
    found = source.find(asked)
    if found.weights is None:
        return f"{found.called}, which ships with the package"
    config = tower_source.config_of(found)
    if config is not None:
        whose = "open_clip" if isinstance(config, TowerConfig) else "transformers"
        return f"{found.called}: {whose}'s towers, {config.images.size} pixels"
    shapes, dialect, (design, said_by, whose) = look_at(found)
    (text, image), size = design.heads, design.images.size or pixels(shapes)
    empty = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    renamed = key_mapping.to_openai(empty, dialect, found.called)
    measured = measure(shapes_of(renamed, found.called), found.called)
    require_agreement(measured, design, found.called, said_by)
    how = f"{design.activation}, {text} and {image} heads (text, image), {size} pixels"
    return f"{found.called}: {whose} weights, {how}, by {said_by}"


def read_embedded() -> dict[str, Tensor]:
    """State dict of the embedded model; words that its training never used have zero embeddings."""
    try:
        arrays = {name: torch.from_numpy(array) for name, array in read_all_arrays(EMBEDDED_FILE).items()}
        rows, size = arrays.pop("token_embedding.rows"), int(arrays.pop("token_embedding.size"))
        table = rows.new_zeros(size, rows.shape[1])
        table[arrays.pop("token_embedding.ids").long()] = rows
    except Exception:
        raise UserError(f"the embedded model {EMBEDDED_FILE} is missing or damaged: check it out again") from None
    return {**arrays, "token_embedding.weight": table}


def read_file(path: Path) -> dict[str, Any]:
    """The tensors of a file, or of an index of several, under their own names.

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
    """Raise UserError if a file is a config, or its name does not fit its kind."""
    if path.suffix == ".json":
        raise UserError(f"{path} is a config, not weights: give the folder, or the file of weights in it")
    try:
        with open_regular(path) as file:
            head = file.read(9)
    except FileNotFoundError:
        return  # reported when it is read
    if len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
        raise UserError(f"{path} is a safetensors file: give it a name that ends in .safetensors")


def _require_as_large_as_stored(content: Any, path: Path) -> None:
    """Raise UserError if a small file would make a model that does not fit into memory.

    Tensors of a file may share their numbers, or repeat one of them; those of a model do not.
    """
    tensors = [value for value in key_mapping.plain_names(content).values() if isinstance(value, Tensor)]
    size = sum(value.numel() * value.element_size() for value in tensors)
    if size > 4 * path.stat().st_size + _ROOM:
        raise UserError(f"{path} is not the state dict of a CLIP: its tensors are far larger than the file")
