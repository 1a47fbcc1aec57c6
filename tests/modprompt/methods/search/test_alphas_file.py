import numpy as np
import pytest

from modprompt.errors import UserError
from modprompt.io.arrays import write_arrays
from modprompt.methods.search import alphas_file as alphas
from modprompt.methods.search.alphas_file import Alphas
from modprompt.methods.search.file import ALL


def lengths(layers, most, first=ALL):
    """The options of DPL: c tokens in place of those before."""
    options = np.array([[(ALL, c) for c in range(most + 1)]] * layers)
    options[0, :, 0] = first
    return options


def side(layers=3, most=2, seed=0):
    values = np.random.default_rng(seed).normal(size=(layers, most + 1)).astype(np.float32)
    return Alphas(values, lengths(layers, most))


def test_sides_come_back_by_name(tmp_path):
    text, vision = side(), side(4, 5, 1)
    path = alphas.write(tmp_path / "run", 3, {"text": text, "vision": vision})
    assert path == tmp_path / "run" / "alpha_e3.npz"
    found = alphas.read(path)
    assert list(found) == ["text", "vision"]
    for one, other in ((found["text"], text), (found["vision"], vision)):
        assert np.array_equal(one.values, other.values)
        assert one.values.dtype == np.float32
        assert np.array_equal(one.options, other.options)
    assert list(alphas.read(alphas.write(tmp_path, 0, {"vision": vision}))) == ["vision"]


def test_pair_of_the_reference_has_swapped_names(tmp_path):
    text, vision = side().values, side(4, 5, 1).values
    paths = alphas.write_pair(tmp_path, 2, text, vision)
    assert [path.name for path in paths] == ["alpha_e2_img.npy", "alpha_e2_txt.npy"]
    assert np.array_equal(np.load(tmp_path / "alpha_e2_txt.npy"), vision)
    assert np.array_equal(alphas.read_bare(tmp_path / "alpha_e2_img.npy"), text)
    assert "alpha_e2_txt.npy holds the image side" in alphas.SWAPPED.format(epoch=2)


def test_length_is_the_first_of_the_largest():
    assert alphas.lengths_of(np.array([[0.1, 0.3, 0.3], [2.0, 2.0, 1.0], [0.0, -1.0, 5.0]])) == (1, 0, 2)


def test_lengths_are_told_from_other_options():
    assert alphas.are_lengths(lengths(3, 2))
    assert alphas.are_lengths(lengths(3, 2, first=0))
    other = lengths(3, 2)
    other[1, 2] = (1, 2)
    assert not alphas.are_lengths(other)
    assert not alphas.are_lengths(lengths(3, 2)[:, ::-1])


WRONG = [
    (np.zeros(3), "must be an array of numbers, layers x options, got float64 of shape"),
    (np.zeros((0, 3)), "must be an array of numbers"),
    (np.zeros((2, 3), int), "must be an array of numbers.*int64"),
    (np.array([[0.1, np.nan]]), "are not all finite"),
    (np.array([[{}, 1.0]], object), "is damaged .*Object arrays"),
]


@pytest.mark.parametrize(("array", "why"), WRONG)
def test_array_that_holds_no_alphas_is_one_line(tmp_path, array, why):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(UserError, match=why) as raised:
        alphas.read_bare(tmp_path / "a.npy")
    assert "\n" not in str(raised.value)


def test_archive_of_something_else_is_one_line(tmp_path):
    values, options, _ = side()
    for arrays, why in (
        ({"other": values}, "holds neither text nor vision alphas"),
        ({"text": values}, "lacks text_options"),
        (
            {"text": values, "text_options": options[:2]},
            r"text_options are not \(remove, add\) pairs for \(3, 3\) alphas",
        ),
        ({"text": values, "text_options": options.astype(float)}, "text_options are no"),
        ({"text": values, "text_options": options - 1}, "text_options are no"),
        ({"text": values.astype(int), "text_options": options}, "text alphas must be an array of numbers"),
    ):
        np.savez(tmp_path / "a.npz", **arrays)
        with pytest.raises(UserError, match=why):
            alphas.read(tmp_path / "a.npz")


def test_alphas_of_a_search_that_went_wrong_are_not_written(tmp_path):
    text = side()
    text.values[1, 1] = np.inf
    with pytest.raises(UserError, match="text alphas are not all finite"):
        alphas.write(tmp_path, 1, {"text": text})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", [np.array("\n"), np.array("x" * 5000), np.array(["a"]), np.array(1.0)], ids=repr)
def test_place_that_is_none_is_one_line(place, tmp_path):
    values, options, _ = side()
    write_arrays(tmp_path / "a.npz", text=values, text_options=options, text_place=place)
    with pytest.raises(UserError, match="a.npz: text_place is not a text"):
        alphas.read(tmp_path / "a.npz")
