import pytest

from modprompt.data.class_names import ClassNames, distinct
from modprompt.io.files import Refused


def test_class_is_found_however_it_is_spelt():
    known = ClassNames(["forest", "annual_crop", "F-16A/B", "007", "caf\u00e9"])
    texts = {"forest": 0, "FOREST": 0, "annual crop": 1, "Annual_Crop": 1, "F-16A_B": 2, "7": 3, "Caf\u0065\u0301": 4}
    assert {text: known.find([text]) for text in texts} == texts
    known = ClassNames(["Forest", "forest", "07", "7"])  # of which the exact one goes first
    assert [known.find([name]) for name in known.names] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("names", "text", "message"),
    [
        (["Forest", "forest"], "FOREST", "'FOREST' is ambiguous. Use 'Forest' or 'forest'."),
        (["07", "7"], "007", "'007' is ambiguous. Use '07' or '7'."),
        (["forest", "river"], "forrest", "unknown class 'forrest'. Did you mean 'forest'?"),
        (["forest", "river"], "xyz", r"unknown class 'xyz'. Available classes: forest, river\."),
        ([f"c{k:03d}" for k in range(200)], "zzzzzz", r"Available classes: c000, .*, c009 and 190 more\."),
    ],
)
def test_what_is_no_class_is_said(names, text, message):
    with pytest.raises(Refused, match=message):
        ClassNames(names).find([text])


def test_name_of_several_classes_is_written_with_its_label():
    names = ["crane", "missile", "missile", "crane (0)"]
    assert distinct(names) == ["crane", "missile (1)", "missile (2)", "crane (0)"]
    assert ClassNames(names).find(["Missile (2)"]) == 2
    with pytest.raises(Refused, match=r"'missile' is ambiguous. Use 'missile \(1\)' or 'missile \(2\)'\."):
        ClassNames(names).find(["missile"])
