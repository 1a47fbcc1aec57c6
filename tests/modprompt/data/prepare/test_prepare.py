"""Downloads from a server on this machine: complete, broken off, resumed, damaged, hostile, and not at all."""

import errno
import hashlib
import http.server
import io
import json
import os
import shutil
import socket
import sys
import tarfile
import threading
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from unittest import mock

import pytest

import modprompt.data.readers.all  # noqa: F401 - registers
import modprompt.trainers.mpl  # noqa: F401 - SUBSAMPLE_CLASSES
from modprompt.data.prepare import download as download_module
from modprompt.data.prepare import unpack as unpack_module
from modprompt.data.prepare.__main__ import main
from modprompt.data.prepare.download import download
from modprompt.data.prepare.layout import prepare
from modprompt.data.prepare.recipe import Archive, ByHand, File, Recipe
from modprompt.data.prepare.recipes import RECIPES
from modprompt.data.prepare.unpack import unpack
from modprompt.data.published import SPLIT_SHA256
from modprompt.errors import UserError


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; cuts the connection after `cut` bytes of a body; counts requests and what they asked for."""

    files: dict
    cut = None
    resumes = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.requests = {}, []

    def url(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append((self.path, self.headers.get("Range")))
        body = self.server.files.get(self.path[1:])
        if body is None:
            self.send_error(404)
            return
        start = 0
        if self.server.resumes and self.headers.get("Range"):
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start:][: self.server.cut])
        if self.server.cut is not None:
            self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def md5(content):
    return "md5:" + hashlib.md5(content).hexdigest()


def tar_of(members, kind="w:gz"):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=kind) as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = content
                file.addfile(info)
    return stream.getvalue()


def zip_of(members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return stream.getvalue()


def recipe(server, archive, name="data.tar.gz", moves=None, digest=None):
    server.files[name] = archive
    server.files["split.json"] = b"{}"
    return Recipe(
        "set",
        (
            File("split.json", url=server.url("split.json"), digest=md5(b"{}")),
            Archive(
                name,
                moves or {"inner/images": "images", "inner/list.txt": "lists/list.txt"},
                url=server.url(name),
                digest=md5(archive) if digest is None else digest,
            ),
        ),
    )


GOOD = {"inner/images/a.jpg": b"a" * 5000, "inner/images/b.jpg": b"b", "inner/list.txt": b"a", "inner/rest.txt": b"x"}


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(("make", "name"), [(tar_of, "data.tar.gz"), (zip_of, "data.zip")])
def test_complete_download_lays_out_the_tree_and_a_second_run_does_nothing(server, tmp_path, make, name):
    one = recipe(server, make(GOOD), name)
    assert prepare(one, tmp_path) == []
    assert tree(tmp_path / "set") == ["images/a.jpg", "images/b.jpg", "lists/list.txt", "split.json"]
    asked = len(server.requests)
    assert prepare(one, tmp_path) == []
    assert len(server.requests) == asked == 2


def test_broken_download_is_resumed_where_it_broke_off(server, tmp_path):
    content = bytes(range(256)) * 2000
    server.files["f"], server.cut = content, 100_000
    with pytest.raises(UserError, match="f: the download broke off .*run again to resume, or fetch http"):
        download(tmp_path / "f", url=server.url("f"), digest=md5(content))
    assert [path.name for path in tmp_path.iterdir()] == ["f.part"]
    server.cut = None
    download(tmp_path / "f", url=server.url("f"), digest=md5(content))
    assert (tmp_path / "f").read_bytes() == content
    assert server.requests[-1] == ("/f", "bytes=100000-")
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_server_that_cannot_resume_is_asked_from_the_start(server, tmp_path):
    server.files["f"], server.resumes = b"0123456789", False
    (tmp_path / "f.part").write_bytes(b"xxx")
    download(tmp_path / "f", url=server.url("f"), digest=md5(b"0123456789"))
    assert (tmp_path / "f").read_bytes() == b"0123456789"


def test_part_that_is_already_whole_is_taken(server, tmp_path):
    server.files["f"] = b"0123456789"
    (tmp_path / "f.part").write_bytes(b"0123456789")
    download(tmp_path / "f", url=server.url("f"), digest=md5(b"0123456789"))
    assert (tmp_path / "f").read_bytes() == b"0123456789"


def test_wrong_checksum_is_removed_and_named(server, tmp_path):
    one = recipe(server, tar_of(GOOD), digest="md5:" + "0" * 32)
    with pytest.raises(UserError, match=r"data.tar.gz: md5 is \w{32}, published is 0{32}: removed; run again"):
        prepare(one, tmp_path)
    assert tree(tmp_path / "set") == ["split.json"]


@pytest.mark.parametrize(
    "members",
    [
        {"../outside.txt": b"x"},
        {"/tmp/outside.txt": b"x"},
        {"inner/../../outside.txt": b"x"},
        {"inner/link": (tarfile.SYMTYPE, "../../outside"), "inner/link/x": b"x"},
        {"inner/link": (tarfile.SYMTYPE, "/etc")},
        {"inner/device": (tarfile.CHRTYPE, "")},
    ],
)
def test_tar_member_that_would_land_outside_is_refused(server, tmp_path, members):
    one = recipe(server, tar_of({**GOOD, **members}))
    with pytest.raises(UserError, match=r"data.tar.gz is refused: its member .* (would land outside|is neither)"):
        prepare(one, tmp_path)
    assert not list(tmp_path.glob("**/outside*"))
    assert not (tmp_path / "set" / "images").exists()
    assert not list(tmp_path.glob("**/*.unpacked"))


@pytest.mark.parametrize("name", ["../outside.txt", "/outside.txt", "..\\outside.txt", "C:\\outside.txt"])
def test_zip_member_that_would_land_outside_is_refused(tmp_path, name):
    (tmp_path / "a.zip").write_bytes(zip_of({"good.txt": b"x", name: b"x"}))
    with pytest.raises(UserError, match="a.zip is refused"):
        unpack(tmp_path / "a.zip", tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_damaged_archive_is_named(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(tar_of(GOOD)[:60])
    with pytest.raises(UserError, match="a.tar.gz is not a whole archive"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_full_disk_while_downloading_is_one_line_and_can_be_resumed(server, tmp_path, monkeypatch):
    content = b"0123456789" * 1000
    server.files["f"] = content

    class Full(io.FileIO):
        def write(self, data):
            super().write(data[:100])
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download_module, "_open_part", lambda part: Full(part, "w+"))
    with pytest.raises(UserError, match="f: cannot write .*No space left on device.*run again to resume") as raised:
        download(tmp_path / "f", url=server.url("f"), digest=md5(content))
    assert "\n" not in str(raised.value)
    monkeypatch.undo()
    download(tmp_path / "f", url=server.url("f"), digest=md5(content))
    assert (tmp_path / "f").read_bytes() == content


def test_full_disk_while_unpacking_leaves_nothing_half_unpacked(server, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    one = recipe(server, tar_of(GOOD))
    with monkeypatch.context() as patch:
        patch.setattr(unpack_module, "_write", full)
        with pytest.raises(UserError, match="cannot unpack into .*No space left"):
            prepare(one, tmp_path)
    assert tree(tmp_path / "set") == [".prepare/data.tar.gz", "split.json"]  # the archive need not be fetched again
    asked = len(server.requests)
    assert prepare(one, tmp_path) == []
    assert len(server.requests) == asked
    assert tree(tmp_path / "set") == ["images/a.jpg", "images/b.jpg", "lists/list.txt", "split.json"]


def test_users_files_are_never_written_over(server, tmp_path, capsys):
    folder = tmp_path / "set"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "mine.jpg").write_text("mine")
    (folder / "split.json").write_text("mine")
    prepare(recipe(server, tar_of(GOOD)), tmp_path)
    assert tree(folder) == ["images/mine.jpg", "lists/list.txt", "split.json"]
    assert (folder / "split.json").read_text() == "mine"
    assert "split.json is yours and is left alone, but it is not the published file" in capsys.readouterr().out


def test_leftovers_of_a_killed_run_are_cleared(server, tmp_path):
    left = tmp_path / "set" / ".prepare" / "data.tar.gz.unpacked" / "inner"
    left.mkdir(parents=True)
    (left / "half").write_text("half")
    assert prepare(recipe(server, tar_of(GOOD)), tmp_path) == []
    assert not (tmp_path / "set" / ".prepare").exists()


def test_archive_inside_an_archive_is_unpacked(server, tmp_path):
    outer = zip_of({"caltech-101/inner.tar.gz": tar_of({"101/a/1.jpg": b"x"})})
    one = recipe(server, outer, "outer.zip", {"caltech-101/inner.tar.gz//101": "101"})
    prepare(one, tmp_path)
    assert tree(tmp_path / "set") == ["101/a/1.jpg", "split.json"]


def test_missing_page_says_what_to_fetch_by_hand_and_other_steps_go_on(server, tmp_path):
    one = recipe(server, tar_of(GOOD))
    del server.files["split.json"]
    with pytest.raises(
        UserError, match=r"split.json: .*404.*fetch http.*split.json by hand and put it at .*set/split.json"
    ):
        prepare(one, tmp_path)
    assert (tmp_path / "set" / "images" / "a.jpg").is_file()


def test_what_must_be_done_by_hand_is_said(tmp_path):
    one = Recipe("set", (ByHand("cars_train", "take a mirror and put {target} into {folder}"),))
    assert prepare(one, tmp_path) == [f"by hand: take a mirror and put cars_train into {tmp_path / 'set'}"]
    (tmp_path / "set" / "cars_train").mkdir()
    assert prepare(one, tmp_path) == []


def test_drive_files_without_gdown_are_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(UserError, match="f: files on Google Drive need gdown: pip install gdown; run again, or fetch"):
        download(tmp_path / "f", drive="identity")
    assert list(tmp_path.glob("f*")) == []


def test_drive_files_come_through_gdown_and_failures_are_one_line(tmp_path, monkeypatch):
    import gdown

    def hand_out(id, output, resume):
        assert resume
        Path(output).write_bytes(id.encode())
        return output

    monkeypatch.setattr(gdown, "download", hand_out)
    download(tmp_path / "f", drive="identity", digest=md5(b"identity"))
    assert (tmp_path / "f").read_bytes() == b"identity"

    def refuse(**kwargs):
        raise RuntimeError("too many users\nhave viewed it")

    monkeypatch.setattr(gdown, "download", refuse)
    with pytest.raises(
        UserError, match="too many users have viewed it; run again, or fetch https://drive.google.com/file/d/xyz"
    ):
        download(tmp_path / "g", drive="xyz")


def test_server_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UserError, match="the download broke off") as raised:
        download(tmp_path / "f", url="http://127.0.0.1:9/f")
    assert "\n" not in str(raised.value)


def test_without_a_network_the_host_is_named(tmp_path, monkeypatch):
    import gdown

    no_name = urllib.error.URLError(socket.gaierror(-3, "Temporary failure in name resolution"))
    monkeypatch.setattr(urllib.request, "urlopen", mock.Mock(side_effect=no_name))
    with pytest.raises(UserError, match=r"^f: the download broke off \(hub.example cannot be reached: is there a netw"):
        download(tmp_path / "f", url="https://hub.example/f")
    no_drive = ConnectionError("HTTPSConnectionPool(host='drive.google.com', ...")
    monkeypatch.setattr(gdown, "download", mock.Mock(side_effect=no_drive))
    with pytest.raises(UserError, match=r"^f: drive.google.com cannot be reached: is there a network\?; run again, or"):
        download(tmp_path / "f", drive="xyz")


def test_every_reader_of_the_family_has_a_recipe_for_its_folders():
    from dassl.data.datasets import DATASET_REGISTRY

    assert len(RECIPES) == 16
    for name, one in RECIPES.items():
        reader = DATASET_REGISTRY.get(name)
        assert one.folder == reader.dataset_dir
        targets = [
            t for step in one.steps for t in (step.moves.values() if isinstance(step, Archive) else [step.target])
        ]
        assert any(target.startswith(reader.image_folder) for target in targets)
        split_file = getattr(reader, "split_file", "")
        assert not split_file or split_file in targets or name == "Caltech256"
        assert all(step.url.startswith("http") or step.drive for step in one.steps if not isinstance(step, ByHand))


def test_addresses_and_digests_are_those_of_torchvision():
    from torchvision import datasets as tv

    def step(name, file):
        return next(s for s in RECIPES[name].steps if isinstance(s, (Archive, File)) and s.url.endswith(f"/{file}"))

    assert step("DescribableTextures", "dtd-r1.0.1.tar.gz").url == tv.DTD._URL
    assert step("DescribableTextures", "dtd-r1.0.1.tar.gz").digest == f"md5:{tv.DTD._MD5}"
    assert step("Food101", "food-101.tar.gz").digest == f"md5:{tv.Food101._MD5}"
    assert step("SUN397", "SUN397.tar.gz").digest == f"md5:{tv.SUN397._DATASET_MD5}"
    assert step("FGVCAircraft", "fgvc-aircraft-2013b.tar.gz").url == tv.FGVCAircraft._URL
    for url, digest in tv.OxfordIIITPet._RESOURCES:
        one = step("OxfordPets", url.rpartition("/")[2])
        assert (one.url, one.digest) == (url, f"md5:{digest}")
    for file, digest in (tv.Flowers102._file_dict["image"], tv.Flowers102._file_dict["label"]):
        assert step("OxfordFlowers", file).url == tv.Flowers102._download_url_prefix + file
        assert step("OxfordFlowers", file).digest == f"md5:{digest}"


def test_sizes_of_downloads_do_not_fill_memory():
    assert download_module._CHUNK <= 1 << 20


@pytest.fixture
def eurosat_recipe(server, eurosat_root, monkeypatch):
    """A served EuroSAT: the test tree as the published archive, its split as the published one."""
    from tests.modprompt.data.test_readers import read

    full = read("EuroSAT", eurosat_root)
    folder = eurosat_root / "eurosat"
    archive = zip_of(
        {f"2750/{p.relative_to(folder / '2750')}": p.read_bytes() for p in (folder / "2750").rglob("*.jpg")}
    )
    content = json.loads((folder / "split_zhou_EuroSAT.json").read_text())
    del content["modprompt"]
    split = json.dumps(content, indent=4, separators=(",", ": ")).encode()
    monkeypatch.setitem(SPLIT_SHA256, "EuroSAT", hashlib.sha256(split).hexdigest())
    server.files.update({"EuroSAT.zip": archive, "split": split})
    one = Recipe(
        "eurosat",
        (
            File("split_zhou_EuroSAT.json", url=server.url("split"), digest=md5(split)),
            Archive("EuroSAT.zip", {"2750": "2750"}, url=server.url("EuroSAT.zip"), digest=md5(archive)),
        ),
        (len(full.train_x), len(full.val), len(full.test)),
    )
    monkeypatch.setitem(RECIPES, "EuroSAT", one)
    return one


def test_command_downloads_checks_and_is_read_by_the_reader(eurosat_recipe, tmp_path, capsys):
    from tests.modprompt.data.test_readers import read

    root = tmp_path / "new"
    assert main(["EuroSAT", "--root", str(root), "--check"]) == 1
    assert f"EuroSAT: missing: {root / 'eurosat'}" in capsys.readouterr().err
    assert main(["EuroSAT", "--root", str(root)]) == 0
    before = tree(root)
    assert main(["EuroSAT", "--root", str(root), "--check"]) == 0
    out = capsys.readouterr().out
    assert "EuroSAT split: the published one" in out
    assert "EuroSAT train: 60 images (as published)" in out
    assert "EuroSAT: complete" in out
    assert tree(root) == before
    assert len(read("EuroSAT", root, 4, "base").train_x) == 20


def test_a_tree_that_is_there_and_empty_is_not_called_complete(eurosat_recipe, tmp_path, capsys):
    (tmp_path / "new" / "eurosat" / "2750").mkdir(parents=True)
    (tmp_path / "new" / "eurosat" / "split_zhou_EuroSAT.json").write_text("{}")
    assert main(["EuroSAT", "--root", str(tmp_path / "new")]) == 1
    said = capsys.readouterr()
    assert "EuroSAT: incomplete" in said.out
    assert "is not a whole split file" in said.err


def test_check_names_what_is_missing_miscounted_and_unreadable(eurosat_recipe, tmp_path, capsys):
    root = tmp_path / "new"
    main(["EuroSAT", "--root", str(root)])
    images = sorted((root / "eurosat" / "2750" / "River").iterdir())
    images[0].write_bytes(b"no image")
    capsys.readouterr()
    assert main(["EuroSAT", "--root", str(root), "--check"]) == 1
    assert f"unreadable image {images[0]}" in capsys.readouterr().err
    assert main(["EuroSAT", "--root", str(root), "--check", "--no-images"]) == 0
    images[1].unlink()
    assert main(["EuroSAT", "--root", str(root), "--check"]) == 1
    assert f"lists River/{images[1].name}, but there is no" in capsys.readouterr().err
    (root / "eurosat" / "split_zhou_EuroSAT.json").unlink()
    before = tree(root)
    assert main(["EuroSAT", "--root", str(root), "--check", "--no-images"]) == 1
    err = capsys.readouterr().err
    assert "missing: " in err
    assert "split_zhou_EuroSAT.json" in err
    assert tree(root) == before


@pytest.mark.parametrize("drawn", ["here", "by somebody"])
def test_check_does_not_take_a_home_made_split_for_the_published_one(eurosat_recipe, eurosat_root, capsys, drawn):
    path = eurosat_root / "eurosat" / "split_zhou_EuroSAT.json"
    content = json.loads(path.read_text())
    if drawn == "by somebody":
        del content["modprompt"]
        content["train"].reverse()
        path.write_text(json.dumps(content))
    elif drawn == "here":
        SPLIT_SHA256["EuroSAT"] = "0" * 64  # put back by the fixture
    assert main(["EuroSAT", "--root", str(eurosat_root), "--check", "--no-images"]) == 1
    said = capsys.readouterr()
    what = "drawn by this project" if drawn == "here" else "not known"
    assert f"EuroSAT: split: {what}" in said.err
    assert "so that numbers cannot be compared with papers: move" in said.err
    assert "EuroSAT: incomplete" in said.out
    assert "as published" not in said.out


def test_check_counts_data_sets_without_a_split_file(tmp_path, capsys):
    from tests.modprompt.data import trees

    trees.imagenet_a(tmp_path)
    assert main(["ImageNetA", "--root", str(tmp_path), "--check", "--no-images"]) == 1
    assert "test: 9 images, published are 7,500" in capsys.readouterr().err
    trees.fgvc_aircraft(tmp_path)
    assert main(["FGVCAircraft", "--root", str(tmp_path), "--check", "--no-images"]) == 1
    assert "train: 31 images, published are 3,334" in capsys.readouterr().err
    trees.imagenet(tmp_path)
    assert main(["ImageNet", "--root", str(tmp_path), "--check", "--no-images"]) == 1
    assert "test: 20 images, published are 50,000" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["eurosta", "EuroSATT"])
def test_unknown_name_gets_the_nearest(name, capsys):
    assert main([name]) == 2
    err = capsys.readouterr().err
    assert f"error: there is no data set {name!r}; did you mean 'EuroSAT'?" in err
    assert err.count("\n") == 1


def test_names_of_scripts_are_taken(tmp_path, capsys):
    assert main(["dtd", "eurosat", "--root", str(tmp_path), "--check", "--no-images"]) == 1
    assert capsys.readouterr().out == "DescribableTextures: incomplete\nEuroSAT: incomplete\n"


def test_data_set_without_a_download_is_one_line(capsys):
    assert main(["digits"]) == 2
    assert (
        capsys.readouterr().err == "error: Digits is not downloaded: its images come with a package, or are your own\n"
    )


def test_root_that_cannot_be_made_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["StanfordCars", "--root", str(tmp_path / "file")]) == 1
    assert "StanfordCars: cannot make" in capsys.readouterr().err
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("inner/link", (tarfile.SYMTYPE, "images")),
        ("inner/hard", (tarfile.LNKTYPE, "inner/list.txt")),
        ("inner/pipe", (tarfile.FIFOTYPE, "")),
        ("inner/device", (tarfile.BLKTYPE, "")),
    ],
)
def test_links_pipes_and_devices_are_not_unpacked_even_inside(tmp_path, name, content):
    (tmp_path / "a.tar.gz").write_bytes(tar_of({**GOOD, name: content}))
    with pytest.raises(UserError, match="a.tar.gz is refused: its member .* is neither file nor folder"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]


@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_archive_that_would_fill_the_disk_is_refused(tmp_path, make, monkeypatch):
    from modprompt.data.prepare import unpack as module

    monkeypatch.setattr(module, "_LEAST_ROOM", 1000)
    content = make({"a": bytes(10_000_000)})
    if make is zip_of:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("a", bytes(10_000_000))
        content = stream.getvalue()
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(UserError, match="archive is refused: it would unpack to more than 200 times its size"):
        unpack(tmp_path / "archive", tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_encrypted_member_is_one_line(tmp_path):
    raw = bytearray(zip_of({"a": b"x"}))
    for mark, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        raw[raw.index(mark) + offset] |= 1
    (tmp_path / "a.zip").write_bytes(raw)
    with pytest.raises(UserError, match="a.zip is refused: its member 'a' is encrypted: remove"):
        unpack(tmp_path / "a.zip", tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_part_that_is_a_link_or_a_pipe_is_not_written_to(server, tmp_path):
    server.files["f"] = b"0123456789"
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / "f.part").symlink_to("mine")
    with pytest.raises(UserError, match="f: .*f.part is a link, and nothing is written through it"):
        download(tmp_path / "f", url=server.url("f"))
    assert (tmp_path / "mine").read_bytes() == b"mine"
    (tmp_path / "f.part").unlink()
    os.mkfifo(tmp_path / "f.part")
    with pytest.raises(UserError, match="f.part"):
        download(tmp_path / "f", url=server.url("f"))
    assert server.requests == []


@pytest.mark.slow
def test_second_download_into_a_folder_is_told_and_a_finished_one_is_taken(server, tmp_path):
    from modprompt.io import lock

    server.files["f"] = b"0123456789"
    said = "another download into .* is running"
    with lock.alone(tmp_path / ".lock", "taken"), pytest.raises(UserError, match=said):
        download(tmp_path / "f", url=server.url("f"))
    (tmp_path / "f").write_bytes(b"there already")
    download(tmp_path / "f", url=server.url("f"))
    assert (tmp_path / "f").read_bytes() == b"there already"
    assert server.requests == []
