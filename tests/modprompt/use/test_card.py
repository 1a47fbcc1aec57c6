import pytest
import yaml

from modprompt.io import checkpoint, result
from modprompt.io.checkpoint import checkpoint_at
from modprompt.use.sharing import card_of_run, header
from tests.modprompt.use.made import NAMES, model_of, write_run


@pytest.fixture
def run(tmp_path):
    """Content and result of a run."""
    folder = write_run(tmp_path / "run", model_of("MPL"), accuracy=76.25)
    return checkpoint.read(checkpoint_at(folder)), result.read(folder).result


def parts(content, *more):
    """What a hub reads of a card, and the rest."""
    _, head, body = card_of_run(content, "owner/prompts", *more).split("---\n", 2)
    return yaml.safe_load(head), body.replace("\\", "")


def test_data_method_numbers_and_how_to_load(run):
    content, tested = run
    head, body = parts(content, tested, "mit")
    assert (head["library_name"], head["license"], "mpl" in head["tags"]) == ("modprompt", "mit", True)
    (measured,) = head["model-index"][0]["results"]
    assert (measured["dataset"]["name"], measured["metrics"][0]["value"]) == ("Digits", 76.25)
    assert body.startswith("# MPL on Digits\n")
    for line in ("| accuracy | 76.25% |", "| seed | 1 |", "| shots | 16 |", f"| 3 classes | {', '.join(NAMES)} |"):
        assert line in body
    for text in ("N_CTX 1", "modprompt pull owner/prompts", "modprompt predict prompts photo.jpg\n", "glyph-clip"):
        assert text in body
    head, body = parts(content)
    assert not {"model-index", "license"} & set(head)
    assert "No test results are recorded for this checkpoint." in body
    content.clip["file"] = "mine.pt"
    _, body = parts(content)
    assert "the CLIP weights in the file mine.pt, which this repository does not contain" in body
    assert 'from_pretrained("prompts", clip="CLIP", device="cpu")' in body
    content.record["method"]["module"] = "trainers.own"
    assert "photo.jpg --clip CLIP --import trainers.own\n" in parts(content)[1]
    content.record["method"]["module"] = "own\nrm"
    assert "--import" not in parts(content)[1]
    assert "base_model: laion/CLIP\n" in header("MPL", {"name": "hf-hub:laion/CLIP@main"})


def test_names_are_text_whatever_they_look_like_and_many_are_counted(run):
    content, tested = run
    names = ["<script>alert(1)</script>", "a|b", "---", "[x](http://y)", *(f"class {n}" for n in range(4, 60))]
    content.record["classes"]["names"] = names
    tested["dataset"] = "a: b\n---\n# evil"
    _, head, body = card_of_run(content, "owner/prompts", tested).split("---\n", 2)
    assert yaml.safe_load(head)["model-index"][0]["results"][0]["dataset"]["name"] == "a: b --- # evil"
    assert "<script>" not in body.replace("\\<script", "")
    assert "a\\|b" in body
    assert "\n# evil" not in body
    assert "class 49 and 10 more |" in body


def test_halves_that_were_tested_apart_are_told_and_of_few_classes_no_top_5(run):
    content, tested = run
    content.record["classes"]["names"] = [f"class {n}" for n in range(11)]
    tested["top5_pct"] = 99.5
    assert "| top-5 accuracy | 99.50% |" in parts(content, tested)[1]
    half = {"images": 10, "correct": 9, "accuracy_pct": 90.0}
    tested["halves_apart"] = {"base": half, "new": {**half, "accuracy_pct": 60.0}, "h_pct": 72.0}
    head, body = parts(content, tested)
    assert "| base and new classes | base 90.00%, new 60.00% (each half is classified " in body
    assert "among its own classes); harmonic mean 72.00% |" in body
    assert "top-5" not in body
    assert "model-index" not in head


def test_a_head_says_how_it_was_chosen_and_no_path_of_the_machine(run):
    content, tested = run
    config = {"PROMPTS_FROM": "/home/me/run", "LR": 0.1}
    content.record["method"].update(name="TipAdapterF", config=config, behind={"name": "MPL"})
    split = {"status": "published", "hash": "abc"}
    more = {"selected_on_test": "selected on test", "shots": -1, "notes": ["x", "y"], "split": split, "images": 9}
    head, body = parts(content, {**tested, **more})
    assert "a classifier head on the features of a frozen CLIP" in body
    for name, text in (
        ("prompts below the head", "MPL"),
        ("deviation from the usual protocol", "selected on test"),
        ("shots", "all images"),
        ("notes", "x; y"),
        ("split and its SHA-256 hash", "published abc"),
        ("measured on", "9 test images"),
    ):
        assert f"| {name} | {text} |" in body
    assert "/home/me" not in body
    assert "model-index" not in head
