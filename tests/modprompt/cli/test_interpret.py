import csv

import pytest
import torch

from modprompt.cli import interpret
from modprompt.io.tables import as_csv
from modprompt.programs import report
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
        ("cocoop", {0: 3}, 0),
        ("maple", {0: 2, 1: 2, 2: 2}, 0),
        ("mpl", {0: 1, 1: 1, 2: 1}, 0),
        ("ivlp", {0: 2, 1: 2, 2: 2}, 6),
        ("promptsrc", {0: 2, 1: 2, 2: 2}, 6),
        ("vpt", {}, 8),
        ("dpl", {0: 2, 2: 3, 3: 1}, 3),
    ],
)
def test_every_trainer_and_layer(row, vectors, vision, run_folder, clip_file, tmp_path, capsys):
    path = run_folder(row)
    capsys.readouterr()
    argv = [str(path), "3", "--backbone-path", str(clip_file), *SAID_BY_FLAGS, "--csv", str(tmp_path / "words.csv")]
    assert report(interpret.run, argv) == 0
    out = capsys.readouterr().out
    assert (f"{vision} learned vision prompts are left out" in out) == bool(vision)
    rows = list(csv.DictReader((tmp_path / "words.csv").read_text().splitlines()))
    found = {}
    for one in rows:
        found[int(one["layer"])] = found.get(int(one["layer"]), 0) + 1
    assert found == {layer: 3 * n for layer, n in vectors.items()}
    for first, second in zip(rows[::3], rows[1::3]):
        assert float(first["distance"]) <= float(second["distance"])


def test_a_run_s_folder_is_its_last_checkpoint(run_folder, clip_file, tmp_path, capsys):
    said = []
    for path in (run_folder("mpl"), tmp_path / "out"):
        capsys.readouterr()
        assert report(interpret.run, [str(path), "1", "--backbone-path", str(clip_file), *SAID_BY_FLAGS]) == 0
        said.append(capsys.readouterr().out)
    assert "layer 0, token 1" in said[0]
    assert said[0] == said[1]


def test_context_from_words_is_nearest_to_its_words(run_folder, clip_file, capsys):
    path = run_folder("coop_front_words")  # one epoch at 1e-5 hardly moves it
    capsys.readouterr()
    assert report(interpret.run, [str(path), "1", "--backbone-path", str(clip_file), *SAID_BY_FLAGS]) == 0
    words = [line.split()[4] for line in capsys.readouterr().out.splitlines()]
    assert words == ["a", "photo", "of", "a"]


def test_clip_that_is_not_there_is_asked_for_by_this_programs_flags(run_folder, tmp_path, capsys):
    path = run_folder("coop_end")
    capsys.readouterr()
    assert report(interpret.run, [str(path), "--backbone-path", str(tmp_path / "gone.pt")]) == 2
    assert "--backbone-path" in capsys.readouterr().err


def test_no_file_is_opened_because_a_checkpoint_names_it(run_folder, clip_file, capsys, monkeypatch):
    path = run_folder("coop_end")  # it says which file it was made with
    content = torch.load(path, weights_only=True)
    clip = content["modprompt"]["clip"]
    assert clip["file"] == clip_file.name
    assert clip["name"] == ""
    monkeypatch.setattr("modprompt.cli.interpret.load", None)
    capsys.readouterr()
    assert report(interpret.run, [str(path)]) == 2
    assert f"made with a CLIP from a file ({clip_file.name}): give it with --backbone-path" in capsys.readouterr().err


def test_another_clip_is_refused(run_folder, tmp_path, capsys):
    path = run_folder("coop_end")
    torch.save(random_clip(7, text_layers=4, vision_layers=4).state_dict(), tmp_path / "other.pt")
    capsys.readouterr()
    assert report(interpret.run, [str(path), "--backbone-path", str(tmp_path / "other.pt"), *SAID_BY_FLAGS]) == 2
    assert "the checkpoint was made with another CLIP" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "is not a checkpoint of a prompt learner"),
        ({"state_dict": {"w": torch.ones(1)}}, "holds no learned prompts"),
    ],
)
def test_other_files_are_refused(content, message, tmp_path, capsys):
    torch.save(content, tmp_path / "file")
    assert report(interpret.run, [str(tmp_path / "file")]) == 2
    assert message in capsys.readouterr().err


def test_contexts_of_phrases_are_told_apart(tmp_path):
    import modprompt

    path = tmp_path / "phrases.json"
    path.write_text('{"owl": ["a face", "a wing"], "crow": ["black"]}')
    torch.save(random_clip().state_dict(), tmp_path / "clip.pt")
    clip_model, _ = modprompt.load_clip(tmp_path / "clip.pt", device="cpu", **SAID)
    modprompt.CoOp(n_ctx=1, csc=True, aspath=str(path)).on(clip_model, ["crow", "owl"]).save(tmp_path / "prompts.pt")
    asked = interpret.Asked(path=str(tmp_path / "clip.pt"), **SAID)
    rows = interpret.interpret(str(tmp_path / "prompts.pt"), 1, asked)
    assert [label for _, label, *_ in rows] == ["0 phrase 1", "1 phrase 1", "1 phrase 2"]
    assert interpret.table(rows).splitlines()[2].startswith("layer 0, class 1 phrase 2, token 1")


def test_words_are_no_formulas_in_the_csv_and_distances_stay_numbers():
    words = [interpret.Word("=", 0.5), interpret.Word("-1", 0.25), interpret.Word("@b", 1.0), interpret.Word("a", 2.0)]
    assert as_csv(interpret.csv_rows([(0, "+x", 1, words)])).splitlines() == [
        "0,'+x,1,1,'=,0.500000",
        "0,'+x,1,2,-1,0.250000",
        "0,'+x,1,3,'@b,1.000000",
        "0,'+x,1,4,a,2.000000",
    ]
