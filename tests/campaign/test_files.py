"""A little of the parts that are about files, and that no reader of files is without a kind."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import strategies as st

from modprompt.errors import UserError
from tests.campaign import bytes_damage, damage, drawing, structures
from tests.campaign.a_little import tried
from tests.campaign.damage import quietly, whole
from tests.campaign.figures import Figure
from tests.campaign.kinds import NOT_TRIED, all_kinds
from tests.campaign.parts import ROOT
from tests.campaign.values import plain

READERS = {
    "open_regular", "read_bytes", "read_text", "read_arrays", "read_all_arrays", "read_array", "read_tensors",
    "read_weights", "read_run", "read_plain", "read_json", "read_table", "read_safetensors", "names_and_shapes",
    "read_shards", "shard_names", "read_record", "read_mat", "read_lines", "read_classnames", "read_rgb", "opened",
    "Rows", "read_family_pickle",
}  # fmt: skip
SHARES = {"torch-files": 0.03, "flips": 0.02}  # the part "corruptions" is tried in test_contract.py


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARES)
def test_part_tries_a_little_and_all_is_survived(tmp_path, name):
    figures = tried(name, tmp_path, 1, SHARES[name], limit_s=120)
    assert sum(figure.tried for figure in figures) >= 50
    assert [fault for figure in figures for fault in figure.faults] == []
    assert all(figure.longest_s < 20 for figure in figures)


READ_BYTES = {  # of modprompt/io: they are the readers, and know no kind
    "archives", "arrays", "atomic", "checksum", "flats", "image_files", "image_rules", "json_text", "lock", "mat_files",
    "pages", "paths", "pickle_reader", "pictures", "row_file", "safe_open", "safetensors_files", "schema", "shards",
    "tables", "tensors", "text", "torch_files", "yaml_text",
}  # fmt: skip


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def functions_that_read() -> set[str]:
    """FILE:FUNCTION of all functions of the package, but those of READ_BYTES, that hand a path to one of READERS."""
    found = set()
    for path in [*(ROOT / "modprompt").rglob("*.py"), *(ROOT / "lpclip").glob("*.py")]:
        where = path.relative_to(ROOT).as_posix()
        if where.startswith("modprompt/io/") and path.stem in READ_BYTES:
            continue
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                calls = {_called(inner) for inner in ast.walk(node) if isinstance(inner, ast.Call)}
                if calls & READERS:
                    found.add(f"{where}:{node.name}")
    return found


def functions_that_ran(folder: Path) -> set[str]:
    """FILE:FUNCTION of all functions of the project that ran while a whole file of every kind was read."""
    codes: set[Any] = set()
    for number, kind in enumerate(all_kinds()):
        (folder / str(number)).mkdir()
        with quietly():
            path = kind.write(folder / str(number))
            sys.setprofile(lambda frame, event, _: codes.add(frame.f_code) if event == "call" else None)
            try:
                kind.read(path)
            finally:
                sys.setprofile(None)
    names = ((Path(code.co_filename), code.co_name) for code in codes)
    return {f"{path.relative_to(ROOT).as_posix()}:{name}" for path, name in names if path.is_relative_to(ROOT)}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of readers, and of TorchScript
def test_no_reader_is_without_a_kind(tmp_path):
    readers = functions_that_read()
    assert set(NOT_TRIED) <= readers
    without = readers - functions_that_ran(tmp_path) - set(NOT_TRIED)
    assert not without, f"{sorted(without)}: add a kind to tests/campaign, or say in NOT_TRIED why there is none"


def test_kinds_have_names_of_their_own_and_some_carry_a_checksum():
    names = [kind.name for kind in all_kinds()]
    assert len(set(names)) == len(names) > 60
    assert 20 < sum(kind.checked for kind in all_kinds()) < len(names) - 20


@pytest.fixture
def schedule(tmp_path):
    kind = next(kind for kind in all_kinds() if kind.name == "schedule.json")
    return whole(kind, tmp_path / "0")


def drawn(raw, kind, count):
    """So many mutants of a file."""
    found = []
    drawing.each(structures.mutants(raw, kind), count, 1, found.append)
    return found


def trusting(file, read=lambda path: path.read_bytes()):
    """The same kind with a reader that looks at no checksum."""
    return file._replace(kind=file.kind._replace(read=read))


def test_reader_that_gives_other_values_is_a_fault_where_a_checksum_shows_the_damage(schedule, tmp_path):
    figure = Figure("flips")
    damage.try_one(trusting(schedule), schedule.raw[:-3], "cut off", figure, True, tmp_path / "0")
    assert len(figure.faults) == 1
    assert "schedule.json: cut off: other values are read" in figure.faults[0]
    damage.try_one(trusting(schedule), schedule.raw[:-3], "no place", figure, False, tmp_path / "0")
    assert figure.outcomes == {"not survived": 1, "other values": 1}
    assert len(figure.faults) == 1


def test_changed_structure_with_its_old_seal_is_shown_by_it_and_one_sealed_again_has_a_row(schedule, tmp_path):
    rows = damage.Counters.named("corruptions")
    damage.corrupt(trusting(schedule), rows, 1, 120, tmp_path / "0")
    assert rows.checked.tried + rows.sealed.tried == 120
    assert rows.checked.outcomes == {"not survived": rows.checked.tried}
    assert any("text.steps" in fault for fault in rows.checked.faults)
    assert rows.sealed.outcomes == {"other values": rows.sealed.tried}
    assert rows.sealed.tried > 5
    assert not rows.unchecked.tried


def test_archive_that_was_written_anew_has_right_checksums_but_the_seal_in_it_is_the_old_one(tmp_path):
    kind = next(kind for kind in all_kinds() if kind.name == "features of lpclip")
    file = whole(kind, tmp_path / "0")
    of_either = {True: set(), False: set()}
    for what, _, is_sealed in drawn(file.raw, kind, 400):
        of_either[is_sealed].add(what.replace(", sealed again", ""))
    assert all(any(what.startswith("feature_list is ") for what in some) for some in of_either.values())
    assert "made_of is missing" in of_either[False] - of_either[True]
    without = kind._replace(reseal=None)
    assert all(is_sealed for _, _, is_sealed in drawn(file.raw, without, 20))


class _OfOnesOwn:
    def __eq__(self, other):
        raise TypeError("these do not compare")

    __hash__ = object.__hash__


def test_comparison_that_raises_is_a_fault_and_is_counted(schedule, tmp_path, monkeypatch):
    monkeypatch.setattr(damage, "plain", lambda _: _OfOnesOwn())
    rows = damage.Counters.named("corruptions")
    damage.corrupt(trusting(schedule), rows, 1, damage.LEAST, tmp_path / "0")
    assert rows.checked.tried + rows.sealed.tried == damage.LEAST
    assert len(rows.checked.faults + rows.sealed.faults) == damage.LEAST
    assert "TypeError: 'these do not compare'" in rows.checked.faults[0]


def test_content_that_nobody_can_write_does_not_count(schedule, tmp_path, monkeypatch):
    def cannot():
        raise OverflowError

    made = [structures.Mutant("no", cannot), structures.Mutant("a", lambda: b"a"), structures.Mutant("b", lambda: b"a")]
    monkeypatch.setattr(damage, "mutants", lambda raw, kind: st.sampled_from(made))
    rows, contents = damage.Counters.named("corruptions"), []
    noting = trusting(schedule, lambda path: contents.append(path.read_bytes()) or contents[-1])
    damage.corrupt(noting, rows, 1, damage.LEAST, tmp_path / "0")
    assert rows.checked.tried == damage.LEAST
    assert contents.count(b"a") == 1


@pytest.mark.parametrize("trying", [damage.corrupt, damage.flip])
def test_what_changes_nothing_or_was_tried_is_drawn_again(schedule, tmp_path, trying):
    rows, contents = damage.Counters.named("any"), []
    noting = trusting(schedule, lambda path: contents.append(path.read_bytes()))
    trying(noting, rows, 1, 120, tmp_path / "0")
    assert len(contents) == sum(row.tried for row in rows) == 120
    assert len(set(contents)) == 120
    assert schedule.raw not in contents


def test_drawing_ends_where_there_is_no_more_or_nothing_counts():
    assert drawing.each(st.integers(0, 9), 20, 1, lambda _: True) == 10
    assert drawing.each(st.integers(0, 9), 5, 1, lambda one: one % 2 == 0) == 5
    drawn = []
    assert drawing.each(st.integers(), 5, 1, lambda one: bool(drawn.append(one))) == 0
    assert 5 < len(drawn) <= 2 * 5 * 20


@pytest.mark.parametrize(("size", "faults"), [(10, 1), (5000, 0)])
def test_line_of_a_small_file_is_whole(schedule, tmp_path, size, faults):
    def read(path):
        raise UserError(f"{path} {'x' * 700}")

    figure = Figure("any")
    damage.try_one(trusting(schedule, read), bytes(size), "zeroed", figure, True, tmp_path / "0")
    assert len(figure.faults) == faults
    assert all("its line is cut" in fault for fault in figure.faults)


def test_seal_of_a_changed_structure_does_not_hide_it(schedule, tmp_path):
    figure = Figure("structures")
    for what, make, is_sealed in drawn(schedule.raw, schedule.kind, 600):
        if what.startswith("text.") and is_sealed:
            schedule.path.write_bytes(make())
            seen = damage.attempt(lambda: schedule.kind.read(schedule.path), tmp_path)
            figure.add("by its seal" if "its hash" in seen.line else "by its content", fault=seen.fault)
    assert not figure.faults
    assert figure.outcomes["by its content"] > 20
    assert not figure.outcomes["by its seal"]


def test_tensors_of_any_stride_compare():
    one = torch.ones(1, dtype=torch.half)
    assert plain(one.as_strided((1,), (17,))) == plain(one)
    several = torch.arange(6.0).reshape(2, 3)
    assert plain(several.t()) == plain(several.t().contiguous()) != plain(several.reshape(3, 2))


def test_frame_of_an_archive_is_all_but_its_contents(tmp_path):
    kind = next(kind for kind in all_kinds() if kind.name == "alphas")
    kind.write(tmp_path)
    raw = next(tmp_path.glob("*.npz")).read_bytes()
    places = bytes_damage.frame(raw)
    assert raw.index(b"PK\1\2") in places
    assert len(raw) - 1 in places
    assert raw.index(b"\x93NUMPY") not in places
