"""An epoch: what its lines say, and that on a card nothing waits between them."""

import re

import pytest
import torch
from dassl.engine import TrainerX

from modprompt.cli import train
from modprompt.methods.model import PromptedModel
from modprompt.trainers.prompt_trainer import PromptTrainer
from tests.conftest import slow_but
from tests.methods import METHODS
from tests.test_train import refusal
from tests.waiting import Reads, as_on_a_card

TIMES = re.compile(r"(time|data) \d+\.\d{3} \(\d+\.\d{3}\)|eta [\d:]+")
LINE = re.compile(
    r"epoch \[\d+/2\] batch \[\d/5\] time \d+\.\d{3} \(\d+\.\d{3}\) data \d+\.\d{3} \(\d+\.\d{3}\) "
    r"loss (\d+\.\d{4}) \((\d+\.\d{4})\) (acc \d+\.\d{4} \(\d+\.\d{4}\) )?lr \d\.\d{4}e-\d\d eta \d:\d\d:\d\d"
)


def lines_of(text):
    """The lines of steps."""
    return [line for line in text.splitlines() if line.startswith("epoch [")]


@pytest.fixture
def scalars(monkeypatch):
    """What is written for TensorBoard while training."""
    seen = []
    monkeypatch.setattr(
        PromptTrainer,
        "write_scalar",
        lambda self, name, value, step=None: seen.append((name, value, step)),
        raising=False,
    )
    return seen


def run(words, folder, capsys, scalars):
    """Lines without times, scalars, learned values, and the last result, of a run."""
    words[words.index("--output-dir") + 1] = str(folder)
    scalars.clear()
    assert train.main(words) == 0
    text = capsys.readouterr().out
    (checkpoint,) = folder.glob("*/model.pth.tar-2")
    lines = lines_of(text)
    assert all(LINE.fullmatch(line) for line in lines)
    return (
        [TIMES.sub("", line) for line in lines],
        [*scalars],
        torch.load(checkpoint, weights_only=True)["state_dict"],
        text[text.index("=> result") :].split("Elapsed")[0],
    )


@pytest.mark.parametrize("name", ["out", pytest.param("\udcff", marks=pytest.mark.slow)])
def test_files_for_tensorboard_begin_in_the_runs_folder_if_its_name_is_text(
    name, command, tmp_path, monkeypatch, capsys
):
    begun, words = [], command(METHODS["mpl"], "OPTIM.MAX_EPOCH", 1, "TEST.NO_TEST", True)
    monkeypatch.setattr(PromptTrainer, "init_writer", lambda self, folder: begun.append(folder), raising=False)
    words[words.index("--output-dir") + 1] = str(tmp_path / name)
    assert train.main(words) == 0
    assert begun == ([str(tmp_path / "out/tensorboard")] if name == "out" else [])
    assert ("note: no TensorBoard files are written" in capsys.readouterr().out) == (name != "out")


@pytest.mark.slow
@pytest.mark.parametrize(("row", "frequency"), [("mpl", 9), ("coop_end", 2)])  # without accuracy in its lines, with it
def test_numbers_read_together_are_those_of_each_step(row, frequency, command, tmp_path, monkeypatch, capsys, scalars):
    words = command(METHODS[row], "TRAIN.PRINT_FREQ", frequency)
    lines, written, values, result = run(words, tmp_path / "cpu", capsys, scalars)
    as_on_a_card(monkeypatch)
    their_lines, their_written, their_values, their_result = run(words, tmp_path / "card", capsys, scalars)
    assert their_lines == lines
    assert len(lines) == (4 if frequency == 2 else 10)  # with fewer batches than that, a line for each
    assert their_written == written
    assert [step for name, _, step in written if name == "train/loss"] == list(range(10))
    assert their_result == result
    assert all(torch.equal(their_values[name], value) for name, value in values.items())


def test_numbers_of_the_lines_are_those_of_dassls_own_loop(command, tmp_path, monkeypatch, capsys, scalars):
    words, seen = command(METHODS["coop_end"], "TRAIN.PRINT_FREQ", 2, "TEST.NO_TEST", True), []
    for loop in (PromptTrainer.run_epoch, TrainerX.run_epoch):
        monkeypatch.setattr(PromptTrainer, "run_epoch", loop)
        words[words.index("--output-dir") + 1] = str(tmp_path / str(len(seen)))
        assert train.main(words) == 0
        seen.append((re.findall(r"(?:loss|acc) \S+ \(\S+\)", capsys.readouterr().out), [*scalars]))
        scalars.clear()
    (ours, our_scalars), (theirs, their_scalars) = seen
    assert len(ours) == 8
    assert ours == theirs
    assert their_scalars in ([], our_scalars)  # the small Dassl writes none


@pytest.mark.parametrize("row", slow_but(["mpl", "promptsrc"], "mpl"))
def test_a_step_of_a_card_reads_nothing(row, command, monkeypatch):
    as_on_a_card(monkeypatch)
    counts, step = [], PromptTrainer.forward_backward

    def counted(trainer, batch):
        with Reads() as within:
            said = step(trainer, batch)
        counts.append(within.count)
        return said

    monkeypatch.setattr(PromptTrainer, "forward_backward", counted)
    assert train.main(command(METHODS[row], "TEST.NO_TEST", True)) == 0
    assert counts[1:] == [0] * 9  # the first one may make a teacher


