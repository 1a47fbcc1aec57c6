"""train.py and predict on folders as open_clip pushes them, with sides and tokenizers that are not CLIP's."""

import json

import pytest

from modprompt.cli import main, train
from tests.conftest import slow_but
from tests.modprompt.clip.test_open_clips import BERT, BIOMED, SIGLIP, STOCK, write
from tests.modprompt.trainers.test_towers import result
from tests.test_runs import to
from tests.test_train import refusal

pytestmark = pytest.mark.filterwarnings("ignore")  # of the packages
FOLDERS = {"siglip": (SIGLIP, None, "siglip"), "biomed": (BIOMED, BERT, "bert"), "stock": (STOCK, None, "")}


@pytest.fixture
def on_folder(command, tmp_path):
    """Words of a run on a folder of that name; other options behind."""

    def words(trainer, name, *more):
        folder = tmp_path / name
        if not folder.exists():
            model, text, tokenizer = FOLDERS[name]
            write(folder, model, text=text, tokenizer=tokenizer)
        clip = {"PATH": folder, "ACTIVATION": "", "HEADS": "()"}
        options = [word for key, value in clip.items() for word in (f"MODEL.BACKBONE.{key}", value)]
        return command(trainer, *options, "OPTIM.MAX_EPOCH", 2, *more)

    return words


@pytest.mark.parametrize("name", slow_but(FOLDERS, "siglip"))
def test_zero_shot_and_a_head_are_run_and_used(on_folder, name, tmp_path, eurosat_root, capsys):
    photo = next(eurosat_root.rglob("*.jpg"))
    for trainer in ("ZeroshotCLIP", "CLIP_Adapter"):
        words = to(on_folder(trainer, name), tmp_path / trainer)
        assert train.main(words) == 0
        clip = json.loads((tmp_path / trainer / "result.json").read_text())["clip"]
        assert (clip.get("tokenizer", {}).get("length"), clip["file"]) == (
            {"siglip": 64, "biomed": 256, "stock": None}[name],
            name,
        )
        capsys.readouterr()
        predict = ["predict", str(tmp_path / trainer), str(photo), "--clip", str(tmp_path / name)]
        assert main.main(predict) == 0
        assert len(capsys.readouterr().out.splitlines()) == 1
        rule = 0 if (name, trainer) == ("siglip", "ZeroshotCLIP") else 2
        assert main.main([*predict, "--rule", "sigmoid"]) == rule


@pytest.mark.slow
def test_a_folder_whose_tokenizer_was_changed_is_another_run(on_folder, tmp_path, capsys):
    words = on_folder("CLIP_Adapter", "siglip")
    assert train.main(words) == 0
    before = result(tmp_path)["clip"]["tokenizer"]["sha256"]
    assert train.main(["--once", *words]) == 0
    file = tmp_path / "siglip" / "tokenizer.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content, indent=1))
    line = refusal(capsys, "--once", *words)
    assert "contains a different finished run (the tokenizer of CLIP cleaning=canonicalize end=1 length=64 " in line
    assert f"sha256={before} -> cleaning=" in line
    photo = next((tmp_path / "data").rglob("*.jpg"))
    assert main.main(["predict", str(tmp_path / "out"), str(photo), "--clip", str(tmp_path / "siglip")]) == 2
    assert "was created with different settings: the tokenizer of CLIP (here " in capsys.readouterr().err
