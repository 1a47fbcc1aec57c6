"""An output folder that goes while a run is at work: one line, an exit code, and nothing that looks like a result."""

import shutil

import pytest

from modprompt.cli import train
from modprompt.trainers.prompt_trainer import PromptTrainer


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def going(out, function, anew):
    """A function behind whose first call the output folder is gone, or a new one stands there."""
    calls = []

    def called(*args, **kwargs):
        found = function(*args, **kwargs)
        if not calls:
            shutil.rmtree(out)
            if anew:
                out.mkdir()
        calls.append(args)
        return found

    return called


def left(out):
    return [path.name for path in out.rglob("*") if path.is_file()] if out.exists() else []


@pytest.mark.parametrize("anew", [False, True])
@pytest.mark.parametrize("where", ["forward_backward", "test"])
def test_training_whose_folder_went_says_so(mpl_flags, mpl_options, out, monkeypatch, capsys, where, anew):
    monkeypatch.setattr(PromptTrainer, where, going(out, getattr(PromptTrainer, where), anew))
    assert train.main([*mpl_flags, *mpl_options]) == 2
    err = capsys.readouterr().err.splitlines()
    gone = f"The output folder {out} was deleted or replaced while the run was active"
    assert err[-1] == f"error: {gone}. Start the run again."
    assert left(out) == []


@pytest.mark.slow
def test_rounds_whose_folder_went_say_so(mpl_flags, mpl_options, out, monkeypatch, capsys):
    monkeypatch.setattr(PromptTrainer, "forward_backward", going(out, PromptTrainer.forward_backward, False))
    words = [*mpl_flags, *mpl_options[:-4], "ACTIVE.ROUNDS", "2", "ACTIVE.METHOD", "random"]
    assert train.main(words) == 2
    assert "was deleted" in capsys.readouterr().err
    assert left(out) == []
