import csv

import pytest
import torch

import modprompt
from tests.conftest import SAID, random_clip
from tests.methods import METHODS
from tests.trained_once import trained

SAID_BY_FLAGS = ["--activation", SAID["activation"], "--heads", *map(str, SAID["heads"])]


@pytest.fixture
def run_folder(command, tmp_path):
    def of(row):
        method = METHODS[row]
        trained(command(method, "OPTIM.MAX_EPOCH", 1))
        return tmp_path / "out" / method.folder / "model.pth.tar-1"

    return of


@pytest.mark.cover(3)
@pytest.mark.parametrize(
    ("row", "vectors", "vision"),
    [  # vectors per layer
        ("coop_end", {0: 4}, 0),
        ("coop_middle_csc", {0: 25}, 0),
        ("mpl", {0: 1, 1: 1, 2: 1}, 0),
        ("promptsrc", {0: 2, 1: 2, 2: 2}, 6),
        ("vpt", {}, 8),
        ("dpl", {0: 2, 2: 3, 3: 1}, 3),
    ],
)
def test_words_of_every_kind_and_layer(row, vectors, vision, run_folder, clip_file, tmp_path, said):
    path, table = run_folder(row), tmp_path / "words.csv"
    out, _ = said(0, "interpret", path, 3, "--backbone-path", clip_file, *SAID_BY_FLAGS, "--csv", table)
    assert any(f"{vision} learned vision prompts are left out" in line for line in out) == bool(vision)
    rows = list(csv.DictReader(table.read_text().splitlines()))
    layers = [int(row["layer"]) for row in rows]
    assert {layer: layers.count(layer) for layer in layers} == {layer: 3 * n for layer, n in vectors.items()}
    for first, second in zip(rows[::3], rows[1::3]):
        assert float(first["distance"]) <= float(second["distance"])
    folder, _ = said(0, "interpret", tmp_path / "out", 3, "--backbone-path", clip_file, *SAID_BY_FLAGS)
    assert folder == [line for line in out if not line.startswith("Written")]


def test_context_from_words_is_nearest_to_its_words(run_folder, clip_file, said):
    path = run_folder("coop_front_words")  # one epoch at 1e-5 hardly moves it
    out, _ = said(0, "interpret", path, 1, "--backbone-path", clip_file, *SAID_BY_FLAGS)
    assert [line.split()[4] for line in out] == ["a", "photo", "of", "a"]


def test_other_clips_are_refused_and_no_file_is_opened_because_a_checkpoint_names_it(
    run_folder, clip_file, tmp_path, refused
):
    path = run_folder("coop_end")  # it says which file it was made with
    assert torch.load(path, weights_only=True)["modprompt"]["clip"]["file"] == clip_file.name
    torch.save(random_clip(7, text_layers=4, vision_layers=4).state_dict(), tmp_path / "other.pt")
    assert f"made with a CLIP from a file ({clip_file.name}): give it with --backbone-path" in refused(
        "interpret", path
    )
    assert "--backbone-path" in refused("interpret", path, "--backbone-path", tmp_path / "gone.pt")
    other = refused("interpret", path, "--backbone-path", tmp_path / "other.pt", *SAID_BY_FLAGS)
    assert "the checkpoint was made with another CLIP" in other


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "is not a checkpoint of a prompt learner"),
        ({"state_dict": {"w": torch.ones(1)}}, "holds no learned prompts"),
        ({"state_dict": {"ctx": torch.ones(4)}}, "ctx is not a learned prompt"),
        ({"state_dict": {"ctx": torch.ones(1, 4)}}, "the checkpoint's text width is 4, that of this CLIP is 64"),
    ],
)
def test_other_files_are_refused(content, message, tmp_path, refused):
    torch.save(content, tmp_path / "file")
    assert message in refused("interpret", tmp_path / "file", "--backbone", "glyph-clip")


def test_contexts_of_phrases_are_told_apart_and_classes_are_no_formulas(tmp_path, said):
    path = tmp_path / "phrases.json"
    path.write_text('{"owl": ["a face", "a wing"], "crow": ["black"]}')
    torch.save(random_clip().state_dict(), tmp_path / "clip.pt")
    clip_model, _ = modprompt.load_clip(tmp_path / "clip.pt", device="cpu", **SAID)
    modprompt.CoOp(n_ctx=1, csc=True, aspath=str(path)).on(clip_model, ["crow", "owl"]).save(tmp_path / "prompts.pt")
    words = ("--backbone-path", tmp_path / "clip.pt", *SAID_BY_FLAGS)
    out, _ = said(0, "interpret", tmp_path / "prompts.pt", 1, *words)
    labels = [line.split(", ")[1] for line in out]
    assert labels == ["class 0 phrase 1", "class 1 phrase 1", "class 1 phrase 2"]
