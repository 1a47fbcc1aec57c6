import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modprompt.errors import UserError
from modprompt.io.tables import as_csv, read_table, unshielded, write_table

ODD = st.text(st.sampled_from("=+-@'; \t\r\n,\"ab1.\u00e9"), max_size=8)


def cell(value):
    ((found,),) = csv.reader(io.StringIO(as_csv([[value]]), newline=""))
    return found


@settings(max_examples=100)
@given(ODD)
def test_text_runs_in_no_spreadsheet_and_is_read_back_exactly(text):
    assert unshielded(cell(text)) == text
    assert cell(text)[:1] not in ("=", "@", "\t", "\r")
    if cell(text)[:1] in ("+", "-"):
        float(cell(text))


@pytest.mark.parametrize("value", ["", "forest", "a-b", "'t Hooft", "1 + 1", "x@y", "-0.5", "+1e-5", -0.5, 3, -1e-30])
def test_numbers_and_harmless_texts_are_written_as_they_are(value):
    assert cell(value) == str(value)


@pytest.mark.parametrize("text", ["=1", "+a", "-", "--1", "@x", "\t1", "\rx", "'=1", "-1 2", "-1+cmd()"])
def test_other_texts_get_an_apostrophe(text):
    assert cell(text) == f"'{text}"


def test_none_is_empty():
    assert as_csv([["a", None, 1.5], [None, None, None]]) == "a,,1.5\n,,\n"


@settings(max_examples=25)
@given(st.lists(st.tuples(ODD, ODD), max_size=5))
def test_table_is_read_as_it_was_written(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("tables") / "t.csv"
    write_table(path, ("file", "label"), rows)
    kept = [row for row in rows if "".join(row).strip()]
    assert [tuple(cells.values()) for _, cells in read_table(path, ("file", "label"))] == kept


def table(folder, content):
    path = folder / "t.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize(("end", "encoding"), [("\n", "utf-8"), ("\r\n", "utf-8-sig"), ("\r", "utf-8")])
def test_what_spreadsheets_make_of_a_table_is_read(separator, end, encoding, tmp_path):
    lines = ["file,note,label", "a.jpg,Q,cat", "", "b.jpg,,", ""]
    text = end.join(lines).replace(",", separator).replace("Q", f'"x{separator} y"')
    found = read_table(table(tmp_path, text.encode(encoding)), ("label", "file"))
    assert found == [(2, {"label": "cat", "file": "a.jpg"}), (4, {"label": "", "file": "b.jpg"})]


def test_columns_may_be_named_in_other_cases_and_cells_at_the_end_be_cut_off(tmp_path):
    lines = read_table(table(tmp_path, "Label , FILE\n,a.jpg\ncat\n"), ("label", "file"))
    assert [cells for _, cells in lines] == [{"label": "", "file": "a.jpg"}, {"label": "cat", "file": ""}]


def test_ascii_has_no_mark_in_front_and_other_text_has_one(tmp_path):
    write_table(tmp_path / "a.csv", ("file",), [("a",)])
    write_table(tmp_path / "b.csv", ("file",), [("\u00e9",)])
    assert (tmp_path / "a.csv").read_bytes() == b"file\na\n"
    assert (tmp_path / "b.csv").read_bytes() == b"\xef\xbb\xbffile\n\xc3\xa9\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: exactly one column 'file' is needed, but the columns are missing."),
        ("file,x\na,b\n", "line 1: exactly one column 'label' is needed, but the columns are file, x."),
        ("file,label,label\n", "line 1: exactly one column 'label' is needed, but the columns are file, label, label."),
        (
            "file,label\na,b\na,b,c\n",
            "line 3: the row has 3 cells, but the table has 2 columns. Put quotation marks around",
        ),
        ('file,label\na,"b\nc,d\n', "line 3: the quotation marks do not match (unexpected end of data)."),
        ('file,label\n"a"b,c\n', "line 2: the quotation marks do not match"),
        (
            "file,label\na,caf\u00e9\n".encode("latin-1"),
            "line 2: the text is not valid UTF-8. Save the file as CSV with the",
        ),
        ("file,label\na,b\n".encode("utf-16"), "line 1: the text is not valid UTF-8. Save the file as CSV"),
    ],
)
def test_what_is_no_such_table_is_refused_in_a_line(content, message, tmp_path):
    path = table(tmp_path, content)
    with pytest.raises(UserError) as raised:
        read_table(path, ("file", "label"))
    assert str(raised.value).startswith(f"{path}, {message}")
    assert str(raised.value).isprintable()


def test_table_that_is_not_there_is_another_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "none.csv", ("file",))


def test_name_that_is_no_utf8_is_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(
        UserError, match=r"^Cannot write .*t.csv because a name is not valid UTF-8 text \('a.udcff'\). Rename"
    ):
        write_table(tmp_path / "t.csv", ("file",), [("a\udcff",)])
    assert list(tmp_path.iterdir()) == []
