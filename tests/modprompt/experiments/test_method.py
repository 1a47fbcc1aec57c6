"""What runs and tables call a method."""

from modprompt.experiments.plan.method import short_names


def test_keys_with_one_last_part_are_written_whole():
    assert short_names(["A.X", "B.X", "C.Y"]) == {"A.X": "A.X", "B.X": "B.X", "C.Y": "Y"}


def test_what_stands_beside_prompts_names_its_runs(experiment):
    text = """
protocol: base2new
datasets: [digits]
methods:
  head: {trainer: MPL, config: glyph, options: {TRAINER.DEPT.ON: True}}
  additions: {trainer: MPL, config: glyph, options: {TRAINER.CLIPLORA.ON: True}}
"""
    assert [method.folder for method in experiment(text).methods] == ["glyph-DEPT.ONTrue", "glyph-CLIPLORA.ONTrue"]
