"""Contents of another structure than anybody has written: parts that are missing, of another type, endless, far too large.

Most have one thing wrong at one place. A seal is made anew, so that it does not hide that; and it is left as it was,
so that it shows that.
"""

from __future__ import annotations

import io
import json
import struct
from functools import partial
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple

import numpy as np
import torch
import yaml
from scipy.io import loadmat, savemat

from modprompt.io.checksum import KEY
from tests import mutations as mutating
from tests.campaign import kind as forms
from tests.campaign.kind import Kind
from tests.modprompt.io import hostile
from tests.mutations import mutations


class Mutant(NamedTuple):
    """A content of another structure.

    what: where it is another, and how.
    make: gives the file's bytes; raises what writers raise where nobody can write that.
    is_sealed: whether the checksum was made anew: a seal's, or that of an archive's members.
    """

    what: str
    make: Callable[[], bytes]
    is_sealed: bool = False


_PLACE = "\ue000here"  # stands where a text of no plain value goes
_RAW_JSON = {
    "1e999": "1e999",
    "-1e999": "-1e999",
    "NaN": "NaN",
    "Infinity": "Infinity",
    "a number of 5000 digits": "1" * 5000,
    "a list 200 deep": "[" * 200 + "]" * 200,
    "a list 100000 deep": "[" * 100_000 + "]" * 100_000,
    "objects 100000 deep, not closed": '{"a":' * 100_000,
    "half a character": '"\\ud800"',
    "a name twice": '{"a": 1, "a": 2}',
    "nothing": "",
}
_RAW_YAML = {
    "an alias": "&a [1, *a]",
    "aliases": "[&a [1, 1], *a, *a]",
    "a number of 5000 digits": "1" * 5000,
    "sexagesimal": "1:" * 2000 + "1",
    "a list 200 deep": "[" * 200 + "]" * 200,
    "a list 100000 deep": "[" * 100_000 + "]" * 100_000,
    "NaN": ".nan",
    "an empty int": '!!int ""',
    "a bool": "!!bool x",
    "a time": "!!timestamp x",
    "a set": "!!set {a, b}",
    "bytes": "!!binary 'x'",
    "an object": "!!python/object/apply:os.system ['true']",
    "a list as a key": "{? [a] : b}",
    "a merge": "{<<: 1}",
    "pairs": "!!pairs [1]",
    "nothing": "",
}


def _with_either_seal(what: str, write: Callable[[Any], bytes], changed: Any, kind: Kind) -> Iterator[Mutant]:
    """With the seal that the whole content had, and with its own, if it has a place for one."""
    yield Mutant(what, partial(write, changed))
    again = kind.reseal(changed) if kind.reseal else changed
    if again is not changed:
        yield Mutant(f"{what}, sealed again", partial(write, again), True)


def _json_mutants(raw: bytes, kind: Kind) -> Iterator[Mutant]:
    content = json.loads(raw)
    for what, changed in mutations(content):
        yield from _with_either_seal(what, _as_json, changed, kind)
    for where, holed in _holed(content):
        for what, text in _RAW_JSON.items():
            yield Mutant(f"{where} is {what}", partial(_as_json, holed, text))


def _as_json(content: Any, text: str = "") -> bytes:
    return json.dumps(content).replace(json.dumps(_PLACE), text).encode("ascii")


def _holed(content: Any) -> Iterator[tuple[str, Any]]:
    """The content with a mark in the place of each part."""
    for where, _ in mutating.places(content, (), 3):
        yield mutating.named(where), mutating.changed(content, where, _PLACE)


def _yaml_mutants(raw: bytes, kind: Kind) -> Iterator[Mutant]:
    content = yaml.safe_load(raw)
    for what, changed in mutations(content):
        yield Mutant(what, partial(_as_yaml, changed))
    for where, holed in _holed(content):
        for what, text in _RAW_YAML.items():
            yield Mutant(f"{where} is {what}", partial(_as_yaml, holed, text))


