"""MODEL.COMPILE in a run: what result.json says ran, and that the numbers are those of other runs."""

import json
from types import SimpleNamespace

import pytest
import torch
from dassl.engine import TRAINER_REGISTRY

from modprompt.cli import train
from modprompt.methods.coop import CoOp
from modprompt.methods.parts import graph
from modprompt.trainers import registration, training_state
from modprompt.trainers.prompt_trainer import PromptTrainer
from tests.methods import METHODS
from tests.tape import Tape
from tests.test_runs import to
from tests.waiting import as_on_a_card

FALLEN_BACK = "MODEL.COMPILE graph: the steps are run eagerly: "


def compiled(folder):
    return json.loads((folder / "result.json").read_text())["compile"]


def learned(folder, epoch=2):
    (path,) = folder.glob(f"*/model.pth.tar-{epoch}")
    return torch.load(path, weights_only=True)["state_dict"]


@pytest.fixture
def tapes(monkeypatch):
    """The way of a card on a CPU, with tapes in place of graphs: those that were made."""
    made = []
    as_on_a_card(monkeypatch)
    monkeypatch.setattr(graph, "Recorder", lambda: made.append(Tape()) or made[-1])
    return made


@pytest.mark.slow
@pytest.mark.parametrize("row", ["mpl", "vpt", "cocoop"])
def test_recorded_run_has_the_prompts_of_a_run_that_is_not(row, command, tapes, tmp_path, capsys):
    words = command(METHODS[row], "DATALOADER.TRAIN_X.BATCH_SIZE", 3, "TEST.FINAL_MODEL", "best_val")
    for how in ("", "graph"):
        assert train.main([*to(words, tmp_path / f"out{how}"), "MODEL.COMPILE", how]) == 0
    (tape,) = tapes
    assert (tape.recorded, tape.replayed) == (1, 2 * 6 - 3)  # but those that warm up
    assert compiled(tmp_path / "outgraph") == {"asked": "graph", "ran": "graph", "why": ""}
    assert compiled(tmp_path / "out") == {"asked": "", "ran": "eager", "why": ""}
    assert FALLEN_BACK not in capsys.readouterr().out
    plain = learned(tmp_path / "out")
    for name, value in learned(tmp_path / "outgraph").items():
        torch.testing.assert_close(value, plain[name], atol=1e-6, rtol=1e-5)


@pytest.mark.slow
def test_resumed_run_is_recorded_anew_and_ends_as_one_that_was_not_stopped(command, tapes, tmp_path, monkeypatch):
    words = [*command(METHODS["mpl"]), "MODEL.COMPILE", "graph", "OPTIM.MAX_EPOCH", "3"]
    assert train.main(to(words, tmp_path / "whole")) == 0
    step = PromptTrainer.forward_backward

    def stopped(trainer, batch):
        if (trainer.epoch, trainer.batch_idx) == (1, 4):
            raise KeyboardInterrupt
        return step(trainer, batch)

    monkeypatch.setattr(PromptTrainer, "forward_backward", stopped)
    assert train.main(to(words, tmp_path / "stopped")) != 0
    monkeypatch.setattr(PromptTrainer, "forward_backward", step)
    assert train.main(to(words, tmp_path / "stopped")) == 0
    assert [tape.replayed for tape in tapes] == [12, 6, 7]
    one, other = learned(tmp_path / "whole", 3), learned(tmp_path / "stopped", 3)
    assert all(torch.equal(value, one[name]) for name, value in other.items())


@pytest.mark.slow
def test_a_state_of_a_recorded_run_is_that_of_one_that_is_not(command, tapes, tmp_path, monkeypatch):
    """Plain numbers as rates: what goes on from it need not record."""
    states, write = [], training_state.write_sealed
    monkeypatch.setattr(
        training_state, "write_sealed", lambda path, state: states.append(state["optims"]) or write(path, state)
    )
    for how in ("", "graph"):
        words = command(METHODS["mpl"], "MODEL.COMPILE", how)
        assert train.main(to(words, tmp_path / f"out{how}")) == 0
    groups = [next(iter(optims.values()))["param_groups"] for optims in states]
    plain, recorded = groups[:2], groups[2:]
    assert recorded == plain
    assert all(type(group["lr"]) is float for groups in recorded for group in groups)


