"""The program for a GPU, in tiny sizes on a CPU."""

import pytest
import torch

from benchmarks import card

CPU = card.Place(torch.device("cpu"), "", dry_run=True)


def test_without_a_gpu_it_says_so(capsys):
    assert card.main([]) == 2
    assert (
        capsys.readouterr().err
        == "error: PyTorch finds no GPU on this machine. Use --dry-run to run all cases on a CPU.\n"
    )


@pytest.mark.slow
def test_other_losses_do_not_hold(monkeypatch):
    real = card.build

    def build(name, *more):
        step = real(name, *more)
        return (lambda *batch: step(*batch) + 0.1) if name == card.PLAIN else step

    assert [row.holds for row in card.losses("MPL", "fp16", CPU)] == [True, True]  # ours once more, plain
    monkeypatch.setattr(card, "build", build)
    assert [row.holds for row in card.losses("MPL", "fp16", CPU)] == [True, False]


@pytest.mark.slow
def test_dry_run_has_a_row_for_every_figure(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(card, "RESULTS", tmp_path)
    monkeypatch.setattr(card, "METHODS", {"CoCoOp": card.METHODS["CoCoOp"], "PromptSRC": {}})
    assert card.main(["--dry-run"]) == 0
    head, *rows = (tmp_path / "card-dry-run.md").read_text().splitlines()
    assert head.startswith("NO GPU (dry run)")
    figures = [row.split("|")[1].partition(",")[0].strip() for row in rows[3:]]
    assert figures == ["losses of 3 steps"] * (2 + 2 + 2 + 1) + ["ms of a step"]
    assert "NOT MET" not in capsys.readouterr().out