def _as_yaml(content: Any, text: str = "") -> bytes:
    written: str = yaml.safe_dump(content, allow_unicode=True, default_flow_style=bool(text), width=10**6)
    return written.replace(_PLACE, text).encode("utf-8", "surrogatepass")


def _torch_mutants(raw: bytes, kind: Kind) -> Iterator[Mutant]:
    content = torch.load(io.BytesIO(raw), weights_only=True)
    old = {"_use_new_zipfile_serialization": kind.form != forms.OLD_TORCH}

    def saved(changed: Any, value: Any = None) -> bytes:
        stream = io.BytesIO()
        torch.save(changed if value is None else _filled(changed, value), stream, **old)
        return stream.getvalue()

    def in_seal(where: str) -> bool:  # all else is in the archive's checksums, which are its own
        return kind.reseal is not None and where.startswith(KEY)

    for what, changed in mutations(content):
        if in_seal(what):
            yield from _with_either_seal(what, saved, changed, kind)
        else:
            yield Mutant(what, partial(saved, changed), True)
    for where, holed in _holed(content):
        for what, value in _odd_tensors().items():
            yield Mutant(f"{where} is {what}", partial(saved, holed, value), not in_seal(where))
    endless: dict[str, Any] = dict(content)
    endless["more"] = endless
    yield Mutant("it holds itself", partial(saved, endless), True)


def _filled(content: Any, value: Any) -> Any:
    """The content with a value in the place of the mark."""
    if isinstance(content, dict):
        return {key: _filled(item, value) for key, item in content.items()}
    if isinstance(content, (list, tuple)):
        return type(content)(_filled(item, value) for item in content)
    return value if isinstance(content, str) and content == _PLACE else content


def _odd_tensors() -> dict[str, Any]:
    return {
        "a tensor of no dimension": torch.tensor(1.0),
        "an empty tensor": torch.zeros(0, 3),
        "a tensor of five dimensions": torch.zeros(1, 1, 1, 1, 1),
        "a tensor of NaN": torch.full((2, 2), torch.nan),
        "a tensor of numbers": torch.ones(2, 2, dtype=torch.int64),
        "a complex tensor": torch.ones(2, dtype=torch.complex64),
        "a tensor far larger than its numbers": torch.zeros(1).expand(1 << 20),
    }


