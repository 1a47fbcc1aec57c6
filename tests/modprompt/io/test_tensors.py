"""Files of PyTorch: what training writes is read, nothing in them is executed, and damage is a line."""

import io
import json
import os
import struct
import subprocess
import sys
import warnings
import zipfile
from collections import Counter, OrderedDict, defaultdict
from hashlib import sha256
from itertools import product
from pathlib import Path

import dassl.optim.lr_scheduler
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.optim import lr_scheduler

from modprompt.errors import UserError
from modprompt.io.tensors import (
    read_plain,
    read_run,
    read_safetensors,
    read_shards,
    read_tensors,
    write_safetensors,
    write_tensors,
)
from tests.conftest import ROOT, one_line

READERS = (read_tensors, read_run, read_plain)


def line_of(read, path):
    with one_line(path.name) as raised:
        read(path)
    assert len(str(raised.value)) < len(str(path)) + 250
    return str(raised.value)


def saved(content):
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def repacked(raw, change=lambda name, content: content, **more):
    """An archive with its members changed, and CRCs to match."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(stream, "w", **more) as new:
        for member in old.infolist():
            new.writestr(member.filename, change(member.filename, old.read(member)))
    return stream.getvalue()


def with_pickle(body):
    """An archive as torch.save writes it, around a pickle of protocol 2."""
    made = saved({"a": torch.ones(4)})
    return repacked(made, lambda name, content: b"\x80\x02" + body + b"." if name.endswith("data.pkl") else content)


# ---------------------------------------------------------------------- what training writes


def test_tensors_and_plain_values_come_back_in_their_own_memory(tmp_path):
    kinds = (torch.float64, torch.float16, torch.bfloat16, torch.complex64, torch.int64, torch.uint8, torch.bool)
    tensors = {str(kind): torch.arange(7).to(kind) for kind in kinds}
    tensors |= {
        "part": torch.randn(5, 4).t()[1:3],
        "none": torch.empty(0, 3),
        "learned": torch.nn.Parameter(torch.ones(2)),
    }
    plain = {
        "words": ["a", (1, 2.5, None, True)], "set": {1, 2}, "raw": b"\0\xff", "names": OrderedDict(x=1),
        "counts": Counter([2, 4]), "default": defaultdict(dict, a=1), "size": torch.Size([2]), "kind": torch.float16,
        140_234_567_890_123: "identities of parameters were keys before PyTorch 1.5",
    }  # fmt: skip
    kinds = (np.float64(91.5), np.float32(0.1), np.int64(-3), np.bool_(True), np.str_("ä"))
    scalars = {str(one.dtype): one for one in kinds}
    admitted = torch.serialization.get_safe_globals()
    write_tensors(tmp_path / "deep" / "a.pt", {"tensors": tensors, "plain": plain, "scalars": scalars})
    for read in READERS:
        found = read(tmp_path / "deep" / "a.pt")
        assert found["plain"] == plain
        assert found["scalars"] == scalars
        for name, tensor in tensors.items():
            assert torch.equal(found["tensors"][name], tensor), name
            assert found["tensors"][name].dtype == tensor.dtype
    os.truncate(tmp_path / "deep" / "a.pt", 0)
    assert torch.equal(found["tensors"]["part"], tensors["part"])
    assert {*torch.serialization.get_safe_globals()} == {*admitted}


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_numbers_of_numpy_1_and_2_come_back(tmp_path, module):
    mine = np.float64.__reduce__(np.float64(1))[0].__module__.encode()
    raw = repacked(saved({"val_result": np.float64(91.5)}), lambda _, content: content.replace(mine, module))
    assert module in raw
    (tmp_path / "a.pt").write_bytes(raw)
    assert read_tensors(tmp_path / "a.pt") == {"val_result": 91.5}


TRAININGS = [
    (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}, lr_scheduler.CosineAnnealingLR, 5),
    (torch.optim.Adam, {}, lr_scheduler.StepLR, 2),
    (torch.optim.AdamW, {}, lr_scheduler.MultiStepLR, [2, 4]),
    (torch.optim.RAdam, {"decoupled_weight_decay": True}, lr_scheduler.CosineAnnealingLR, 5),
    (torch.optim.RMSprop, {"momentum": 0.9}, lr_scheduler.StepLR, 2),
]


class Warmup(lr_scheduler.LRScheduler):
    """As Dassl's: its state has the schedule after it as an object."""

    def __init__(self, optimizer, successor):
        self.successor = successor
        super().__init__(optimizer)

    def get_lr(self):
        return [0.5 for _ in self.base_lrs]


