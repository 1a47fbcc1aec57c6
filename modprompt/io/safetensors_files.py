"""Files of safetensors, whole or in shards next to an index.

They are read as bytes: mapped, cutting one off would end the process that reads it. Nothing finds a flipped bit.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from modprompt.errors import UserError
from modprompt.io.files import PathLike, Refused, part_of, read_bytes, read_text
from modprompt.io.paths import is_inside
from modprompt.io.records import parse_json
from modprompt.programs import one_line

if TYPE_CHECKING:
    from torch import Tensor


def read_safetensors(path: PathLike) -> "dict[str, Tensor]":
    """All tensors of a file on the CPU, in its order; UserError if it is missing, cut off or of another kind."""
    return read_with_metadata(path)[0]


def read_with_metadata(path: PathLike) -> "tuple[dict[str, Tensor], dict[str, str]]":
    """As `read_safetensors`, and the texts stored with the tensors, by name."""
    from safetensors.torch import load  # late: PyTorch comes with it

    try:
        content = read_bytes(path)
        tensors = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        texts = header.pop("__metadata__", {})
        return {name: tensors[name] for name in header}, texts
    except FileNotFoundError:
        raise UserError(f"no file at {path}") from None
    except UserError:
        raise
    except Exception as error:  # the package raises many kinds
        raise UserError(f"{path} cannot be read as safetensors ({one_line(error)[:160]})") from None


def write_safetensors(path: PathLike, tensors: "Mapping[str, Tensor]", metadata: Mapping[str, str]) -> None:
    """Write tensors and texts to a file that is either complete or not there, with its folders."""
    from safetensors.torch import save

    content = {name: one.detach().cpu().contiguous().clone() for name, one in tensors.items()}
    with part_of(path, durable=True) as file:
        file.write(save(content, dict(metadata)))


def read_shards(index: Path, read: "Callable[[Path], Mapping[str, Tensor]]") -> "dict[str, Tensor]":
    """The tensors that an index of weights names, in its order; `read` gives those of one file by name.

    An index is JSON: {"weight_map": {tensor's name: file's name}}, as model.safetensors.index.json. Raises as `read`,
    and UserError if it is no such index, names another thing than a file next to it, or a file or tensor is missing.
    """
    try:
        places: dict[str, str] = parse_json(read_text(index))["weight_map"]
        names = sorted(set(places.values()), key=str)
    except FileNotFoundError:
        raise UserError(f"no file at {index}") from None
    except (Refused, LookupError, TypeError, AttributeError) as error:
        raise UserError(f'{index} is not an index of weights with a "weight_map" ({error})') from None
    for name in names:  # all of them before the first is read, which can take minutes
        if not (isinstance(name, str) and name.isprintable() and is_inside(name) and Path(name).name == name):
            raise UserError(f"{index} names {str(name)[:80]!r}, which is not the name of a file next to it")
        if not os.path.exists(index.parent / name):
            raise UserError(f"{name} is missing next to {index}: download it too")
    files = {name: read(index.parent / name) for name in names}
    for tensor, name in places.items():
        if tensor not in files[name]:
            raise UserError(f"{index.parent / name} has no {tensor[:80]!r}, which {index} says is in it")
    return {tensor: files[name][tensor] for tensor, name in places.items()}
