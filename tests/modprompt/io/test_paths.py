import pytest

from modprompt.errors import UserError
from modprompt.io.paths import inside, inside_without_links, is_inside


@pytest.mark.parametrize("name", ["a", "a/b.txt", "./a", "a//b", "a b/ü.png", "..a/b..", "a:b.png/..."])
def test_relative_paths_are_inside(tmp_path, name):
    expected = name != "a:b.png/..."  # a drive
    assert is_inside(name) == expected
    if expected:
        assert inside(tmp_path, name, "list.json") == tmp_path / name


ELSEWHERE = [
    "", ".", "..", "../a", "a/../../b", "a/..", "/etc/passwd", "\\a", "..\\a", "C:\\a", "C:a", "//h/s", "a\0b", 5, None,
]  # fmt: skip


@pytest.mark.parametrize("name", ELSEWHERE)
@pytest.mark.parametrize("place", [inside, inside_without_links])
def test_all_else_is_refused_in_one_line(tmp_path, name, place):
    assert not is_inside(name)
    with pytest.raises(UserError, match="list.json names the path .* outside of .* not followed") as raised:
        place(tmp_path, name, "list.json")
    assert "\n" not in str(raised.value)


def test_reading_follows_links_and_writing_does_not(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "root" / "real").mkdir(parents=True)
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "real" / "dangling").symlink_to("nothing")
    root = tmp_path / "root"
    assert inside(root, "link/a", "list.json") == root / "link" / "a"
    assert inside_without_links(root, "real/a/b", "list.json") == root / "real" / "a" / "b"
    for name in ("link", "link/a", "real/dangling"):
        with pytest.raises(UserError, match="is a link: nothing is written or deleted through it"):
            inside_without_links(root, name, "list.json")
