import pytest
import yaml

import modprompt
from modprompt.io import checkpoint, result
from modprompt.io.checkpoint import checkpoint_at
from modprompt.use.card import card_of_run, header
from tests.modprompt.use.made import NAMES, model_of, write_run


@pytest.fixture
def run(tmp_path):
    """Content and result of a run."""
    folder = write_run(tmp_path / "run", model_of(modprompt.MPL, n_ctx=2), accuracy=76.25)
    return checkpoint.read(checkpoint_at(folder)), result.read(folder).result


def parts(content, *more):
    """What a hub reads of a card, and the rest."""
    _, head, body = card_of_run(content, "owner/prompts", *more).split("---\n", 2)
    return yaml.safe_load(head), body


def test_data_method_numbers_and_how_to_load(run):
    head, body = parts(*run, "mit")
    body = body.replace("\\", "")
    assert (head["library_name"], head["license"], "mpl" in head["tags"]) == ("modprompt", "mit", True)
    (measured,) = head["model-index"][0]["results"]
    assert (measured["dataset"]["name"], measured["metrics"][0]["value"]) == ("Digits", 76.25)
    assert body.startswith("# MPL on Digits\n")
    for line in ("| accuracy | 76.25% |", "| seed | 1 |", "| shots | 16 |", f"| 3 classes | {', '.join(NAMES)} |"):
        assert line in body
    for text in ("N_CTX 2", "modprompt pull owner/prompts", "modprompt predict prompts photo.jpg\n", "glyph-clip"):
        assert text in body
    head, body = parts(run[0])
    assert not {"model-index", "license"} & set(head)
    assert "There are none on record." in body


def test_names_are_text_whatever_they_look_like_and_many_are_counted(run):
    content, found = run
    names = ["<script>alert(1)</script>", "a|b", "---", "[x](http://y)", *(f"class {n}" for n in range(4, 60))]
    content.record["classes"]["names"] = names
    found["dataset"] = "a: b\n---\n# evil"
    head, body = parts(content, found)
    assert head["model-index"][0]["results"][0]["dataset"]["name"] == "a: b --- # evil"
    assert "<script>" not in body.replace("\\<script", "")
    assert "a\\|b" in body
    assert "\n# evil" not in body
    assert "class 49 and 10 more |" in body


def test_clips_of_files_and_hubs(run):
    content, _ = run
    content.clip["file"] = "mine.pt"
    text = card_of_run(content, "owner/prompts")
    assert "The CLIP is the file mine.pt, which is not here" in text
    assert 'open_trained("prompts", clip="CLIP")' in text
    assert "base_model: laion/CLIP\n" in header("MPL", {"name": "hf-hub:laion/CLIP@main"})


def test_a_head_says_how_it_was_chosen_and_no_path_of_the_machine(run):
    content, found = run
    config = {"PROMPTS_FROM": "/home/me/run", "LR": 0.1}
    content.record["method"].update(name="TipAdapterF", config=config, behind={"name": "MPL"})
    head, body = parts(content, {**found, "selected_on_test": "selected on test", "shots": -1, "notes": ["x", "y"]})
    assert "A head on the features of a frozen CLIP" in body
    for line in ("on the prompts of | MPL", "beyond the usual rule | selected on test", "shots | all images"):
        assert f"| {line} |" in body
    assert "| notes | x; y |" in body
    assert "/home/me" not in body
    assert "model-index" not in head
