"""Contents of another structure than anybody has written: parts that are missing, of another type, endless, far too large.

Hypothesis draws the place where one thing is wrong, and what a file of that form can hold there. A seal is made anew,
so that it does not hide that; and it is left as it was, so that it shows that.
"""

from __future__ import annotations

import io
import json
import re
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.io import loadmat, savemat

from modprompt.io.checksum import KEY
from tests.campaign import kind as forms
from tests.campaign.kind import Kind
from tests.modprompt.io import hostile
from tests.mutations import changed, named, places, without, wrong_for


class Mutant(NamedTuple):
    """A content of another structure.

    what: where it is another, and how.
    make: gives the file's bytes; raises what writers raise where nobody can write that.
    is_sealed: whether the checksum was made anew: a seal's, or that of an archive's members.
    """

    what: str
    make: Callable[[], bytes]
    is_sealed: bool = False


Mutants = st.SearchStrategy[Mutant]
Write = Callable[[Any], bytes]

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
    "a key twice": "{a: 1, a: 2}",
    "a merge": "{<<: 1}",
    "pairs": "!!pairs [1]",
    "nothing": "",
}
_BARE = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.sampled_from(["@x", "../x", "~"])
)
_VALUES = st.recursive(
    _BARE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def _changes(content: Any, values: st.SearchStrategy[Any] = _VALUES) -> st.SearchStrategy[tuple[str, Any]]:
    """(what, the content with one thing wrong): another value at a place, an item too many, one too few."""

    def at(place: tuple[tuple[Any, ...], Any]) -> st.SearchStrategy[tuple[str, Any]]:
        where, value = place
        name = named(where)
        others = st.sampled_from(wrong_for(value)) | values
        found = [
            others.map(
                lambda other: (f"{name} is {' '.join(ascii(other)[:60].split())}", changed(content, where, other))
            )
        ]
        if where:
            found.append(st.builds(lambda: (f"{name} is missing", without(content, where))))
        if isinstance(value, dict):
            found.append(st.builds(lambda: (f"{name} has more", changed(content, where, {**value, "extra": 1}))))
        elif isinstance(value, (list, tuple)) and value:
            found.append(st.builds(lambda: (f"{name} has more", changed(content, where, [*value, value[-1]]))))
        return st.one_of(found)

    return st.sampled_from(list(places(content, (), 3))).flatmap(at)


def _raw(content: Any, texts: dict[str, str], write: Callable[[Any, str], bytes]) -> Mutants:
    """The content with a text at a place that stands for no plain value."""
    everywhere = [where for where, _ in places(content, (), 3)]
    return st.builds(
        lambda where, what: Mutant(
            f"{named(where)} is {what}", partial(write, changed(content, where, _PLACE), texts[what])
        ),
        st.sampled_from(everywhere),
        st.sampled_from(list(texts)),
    )


def _sealed_or_not(changes: st.SearchStrategy[tuple[str, Any]], write: Write, kind: Kind) -> Mutants:
    """With the seal that the whole content had, or with its own, if it has a place for one."""

    def mutant(change: tuple[str, Any], is_again: bool) -> Mutant:
        what, content = change
        again = kind.reseal(content) if kind.reseal and is_again else content
        if again is content:
            return Mutant(what, partial(write, content))
        return Mutant(f"{what}, sealed again", partial(write, again), True)

    return st.builds(mutant, changes, st.booleans())


def _written(write: Callable[[io.BytesIO], Any]) -> bytes:
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


def _json_mutants(raw: bytes, kind: Kind) -> Mutants:
    content = json.loads(raw)
    return _sealed_or_not(_changes(content), _as_json, kind) | _raw(content, _RAW_JSON, _as_json)


def _as_json(content: Any, text: str = "") -> bytes:
    return json.dumps(content).replace(json.dumps(_PLACE), text).encode("ascii")


def _yaml_mutants(raw: bytes, kind: Kind) -> Mutants:
    content = yaml.safe_load(raw)
    more = _VALUES | st.dates() | st.datetimes() | st.binary(max_size=4) | st.sets(st.integers(), max_size=2)
    return _sealed_or_not(_changes(content, more), _as_yaml, kind) | _raw(content, _RAW_YAML, _as_yaml)


def _as_yaml(content: Any, text: str = "") -> bytes:
    written: str = yaml.safe_dump(content, allow_unicode=True, default_flow_style=bool(text), width=10**6)
    return written.replace(_PLACE, text).encode("utf-8", "surrogatepass")


def _torch_mutants(raw: bytes, kind: Kind) -> Mutants:
    content = torch.load(io.BytesIO(raw), weights_only=True)
    old = {"_use_new_zipfile_serialization": kind.form != forms.OLD_TORCH}

    def saved(changed: Any) -> bytes:
        return _written(lambda stream: torch.save(changed, stream, **old))

    def with_its_checksums(mutant: Mutant) -> Mutant:  # those of the archive; a seal in it is of the record alone
        return mutant if kind.reseal and mutant.what.startswith(KEY) else mutant._replace(is_sealed=True)

    endless: dict[str, Any] = dict(content)
    endless["more"] = endless
    changes = _changes(content, _VALUES | st.sampled_from(_odd_tensors()))
    found = _sealed_or_not(changes, saved, kind).map(with_its_checksums)
    return found | st.just(Mutant("it holds itself", partial(saved, endless), True))


def _odd_tensors() -> list[torch.Tensor]:
    return [
        torch.tensor(1.0),
        torch.zeros(0, 3),
        torch.zeros(1, 1, 1, 1, 1),
        torch.full((2, 2), torch.nan),
        torch.ones(2, 2, dtype=torch.int64),
        torch.ones(2, dtype=torch.complex64),
        torch.zeros(1).expand(1 << 20),
    ]


_ARRAYS = arrays.arrays(
    arrays.scalar_dtypes() | arrays.unicode_string_dtypes(max_len=3) | arrays.byte_string_dtypes(max_len=3),
    arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)


def _odd_arrays(array: np.ndarray) -> list[tuple[str, np.ndarray]]:
    flat = array.reshape(-1)
    return [
        ("of no dimension", np.array(flat[0]) if array.size else np.array(0)),
        ("empty", np.zeros((0, *array.shape[1:]), array.dtype)),
        ("doubled", np.concatenate([array, array]) if array.ndim else np.stack([array, array])),
        ("flat", flat),
        ("turned round", flat[::-1].reshape(array.shape)),
        ("one larger", array + 1 if array.dtype.kind in "iuf" else array),
        ("of five dimensions", array.reshape(1, 1, 1, 1, -1)),
        ("text", np.full(array.shape, "text")),
        ("complex", np.full(array.shape, 1j)),
        ("truth values", np.full(array.shape, True)),
        ("NaN", np.full(array.shape, np.nan)),
        ("infinite", np.full(array.shape, np.inf, np.float32)),
        ("large numbers", np.full(array.shape, 1 << 62)),
        ("negative", np.full(array.shape, -3)),
        ("times", np.full(array.shape, 3, "datetime64[s]")),
        ("bytes", np.full(array.shape, b"\xff")),
        ("objects", np.full(array.shape, None)),
    ]


def _other_arrays(array: np.ndarray) -> st.SearchStrategy[tuple[str, np.ndarray]]:
    any_one = _ARRAYS.map(lambda other: (f"{other.dtype} of {other.shape}", other))
    return st.sampled_from(_odd_arrays(array)) | any_one


def _other_contents(content: dict[str, Any]) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """Arrays by name, with one that is another, or is missing, or more."""
    names = st.sampled_from(list(content))
    others = names.flatmap(
        lambda name: _other_arrays(content[name]).map(lambda one: (f"{name} is {one[0]}", {**content, name: one[1]}))
    )
    fewer = names.map(lambda name: (f"{name} is missing", {key: one for key, one in content.items() if key != name}))
    return others | fewer | st.sampled_from([("it is empty", {}), ("it has more", {**content, "more": np.zeros(3)})])


def _npz_mutants(raw: bytes, kind: Kind) -> Mutants:
    with np.load(io.BytesIO(raw)) as file:
        content = dict(file)

    def saved(changed: dict[str, Any]) -> bytes:
        return _written(lambda stream: np.savez(stream, **changed))

    found = _sealed_or_not(_other_contents(content), saved, kind)
    return found if kind.reseal else found.map(lambda one: one._replace(is_sealed=True))  # the archive's are its own


def _npy_mutants(raw: bytes, kind: Kind) -> Mutants:
    def saved(array: np.ndarray) -> bytes:
        return _written(lambda stream: np.save(stream, array))

    return _sealed_or_not(_other_arrays(np.load(io.BytesIO(raw))), saved, kind)


def _mat_mutants(raw: bytes, kind: Kind) -> Mutants:
    content = {name: one for name, one in loadmat(io.BytesIO(raw)).items() if not name.startswith("__")}

    def saved(changed: dict[str, Any]) -> bytes:
        known = {name: np.array("x", object) if one.dtype.kind in "mM" else one for name, one in changed.items()}
        return _written(lambda stream: savemat(stream, known))

    return _sealed_or_not(_other_contents(content), saved, kind)


_ODD_LINES = {
    "gone": b"",
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


def _text_mutants(raw: bytes, kind: Kind) -> Mutants:
    lines = raw.splitlines(keepends=True)

    def with_line(number: int, what: str, text: bytes) -> Mutant:
        whole = [*lines[:number], text, *lines[number + 1 :]]
        return Mutant(f"line {number + 1} is {what}", partial(b"".join, whole))

    def with_word(number: int, place: int, text: str) -> Mutant:
        words = re.split(rb"([,\s])", lines[number])
        words[place % len(words)] = text.encode("utf-8", "surrogatepass")
        return with_line(number, f"one in which {ascii(text)} stands", b"".join(words))

    numbers = st.integers(0, min(len(lines), 12) - 1)
    words = st.text(max_size=8) | st.integers().map(str) | st.floats().map(str) | st.sampled_from(["../x", "\ud800"])
    return st.one_of(
        st.builds(lambda number, odd: with_line(number, *odd), numbers, st.sampled_from(list(_ODD_LINES.items()))),
        st.builds(lambda number: with_line(number, "there twice", 2 * lines[number]), numbers),
        st.builds(with_word, numbers, st.integers(0, 8), words),
        st.sampled_from(["utf-8-sig", "utf-16", "utf-32"]).map(
            lambda encoding: Mutant(f"it is in {encoding}", partial(raw.decode("utf-8-sig").encode, encoding))
        ),
    )


def _safetensors_mutants(raw: bytes, kind: Kind) -> Mutants:
    (size,) = struct.unpack("<Q", raw[:8])
    headers = _json_mutants(raw[8 : 8 + size], kind._replace(reseal=None))
    return headers.map(lambda one: one._replace(make=partial(_with_header, one.make, raw[8 + size :])))


def _with_header(make: Callable[[], bytes], tensors: bytes) -> bytes:
    header = make()
    return struct.pack("<Q", len(header)) + header + tensors


def _pickle_mutants(raw: bytes, kind: Kind) -> Mutants:
    bodies = [*hostile.calls(Path("canary")), *hostile.BOMBS, b"]" * 100_000, b"(" * 1000]

    def mutant(number: int, front: bytes) -> Mutant:
        return Mutant(f"body {number} behind {len(front)} bytes", partial(bytes, front + bodies[number] + b"."))

    return st.builds(mutant, st.integers(0, len(bodies) - 1), st.sampled_from([b"\x80\x02", raw[:-1]]))


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


def mutants(raw: bytes, kind: Kind) -> Mutants | None:
    """Single faults of structure that a whole file can have; None for a form that has no structure of ours."""
    return _MUTANTS[kind.form](raw, kind) if kind.form in _MUTANTS else None
