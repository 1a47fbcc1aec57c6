"""Every fault in an experiment file is one line with its file and place."""

import re

import pytest

from modprompt.errors import UserError
from modprompt.experiments.plan import file as experiment_file
from tests.modprompt.experiments.conftest import FILE
from tests.modprompt.experiments.test_behind import HEADS
from tests.modprompt.experiments.test_plan import PARTS
from tests.modprompt.experiments.test_rounds import ROUNDS
from tests.modprompt.experiments.test_stages import FIRST_STAGES

GRID = "glyph, options: {A.B: 3}, grid: {A.B: [1, 2]}}"
BUDGET = "few_shot: true\nbudget: 5"
HEAD = "True}}\n  Head: {trainer: TaskRes, config: glyph, prompts_from: MPL}"
SEARCH = "A.B: 1}, search: {trainer: MPL, config: glyph}"
SET = "glyph, options: {TRAINER.IVLP.SCHEDULE_TEXT: [[0, 2]]}, s"
VARIANTS = "MPL, config: glyph, grid: {OPTIM.LR: [1, 2]}}"
FAULTS = [
    (FILE, "base2new", "base2now", "protocol: unknown value 'base2now'. Did you mean 'base2new'"),
    (FILE, "[digits]", "[digit]", "datasets: unknown name 'digit'. Did you mean 'digits'"),
    (FILE, "datasets", "dataset", "unknown key 'dataset'. Did you mean 'datasets'"),
    (FILE, "glyph}", "glyf}", "CLIP: Unknown config file glyf"),
    (FILE, "trainer: MPL", "trainr: MPL", "methods: MPL: unknown key 'trainr'. Did you mean 'trainer'"),
    (FILE, "[1, 2]", "[1, -2]", "seeds: different whole numbers from 0 up"),
    (FILE, "glyph}", "glyph, grid: {OPTIM.LR: [1, 1.0]}}", "grid: OPTIM.LR: a value occurs twice"),
    (FILE, "glyph}", GRID, "A.B is an axis of the grid, but options set A.B to 3."),
    (FILE, "base2new", "cross_dataset\nsource: digits", "datasets: digits is the source, which is always tested."),
    (
        FILE,
        "base2new",
        "few_shot\njoint_test: true",
        "protocol few_shot does not support this key, which belongs to protocol base2new.",
    ),
    (FILE, "config: glyph", f"config: {'x' * 5000}", "File name too long"),
    (FILE, "methods:", "shots: [1, 2]\nmethods:", "shots: protocol base2new accepts a single number"),
    (
        FILE,
        "methods:",
        "ties: config\nmethods:",
        "ties: protocol base2new does not support this key, which belongs to protocol validation.",
    ),
    (FILE, "methods:", "options: {DATASET.NUM_SHOTS: 4}\nmethods:", "options: DATASET.NUM_SHOTS cannot be set here"),
    (FILE, "methods:", "options: {OPTIM: {LR: 4}}\nmethods:", "options: OPTIM: a dotted key with one value"),
    (FILE, "  MPL:", "  CLIP:", "the key 'CLIP' occurs twice, the second time in line 7"),
    (FILE, FILE, "methods: [", "is not valid YAML"),
    (FILE, FILE, "", "KEY: VALUE pairs are expected"),
    (FILE, FILE, '"a\\nb\\e[2J": 1\n', "unknown key"),
    (PARTS, PARTS[PARTS.index("parts:") :], "parts: {}\n", "the key parts is missing"),
    (
        PARTS,
        "  shift:",
        "  sh-ift:",
        "parts: sh-ift: the name of a part, which is also a folder name, must be a letter",
    ),
    (PARTS, "methods: [MaPLe]", "methods: [MaPL]", "parts: shots: methods: unknown name 'MaPL'. Did you mean 'MaPLe'"),
    (PARTS, "shots: [1, 4]", "shotz: [1, 4]", "parts: shots: unknown key 'shotz'. Did you mean 'shots'"),
    (PARTS, "protocol: few_shot, ", "", "parts: shots: the key protocol is missing"),
    (FIRST_STAGES, "{trainer: MPL, ", "{", "methods: Searched: search: the key trainer is missing"),
    (FIRST_STAGES, "options: {SEARCH", "option: {SEARCH", "search: unknown key 'option'. Did you mean 'options'?"),
    (FIRST_STAGES, "}}}", "}}, search_seed: [1, 2]}", "search_seed must be a single seed"),
    (
        FIRST_STAGES,
        "IVLP, config: glyph, s",
        "ZeroshotCLIP, config: glyph, s",
        "the schedule of ZeroshotCLIP cannot be set",
    ),
    (FIRST_STAGES, "glyph, s", SET, "is set, but the search determines"),
    (ROUNDS, "badge+pcb", "badg", "acquisitions: unknown acquisition function 'badg'. Did you mean 'badge'"),
    (ROUNDS, "badge+pcb", "random", "acquisitions: a name occurs twice"),
    (
        ROUNDS,
        "badge+pcb",
        "none",
        "acquisitions: none selects no images without PCB. Use none+pcb, which is PCB on all images.",
    ),
    (ROUNDS, "[random, badge+pcb]", "['../up']\nimport: json", "is not a valid name of an acquisition function"),
    (ROUNDS, "True}}", HEAD, "methods: Head: protocol active does not support heads on trained prompts"),
    (ROUNDS, "rounds: 2", "rounds: 0", "rounds: a whole number from 1 up to 4,294,967,295 is expected, got 0"),
    (ROUNDS, "rounds: 2", "gamma: -0.1", "gamma: must be a number from 0 up, got -0.1"),
    (ROUNDS, "rounds: 2", BUDGET, "few_shot: few-shot runs need budget 0"),
    (ROUNDS, "rounds: 2", "shots: 4", "shots: protocol active does not support this key. Use `rounds` and `budget`"),
    (
        ROUNDS,
        "OPTIM.LR: 0.1",
        "ACTIVE.METHOD: badge",
        "MPL: options: ACTIVE.METHOD cannot be set here. Use the keys rounds, budget, ",
    ),
    (ROUNDS, "ACTIVE.GIVE_UP: True}", SEARCH, "methods: MPL: protocol active does not support"),
    (
        ROUNDS,
        "protocol: active",
        "protocol: few_shot",
        "rounds: protocol few_shot does not support this key, which belongs to protocol act",
    ),
    (HEADS, "prompts_from: MPL", "prompts_from: MPLE", "'MPLE' is not a method above this method. Did you mean 'MPL'?"),
    (HEADS, "prompts_from: MPL", "prompts_from: CLAP", "CLAP is not a method that trains prompts in a single stage."),
    (HEADS, "ADAPTER, config: glyph, p", "CoOp, config: glyph, p", "CoOp is not a head, but only heads"),
    (HEADS, "MPL, config: glyph}", VARIANTS, "'MPL' has several variants"),
]


@pytest.mark.parametrize(("text", "old", "new", "message"), FAULTS, ids=[message[:40] for *_, message in FAULTS])
def test_fault_is_named_with_file_and_place(tmp_path, text, old, new, message):
    assert old in text
    path = tmp_path / "small.yaml"
    path.write_text(text.replace(old, new))
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        experiment_file.read_plan(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 3000