def spoilt(monkeypatch, epoch, step):
    """The loss of one step is not a number; what follows is what comes of it."""
    plain = PromptTrainer.output

    def poisoned(self, image):
        found, place = plain(self, image), self.place
        return found._replace(logits=found.logits * (float("nan") if place == (epoch, step) else 1))

    monkeypatch.setattr(PromptTrainer, "output", poisoned)


@pytest.mark.parametrize("loop", ["own", "dassl"])
def test_the_first_loss_that_is_not_finite_is_named(loop, mpl_flags, mpl_options, tmp_path, monkeypatch, capsys):
    as_on_a_card(monkeypatch)
    spoilt(monkeypatch, epoch=1, step=2)
    if loop == "dassl":  # or that of a trainer of somebody's own
        monkeypatch.setattr(PromptTrainer, "run_epoch", TrainerX.run_epoch)
    tested = []
    monkeypatch.setattr(PromptTrainer, "test", lambda self, split=None: tested.append(split) or 50.0)
    options = ["TRAIN.PRINT_FREQ", "4", "TEST.FINAL_MODEL", "best_val"]
    line = refusal(capsys, *mpl_flags, *mpl_options, *options)
    assert "The loss is nan at epoch 2, step 3. The last checkpoint is unchanged. Lower OPTIM.LR" in line
    assert tested == ["val"]  # behind the first epoch
    state = torch.load(tmp_path / "out" / "training_state.pth.tar", weights_only=True)
    assert state["epoch"] == 1
    assert all(torch.isfinite(value).all() for value in state["models"]["MultiModalPromptLearner"].values())


def test_a_host_that_saves_between_lines_saves_no_spoilt_prompts(command, tmp_path, monkeypatch, capsys, scalars):
    plain = PromptTrainer.forward_backward

    def saving(trainer, batch):
        said = plain(trainer, batch)
        trainer.save_model(trainer.epoch, str(tmp_path / "host"), model_name=f"step-{trainer.batch_idx}")
        return said

    as_on_a_card(monkeypatch)
    spoilt(monkeypatch, epoch=1, step=1)
    monkeypatch.setattr(PromptTrainer, "forward_backward", saving)
    line = refusal(capsys, *command(METHODS["mpl"], "TRAIN.PRINT_FREQ", 5))
    assert "The loss is nan at epoch 2, step 2. The last checkpoint is unchanged. Lower OPTIM.LR" in line
    saved = sorted((tmp_path / "host").glob("*/step-*"))
    assert [path.name for path in saved] == [f"step-{number}" for number in range(5)]
    for path in saved:
        assert all(value.isfinite().all() for value in torch.load(path, weights_only=True)["state_dict"].values())
    assert len([name for name, *_ in scalars if name == "train/loss"]) == 5  # of the first epoch, with its line


@pytest.mark.parametrize("loop", ["own", "dassl"])
def test_a_test_of_logits_that_are_not_finite_has_no_result(loop, command, tmp_path, monkeypatch, capsys):
    as_on_a_card(monkeypatch)
    if loop == "dassl":  # or that of a trainer of somebody's own
        monkeypatch.setattr(PromptTrainer, "test", TrainerX.test)
    monkeypatch.setattr(PromptedModel, "forward", lambda self, images: self.output(images).logits * float("nan"))
    assert "the logits are not finite" in refusal(capsys, *command(METHODS["coop_end"]))
    assert not (tmp_path / "out" / "result.json").exists()


def test_a_trainer_may_say_other_things_or_nothing(command, tmp_path, monkeypatch, capsys, scalars):
    plain = PromptTrainer.forward_backward

    def other(trainer, batch):
        plain(trainer, batch)
        return {"gate": torch.tensor(0.5), "lr": 2} if trainer.epoch else None

    monkeypatch.setattr(PromptTrainer, "forward_backward", other)
    assert train.main(command(METHODS["coop_end"])) == 0
    lines = lines_of(capsys.readouterr().out)
    assert len(lines) == 10
    assert re.search(r"data [\d.]+ \([\d.]+\)  lr 1.0000e-05 eta", lines[0])
    assert " gate 0.5000 (0.5000) lr 2.0000 (2.0000) lr 3.5000e-03 eta" in lines[5]


def test_batches_come_without_a_wait(command, monkeypatch):
    """A copy of pinned memory that is asked not to block; both ways ask for it."""
    asked, plain = [], torch.Tensor.to

    def to(tensor, *args, **kwargs):
        asked.append((tensor.dim(), kwargs.get("non_blocking", False)))
        return plain(tensor, *args, **kwargs)

    batch = {"img": torch.zeros(2, 3, 4, 4), "label": torch.zeros(2)}
    trainer = PromptTrainer.__new__(PromptTrainer)
    trainer.device = torch.device("cpu")
    monkeypatch.setattr(torch.Tensor, "to", to)
    PromptTrainer.parse_batch_train(trainer, batch)
    PromptTrainer.parse_batch_test(trainer, batch)
    assert asked == [(4, True), (1, True)] * 2