@pytest.mark.slow
def test_on_a_cpu_a_line_says_that_steps_are_run_eagerly_and_the_run_is_the_same(command, tmp_path, capsys):
    words = command(METHODS["mpl"])
    for how in ("", "graph"):
        assert train.main([*to(words, tmp_path / f"out{how}"), "MODEL.COMPILE", how]) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith(FALLEN_BACK)]
    assert said == [FALLEN_BACK + "this run has no CUDA device"]
    assert compiled(tmp_path / "outgraph") == {"asked": "graph", "ran": "eager", "why": "this run has no CUDA device"}
    plain = learned(tmp_path / "out")
    assert all(torch.equal(value, plain[name]) for name, value in learned(tmp_path / "outgraph").items())


@pytest.fixture
def derived():
    """Puts a trainer that is derived from MPL's, with attributes of its own, in its place."""
    ours = TRAINER_REGISTRY.get("MPL")
    yield lambda **own: TRAINER_REGISTRY.register(force=True)(type("MPL", (ours,), own))
    TRAINER_REGISTRY.register(force=True)(ours)


@pytest.mark.cover(1)
@pytest.mark.parametrize("states", [False, True])
def test_step_of_a_derived_trainer_is_recorded_where_it_states_for_itself_that_it_is_the_same(
    states, command, derived, tapes, tmp_path, capsys
):
    derived(**({"same_step": True} if states else {"loss": lambda now, *of: PromptTrainer.loss(now, *of) * now.epoch}))
    assert train.main(command(METHODS["mpl"], "MODEL.COMPILE", "graph")) == 0
    why = "" if states else "MPL does not state that its step is the same at every epoch (same_step)"
    assert compiled(tmp_path / "out") == {"asked": "graph", "ran": "graph" if states else "eager", "why": why}
    assert capsys.readouterr().out.count(FALLEN_BACK) == (not states)
    assert bool(tapes[0].replayed) == states


def test_a_trainer_states_what_its_method_states_for_itself(monkeypatch):
    class Changing(CoOp):
        node = "TRAINER.CHANGING"

    class Same(CoOp):
        node = "TRAINER.SAME"
        same_step = True

    registered = []
    registry = SimpleNamespace(register=lambda force: registered.append)
    monkeypatch.setattr(registration, "TRAINER_REGISTRY", registry)
    monkeypatch.setattr(registration, "register_method", lambda method: None)
    monkeypatch.setattr(registration, "register_trainer", lambda trainer: trainer)
    for method in (Changing, Same):
        made = registration.register_method_as_trainer(method, PromptTrainer)
        registration._enter("ModSame", made)  # where a codebase has one of that name
        assert [vars(one)["same_step"] for one in (made, registered[-1])] == [method is Same] * 2


def test_test_of_a_model_records_nothing_and_says_so(command, tapes, tmp_path):
    words = command(METHODS["mpl"], "MODEL.COMPILE", "graph", "OPTIM.MAX_EPOCH", 1)
    assert train.main(words) == 0
    words = to(words, tmp_path / "test")
    where = words.index("--dataset-config-file")
    words[where:where] = ["--eval-only", "--model-dir", str(tmp_path / "out")]
    assert train.main(words) == 0
    assert compiled(tmp_path / "test") == {"asked": "graph", "ran": "eager", "why": "nothing was trained"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("trainer", "ran", "why"),
    [
        pytest.param(METHODS["coop_end"], "default", "", marks=pytest.mark.slow),
        ("ZeroshotCLIP", "eager", "this trainer compiles nothing"),
    ],
    ids=["prompts", "nothing to learn"],
)
def test_compiled_encoders_are_named(trainer, ran, why, command, tmp_path, traced):
    assert train.main(command(trainer, "MODEL.COMPILE", "default", "OPTIM.MAX_EPOCH", 1)) == 0
    assert compiled(tmp_path / "out") == {"asked": "default", "ran": ran, "why": why}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["", "graph"])
def test_another_optimiser_of_a_second_stage_takes_the_steps(how, command, tapes, tmp_path, monkeypatch):
    prepare = PromptTrainer.before_epoch

    def with_a_second_stage(trainer):
        prepare(trainer)
        if trainer.epoch == 1:
            trainer.optim = torch.optim.SGD(trainer.model.prompt_learner.parameters(), lr=0.0)

    monkeypatch.setattr(PromptTrainer, "before_epoch", with_a_second_stage)
    words = [*command(METHODS["mpl"]), "MODEL.COMPILE", how, "TRAIN.CHECKPOINT_FREQ", "1"]
    assert train.main(to(words, tmp_path)) == 0
    first = learned(tmp_path, epoch=1)
    assert all(torch.equal(value, first[name]) for name, value in learned(tmp_path).items())
