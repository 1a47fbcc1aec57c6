"""Experiment files that are none: one line that names file and place."""

from __future__ import annotations

import pytest
import yaml

from modprompt.errors import UserError
from modprompt.experiments.plan import spec


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("protocol: few_shot\nprotocol: few_shot\n", "occurs twice"),
        ("seeds: !!set {a}\n", "seeds: different whole numbers"),
        ("- a\n", "KEY: VALUE pairs are expected"),
        ("'protocol': \"\\ud800\"\n", "there is no"),
        ("\"a\\nb\\e[2J\": 1\n", "there is no key"),
        ("", "KEY: VALUE pairs are expected"),
    ],
)  # fmt: skip
def test_odd_file_is_a_line(text, says, tmp_path):
    path = tmp_path / "odd.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        spec.read(path)
    line = str(caught.value)
    assert line.startswith(str(path))
    assert says in line
    assert "\n" not in line
    assert len(line) < 3000


@pytest.mark.parametrize("key", ["trainer", "config"])
def test_name_that_no_disk_takes_is_a_line(key, tmp_path):
    path, method = tmp_path / "long.yaml", {"trainer": "MPL", "config": "glyph", key: "x" * 5000}
    path.write_text(yaml.safe_dump({"protocol": "base2new", "datasets": ["digits"], "methods": {"MPL": method}}))
    with pytest.raises(UserError, match="methods: MPL: .*File name too long"):
        spec.read_plan(path)
