"""Archives that the tests make, read without running them: as torch.jit.load has them, name by name."""

import io
import warnings
import zipfile

import pytest
import torch

from modprompt.clip import build as backbone
from modprompt.clip import reading
from modprompt.errors import UserError
from modprompt.io.tensors import read_tensors, read_weights
from tests.conftest import SAID, random_clip
from tests.modprompt.io import hostile

pytestmark = pytest.mark.filterwarnings("ignore")  # that TorchScript is deprecated; the tracer's remarks


class Mixed(torch.nn.Module):
    """Parameters and buffers of several kinds, shared and strided, beside attributes that are no tensors."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Linear(3, 2), torch.nn.Sequential(torch.nn.BatchNorm1d(2))])
        self.halved = torch.nn.Parameter(torch.randn(2, 3).half())
        self.register_buffer("turned", torch.randn(4, 3).t())
        self.register_buffer("part", torch.arange(24).reshape(2, 3, 4)[:, 1:, ::2])
        self.register_buffer("same", self.layers[0].weight.detach()[0])
        self.register_buffer("brain", torch.randn(3).bfloat16())
        self.register_buffer("truth", torch.tensor([True, False]))
        self.register_buffer("number", torch.tensor(7))
        self.register_buffer("none", torch.empty(0, 5))
        self.register_buffer("left_out", torch.ones(1), persistent=False)
        self.count, self.names, self.device = 3, ["a", "b"], torch.device("cpu")
        self.table = {"x": torch.ones(2)}
        self.maybe = None

    def forward(self, x):
        return self.layers[0](x) * self.count


class Twice(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.one = torch.nn.Linear(2, 2)
        self.other = torch.nn.Linear(2, 2)
        self.other.weight = self.one.weight

    def forward(self, x):
        return self.other(self.one(x))


def made(kind):
    torch.manual_seed(0)
    if "clip" in kind:
        model = random_clip(text_layers=2, vision_layers=1, vision_width=64)
        inputs = (torch.zeros(1, 3, 32, 32), torch.zeros(1, 77, dtype=torch.long))
        archive = torch.jit.trace(model, inputs, check_trace=False)
        return archive.half() if "half" in kind else archive
    if kind == "mixed":
        return torch.jit.script(Mixed())
    if kind == "traced":
        return torch.jit.trace(Mixed().eval(), torch.ones(1, 3))
    return torch.jit.script(Twice())


@pytest.mark.parametrize("kind", ["clip", "half clip", "mixed", "traced", "twice"])
def test_tensors_and_names_are_those_of_torch_jit_load(tmp_path, kind):
    path = tmp_path / "archive.pt"
    torch.jit.save(made(kind), str(path))
    expected = torch.jit.load(str(path), map_location="cpu").state_dict()
    found = read_weights(path)
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
        assert (found[name].dtype, found[name].stride()) == (tensor.dtype, tensor.stride()), name
        assert not found[name].requires_grad


def test_shared_storages_stay_shared(tmp_path):
    torch.jit.save(made("twice"), str(tmp_path / "archive.pt"))
    found = read_weights(tmp_path / "archive.pt")
    found["one.weight"][0, 0] = 5
    assert found["other.weight"][0, 0] == 5


def with_pickle(raw, change):
    """An archive with a changed data.pkl, and CRCs to match."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(stream, "w") as new:
        for member in old.infolist():
            content = old.read(member)
            new.writestr(member.filename, change(content) if member.filename.endswith("data.pkl") else content)
    return stream.getvalue()


def test_tensors_of_a_gpu_come_onto_the_cpu(tmp_path):
    stream = io.BytesIO()
    torch.jit.save(made("twice"), stream)
    raw = with_pickle(stream.getvalue(), lambda text: text.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"))
    assert b"cuda:0" in raw
    (tmp_path / "archive.pt").write_bytes(raw)
    found = read_weights(tmp_path / "archive.pt")
    assert {str(tensor.device) for tensor in found.values()} == {"cpu"}
    assert torch.equal(found["one.bias"], made("twice").one.bias)


def test_code_and_constants_are_never_opened(tmp_path):
    stream, emptied = io.BytesIO(), io.BytesIO()
    torch.jit.save(made("mixed"), stream)
    with zipfile.ZipFile(stream) as old, zipfile.ZipFile(emptied, "w") as new:
        for member in old.infolist():
            inside = member.filename.split("/", 1)[1]
            new.writestr(member.filename, b"" if inside.startswith(("code/", "constants")) else old.read(member))
    (tmp_path / "archive.pt").write_bytes(emptied.getvalue())
    assert "layers.0.weight" in read_weights(tmp_path / "archive.pt")


def test_archive_whose_code_would_write_a_file_writes_none(tmp_path):
    path, canary = tmp_path / "archive.pt", tmp_path / "canary"
    path.write_bytes(hostile.writing_archive(canary))
    for read in (read_weights, read_tensors, reading.read_file):
        with pytest.raises(UserError, match="only be read by running its code|TorchScript archive"):
            read(path)
    assert not canary.exists()
    torch.jit.load(str(path))
    assert canary.exists()  # else this test could not fail


@pytest.mark.parametrize(
    "tail", [b"PK\5\6" + bytes(18), bytes(18), b"x", b"PK\5\6" + bytes(18) + b"PK\5\6" + bytes(18)]
)
def test_what_is_behind_an_archives_end_does_not_change_what_it_is(tmp_path, tail):
    path, canary = tmp_path / "archive.pt", tmp_path / "canary"
    path.write_bytes(hostile.writing_archive(canary) + tail)
    for read in (read_weights, read_tensors):
        with pytest.raises(UserError, match="not a whole PyTorch checkpoint"):
            read(path)
    assert not canary.exists()


def test_clip_of_an_archive_is_the_clip_of_its_state_dict(tmp_path):
    model = random_clip(text_layers=1, vision_layers=1)
    inputs = (torch.zeros(1, 3, 32, 32), torch.zeros(1, 77, dtype=torch.long))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(model, inputs, check_trace=False), str(tmp_path / "clip.pt"))
    built = backbone.load_clip("", str(tmp_path / "clip.pt"), **SAID).state_dict()
    plain = backbone.build_clip(model.state_dict()).state_dict()
    assert list(built) == list(plain)
    assert all(torch.equal(built[name], plain[name]) for name in plain)
