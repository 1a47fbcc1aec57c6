"""Class names from files: what is read, which rows come of it, and that all sides of a row are measured in turn."""

import pytest

from benchmarks import name_rows, speed
from benchmarks.cases import Case, class_names
from benchmarks.names import read_names
from modprompt.errors import UserError


@pytest.fixture
def files(tmp_path):
    found = {"few.txt": class_names(51), "many.txt": class_names(196)}
    for name, names in found.items():
        (tmp_path / name).write_text("\n".join(names) + "\n")
    return [str(tmp_path / name) for name in found]


def test_names_are_read_in_order_without_empty_lines(tmp_path):
    (tmp_path / "names").write_text("Ford Fiesta 2012\n\n  smart fortwo \nCafé\n", encoding="utf-8")
    assert read_names(str(tmp_path / "names")) == ["Ford Fiesta 2012", "smart fortwo", "Café"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b" \n\n", "there is no name in it"),
        (b"cat\ndog\n cat\n", "'cat' is there 2 times"),
    ],
)
def test_file_that_has_no_names_is_refused(tmp_path, content, said):
    path = tmp_path / "names"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=said):
        read_names(str(path))


def test_case_takes_the_first_names_of_its_file(files):
    assert Case("ours", classes=5, names=files[1]).classnames == class_names(196)[:5]
    assert Case("ours", classes=5).classnames == class_names(5)


def test_rows_ask_for_what_is_asked_by_the_number_of_classes(files):
    rows = list(name_rows.rows(files, "official"))
    asked = {(row[0].split(",")[0], row[2].classes): row[5] for row in rows if row[5]}
    assert asked == {
        ("step time", 5): ">= 1.3",
        ("step time", 51): ">= 3.2",
        ("step time", 196): ">= 8",
        ("peak memory", 196): "<= 0.3",
    }
    assert {row[1].side for row in rows} == {"official", "ours", "plain"}


def test_without_a_checkout_the_plain_side_stands_for_it(files):
    rows = list(name_rows.rows(files[:1], ""))
    assert {(row[1].side, row[2].side) for row in rows} == {("plain", "ours"), ("ours", "plain")}
    assert [row[5] for row in rows if "step time" in row[0]] == [">= 1.3", ">= 3.2"]


def test_all_three_sides_are_measured_in_turn(files, monkeypatch, tmp_path, capsys):
    order = []

    def measured(case, repeats, threads):
        order.append((case.side, case.classes))
        return {"seconds": [{"official": 16.0, "plain": 12.0, "ours": 2.0}[case.side]] * repeats, "peak_gib": 1.0}

    monkeypatch.setattr(speed, "in_a_process", measured)
    monkeypatch.setattr(speed, "RESULTS", tmp_path)
    assert speed.main(["--names", *files, "--reference", "official"]) == 0
    assert order[:6] == [("official", 5), ("ours", 5), ("plain", 5)] * 2
    assert len(order) == 3 * 3 * speed.ROUNDS
    text = (tmp_path / "speed_names.md").read_text()
    assert "| step time, official MPL / ours, 196 names of many.txt | 8.00 | >= 8 | 16.00 / 2.00 s |" in text
    assert text in capsys.readouterr().out


def test_file_that_is_not_there_is_one_line(tmp_path, capsys):
    assert speed.main(["--names", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith(f"error: --names {tmp_path / 'none'}: cannot be read")
