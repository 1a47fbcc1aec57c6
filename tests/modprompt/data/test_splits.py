import pytest

from modprompt.data import published
from modprompt.data.splits import split_folders
from tests.modprompt.data import trees


def test_what_is_no_image_enters_no_split_of_ours(tmp_path, capsys):
    trees.folders(tmp_path, {"a": 4, "b": 5})
    for name in "ab":
        (tmp_path / name / "Thumbs.db").write_bytes(b"x")
    found = split_folders(tmp_path)
    assert {one.impath.rpartition(".")[2] for part in found for one in part} == {"jpg"}
    assert [len(part) for part in found] == [2 + 2, 1 + 1, 1 + 2]
    assert "a: 1 files not named like images are left out, e.g. 'Thumbs.db'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "digest", "ours", "status"),
    [
        ("EuroSAT", published.SPLIT_SHA256["EuroSAT"], False, "published"),
        ("EuroSAT", published.SPLIT_SHA256["OxfordPets"], False, "not known"),
        ("EuroSAT", "0" * 64, True, "ours"),
        ("Caltech256", "0" * 64, True, "ours"),
        ("Caltech256", "0" * 64, False, "not known"),
        ("Digits", published.DIGITS_SHA256, False, "ours"),
    ],
)
def test_status_by_the_hash_of_a_split_file(name, digest, ours, status):
    assert published.split_status(name, digest, ours, few_shot=None) == status


@pytest.mark.parametrize("wrong", [0, 1, 2, 3])
def test_status_by_few_shot_lists_where_no_hash_of_the_file_is_known(wrong):
    known = published.FEW_SHOT_SHA256["Food101"]
    asked = []

    def few_shot(shots, seed):
        asked.append((shots, seed))
        return "another" if seed == wrong else known[seed]

    assert published.split_status("Food101", "0" * 64, True, few_shot) == ("ours" if wrong else "published")
    assert set(asked) <= {(16, 1), (16, 2), (16, 3)}
