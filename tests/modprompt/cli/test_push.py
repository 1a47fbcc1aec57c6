import huggingface_hub.constants
import pytest

import modprompt
from modprompt.experiments.plan import protocols, spec
from modprompt.methods.records import describe, method_record, view_of, write
from tests.modprompt.experiments.fakes import finish
from tests.modprompt.use.made import model_of, write_run
from tests.modprompt.use.small_hub import hub  # noqa: F401 - a fixture

FILE = """
protocol: base2new
datasets: [digits]
seeds: [1, 2]
methods:
  CLIP: {trainer: ZeroshotCLIP, config: vit_b16, seeds: [1]}
  MPL: {trainer: MPL, config: vit_b4_c1_add2_rm1}
"""


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run", model_of("MPL"))


@pytest.fixture
def experiment(tmp_path):
    """An experiment of which all is finished but the trainings of one seed; words that name it."""
    path = tmp_path / "small.yaml"
    path.write_text(FILE)
    model = model_of("MPL")
    for job in protocols.jobs(spec.read(path)):
        if job.seed == 1:
            finish(job, tmp_path / "out", 80.0)
        if job.kind == "training":
            said = describe(method_record(model.method), model.classes, model.clip_facts, model.prompt_learner)
            where = tmp_path / "out" / job.folder / model.method.saved_as.folder / "model.pth.tar-1"
            write(where, view_of(model.method, model.prompt_learner).state_dict(), said, 1)
    return [str(path), "--out", str(tmp_path / "out")]


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


@pytest.mark.slow
def test_an_experiment_goes_up_without_what_is_not_finished(hub, experiment, tmp_path, said):  # noqa: F811
    name, *flags = experiment
    _, err = said(0, "push", name, "owner/small", *flags)
    assert err == [f"warning: {name}: 1 training is not finished, so these runs are not uploaded."]
    card = hub.files[hub.commits[0]]["README.md"].decode()
    assert "Missing results, and results that cannot be averaged:" in card
    out, _ = said(0, "pull", "owner/small", "--to", tmp_path / "theirs")
    assert len(out) == 2
    assert out[1].startswith(f"modprompt predict {tmp_path / 'theirs'}/")
    assert modprompt.load(out[1].split()[2], device="cpu").classes.names == ("one", "two", "three")


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
        (["push", "{tmp}/nosuch", "a/b"], "{tmp}/nosuch is not an existing run, file or experiment."),
        (["push", "{run}", "prompts"], "'hf-hub:prompts' is not the name of a repository on the Hugging Face hub."),
        (
            ["push", "{tmp}/zero", "a/b"],
            "The method of the run {tmp}/zero does not train anything, so there are no weights to upload.",
        ),
        (["push", "{tmp}/nosuch.yaml", "a/b"], "Unknown experiment {tmp}/nosuch.yaml"),
        (
            ["push", "digits", "a/b", "--out", "{tmp}"],
            "digits: {tmp} contains no finished training run of the experiment.",
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
