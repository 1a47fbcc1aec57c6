"""What an experiment asks for is tried before anything runs, a user's own trainer too."""

import sys

import pytest

from modprompt.errors import UserError
from modprompt.experiments.plan import protocols
from modprompt.experiments.plan.check import check
from modprompt.experiments.plan.commands import flags
from modprompt.experiments.reporting.notes import warnings
from modprompt.experiments.running import run
from tests.conftest import one_line
from tests.modprompt.data.trees import pictures
from tests.modprompt.experiments.conftest import FILE
from tests.modprompt.experiments.fakes import finish, runs_below
from tests.registered import forget

TRAINER = """
from dataclasses import dataclass
from modprompt.methods.vpt import VPT
from modprompt import register_own

@register_own
@dataclass(frozen=True, repr=False)
class OwnVPT(VPT):
    node = "TRAINER.OWNVPT"
"""
OWN = (
    FILE.replace("{trainer: MPL, config: glyph}", "{trainer: OwnVPT, config: own.yaml}") + "import: own_vpt_of_a_test\n"
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "own_vpt_of_a_test.py").write_text(TRAINER)
    own = "TRAINER: {OWNVPT: {PROMPT_DEPTH_VISION: 2}}\nMODEL: {BACKBONE: {NAME: glyph-clip}}\n"
    (tmp_path / "own.yaml").write_text(own)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    forget("OwnVPT", "own_vpt_of_a_test")


def test_own_modules_are_imported_by_the_check_and_by_every_run(folder, experiment):
    jobs = protocols.jobs(experiment(OWN))
    assert check(jobs, folder / "out", folder / "data") == []
    for job in jobs:
        words = flags(job, folder / "out", folder / "data")
        assert words[words.index("--import") + 1] == str(folder / "own_vpt_of_a_test")
    (folder / "own.yaml").write_text("TRAINER:\n  OWNVPT:\n    PROMPT_DEPTH_VISION: 0\n")
    with pytest.raises(UserError, match="TRAINER.OWNVPT.PROMPT_DEPTH_VISION must be at least 1, got 0"):
        check(protocols.jobs(experiment(OWN)), folder / "out", folder / "data")
    with pytest.raises(UserError, match="--import no_such_module: the module cannot be imported .No module named"):
        check(protocols.jobs(experiment(OWN.replace("own_vpt_of_a_test", "no_such_module"))), folder, folder)


def test_contexts_of_single_classes_that_words_overrule_are_told_by_check_and_report(experiment, tmp_path):
    csc = "  CSC: {trainer: CoOp, config: glyph, options: {TRAINER.COOP.CSC: true}}\n"
    own = csc.replace("CSC: {", "Own: {").replace("CSC: true", "CSC: true, TRAINER.COOP.CTX_INIT: ''")
    found = experiment(FILE + "  CoOp: {trainer: CoOp, config: glyph}\n" + csc + own)
    jobs = protocols.jobs(found)
    said = "TRAINER.COOP.CSC is not used, because CTX_INIT gives all classes the same initial context."
    assert check(jobs, tmp_path, tmp_path) == [f"CSC: {said}"]
    for job in jobs:
        finish(job, tmp_path, 50.0)
    told = "CSC: CSC has no effect because CTX_INIT is set, so the results are those of CoOp without CSC."
    assert warnings(runs_below(found, tmp_path)) == [told]


def test_a_method_that_the_named_clip_has_no_side_for_is_refused(experiment, tmp_path):
    text = FILE.replace("MPL, config: glyph", "MPL, config: glyph, options: {MODEL.BACKBONE.NAME: RN50}")
    with pytest.raises(UserError, match="method MPL: .*a vision transformer, but RN50 is a ResNet"):
        check(protocols.jobs(experiment(text)), tmp_path / "out", tmp_path / "data")


VALIDATION = """
protocol: validation
datasets: [{}]
shots: 2
seeds: [1]
methods:
  {}, config: glyph}}
"""
MPL, CLIP = "MPL: {trainer: MPL", "CLIP: {trainer: ZeroshotCLIP"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (FILE.replace("[digits]", "[imagenet_a]"), "method MPL: ImageNetA has only test images"),
        (
            VALIDATION.format("imagenet", MPL),
            "method MPL: ImageNet has no validation images that are separate from its test images. The protocol `val",
        ),
        (VALIDATION.format("imagenet_a", CLIP), "method CLIP: ImageNetA has only test images"),
        (
            VALIDATION.format("unlabelled", CLIP),
            "method CLIP: the data set Unlabelled has no validation images. The protocol",
        ),
    ],
)
def test_training_or_measuring_on_images_that_there_are_not_is_refused(folder, experiment, text, message):
    with pytest.raises(UserError, match=message):
        check(protocols.jobs(experiment(text)), folder / "out", folder / "data")


def test_experiment_on_a_folder_without_test_images_is_rejected(tmp_path, experiment):
    pictures(tmp_path / "train", {"one": 2, "two": 2})
    with one_line(
        "method CLIP: .* neither test/ nor val/ contains images, so the experiment cannot measure any accuracy."
    ):
        check(protocols.jobs(experiment(FILE.replace("[digits]", "[image_folder]"))), tmp_path / "out", tmp_path)


@pytest.mark.parametrize(("part", "lacks"), [("test", "val"), ("val", "test")])
def test_measuring_on_validation_images_that_a_folder_has_not_is_refused(tmp_path, experiment, part, lacks, capsys):
    root, out = tmp_path / "photos", tmp_path / "out"
    for folder in ("train/one", "train/two", f"{part}/one", f"{part}/two"):
        (root / folder).mkdir(parents=True)
        (root / folder / "a.png").write_bytes(b"not looked at")
    (root / lacks / "one").mkdir(parents=True)  # a folder without an image
    experiment(VALIDATION.format("image_folder", MPL))
    assert run.main([str(tmp_path / "small.yaml"), "--out", str(out), "--data", str(root)]) == 2
    why = f"{root} has a folder train/, but {lacks}/ contains no images. The protocol `validation` needs"
    assert f"error: method MPL: {why} validation images" in capsys.readouterr().err
    assert not list(out.glob("validation*"))  # nothing was started
