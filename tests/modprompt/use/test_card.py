import pytest
import yaml

import modprompt
from modprompt.io import checkpoint, result
from modprompt.io.checkpoint import checkpoint_at
from modprompt.use.card import card_of_run, header
from tests.modprompt.use.made import NAMES, model_of, write_run


def parts(text):
    """What a hub reads of a card, and the rest."""
    _, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), body


def of(folder):
    return checkpoint.read(checkpoint_at(folder)), result.read(folder).result


def test_data_method_numbers_and_how_to_load(tmp_path):
    content, found = of(write_run(tmp_path / "run", model_of(modprompt.MPL, n_ctx=2), accuracy=76.25))
    head, body = parts(card_of_run(content, "owner/prompts", found, "mit"))
    assert head["library_name"] == "modprompt"
    assert head["license"] == "mit"
    assert "mpl" in head["tags"]
    (measured,) = head["model-index"][0]["results"]
    assert (measured["dataset"]["name"], measured["metrics"][0]["value"]) == ("Digits", 76.25)
    assert body.startswith("# MPL on Digits\n")
    for line in ("| accuracy | 76.25% |", "| seed | 1 |", "| shots | 16 |", f"| 3 classes | {', '.join(NAMES)} |"):
        assert line in body
    assert "N\\_CTX 2" in body or "N_CTX 2" in body
    assert "modprompt pull owner/prompts" in body
    assert "modprompt predict prompts photo.jpg\n" in body
    assert "glyph-clip" in body


def test_without_a_result_there_are_no_numbers(tmp_path):
    content, _ = of(write_run(tmp_path / "run", model_of(modprompt.MPL)))
    head, body = parts(card_of_run(content, "owner/prompts"))
    assert "model-index" not in head
    assert "license" not in head
    assert "There are none on record." in body


def test_names_are_text_whatever_they_look_like(tmp_path):
    names = ["<script>alert(1)</script>", "a|b", "---", "[x](http://y)"]
    content, found = of(write_run(tmp_path / "run", model_of(modprompt.MPL)))
    content.record["classes"]["names"] = names
    found["dataset"] = "a: b\n---\n# evil"
    head, body = parts(card_of_run(content, "owner/prompts", found))
    assert head["model-index"][0]["results"][0]["dataset"]["name"] == "a: b --- # evil"
    assert "<script>" not in body.replace("\\<script", "")
    assert "a\\|b" in body
    assert "\n# evil" not in body


def test_many_classes_are_counted(tmp_path):
    content, _ = of(write_run(tmp_path / "run", model_of(modprompt.MPL)))
    content.record["classes"]["names"] = [f"class {n}" for n in range(60)]
    assert "class 49 and 10 more |" in card_of_run(content, "owner/prompts")


def test_clips_of_files_and_hubs(tmp_path):
    content, _ = of(write_run(tmp_path / "run", model_of(modprompt.MPL)))
    content.clip["file"] = "mine.pt"
    text = card_of_run(content, "owner/prompts")
    assert "The CLIP is the file mine.pt, which is not here" in text
    assert "photo.jpg --clip CLIP" in text
    assert 'open_trained("prompts", clip="CLIP")' in text
    head, _ = parts(header("MPL", {"name": "hf-hub:laion/CLIP@main"}))
    assert head["base_model"] == "laion/CLIP"


@pytest.mark.cover(2)
@pytest.mark.parametrize(("shots", "shown"), [(-1, "all images"), (0, "all images"), (-2, "all images"), (1, "1")])
def test_shots_that_were_none_are_all_images(shots, shown, tmp_path):
    content, found = of(write_run(tmp_path / "run", model_of(modprompt.MPL), accuracy=76.25))
    assert f"| shots | {shown} |" in card_of_run(content, "owner/prompts", {**found, "shots": shots})


@pytest.mark.parametrize("accuracy", [76.25, None])
def test_notes_of_a_training_stand_on_its_card(accuracy, tmp_path):
    content, found = of(write_run(tmp_path / "run", model_of(modprompt.MPL), accuracy=76.25))
    notes = ["class forest has 15 of 16 images", "all 2 epochs are warm-up at 1e-05"]
    told = {**found, "accuracy_pct": accuracy, "notes": notes}
    text = card_of_run(content, "owner/prompts", told)
    assert f"| notes | {'; '.join(notes)} |" in text.replace("\\", "")
    assert "| notes |" not in card_of_run(content, "owner/prompts", found)


def test_prompts_that_were_selected_on_test_say_so_though_no_mark_was_written(tmp_path):
    content, found = of(write_run(tmp_path / "run", model_of(modprompt.MPL), accuracy=76.25))
    head, body = parts(card_of_run(content, "owner/prompts", {**found, "selected_on": "test"}))
    assert "| beyond the usual rule | selected on test |" in body
    assert "model-index" not in head


def test_a_head_says_what_it_is_how_it_was_chosen_and_no_path_of_the_machine(tmp_path):
    content, found = of(write_run(tmp_path / "run", model_of(modprompt.MPL), accuracy=76.25))
    content.record["method"].update(
        name="TipAdapterF", config={"PROMPTS_FROM": "/home/me/run", "LR": 0.1}, behind={"name": "MPL"}
    )
    head, body = parts(card_of_run(content, "owner/head", {**found, "selected_on_test": "selected on test"}))
    assert "A head on the features of a frozen CLIP" in body
    assert "says nothing of others" in body
    assert "| on the prompts of | MPL |" in body
    assert "| beyond the usual rule | selected on test |" in body
    assert "/home/me" not in body
    assert "model-index" not in head
