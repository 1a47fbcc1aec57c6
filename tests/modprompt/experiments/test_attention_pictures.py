"""Attention on a report's page: the same images for every method, and a line for what has none."""

import numpy as np
import pytest
import torch

from modprompt.errors import UserError
from modprompt.experiments.plan import protocols
from modprompt.experiments.reporting import attention_pictures, report
from modprompt.methods.coop import CoOp
from modprompt.methods.mpl import MPL
from modprompt.use.trained import Trained
from tests.modprompt.experiments.left_behind import draw_images, leave
from tests.modprompt.experiments.test_table import TWO, by_hand
from tests.modprompt.methods.test_model import NAMES, on


def to_tensor(image):
    return torch.from_numpy(np.asarray(image.resize((32, 32))).copy()).permute(2, 0, 1) / 255.0


@pytest.fixture
def two(experiment, tmp_path, monkeypatch, clip_model):
    """The words of a report of two data sets; images of eurosat are there, and MaPLe has no checkpoint."""
    for job in protocols.jobs(experiment(TWO, "two")):
        leave(job, tmp_path / "out", by_hand(job))
    draw_images(tmp_path / "data", "eurosat")
    models = {"MPL": on(MPL, clip_model, NAMES).eval(), "ZeroshotCLIP": on(CoOp, clip_model, NAMES).eval()}

    def opened(folder):
        trainer = next((name for name in models if f"/{name}/" in str(folder)), "")
        if not trainer:
            raise UserError(f"{folder} has no checkpoint")
        return Trained(models[trainer], to_tensor, folder)

    monkeypatch.setattr(attention_pictures, "open_trained", opened)
    monkeypatch.setattr(report, "can_draw", lambda: False)
    return [str(tmp_path / "two.yaml"), "--out", str(tmp_path / "out"), "--data", str(tmp_path / "data")]


def test_each_method_is_shown_on_the_same_images(two, tmp_path, capsys):
    assert report.main([*two, "--attention", "2"]) == 0
    page = (tmp_path / "out/reports/two/index.html").read_text()
    shown = page.split("Attention over the patches")
    assert len(shown) == 2  # of eurosat alone
    text = shown[1].partition("</details>")[0]
    # two images, and on each of them CLIP's class token, and MPL's with its prompts
    assert text.count("data:image/jpeg") == 2 + 2 * (1 + 2)
    assert text.count("MPL: class token, layer 2 (from 0) (lake)") == 2 * 2  # also as the words in place of the picture
    assert "MPL: mean of its prompts, layer" in text
    assert "CLIP: mean of its prompts" not in text
    out = capsys.readouterr().out
    assert "- no attention of MaPLe on eurosat:" in out
    assert "- no attention on dtd: no test recorded a misclassified image below the data folder" in out


def test_without_the_flag_nothing_is_opened(two, tmp_path, monkeypatch):
    monkeypatch.setattr(attention_pictures, "open_trained", lambda folder: pytest.fail("opened"))
    assert report.main(two) == 0
    assert "Attention" not in (tmp_path / "out/reports/two/index.html").read_text()


def test_a_negative_number_is_one_line(two, capsys):
    assert report.main([*two, "--attention", "-1"]) == 2
    assert capsys.readouterr().err == "error: --attention must be 0 or more, got -1\n"
