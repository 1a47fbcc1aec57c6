"""Damage to a file's bytes, as Hypothesis draws it: flipped bits, cuts, and blocks that are lost, doubled or swapped."""

from __future__ import annotations

import io
import zipfile
from typing import NamedTuple

from hypothesis import strategies as st

_EDGE = 200  # bytes of a file's beginning and end that count as its frame, where nothing else is known of it
_LONGEST = 64


class Damage(NamedTuple):
    """One damage: its kind, the place, how many bytes, the other place, and bytes that come in."""

    what: str
    at: int = 0
    size: int = 0
    other: int = 0
    new: bytes = b""

    def __str__(self) -> str:
        more = [f"{name} {value!r}" for name, value in self._asdict().items() if value and name not in ("what", "at")]
        return ", ".join([f"{self.what} at {self.at}", *more])


def damaged(raw: bytes, how: Damage) -> bytes:
    """The bytes of a file after it."""
    at, end = how.at, how.at + how.size
    if how.what == "flipped bits":
        content = bytearray(raw)
        for place in {
            how.at,
            how.other,
            *(int.from_bytes(how.new[k : k + 4], "little") for k in range(0, len(how.new), 4)),
        }:
            content[place // 8 % len(raw)] ^= 1 << place % 8
        return bytes(content)
    return {
        "flipped bit": lambda: raw[: at // 8] + bytes([raw[at // 8] ^ 1 << at % 8]) + raw[at // 8 + 1 :],
        "cut off": lambda: raw[:at],
        "beginning lost": lambda: raw[at:],
        "inserted": lambda: raw[:at] + how.new + raw[at:],
        "written over": lambda: raw[:at] + how.new + raw[at + len(how.new) :],
        "removed": lambda: raw[:at] + raw[end:],
        "doubled": lambda: raw[:end] + raw[at:],
        "zeroed": lambda: raw[:at] + bytes(len(raw[at:end])) + raw[end:],
        "swapped": lambda: _swapped(raw, min(at, how.other), max(at, how.other), how.size),
        "joined to itself": lambda: raw + raw,
        "emptied": lambda: b"",
    }[how.what]()


def _swapped(raw: bytes, first: int, second: int, count: int) -> bytes:
    count = min(count, second - first, len(raw) - second)
    one, other = raw[first : first + count], raw[second : second + count]
    return raw[:first] + other + raw[first + count : second] + one + raw[second + count :]


def damages(raw: bytes) -> st.SearchStrategy[Damage]:
    """Damage of every kind to these bytes."""
    at, count, nothing = st.integers(0, len(raw) - 1), st.integers(1, _LONGEST), st.just(0)
    new, bit, none = st.binary(min_size=1, max_size=20), st.integers(0, 8 * len(raw) - 1), st.just(b"")
    return st.one_of(
        st.builds(Damage, st.just("flipped bit"), bit, nothing, nothing, none),
        st.builds(Damage, st.just("flipped bits"), bit, nothing, bit, st.binary(max_size=24)),
        st.builds(Damage, st.sampled_from(["cut off", "beginning lost"]), at, nothing, nothing, none),
        st.builds(Damage, st.sampled_from(["inserted", "written over"]), at, nothing, nothing, new),
        st.builds(Damage, st.sampled_from(["removed", "doubled", "zeroed"]), at, count, nothing, none),
        st.builds(Damage, st.just("swapped"), at, count, at, none),
        st.sampled_from([Damage("joined to itself"), Damage("emptied")]),
    )


def flips(raw: bytes) -> st.SearchStrategy[Damage]:
    """Single flipped bits anywhere."""
    return st.integers(0, 8 * len(raw) - 1).map(lambda bit: Damage("flipped bit", bit))


def flips_in_frame(raw: bytes) -> st.SearchStrategy[Damage]:
    """Single flipped bits in what is around a file's content: headers, names, directories, ends."""
    places = frame(raw)
    return st.tuples(st.integers(0, len(places) - 1), st.integers(0, 7)).map(
        lambda drawn: Damage("flipped bit", 8 * places[drawn[0]] + drawn[1])
    )


def frame(raw: bytes) -> list[int]:
    """The places of the bytes of a file's frame: of a zip archive all that is no member's content."""
    if raw[:2] == b"PK":
        return sorted(set(range(len(raw))) - _contents(raw)) if len(raw) < 1 << 20 else _edges(raw)
    return _edges(raw)


def _edges(raw: bytes) -> list[int]:
    return sorted({*range(min(_EDGE, len(raw))), *range(max(0, len(raw) - _EDGE), len(raw))})


def _contents(raw: bytes) -> set[int]:
    found: set[int] = set()
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        for member in archive.infolist():
            lengths = raw[member.header_offset + 26 : member.header_offset + 30]
            start = member.header_offset + 30 + sum(int.from_bytes(lengths[k : k + 2], "little") for k in (0, 2))
            found.update(range(start, start + member.compress_size))
    return found
