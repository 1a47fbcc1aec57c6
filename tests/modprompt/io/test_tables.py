import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modprompt.errors import UserError
from modprompt.io.tables import read_table, readings, shielded, unshielded, write_table

RUNS = "=+-@\uff1d\uff0b\uff0d\uff20"
ODD = st.text(st.sampled_from("=+-@'; \t\r\n,\"ab\u00e9\uff1d"), max_size=8)


def begins_a_formula(text, separators):
    """Whether a spreadsheet that parts cells at these would run one of them."""
    parts = [text]
    for one in separators:
        parts = [piece for part in parts for piece in part.split(one)]
    return any(part.strip(" ")[:1] in RUNS for part in parts if part.strip(" "))


@settings(max_examples=200)
@given(ODD)
def test_shielded_text_runs_nowhere_and_is_read_back_exactly(text):
    assert unshielded(shielded(text)) == text
    assert not begins_a_formula(shielded(text), ";\t\r\n")


@pytest.mark.parametrize("text", ["", "forest", "a-b", "'t Hooft", "a; b", "1 + 1", "x@y"])
def test_harmless_text_stands_as_it_is(text):
    assert shielded(text) == unshielded(text) == text


@settings(max_examples=25)
@given(st.lists(st.tuples(ODD, ODD), max_size=5))
def test_table_is_read_by_us_and_by_any_reader_of_csv(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("tables") / "t.csv"
    write_table(path, ("file", "label"), rows)
    text = path.read_bytes().decode("utf-8-sig")
    assert [tuple(row) for row in csv.reader(io.StringIO(text, newline=""))] == [("file", "label"), *rows]
    kept = [row for row in rows if "".join(row).strip()]
    assert [tuple(line.cells.values()) for line in read_table(path, ("file", "label"))] == kept


def table(folder, content):
    path = folder / "t.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


LINES = 'file,note,label\na.jpg,"x, y",cat\n\nb.jpg,,\n'


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_spreadsheets_make_of_a_table_is_read(separator, end, encoding, tmp_path):
    text = LINES.replace('"x, y"', "Q").replace(",", separator).replace("Q", f'"x{separator} y"').replace("\n", end)
    lines = read_table(table(tmp_path, text.encode(encoding)), ("label", "file"))
    assert lines == [(2, {"label": "cat", "file": "a.jpg"}), (4, {"label": "", "file": "b.jpg"})]


def test_columns_may_be_named_in_other_cases_and_cells_at_the_end_be_cut_off(tmp_path):
    lines = read_table(table(tmp_path, "Label , FILE\n,a.jpg\ncat\n"), ("label", "file"))
    assert [line.cells for line in lines] == [{"label": "", "file": "a.jpg"}, {"label": "cat", "file": ""}]


def test_ascii_has_no_mark_in_front_and_other_text_has_one(tmp_path):
    write_table(tmp_path / "a.csv", ("file",), [("a",)])
    write_table(tmp_path / "b.csv", ("file",), [("\u00e9",)])
    assert (tmp_path / "a.csv").read_bytes() == b"file\na\n"
    assert (tmp_path / "b.csv").read_bytes() == b"\xef\xbb\xbffile\n\xc3\xa9\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: the column 'file' is missing (there is nothing): put it back"),
        ("file,x\na,b\n", "line 1: the column 'label' is missing (there is file, x): put it back"),
        ("file,label,label\n", "line 1: the column 'label' is there 2 times"),
        ("file,label\na,b\na,b,c\n", "line 3: it has 3 cells for 2 columns: put quotation marks around"),
        ('file,label\na,"b\nc,d\n', "line 3: its quotation marks do not match (unexpected end of data)"),
        ('file,label\n"a"b,c\n', "line 2: its quotation marks do not match"),
        ("file,label\na,caf\u00e9\n".encode("latin-1"), "line 2: it is not UTF-8 text: save it as CSV with the"),
        ("file,label\na,b\n".encode("utf-16-le"), "line 1: it is no text: save it as CSV"),
        (b"PK\x03\x04\n\x00\x00", "line 2: it is no text: save it as CSV"),
    ],
)
def test_what_is_no_such_table_is_refused_in_a_line(content, message, tmp_path):
    path = table(tmp_path, content)
    with pytest.raises(UserError) as raised:
        read_table(path, ("file", "label"))
    assert str(raised.value).startswith(f"{path}, {message}")
    assert "\n" not in str(raised.value)


def test_table_that_is_not_there_is_another_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "none.csv", ("file",))


def test_name_that_is_no_utf8_is_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(UserError, match=r"is not written: a name in it is not UTF-8 text \('a.udcff'\): rename it"):
        write_table(tmp_path / "t.csv", ("file",), [("a\udcff",)])
    assert list(tmp_path.iterdir()) == []


def test_readings_have_the_texts_that_a_cell_may_stand_for():
    assert readings("'=a")[:2] == ["=a", "'=a"]
    assert "'=a" in readings("=a")
    assert readings(" cat ") == [" cat ", "cat", "'cat"]
