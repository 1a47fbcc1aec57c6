import json

import pytest

from modprompt.errors import UserError
from modprompt.io.records import sealed
from modprompt.methods.search.file import ALL, SideOfSearch, read, write
from tests.conftest import one_line

OPTIONS = ((0, 0), (0, 1), (ALL, 1))
TEXT = SideOfSearch(
    "before_start",
    ((0, 1), (1, 1)),
    (0.25, -0.1),
    (OPTIONS[:2], OPTIONS),
    (((0.0, 0.125), (0.5, 0.1, 0.2)), ((-1.5, 0.1), (0.5, 0.1, 2.0))),
)
VISION = SideOfSearch("before_ln_pre", ((0, 2), (0, 0), (2, 1)))
SEARCH = {"trainer": "DPLSearch", "seed": 1}


def test_both_sides_come_back(tmp_path):
    write(tmp_path / "schedule.json", {"text": TEXT, "vision": VISION}, SEARCH)
    assert read(tmp_path / "schedule.json") == {"text": TEXT, "vision": VISION}
    content = json.loads((tmp_path / "schedule.json").read_text())
    assert content["search"] == SEARCH
    assert content["text"]["options"][1] == [[0, 0], [0, 1], ["all", 1]]
    assert set(content["vision"]) == {"place", "steps"}
    assert [path.name for path in tmp_path.iterdir()] == ["schedule.json"]


def test_side_that_there_is_not_is_null(tmp_path):
    write(tmp_path / "schedule.json", {"vision": VISION}, {})
    assert json.loads((tmp_path / "schedule.json").read_text())["text"] is None
    assert read(tmp_path / "schedule.json") == {"vision": VISION}


@pytest.mark.parametrize("entries", [{"place": ...}, {"steps": []}, {"steps": [[0, 1], [0]]}, {"options": [7]}])
def test_sealed_file_of_another_form_is_one_line(tmp_path, entries):
    write(tmp_path / "a.json", {"text": TEXT}, SEARCH)
    content = json.loads((tmp_path / "a.json").read_text())
    del content["modprompt"]
    side = {key: value for key, value in {**content["text"], **entries}.items() if value is not ...}
    (tmp_path / "a.json").write_text(json.dumps(sealed({**content, "text": side}, 1)))
    with one_line(r"a.json is damaged"):
        read(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is not a valid schedule.json of a schedule search"),
        ("[1]", "the file contains neither a text schedule nor an image schedule"),
        (
            '{"text": {"place": "", "steps": [[0, 1]]}}',
            "it does not contain the hash.*Set the schedule as a list of pairs",
        ),
        (json.dumps(sealed({"text": None}, 1)), "it contains no layers"),
        (
            json.dumps(sealed({"text": None}, 7)),
            "has the format version 7, but this version of modprompt supports only version 1",
        ),
    ],
)
def test_other_files_are_one_line(tmp_path, text, why):
    (tmp_path / "a.json").write_text(text)
    with one_line(why) as raised:
        read(tmp_path / "a.json")
    assert str(tmp_path / "a.json") in str(raised.value)


def test_file_that_was_changed_by_hand_is_told(tmp_path):
    write(tmp_path / "a.json", {"vision": VISION}, {})
    (tmp_path / "a.json").write_text((tmp_path / "a.json").read_text().replace("2", "3"))
    with pytest.raises(UserError, match="edited by hand.*Search again, or set the schedule as a list of pairs"):
        read(tmp_path / "a.json")


def test_what_cannot_be_read_is_not_written(tmp_path):
    broken = TEXT._replace(margins=(0.1, float("nan")))
    with pytest.raises(UserError, match="a.json cannot be written: Out of range float values"):
        write(tmp_path / "a.json", {"text": broken}, {})
    assert list(tmp_path.iterdir()) == []
