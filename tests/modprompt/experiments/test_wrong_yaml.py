"""Every value of the shipped experiment files as something else: read, or one line that names file and place."""

from __future__ import annotations

import datetime
import shutil

import pytest
import yaml

from modprompt.errors import UserError
from modprompt.experiments.plan import protocols, spec
from tests.mutations import changed, places

FILES = sorted(spec.FILES.glob("*.yaml"))
WRONG: tuple[object, ...] = (
    None, True, -1, 0, 1.5, float("nan"), float("inf"), "", "x", "a/../../b", "~no such user/x", "@x", [], [None], [[1]], [1, 1],
    {}, {"a": {"b": 1}}, {1: 2}, datetime.date(2024, 1, 2), b"\x00\xff", {1, 2}, 10**30,
)  # fmt: skip


def read_or_line(path):
    """Whether a file is read and its runs are made; a fault is one line that begins with it, or a choice beside it."""
    try:
        protocols.jobs(*spec.read_plan(path).parts)
    except UserError as error:
        line = str(error)
        assert "\n" not in line, line
        assert line.startswith(str(path.parent)), line
        assert len(line) < 3000
        return False
    return True


@pytest.mark.cover(5)
@pytest.mark.parametrize("step", [60, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_value_of_another_type_is_a_line(file, step, tmp_path):
    """Quickly a sixtieth of the wrong values at every place, else a fourth of them, others at the next."""
    whole = yaml.safe_load(file.read_text(encoding="utf-8"))
    path, refused, tried = tmp_path / "other.yaml", 0, 0
    for choice in spec.FILES.glob("*.json"):
        shutil.copy(choice, tmp_path)
    for number, at in enumerate([at for at, _ in places(whole) if at]):
        for value in WRONG[number % step :: step]:
            path.write_text(yaml.safe_dump(changed(whole, at, value), sort_keys=False), encoding="utf-8")
            refused += not read_or_line(path)
            tried += 1
    assert tried > 10
    assert refused > tried / 4


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: &a [1]\nb: *a\n", "alias"),
        ("a: " + "[" * 5000, "is no YAML"),
        ("protocol: few_shot\nprotocol: few_shot\n", "stands twice"),
        ("seeds: " + "9" * 5000, "a number of 5000 characters"),
        ("2024-99-99: 1\n", "is no YAML"),
        ("seeds: !!set {a}\n", "seeds: different whole numbers"),
        ("!!binary aGFsbG8=\n", "KEY: VALUE pairs are expected"),
        ("- a\n", "KEY: VALUE pairs are expected"),
        ("a: !!python/object:os.system x\n", "is no YAML"),
        ("? [a, b]\n: c\n", "is no YAML"),
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


def test_grid_of_too_many_variants_is_a_line_and_no_wait(tmp_path):
    axes = "".join(f"K{number}: [{', '.join(map(str, range(100)))}], " for number in range(9))
    path = tmp_path / "grid.yaml"
    path.write_text(
        f"protocol: base2new\ndatasets: [digits]\nmethods: {{M: {{trainer: MPL, config: glyph, grid: {{{axes}}}}}}}"
    )
    with pytest.raises(UserError, match="M: grid: 1,000,000,000,000,000,000 variants, at most 10,000 are run"):
        spec.read(path)


@pytest.mark.parametrize("key", ["trainer", "config"])
def test_name_that_no_disk_takes_is_a_line(key, tmp_path):
    path, method = tmp_path / "long.yaml", {"trainer": "MPL", "config": "glyph", key: "x" * 5000}
    path.write_text(yaml.safe_dump({"protocol": "base2new", "datasets": ["digits"], "methods": {"MPL": method}}))
    with pytest.raises(UserError, match="methods: MPL: there is no config .*File name too long"):
        spec.read_plan(path)
    assert not read_or_line(path)
