import pytest

from modprompt.errors import UserError
from modprompt.runs.settings import as_text, changes, given, pairs, read_settings, settings_hash


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, "1"),
        (1.0, "1"),
        (1e-5, "0.00001"),
        ((2, 3), "[2, 3]"),
        ([2.0, "a"], ["2", "a"]),
        (True, "True"),
        ("fp16", "fp16"),
    ],
)
def test_one_value_has_one_text(one, other):
    assert as_text(one) == as_text(other)


@pytest.mark.parametrize(("one", "other"), [(True, 1), (0.1, 0.2), ("a", "b"), ([1], 1), ("", "None")])
def test_different_values_have_different_texts(one, other):
    assert as_text(one) != as_text(other)


def test_text_of_a_text_is_the_same():
    for value in ((0.1, 1), ["random_flip", "normalize"], 1e-5, "a photo of a", "", None, [[0, 1], [1, 2]]):
        assert as_text(as_text(value)) == as_text(value)


def test_later_layers_win_and_free_settings_do_not_count():
    settings = given([{"OPTIM.LR": 0.1, "A.B": 1}, {"OPTIM.LR": "0.2", "DATASET.ROOT": "x", "TRAIN.PRINT_FREQ": 5}])
    assert settings == {"A.B": "1", "OPTIM.LR": "0.2"}


def test_hash_depends_on_keys_and_values_and_not_on_the_order():
    one = {"A": "1", "B": "2"}
    assert settings_hash(one) == settings_hash({"B": "2", "A": "1"})
    assert len({settings_hash(x) for x in (one, {"A": "1"}, {"A": "2", "B": "1"}, {"A": "1", "B": "22"})}) == 4


def test_changes_are_named():
    assert changes({"A": "1", "B": "2", "C": "3"}, {"A": "1", "B": "4", "D": "5"}) == [
        "B 2 -> 4",
        "C 3 -> not set",
        "D not set -> 5",
    ]


def test_file_is_read_flat(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text('A:\n  B: 1\n  C:\n    D: "(1, 2)"\nE: x\n')
    assert read_settings(str(path)) == {"A.B": 1, "A.C.D": "(1, 2)", "E": "x"}
    path.write_text("")
    assert read_settings(str(path)) == {}


@pytest.mark.parametrize("text", ["a: [", "- a\n- b\n", "just words"])
def test_file_that_is_no_config_is_named(tmp_path, text):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match="a.yaml is not a YAML config"):
        read_settings(str(path))
    with pytest.raises(UserError, match="no config file .*b.yaml; there is: a.yaml"):
        read_settings(str(tmp_path / "b.yaml"))


def test_options_are_pairs():
    assert pairs(["A", "1", "B", "2"]) == [("A", "1"), ("B", "2")]
    with pytest.raises(UserError, match="'B', stands alone"):
        pairs(["A", "1", "B"])
