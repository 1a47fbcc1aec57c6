"""Names of before: what is asked for by one works and is told, what was recorded under one is the same."""

import pytest

from modprompt.errors import UserError
from modprompt.io import renamed
from modprompt.io.settings import Settings, pairs, read_settings, settings_hash


def test_a_file_and_options_may_use_a_former_name_and_are_told_the_new_one(tmp_path):
    file = tmp_path / "tip.yaml"
    file.write_text("TRAINER: {TIPADAPTER: {BEHIND: output/mpl}}\n")
    with pytest.warns(UserWarning, match="TRAINER.TIPADAPTER.BEHIND is TRAINER.TIPADAPTER.PROMPTS_FROM now"):
        assert read_settings(str(file)) == {"TRAINER.TIPADAPTER.PROMPTS_FROM": "output/mpl"}
    with pytest.warns(UserWarning, match="TEST.HALVES is TEST.BASE_NEW now"):
        assert Settings.read(options=["TEST.HALVES", "True"]).texts() == {"TEST.BASE_NEW": "True"}


def test_both_names_at_once_are_refused_in_a_line(tmp_path):
    file = tmp_path / "both.yaml"
    file.write_text("TEST: {HALVES: True, BASE_NEW: False}\n")
    for read in (lambda: read_settings(str(file)), lambda: pairs(["TEST.BASE_NEW", "True", "TEST.HALVES", "True"])):
        with pytest.raises(UserError, match="TEST.HALVES is TEST.BASE_NEW now, and both are given") as caught:
            read()
        assert "\n" not in str(caught.value)


def test_a_setting_of_that_name_in_anothers_node_stays():
    assert pairs(["TRAINER.MINE.BEHIND", "x"]) == [("TRAINER.MINE.BEHIND", "x")]
    assert renamed.recorded_method({"node": "TRAINER.MINE", "settings": {"behind": 1}})["settings"] == {"behind": 1}


def test_one_hash_under_both_names():
    old = {"TEST.HALVES": "True", "SEED": "1", "TEST.FINAL_MODEL": "best_val"}
    assert settings_hash(old) == settings_hash(renamed.recorded(old)) == "17c5c0c33445"


def test_what_a_run_said_of_itself_is_read_by_todays_names():
    method = {"node": "TRAINER.TIPADAPTER", "settings": {"behind": "x", "n": 1}, "config": {"BEHIND": "x", "N": 1}}
    assert renamed.recorded_facts(
        {"marked": "selected on test", "sources": {"TEST.HALVES": "option"}, "method": method}
    ) == {
        "selected_on_test": "selected on test",
        "sources": {"TEST.BASE_NEW": "option"},
        "method": {
            "node": "TRAINER.TIPADAPTER",
            "settings": {"prompts_from": "x", "n": 1},
            "config": {"PROMPTS_FROM": "x", "N": 1},
        },
    }