@pytest.mark.parametrize(("optimiser", "settings", "schedule", "steps"), TRAININGS)
def test_training_is_read_inert_and_for_the_real_dassl_as_it_was(tmp_path, optimiser, settings, schedule, steps):
    weight = torch.nn.Parameter(torch.ones(3))
    optim = optimiser([weight], **settings)
    sched = schedule(optim, steps)
    for _ in range(3):
        weight.sum().backward()
        optim.step()
        sched.step()
    warm = Warmup(optim, sched).state_dict()
    content = {"state_dict": {"a": weight}, "optimizer": optim.state_dict(), "scheduler": warm}
    torch.save(content, tmp_path / "a.pth.tar")
    inert = read_tensors(tmp_path / "a.pth.tar")
    assert torch.equal(inert["state_dict"]["a"], weight)
    assert not vars(inert["scheduler"]["successor"])
    found = read_run(tmp_path / "a.pth.tar")
    again = found["scheduler"]["successor"]
    assert type(again) is type(sched)
    assert type(again.optimizer) is type(optim)
    for name, value in optim.state_dict()["state"][0].items():
        assert torch.equal(torch.as_tensor(again.optimizer.state_dict()["state"][0][name]), torch.as_tensor(value))
    again.step()
    sched.step()
    assert again.get_last_lr() == sched.get_last_lr()
    assert "the file contains a learning-rate schedule as an object, so no run can resume from the file" in line_of(
        read_plain, tmp_path / "a.pth.tar"
    )


def test_a_published_checkpoint_from_a_gpu_is_read():
    """RPO's, of EuroSAT's base classes, seed 1: mlvlab/RPO f8dc7dd, under output/rpo/base2new/train_base."""
    path = Path(__file__).parent / "rpo" / "model.pth.tar-15"
    content = read_tensors(path)
    assert {name: tuple(one.shape) for name, one in content["state_dict"].items()} == {
        "text_prompt": (24, 512),
        "img_prompt": (24, 768),
    }
    assert content["optimizer"]["state"][0]["momentum_buffer"].device.type == "cpu"
    assert not vars(content["scheduler"]["successor"])
    schedule = read_run(path, "cpu")["scheduler"]["successor"]
    assert (type(schedule), schedule.T_max) == (lr_scheduler.CosineAnnealingLR, 15)


def test_warm_up_of_dassl_is_the_object_where_dassl_is(tmp_path, monkeypatch):
    place, names = dassl.optim.lr_scheduler, {"__module__": "dassl.optim.lr_scheduler"}
    kind = type("LinearWarmupScheduler", (Warmup,), {**names, "__qualname__": "LinearWarmupScheduler"})
    monkeypatch.setattr(place, "LinearWarmupScheduler", kind, raising=False)
    optim = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    torch.save({"scheduler": kind(optim, lr_scheduler.CosineAnnealingLR(optim, 5))}, tmp_path / "a.pth.tar")
    assert read_run(tmp_path / "a.pth.tar")["scheduler"].successor.T_max == 5
    monkeypatch.delattr(place, "LinearWarmupScheduler")
    for read in (read_run, read_tensors):
        assert not vars(read(tmp_path / "a.pth.tar")["scheduler"])


@pytest.mark.parametrize("read", [read_plain, read_run])
def test_tensors_are_put_where_they_are_asked_for(tmp_path, read):
    torch.save({"a": torch.ones(3)}, tmp_path / "a.pt")
    assert read(tmp_path / "a.pt", "meta")["a"].device.type == "meta"
    assert read(tmp_path / "a.pt")["a"].tolist() == [1.0, 1.0, 1.0]


# ---------------------------------------------------------------------- what would do harm


def text(word):
    raw = word.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def name(full):
    module, _, attribute = full.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


def call(full, *arguments):
    return name(full) + b"(" + b"".join(arguments) + b"tR"


def calls(target):
    """Pickles that would make `target`, or have a way to later."""
    word = text(str(target))
    return [
        call("os.mkdir", word),
        call("posix.mkdir", word),
        call("subprocess.call", b"](" + text("touch") + word + b"e"),
        call("builtins.exec", text(f"open({str(target)!r}, 'w')")),
        call("builtins.open", word, text("w")),
        call("torch.save", b"K\x01", word),
        call("torch._utils._import_dotted_name", text("antigravity")),
        call("torch.storage._load_from_bytes", text("x")),
        call("numpy.load", word),
        call("pathlib.Path.mkdir", call("pathlib.Path", word)),
        call("dassl.utils.mkdir_if_missing", word),
        call("modprompt.io.files.write_whole", word, text("x")),
        call("torch.optim.optimizer.warnings.os.mkdir", word),
        call("torch.optim.torch.os.mkdir", word),
        call("torch.optim.swa_utils.update_bn", word, word),
        name("builtins.getattr"),
        # BUILD on what was admitted: an attribute of a function, the state of a class
        name("torch._utils._rebuild_tensor_v2") + b"}" + text("__defaults__") + b")sb",
        name("torch.optim.sgd.SGD") + b"}" + text("__setstate__") + b"K\x01sb",
        name("collections.OrderedDict") + b"N}" + text("__init__") + b"K\x01s\x86b",
        call("numpy.core.multiarray.scalar", call("numpy.dtype", text("O8"), b"K\x00", b"K\x01"), text("x")),
        b"(" + text("module") + name("torch.nn.Linear") + word + text("class X: pass") + b"tQ",
    ]


