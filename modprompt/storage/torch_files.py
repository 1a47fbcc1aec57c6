"""Files of PyTorch taken apart: their pickle, gone through once, and where their storages are.

Zip archives are read strictly, and the CRC of all that is read is checked; files from before PyTorch 1.6 carry none.
"""

import sys
from typing import Callable, Dict, List, NamedTuple

from torch import Tensor

from modprompt.storage import torchscript
from modprompt.storage.archives import Member, is_archive, read_member, read_members, verify
from modprompt.storage.opening import Bytes, Refused
from modprompt.storage.pickle_calls import Rules
from modprompt.storage.pickle_values import Storage
from modprompt.storage.pickles import MOST_BYTES, Checked, check
from modprompt.storage.unpickling import Flats, admits

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of files from before PyTorch 1.6
_NOT_READ = ("code/", "constants", "extra/")


class TorchFile(NamedTuple):
    """A file of PyTorch: its pickle, what was found in it, and its storages by key, each a flat tensor (numel,)."""

    is_torchscript: bool
    text: bytes
    checked: Checked
    flats: Callable[[], Dict[str, Tensor]]


def take_apart(content: Bytes, own: bool = False) -> TorchFile:
    """A file of PyTorch, checked as far as its kind can be.

    Args:
        content: the file, or its bytes.
        own: its storages are read into memory of their own, not mapped.

    Raises:
        Refused: if it is damaged, or holds what no loader may get.
    """
    return _archive(content, own) if is_archive(content) else _old_file(content)  # the old ones are never mapped


def _archive(content: Bytes, own: bool) -> TorchFile:
    members = read_members(content)
    folder = next(iter(members), "").split("/")[0] + "/"
    if not all(name.startswith(folder) for name in members):
        raise Refused("its members are not all in one folder")
    records = {name[len(folder) :]: member for name, member in members.items()}
    is_torchscript = "constants.pkl" in records
    read = {name: member for name, member in records.items() if not name.startswith(_NOT_READ)}
    if "data.pkl" not in read:
        raise Refused("it has no data.pkl")
    packed = next((name for name, member in read.items() if member.deflated), None)
    if packed:
        raise Refused(f"its member {packed} is packed")
    if "byteorder" in read and read_member(content, read["byteorder"], 16) != sys.byteorder.encode():
        raise Refused("it was written on a machine of the other byte order")
    verify(content, read.values())
    text = read_member(content, read["data.pkl"], MOST_BYTES)
    rules = Rules(torchscript.admits if is_torchscript else admits, _fits(read), content.size)
    checked = check(text, rules)
    if checked.end != len(text):
        raise Refused("its pickle ends early")

    def flats() -> Dict[str, Tensor]:
        reader, storages = Flats(content, own), checked.storages.items()
        return {key: reader.read(storage, read[f"data/{key}"].start) for key, storage in storages}

    return TorchFile(is_torchscript, text, checked, flats)


def _fits(records: Dict[str, Member]) -> Callable[[Storage], bool]:
    def fits(storage: Storage) -> bool:
        member = records.get(f"data/{storage.key}")
        return member is not None and member.size == storage.size

    return fits


def _old_file(content: Bytes) -> TorchFile:
    """A file of five pickles from before PyTorch 1.6; the storages stand behind them."""
    text = content.read(0, content.size)
    if text[257:262] == b"ustar":
        raise Refused("it is a tar archive, as PyTorch wrote before 0.1.10: those are not read")
    if text[:1] != b"\x80":
        raise Refused("it is none of PyTorch's files: PyTorch writes zip archives, and pickles before 1.6")
    nothing = Rules(lambda *_: False, lambda _: False, len(text))
    parts = [check(text, nothing)]
    if parts[0].root != _MAGIC:
        raise Refused("it is none of PyTorch's files")
    for rules in (nothing, nothing, Rules(admits, lambda storage: storage.size <= len(text), len(text)), nothing):
        parts.append(check(text, rules, parts[-1].end))
    if parts[1].root != _PROTOCOL:
        raise Refused("its version is not known")
    pickled = text[parts[2].end : parts[3].end]
    places = _old_places(text, parts)

    def flats() -> Dict[str, Tensor]:
        reader = Flats(content)
        return {key: reader.read(parts[3].storages[key], start) for key, start in places.items()}

    return TorchFile(False, pickled, parts[3], flats)


def _old_places(text: bytes, parts: List[Checked]) -> Dict[str, int]:
    """Where the elements of each storage begin: behind their number (8 bytes)."""
    keys, at, places = getattr(parts[4].root, "children", ()), parts[4].end, {}
    for key in keys:
        storage = parts[3].storages.get(key) if isinstance(key, str) else None
        if storage is None or int.from_bytes(text[at : at + 8], "little") != storage.numel:
            raise Refused(f"its storage {str(key)[:40]} is not there, or has another size than it says")
        places[key] = at + 8
        at += 8 + storage.size
    if set(places) != set(parts[3].storages) or at > len(text):
        raise Refused("it is cut off")
    return places
