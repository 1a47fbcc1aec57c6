import csv
import shutil

import pytest
import torch

import modprompt
from tests.conftest import SAID, random_clip
from tests.modprompt.use.made import NAMES, glyph, model_of, write_run


@pytest.mark.parametrize(
    ("name", "settings", "vectors", "vision"),
    [  # vectors per layer
        ("CoOp", {"n_ctx": 4}, {0: 4}, 0),
        ("CoOp", {"n_ctx": 4, "csc": True, "class_token_position": "middle"}, {0: 12}, 0),
        ("MPL", {"n_ctx": 1, "prompt_depth": 3}, {0: 1, 1: 1, 2: 1}, 0),
        ("PromptSRC", {"prompt_depth_text": 3, "n_ctx_text": 2}, {0: 2, 1: 2, 2: 2}, 4),
        ("VPT", {}, {}, 8),
        ("DPL", {"lengths_text": (2, 0, 3, 1, 0, 0, 0, 0), "lengths_vision": (3, *[0] * 7)}, {0: 2, 2: 3, 3: 1}, 3),
    ],
)
def test_words_of_every_kind_and_layer(name, settings, vectors, vision, tmp_path, said, refused):
    run, table = write_run(tmp_path / "run", model_of(name, **settings)), tmp_path / "words.csv"
    (path,) = run.glob("*/model.pth.tar-1")
    out, _ = said(0, "interpret", path, 3, "--csv", table)
    assert any(
        f"{vision} learned vision prompts are not shown, because vision prompts cannot be compared with words." in line
        for line in out
    ) == bool(vision)
    rows = list(csv.DictReader(table.read_text().splitlines()))
    layers = [int(row["layer"]) for row in rows]
    assert {layer: layers.count(layer) for layer in layers} == {layer: 3 * n for layer, n in vectors.items()}
    for first, second in zip(rows[::3], rows[1::3]):
        assert float(first["distance"]) <= float(second["distance"])
    said(0, "interpret", path, 2, "--csv", table)  # replaces its own
    assert f"--csv {path} exists, but does not have the columns of this table" in refused(
        "interpret", run, "--csv", path
    )
    folder, _ = said(0, "interpret", run, 3)
    assert folder == [line for line in out if not line.startswith("The words were written")]


def test_context_from_words_is_nearest_to_its_words(tmp_path, said):
    modprompt.CoOp(ctx_init="one two three").on(glyph(), NAMES).save(tmp_path / "words.pt")
    out, _ = said(0, "interpret", tmp_path / "words.pt", 1)
    assert [line.split()[4] for line in out] == ["one", "two", "three"]


@pytest.mark.slow
def test_other_clips_are_refused_and_no_file_is_opened_because_a_checkpoint_names_it(tmp_path, said, refused):
    for name, seed in (("clip.pt", 1), ("other.pt", 7)):
        torch.save(random_clip(seed).state_dict(), tmp_path / name)
    clip_model, _ = modprompt.load_clip(tmp_path / "clip.pt", device="cpu", **SAID)
    run = write_run(tmp_path / "run", model_of("CoOp", clip_model=clip_model))
    (path,) = run.glob("*/model.pth.tar-1")
    out, _ = said(0, "interpret", path, 1, "--backbone-path", tmp_path / "clip.pt")  # run as the checkpoint says
    assert "was trained with the CLIP model in the file clip.pt" in refused("interpret", path)
    assert "do not exist. Check the path." in refused("interpret", path, "--clip", tmp_path / "gone.pt")
    assert "was trained with the CLIP model " in refused("interpret", path, "--clip", tmp_path / "other.pt")
    (run / "config.yaml").write_text(f"MODEL: {{BACKBONE: {{PATH: {tmp_path / 'clip.pt'}}}}}\n")
    assert said(0, "interpret", run, 1)[0] == out
    shutil.rmtree(path.parent)
    assert "run contains no trained model" in refused("interpret", run)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "is not a checkpoint of a prompt-learning method"),
        ({"state_dict": {"w": torch.ones(1)}}, "contains no learned prompts"),
        ({"state_dict": {"ctx": torch.ones(4)}}, "The checkpoint entry ctx is not a learned prompt"),
        (
            {"state_dict": {"ctx": torch.ones(1, 4)}},
            "The text prompts in the checkpoint have width 4, but the token embeddings of this CLIP have width 64.",
        ),
    ],
)
def test_other_files_are_refused(content, message, tmp_path, refused):
    torch.save(content, tmp_path / "file")
    assert message in refused("interpret", tmp_path / "file", "--backbone", "glyph-clip")


def test_contexts_of_phrases_are_told_apart_and_classes_are_no_formulas(tmp_path, said):
    path = tmp_path / "phrases.json"
    path.write_text('{"two": ["one three", "one four"], "one": ["six"]}')
    modprompt.CoOp(n_ctx=1, csc=True, aspath=str(path)).on(glyph(), ["one", "two"]).save(tmp_path / "prompts.pt")
    out, _ = said(0, "interpret", tmp_path / "prompts.pt", 1)
    labels = [line.split(", ")[1] for line in out]
    assert labels == ["class 0 phrase 1", "class 1 phrase 1", "class 1 phrase 2"]