@pytest.mark.parametrize("number", range(len(calls(""))))
def test_what_a_file_asks_for_is_not_done(tmp_path, number):
    path, target = tmp_path / "a.pth.tar", tmp_path / "target"
    path.write_bytes(with_pickle(b"}" + text("state_dict") + calls(target)[number] + b"s"))
    for read in READERS:
        line_of(read, path)
    assert not target.exists()


class Writing(torch.nn.Module):
    """A TorchScript module whose code runs when it is loaded, and makes its file."""

    def __init__(self, path: str):
        super().__init__()
        self.path = path
        self.weight = torch.ones(2)

    def forward(self, x):
        return x + self.weight

    @torch.jit.export
    def __getstate__(self):
        return self.path, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.path = state[0]
        self.training = state[1]
        self.weight = torch.from_file(self.path, True, 4)  # maps a file that all may see: makes it


def script(module):
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        torch.jit.save(torch.jit.script(module), stream)
    return stream.getvalue()


@pytest.mark.filterwarnings("ignore:.*looks like a TorchScript archive")
def test_torchscript_is_not_run_unless_its_hash_is_known(tmp_path):
    path, target = tmp_path / "a.pt", tmp_path / "target"
    raw, good = script(Writing(str(target))), saved({"a": torch.ones(4)})
    for content in (raw, raw + b"PK\5\6" + bytes(18), good + raw, raw + good, raw + b"x"):
        path.write_bytes(content)
        for read in READERS:
            with pytest.raises(UserError, match="TorchScript|not a complete PyTorch checkpoint"):
                read(path)
    assert not target.exists()
    path.write_bytes(raw)
    read_tensors(path, {sha256(raw).hexdigest()})
    assert target.exists()  # else this test could not fail


def test_torchscript_of_a_known_hash_gives_its_state_dict(tmp_path):
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)).half()
    (tmp_path / "a.pt").write_bytes(script(module))
    found = read_tensors(tmp_path / "a.pt", {"0" * 64, sha256((tmp_path / "a.pt").read_bytes()).hexdigest()})
    assert list(found) == list(module.state_dict())
    assert all(torch.equal(found[name], one) for name, one in module.state_dict().items())


# ---------------------------------------------------------------------- what is damaged, or something else


