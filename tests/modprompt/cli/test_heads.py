"""`modprompt heads` on a made-up cache: its table, its files, and words that it refuses."""

import csv

import pytest

from modprompt.cli.main import main
from modprompt.trainers.on_features import ON_KEYS
from tests.modprompt.methods.heads.made_up import write_cache


@pytest.fixture
def words(tmp_path):
    cache = write_cache(tmp_path)
    return ["heads", "--features", str(cache), "--backbone", "ViT-B/32", "--out", str(tmp_path / "out")]


def rows_in(folder):
    with (folder / "out" / "heads.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_all_heads_side_by_side(words, tmp_path, capsys):
    heads = ["TipAdapter", "TipAdapterF", "LPPlusPlus", "ADAPTER", "TaskRes", "CLIP_Adapter"]
    quick = ["TRAINER.TIPADAPTER.SEARCH_STEP", "[3, 3]", "TRAINER.TIPADAPTER.TRAIN_EPOCH", "3", "OPTIM.MAX_EPOCH", "4"]
    quick += ["TRAINER.LPPLUSPLUS.TRAIN_EPOCH", "20", "DATALOADER.TRAIN_X.BATCH_SIZE", "4"]
    more = ["--classes", str(tmp_path / "classes.pt"), "--head", *heads, "--set", *quick]
    assert main([*words, *more]) == 0
    first, rows = capsys.readouterr().out, rows_in(tmp_path)
    assert [row["head"] for row in rows] == ["zero-shot", *heads]
    assert [row["kind"] for row in rows] == ["", "", *[ON_KEYS] * 5]
    assert {(row["split"], row["images"]) for row in rows} == {("test", "30")}
    assert min(float(row["accuracy_pct"]) for row in rows) > 90
    above, below = first.split(f"\n{ON_KEYS}:\n")
    assert "TipAdapter " in above
    assert "TipAdapterF" not in above
    assert "TaskRes" in below
    assert (tmp_path / "out" / "heads.png").stat().st_size > 1000
    assert main([*words, *more]) == 0
    assert capsys.readouterr().out == first, "the seed decides all draws"


def test_a_table_of_heads_replaces_only_the_same_table(words, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    zero = [*words, "--classes", str(tmp_path / "classes.pt")]
    for name, why in (
        ("heads.png", "heads.png already exists, and the folder contains no"),
        ("heads.csv", "heads.csv exists, but does not have the columns of this table"),
    ):
        (out / name).write_text("mine")
        assert main(zero) == 2
        err = capsys.readouterr().err
        assert str(out / name) in err
        assert why in err
        assert (out / name).read_text() == "mine"
        (out / name).unlink()
    assert main(zero) == main(zero) == 0
    before = (out / "heads.csv").read_bytes()
    assert main([*zero, "--split", "val"]) == 2
    other = f"--out: {out / 'heads.csv'} contains results of another comparison (with other heads, shots, CLIP weights or images)"
    assert other in capsys.readouterr().err
    assert (out / "heads.csv").read_bytes() == before


@pytest.mark.slow
def test_a_head_without_class_features(words, tmp_path):
    probe = ["TRAINER.ADAPTER.INIT", "RANDOM", "TRAINER.ADAPTER.CONSTRAINT", "none", "OPTIM.MAX_EPOCH", "20"]
    assert main([*words, "--split", "val", "--head", "ADAPTER", "--set", *probe]) == 0
    (row,) = rows_in(tmp_path)
    assert (row["head"], row["split"]) == ("ADAPTER", "validation")
    assert float(row["accuracy_pct"]) > 60


def test_backbone_of_features_takes_a_path(words, tmp_path, capsys):
    (tmp_path / "clip.pt").write_bytes(b"")
    clip, words = str(tmp_path / "clip.pt"), [*words, "--classes", str(tmp_path / "classes.pt")]
    assert main([*words, "--backbone", clip]) == 0
    assert rows_in(tmp_path)[0]["clip"] == clip
    assert main([*words, "--backbone", clip, "ViT-B/32"]) == 2
    assert "Both need the same CLIP model" in capsys.readouterr().err
    assert main([*words, "--backbone", str(tmp_path / "nosuch.pt")]) == 2
    assert "nosuch.pt does not exist" in capsys.readouterr().err


def test_words_that_are_not_read(words, tmp_path, capsys):
    rows = [
        (["--head", "TipAdaptr"], "Did you mean 'TipAdapter'?"),
        (
            ["--head", "TipAdapter", "--set", "TRAINER.MPL.N_CTX", "2"],
            "TRAINER.MPL.N_CTX has no effect because none of the heads reads it (TipAdapter)",
        ),
        (
            ["--head", "TipAdapter", "LPPlusPlus", "--set", "OPTIM.LR", "1"],
            "OPTIM.LR has no effect because none of the heads reads it",
        ),
        (["--head", "TaskRes", "--set", "OPTIM.LR", "fast"], "OPTIM.LR: the value must be a number, got 'fast'"),
        (["--head", "TaskRes", "--set", "TRAINER.TaskRes.RESIDUAL_SCALE", "-1"], "TRAINER.TaskRes.RESIDUAL_SCALE must"),
        (["--set", "OPTIM.LR", "1"], "because no head is selected. Select a head with --head"),
        (["--head", "TipAdapter", "--trained-keys"], "Only the head TipAdapterF can load trained cache keys"),
        (["--backbone", "a", "b", "c"], "--backbone accepts at most two names"),
    ]
    for more, said in rows:
        assert main([*words, "--classes", str(tmp_path / "classes.pt"), *more]) == 2, more
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