def _odd_contents(content: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Arrays by name, with one that is another."""
    for name, array in content.items():
        yield f"{name} is missing", {key: one for key, one in content.items() if key != name}
        for what, other in _odd_arrays(array).items():
            yield f"{name} is {what}", {**content, name: other}
    yield "it is empty", {}
    yield "it has more", {**content, "more": np.zeros(3)}


def _odd_arrays(array: np.ndarray) -> dict[str, np.ndarray]:
    flat = array.reshape(-1)
    found = {
        "of no dimension": np.array(flat[0]) if array.size else np.array(0),
        "empty": np.zeros((0, *array.shape[1:]), array.dtype),
        "doubled": np.concatenate([array, array]) if array.ndim else np.stack([array, array]),
        "flat": flat,
        "of five dimensions": array.reshape(1, 1, 1, 1, -1),
        "text": np.full(array.shape, "text"),
        "complex": np.full(array.shape, 1j),
        "truth values": np.full(array.shape, True),
        "NaN": np.full(array.shape, np.nan),
        "infinite": np.full(array.shape, np.inf, np.float32),
        "large numbers": np.full(array.shape, 1 << 62),
        "negative": np.full(array.shape, -3),
        "times": np.full(array.shape, 3, "datetime64[s]"),
        "bytes": np.full(array.shape, b"\xff"),
        "objects": np.full(array.shape, None),
    }
    return found


def _npz_mutants(raw: bytes, kind: Kind) -> Iterator[Mutant]:
    with np.load(io.BytesIO(raw)) as file:
        content = dict(file)

    def saved(changed: dict[str, Any]) -> bytes:
        stream = io.BytesIO()
        np.savez(stream, **changed)
        return stream.getvalue()

    for what, changed in _odd_contents(content):
        if kind.reseal:
            yield from _with_either_seal(what, saved, changed, kind)
        else:
            yield Mutant(what, partial(saved, changed), True)  # the archive's checksums are its own


def _npy_mutants(raw: bytes, kind: Kind) -> Iterator[Mutant]:
    for what, other in _odd_arrays(np.load(io.BytesIO(raw))).items():
        yield Mutant(f"it is {what}", partial(_npy, other))


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def _mat_mutants(raw: bytes, kind: Kind) -> Iterator[Mutant]:
    content = {name: one for name, one in loadmat(io.BytesIO(raw)).items() if not name.startswith("__")}

    def saved(changed: dict[str, Any]) -> bytes:
        stream = io.BytesIO()
        savemat(
            stream, {name: np.array("x", object) if one.dtype.kind == "M" else one for name, one in changed.items()}
        )
        return stream.getvalue()

    for what, changed in _odd_contents(content):
        yield Mutant(what, partial(saved, changed))


def _text_mutants(raw: bytes, kind: Kind) -> Iterator[Mutant]:
    lines = raw.splitlines(keepends=True)
    odd = {
        "empty": b"\n",
        "a megabyte": b"x" * (1 << 20) + b"\n",
        "of a byte that is no UTF-8": b"\xff\xfe\n",
        "of zero bytes": b"\0\0\n",
        "a number": b"99999999999999999999 1 1 1\n",
        "another alphabet's digits": "\u0661 \u00b2 \u00b2 \u00b2\n".encode(),
        "of separators": b"\xe2\x80\xa8\x0b\x0c\x1c\n",
        "quotes": b'"\n',
        "commas": b",,,,,,,,,,,,,,\n",
        "a formula": b"=1+1\n",
        "a path elsewhere": b"../../../etc/passwd 1 1 1\n",
    }
    for number, line in enumerate(lines[:12]):
        others = [b"".join([*lines[:number], *lines[number + 1 :]]), b"".join([*lines[:number], line, *lines[number:]])]
        for what, text in zip(("gone", "there twice"), others):
            yield Mutant(f"line {number + 1} is {what}", partial(bytes, text))
        for what, text in odd.items():
            yield Mutant(
                f"line {number + 1} is {what}", partial(b"".join, [*lines[:number], text, *lines[number + 1 :]])
            )
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        yield Mutant(f"it is in {encoding}", partial(raw.decode("utf-8-sig").encode, encoding))


def _safetensors_mutants(raw: bytes, kind: Kind) -> Iterator[Mutant]:
    (size,) = struct.unpack("<Q", raw[:8])
    for header in _json_mutants(raw[8 : 8 + size], kind._replace(reseal=None)):
        yield header._replace(make=partial(_with_header, header.make, raw[8 + size :]))


def _with_header(make: Callable[[], bytes], tensors: bytes) -> bytes:
    header = make()
    return struct.pack("<Q", len(header)) + header + tensors


def _pickle_mutants(raw: bytes, kind: Kind) -> Iterator[Mutant]:
    bodies = [*hostile.calls(Path("canary")), *hostile.BOMBS, b"]" * 100_000, b"(" * 1000]
    for number, body in enumerate(bodies):
        yield Mutant(f"it is body {number}", partial(bytes, b"\x80\x02" + body + b"."))
        yield Mutant(f"it ends in body {number}", partial(bytes, raw[:-1] + body + b"."))


_MUTANTS = {
    forms.JSON: _json_mutants,
    forms.YAML: _yaml_mutants,
    forms.TORCH: _torch_mutants,
    forms.OLD_TORCH: _torch_mutants,
    forms.NPZ: _npz_mutants,
    forms.NPY: _npy_mutants,
    forms.MAT: _mat_mutants,
    forms.TEXT: _text_mutants,
    forms.CSV: _text_mutants,
    forms.SAFETENSORS: _safetensors_mutants,
    forms.PICKLE: _pickle_mutants,
}


def mutants(raw: bytes, kind: Kind) -> list[Mutant]:
    """All single faults of structure that a whole file can have; none for a form that has no structure of ours."""
    return list(_MUTANTS[kind.form](raw, kind)) if kind.form in _MUTANTS else []
