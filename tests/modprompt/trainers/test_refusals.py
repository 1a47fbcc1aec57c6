"""What does not go with what stands beside a method, with a search or with a head: one line, before anything is trained."""

import pytest

from tests.conftest import ROOT
from tests.methods import METHODS, TEACHER, teacher_folder
from tests.test_train import refusal

PHRASES = str(ROOT / "tests/eurosat_phrases.json")
ADAPTERS = ("TRAINER.MMADAPTER.ON", "True", "TRAINER.MMADAPTER.ADAPTER_END", "4")
SEARCH = ("TRAINER.DPLSEARCH.PREC", "fp32", "TRAINER.DPLSEARCH.N_CTX_TEXT", 2, "TRAINER.DPLSEARCH.N_CTX_VISION", 3)
OF_MPL = ("SEARCH.ON", True, "SEARCH.ADD", 2, "SEARCH.REMOVE", 1)
CASES: dict[tuple, list] = {  # by words in front: a trainer or a row of tests/methods.py, words, and the line
    ("TRAINER.DEPT.ON", "True"): [
        (
            "VPT",
            (),
            "TRAINER.DEPT.ON does not work for VPT. DePT can be added to the prompts of CoOp, CoCoOp, KgCoOp, MaPLe, ",
        ),
        ("TaskRes", (), "TRAINER.DEPT.ON does not work for TaskRes. DePT can be added to the prompts of"),
        ("CoOp", ("TRAINER.DEPT.WEIGHT", 1.2), "TRAINER.DEPT.WEIGHT must be at most 1, got 1.2"),
        ("CoOp", ("TRAINER.DEPT.WEIGHT", -0.1), "TRAINER.DEPT.WEIGHT must be a number from 0 up, got -0.1"),
        ("CoOp", ("TRAINER.DEPT.TYPE", "cosine"), "TRAINER.DEPT.TYPE must be one of linear, similarity, got 'cosine'"),
        (
            "CoOp",
            ("TRAINER.CLIPLORA.ON", "True"),
            "TRAINER.DEPT.ON does not work, because CLIPLoRA is already added to the prompts",
        ),
        (
            "CoOp",
            ("TRAINER.COOP.AEPATH", PHRASES),
            "TRAINER.DEPT.ON does not work with phrases (ASPATH, AEPATH), because the DePT head needs a single",
        ),
        ("MPL", ("SEARCH.ON", "True"), "SEARCH.ON does not work for MPL with DePT"),
        ("ExtrasLinearProbeCoOp", ("OPTIM.STAGED_LR", "False"), "OPTIM.STAGED_LR must be True for ExtrasLinearProbe"),
        (
            "ExtrasLinearProbeCoOp",
            ("TRAINER.DEPT.ON", "False"),
            "TRAINER.DEPT.ON cannot be False because ExtrasLinearProbeCoOp always includes DEPT. To train the prompts alone, use",
        ),
    ],
    ("TRAINER.KDPL.ON", "True", "TRAINER.KDPL.TEACHER", TEACHER): [
        (
            "KgCoOp",
            (),
            "TRAINER.KDPL.ON does not work for KgCoOp. KDPL can be added to the prompts of CoOp, CoCoOp, VPT, ",
        ),
        ("PromptKD", (), "TRAINER.KDPL.ON does not work for PromptKD. KDPL can be added to"),
        ("TipAdapter", (), "TRAINER.KDPL.ON does not work for TipAdapter. KDPL can be added to"),
        ("CoOp", ("TRAINER.KDPL.TEACHER", "nowhere.pt"), "TRAINER.KDPL.TEACHER: "),
        ("CoOp", ("TRAINER.KDPL.TEACHER_CKPT", "nowhere.tar"), "TRAINER.KDPL.TEACHER_CKPT: "),
        (
            "CoOp",
            ("TRAINER.KDPL.CLASS_AGNOSTIC", "True"),
            "TRAINER.KDPL.CLASS_AGNOSTIC must be False, because modprompt uses the class names",
        ),
        (
            "CoOp",
            ("TRAINER.DEPT.ON", "True"),
            "TRAINER.DEPT.ON does not work, because KDPL is already added to the prompts",
        ),
        ("CoOp", ("INPUT.TRANSFORMS", "['random_flip']"), "INPUT.TRANSFORMS must include 'normalize'"),
        (
            "CoOp",
            ("INPUT.PIXEL_MEAN", "[0.5, 0.5, 0.5]"),
            "because the teacher's images are computed from the student's images. Remove INPUT.PIXEL_MEAN",
        ),
        (
            "CoOp",
            ("ACTIVE.METHOD", "entropy", "ACTIVE.ROUNDS", "2"),
            "KDPL uses no labels, so active-learning rounds are not supported",
        ),
        ("CoOp", ("TRAINER.COOP.PROGRAD_LAMBDA", "1.0"), "KDPL does not support ProGrad (PROGRAD_LAMBDA)"),
        ("CoOp", ("TRAINER.COOP.AEPATH", PHRASES), "does not work with phrases"),
        ("MPL", ("SEARCH.ON", "True"), "SEARCH.ON does not work for MPL with KDPL"),
    ],
    ADAPTERS: [
        (
            "KgCoOp",
            (),
            "TRAINER.MMADAPTER.ON does not work for KgCoOp. MultiModalAdapter can be added to the prompts of CoOp and MPL",
        ),
        (
            "TaskRes",
            (),
            "TRAINER.MMADAPTER.ON does not work for TaskRes. MultiModalAdapter can be added to the prompts of CoOp and MPL",
        ),
        (
            "MultiModalAdapter",
            (),
            "TRAINER.MMADAPTER.ON does not work for MultiModalAdapter itself. MultiModalAdapter can be added to the prompts of CoOp",
        ),
        ("CoOp", ("TRAINER.MMADAPTER.ADAPTER_END", 9), "TRAINER.MMADAPTER.ADAPTER_END must be at most 4"),
        (
            "MPL",
            ("TRAINER.MMADAPTER.ADAPTER_START", 0),
            "TRAINER.MMADAPTER.ADAPTER_START 0 adapts the input words, which are",
        ),
        ("MPL", ("SEARCH.ON", "True"), "SEARCH.ON does not work for MPL with MultiModalAdapter"),
    ],
    SEARCH: [
        ("DPLSearch", ("TEST.FINAL_MODEL", "best_val"), "TEST.FINAL_MODEL best_val is not supported for a search"),
        ("DPLSearch", ("TEST.SPLIT", "val"), "TEST.SPLIT val is not supported for a search"),
        ("DPLSearch", ("TRAINER.DPLSEARCH.ALPHA_DATA", "second"), "TRAINER.DPLSEARCH.ALPHA_DATA"),
        (
            "DPLSearch",
            ("TRAINER.DPLSEARCH.N_CTX_TEXT", 0, "TRAINER.DPLSEARCH.N_CTX_VISION", 0),
            "N_CTX_VISION must be at least 1",
        ),
        (
            "DPLSearch",
            ("TRAINER.DPLSEARCH.N_CTX_TEXT", 100),
            "TRAINER.DPLSEARCH.N_CTX_TEXT must be at most 64, got 100",
        ),
        ("DPLSearch", ("SEARCH.ON", True), "SEARCH.ON does not work for DPLSearch, which is a search itself"),
    ],
    OF_MPL: [
        ("ZeroshotCLIP", (), "SEARCH.ON does not work for ZeroshotCLIP, which learns no prompts"),
        ("TaskRes", (), "SEARCH.ON does not work for TaskRes: a head has no schedule"),
        ("mpl", ("SEARCH.ADD", 1000), "SEARCH.ADD must be at most 64, got 1000"),
        ("ivlp", ("SEARCH.MOST_TOKENS", 1), "MOST_TOKENS 1: No schedule has at most 1 prompt tokens"),
    ],
    (): [
        ("DPL", (), "TRAINER.DPL.LENGTHS_TEXT is missing. Find the lengths with DPLSearch"),
        ("clip_lora", ("OPTIM.MAX_EPOCH", 3), "OPTIM.MAX_EPOCH is not supported by CLIPLoRA"),
        ("clip_lora", ("OPTIM.STEPSIZE", "(3,)"), "OPTIM.STEPSIZE is not supported by CLIPLoRA"),
        (
            "clip_lora",
            ("OPTIM.WARMUP_EPOCH", 1),
            "OPTIM.WARMUP_EPOCH is not supported by CLIPLoRA, whose training is defined by a number of steps",
        ),
        (
            "clip_lora",
            ("TRAINER.CLIPLORA.POSITION", "3 9"),
            "names layer 9, but the encoder has 4 layers, numbered from 0",
        ),
        ("TipAdapter", ("TRAINER.TIPADAPTER.SEARCH_SCALE", "[7]"), "SEARCH_SCALE must be two numbers above 0.1"),
        (
            "TipAdapter",
            ("TRAINER.TIPADAPTER.SEARCH_STEP", "[3, 0.5]"),
            "SEARCH_STEP must be two whole numbers from 1 up",
        ),
        ("CLIP_Adapter", ("TRAINER.CLIP_ADAPTER.RATIO", "1.5"), "TRAINER.CLIP_ADAPTER.RATIO must be at most 1"),
        (
            "TaskRes",
            ("TRAINER.TaskRes.ENHANCED_BASE", "/nowhere.pt"),
            "ENHANCED_BASE /nowhere.pt is not an enhanced base",
        ),
    ],
}
ROWS = [(trainer, (*first, *more), line) for first, rows in CASES.items() for trainer, more, line in rows]


@pytest.mark.filterwarnings("ignore:The weights of .* do not state", "ignore:OPTIM")
@pytest.mark.parametrize(("trainer", "words", "line"), ROWS)
def test_what_does_not_go_is_one_line(trainer, words, line, command, capsys):
    given = [teacher_folder() if word == TEACHER else word for word in words]
    assert line in refusal(capsys, *command(METHODS.get(trainer, trainer)), *map(str, given))