def old_file():
    stream = io.BytesIO()
    torch.save({"a": torch.ones(4)}, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


WHOLE = saved({"state_dict": OrderedDict(a=torch.arange(16.0), b=torch.ones(4)), "epoch": 5, "val": np.float64(91.5)})
OTHERS = {
    "before PyTorch 1.6": old_file(),
    "cut off": WHOLE[:-1],
    "something before": b"x" + WHOLE,
    "packed": repacked(WHOLE, compression=zipfile.ZIP_DEFLATED),
    "a larger size": WHOLE.replace(struct.pack("<2I", 64, 64), struct.pack("<2I", 1 << 31, 1 << 31)),
    "another archive": repacked(WHOLE).replace(b"data.pkl", b"date.pkl"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_files_are_a_line(tmp_path, kind):
    (tmp_path / "a.pt").write_bytes(OTHERS[kind])
    for read in READERS:
        assert "is not a complete PyTorch checkpoint" in line_of(read, tmp_path / "a.pt")


def test_missing_file_and_folder_are_named(tmp_path):
    assert line_of(read_tensors, tmp_path / "nothing.pt") == f"The checkpoint {tmp_path / 'nothing.pt'} does not exist."
    assert "is a folder, not a file" in line_of(read_tensors, tmp_path)


def test_flipped_bit_is_refused_or_changes_nothing(tmp_path):
    path, taken, directory = tmp_path / "a.pt", 0, WHOLE.index(b"PK\1\2")
    second = WHOLE.index(b"PK\1\2", directory + 1)
    path.write_bytes(WHOLE)
    whole = repr(read_tensors(path))
    flips = [(at, at % 8) for at in (*range(0, directory, 7), *range(second, len(WHOLE)))]
    flips += product(range(directory, second), range(8))  # all of a member's entry
    for at, bit in flips:
        raw = bytearray(WHOLE)
        raw[at] ^= 1 << bit
        path.write_bytes(raw)
        try:
            found = read_tensors(path)
        except UserError:
            continue
        taken += 1
        assert repr(found) == whole, (at, bit)
    assert taken < len(flips) / 2  # what pads the members


# ---------------------------------------------------------------------- safetensors

TYPES = (
    [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64]
    + [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool]
)  # fmt: skip


def test_tensors_of_all_types_and_shapes_come_back_in_their_own_memory(tmp_path):
    path, content = tmp_path / "a.safetensors", {str(kind): torch.arange(7).to(kind) for kind in TYPES}
    content |= {"number": torch.tensor(2.5), "none": torch.empty(0, 4), "turned": torch.randn(4, 3).t()}
    write_safetensors(path, content, {"a": "b"})
    found, texts = read_safetensors(path)
    assert texts == {"a": "b"}
    assert list(found) == list(load_file(path))
    assert str(path) not in Path("/proc/self/maps").read_text()
    os.truncate(path, 0)
    for name, tensor in content.items():
        assert torch.equal(found[name], tensor), name
        assert found[name].dtype == tensor.dtype


# ---------------------------------------------------------------------- shards

ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
PLACES = {"b": TWO, "a": ONE, "c": ONE}


def write_index(folder, places, name="model.safetensors.index.json"):
    (folder / name).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return folder / name


@pytest.fixture
def index(tmp_path):
    save_file({"a": torch.full((2,), 1.0), "c": torch.full((2,), 3.0)}, tmp_path / ONE)
    save_file({"b": torch.full((2,), 2.0)}, tmp_path / TWO)
    return write_index(tmp_path, PLACES)


def tensors_of(path):
    return read_safetensors(path)[0]


def index_line(index, read=tensors_of):
    with pytest.raises(UserError) as raised:
        read_shards(index, read)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_tensors_of_all_files_come_in_the_order_of_the_index(index):
    found = read_shards(index, tensors_of)
    assert {name: tensor.tolist() for name, tensor in found.items()} == {"b": [2, 2], "a": [1, 1], "c": [3, 3]}
    assert list(found) == list(PLACES)


def test_files_of_pytorch_and_an_index_that_is_a_link_are_read(tmp_path):
    """As a cache of downloads has them: every name of a snapshot is a link to a file of another name elsewhere."""
    (tmp_path / "snapshot").mkdir()
    torch.save({"a": torch.ones(2)}, tmp_path / "0f3a")
    (tmp_path / "snapshot" / "pytorch_model.bin").symlink_to(tmp_path / "0f3a")
    index = tmp_path / "snapshot" / "pytorch_model.bin.index.json"
    index.symlink_to(write_index(tmp_path, {"a": "pytorch_model.bin"}, "77bc"))
    assert torch.equal(read_shards(index, read_tensors)["a"], torch.ones(2))


def test_missing_file_is_named_before_any_is_read(index):
    (index.parent / TWO).unlink()
    assert index_line(index, pytest.fail) == (
        f"{index} lists the file {TWO!r}, which is missing in the same folder. Download this file too."
    )


def test_tensor_that_is_not_in_its_file_is_named(index):
    write_index(index.parent, {**PLACES, "d": ONE})
    assert index_line(index) == f"{index.parent / ONE} lacks 'd', which {index} lists. Download both files again."


@pytest.mark.parametrize("name", ["../a.bin", "/etc/a.bin", "below/a.bin", "..", "", 3])
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "a.bin").touch()
    index = write_index(tmp_path, {"a": name})
    assert "which is missing in the same folder" in index_line(index, pytest.fail)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": 3}'])
def test_what_is_no_index_is_refused(tmp_path, text):
    (tmp_path / "model.safetensors.index.json").write_text(text)
    assert "is not an index file of model weights" in index_line(tmp_path / "model.safetensors.index.json")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("save", "reader", "most"),
    [(torch.save, "tensors import read_tensors", 1.15), (save_file, "tensors import read_safetensors", 2.1)],
)
def test_memory_is_that_of_the_tensors(tmp_path, save, reader, most):
    save({f"a{number}": torch.randn(500_000) for number in range(80)}, tmp_path / "a")
    code = f"""
import sys, torch, safetensors.torch
from modprompt.io.{reader} as read
def status(word):
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith(word))
before = status("VmRSS")
found = read(sys.argv[1])
print((status("VmHWM") - before) / 1.6e8)
"""
    words = [sys.executable, "-c", code, str(tmp_path / "a")]
    assert 0.9 < float(subprocess.run(words, check=True, cwd=ROOT, stdout=subprocess.PIPE).stdout) < most
