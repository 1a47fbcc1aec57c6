"""A feature that nobody knows is a module and a row: all rooms walk over its record."""

import importlib

import pytest

from modprompt import feature
from modprompt.cli import train
from modprompt.io import content_hashes
from modprompt.io import result as results
from modprompt.io.checksum import sealed
from modprompt.io.text import write_json
from tests.methods import METHODS

MADE_UP = """
from dataclasses import dataclass

from modprompt.errors import UserError
from modprompt.feature import Content, Feature
from modprompt.fields import Configured, setting
from modprompt.io.result_schema import count, record


@dataclass(frozen=True, repr=False)
class Settings(Configured):
    node = "MADEUP"
    count: int = setting(0, "how many", least=0)


class MadeUp(Feature):
    name = "made_up"
    node = "MADEUP"
    decided = {"COUNTS": False}
    contents = (Content("what is counted", ".COUNTED_IN", lambda path: path.strip("/"), "{} counts others now"),)

    def settings(self):
        return Settings

    def decides(self, cfg, given, method, node):
        return {"COUNTS": cfg.MADEUP.COUNT > 0}

    def check(self, cfg):
        if cfg.MADEUP.COUNT == 13:
            raise UserError("MADEUP.COUNT 13: no")

    def part(self, trainer):
        from modprompt.trainers.part import FeaturePart

        class Counting(FeaturePart):
            steps = 0

            def step(self):
                self.steps += 1
                return {}

            def result(self, found):
                return {"made_up": {"count": self.cfg.MADEUP.COUNT, "steps": self.steps}}

        return Counting(trainer) if trainer.cfg.MADEUP.COUNTS else None

    def result_forms(self):
        return {"made_up": record(count=count, steps=count)}


FEATURE = MadeUp()
"""


@pytest.fixture
def made_up(tmp_path, monkeypatch):
    from dassl.config import cfg_default

    from modprompt.trainers.config_nodes import add_defaults

    (tmp_path / "made_up_feature.py").write_text(MADE_UP)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(feature, "FEATURES", [*feature.FEATURES, "made_up_feature"])
    add_defaults(cfg_default)
    yield importlib.import_module("made_up_feature").FEATURE
    del cfg_default["MADEUP"]


def test_a_run_has_what_a_feature_adds(made_up, command, tmp_path):
    assert train.main(command(METHODS["mpl"], "OPTIM.MAX_EPOCH", 1, "MADEUP.COUNT", 3)) == 0
    result = results.read(tmp_path / "out").result
    assert result["made_up"]["count"] == 3
    assert result["made_up"]["steps"] > 0
    assert result["settings"]["MADEUP.COUNT"] == "3"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["MADEUP.COUNT", 13], "MADEUP.COUNT 13: no"),
        (["MADEUP.COUNT", "many"], "MADEUP.COUNT: must be a whole number"),
        (["MADEUP.COUNTED", 1], "there is no config key 'MADEUP.COUNTED'; did you mean 'MADEUP.COUNT"),
    ],
)
def test_what_a_feature_does_not_take_is_one_line(made_up, command, capsys, words, said):
    assert train.main(command(METHODS["mpl"], *words)) == 2
    assert said in capsys.readouterr().err


def test_its_part_of_a_result_has_a_form(made_up, tmp_path, monkeypatch):
    write_json(
        tmp_path / "result.json", sealed({"accuracy_pct": 50.0, "settings": {}, "made_up": {"count": "three"}}, 2)
    )
    assert "made_up.count" in results.read(tmp_path).why
    monkeypatch.setattr(feature, "FEATURES", feature.FEATURES[:-1])
    assert results.read(tmp_path).result is not None


def test_what_a_setting_of_its_names_is_known_by_what_it_holds(made_up):
    result, settings = {"method": {"what is counted": "sheep"}}, {"TRAINER.MPL.COUNTED_IN": "/sheep"}
    assert content_hashes.differing(result, settings) == []
    assert content_hashes.without_places(settings, result) == {"TRAINER.MPL.COUNTED_IN": "given"}
    assert content_hashes.differing(result, {"TRAINER.MPL.COUNTED_IN": "/goats"}) == ["/goats counts others now"]


def test_of_no_name_there_is_a_record_that_says_nothing():
    assert feature.named("").lacks("anywhere") == ""
    assert feature.named("active").node == "ACTIVE"
