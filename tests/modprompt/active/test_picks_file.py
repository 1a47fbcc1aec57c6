import csv

import pytest

from modprompt.active.picks_file import Picked, read_labels, write
from modprompt.errors import UserError

NAMES = ["forest", "annual_crop", "=SUM(A1)", "-5 \u00b0C", "sea; lake", 'the "sea"']
FILES = ["a/1.jpg", "=1+1.png", "-x.jpg", "@a.jpg", "+b, c.jpg", "'q.jpg", "d;=e.jpg", 'f"g.jpg', "\u00e9.jpg"]
PICKS = [Picked(file, n % len(NAMES), 0.5, -n / 3, "'sea' had least") for n, file in enumerate(FILES, 1)]
LABELS = ["forest", "Annual Crop", " =SUM(A1)", "", "sea; lake", 'the "sea"', "'=SUM(A1)", "'-5 \u00b0C", "FOREST"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "round_3.csv"


def test_file_has_a_line_for_each_pick_with_an_empty_label(path):
    more = [Picked("b.jpg", None, None, None, "", 1), Picked("c", None, 1, -0.0, "")]
    write(path, [Picked("a.jpg", 1, 0.98765432, 1.23456789, "why"), *more], ["lake", "sea"])
    assert path.read_text() == (
        "rank,file,predicted_class,probability,score,reason,label\n"
        "1,a.jpg,sea,0.9877,1.23457,why,\n2,b.jpg,,,,,sea\n3,c,,1.0000,0,,\n"
    )


def test_labels_come_back_from_spreadsheets_by_file(path):
    write(path, PICKS, NAMES)
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = [{**line, "label": label} for line, label in zip(csv.DictReader(file), LABELS)]
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, ("label", "file"), extrasaction="ignore", delimiter=";")
        writer.writeheader()
        writer.writerows(reversed(lines))
    assert read_labels(path, PICKS, NAMES) == [0, 1, 2, None, 4, 5, 2, 3, 0]


@pytest.mark.parametrize(
    ("line", "instead", "message"),
    [
        ("", "9,z.jpg,,,,,\n", ", line 4: the image 'z.jpg' was not selected in this round. Remove the line."),
        ("", "9,a.jpg,,,,,forest\n", ", line 4 repeats a.jpg from line 2. Remove one of the two lines."),
        ("", "9,,,,,,forest\n", ", line 4: The column `file` is empty. Enter the file name, or remove the line."),
        (
            "2,b.jpg,,,,,\n",
            "",
            ": the line for the image b.jpg is missing. Add each missing line again.",
        ),
        ("2,b.jpg,,,,,", "2,b.jpg,,,,,forrest", ", line 3: unknown class 'forrest'. Did you mean 'forest'?"),
        ("2,b.jpg,,,,,", "2,b.jpg,,,,,2", ", line 3: unknown class '2'. Available classes: forest, "),
    ],
)
def test_faults_are_one_line_that_says_where(path, line, instead, message):
    picks = [Picked("a.jpg", 0, 0.5, 1, ""), Picked("b.jpg", None, None, None, "")]
    write(path, picks, NAMES)
    text = path.read_text()
    assert line in text
    path.write_text(text.replace(line, instead) if line else text + instead)
    with pytest.raises(UserError) as raised:
        read_labels(path, picks, NAMES)
    said = str(raised.value)
    assert said.startswith(f"{path}{message}")
    assert "\n" not in said


def test_file_that_is_gone_is_told(path):
    with pytest.raises(UserError, match=r"round_3.csv, which contains the labels, is missing\. Restore the file\."):
        read_labels(path, PICKS, NAMES)
