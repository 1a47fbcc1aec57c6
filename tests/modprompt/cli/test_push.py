import huggingface_hub.constants
import pytest

from tests.modprompt.use.made import model_of, write_run
from tests.modprompt.use.small_hub import hub  # noqa: F401 - a fixture


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run", model_of("MPL"))


def test_a_run_goes_up_and_comes_down(hub, run, tmp_path, said):  # noqa: F811
    out, err = said(0, "push", run, "owner/prompts")
    assert err == []
    assert out[-1].startswith("Pushed 4 files (")
    assert out[-1].endswith(f" to owner/prompts@{hub.commits[0]}.")
    assert hub.files[hub.commits[0]]["README.md"].startswith(b"---\nlibrary_name: modprompt\n")
    out, err = said(0, "pull", "owner/prompts", "--to", tmp_path / "theirs")
    assert out == [
        f"Pulled owner/prompts@{hub.commits[0]} into {tmp_path / 'theirs'}. To classify an image, run:",
        f"modprompt predict {tmp_path / 'theirs'} IMAGE",
    ]


def test_a_dry_run_prints_the_card_and_asks_nobody(run, said, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    out, _ = said(0, "push", run, "owner/prompts", "--dry-run")
    assert out[0] == "---"
    folder = "MultiModalPromptLearner"
    names = [f"{folder}/checkpoint", f"{folder}/model.pth.tar-1", "README.md", "config.json"]
    assert [line.split()[-1] for line in out[-4:]] == names


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["push", "{tmp}/nosuch", "a/b"], "{tmp}/nosuch is not an existing run or file."),
        (["push", "{run}", "prompts"], "'hf-hub:prompts' is not the name of a repository on the Hugging Face hub."),
        (
            ["push", "{tmp}/zero", "a/b"],
            "The method of the run {tmp}/zero does not train anything, so there are no weights to upload.",
        ),
        (["push", "{run}", "a/b"], "a/b: the Hugging Face hub cannot be reached ("),
        (["pull", "a/b"], "hf-hub:a/b@main: the Hugging Face hub cannot be reached ("),
        (["pull", "a/b", "--to", "{run}"], "The folder {run} already exists. Choose another folder."),
    ],
    ids=" ".join,
)
def test_bad_input_is_one_line(words, message, run, tmp_path, refused, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    write_run(tmp_path / "zero", model_of("ZeroshotCLIP"))
    line = refused(*(word.format(run=run, tmp=tmp_path) for word in words))
    assert line.startswith(f"error: {message.format(run=run, tmp=tmp_path)}")
