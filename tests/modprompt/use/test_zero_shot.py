"""Counts of zero-shot CLIP beside published ones."""

import pytest

from modprompt.errors import UserError
from modprompt.hosts import doctor
from modprompt.io.checkpoint import class_list
from modprompt.use.zero_shot import PUBLISHED, Published, check, compared
from tests.conftest import write_eurosat
from tests.other_clips import transformers_folder

NAMES = ["a_hat", "cat"]
SAME = class_list(["a hat texture.", "cat texture."])
SHARE = Published(500.5, 1000, "", "a README")
CASES = [  # the count; the published one; whether it is right, and what is said last
    (500, Published(500, 1000, SAME), True, "OK: the results are equal."),
    (503, Published(500, 1000, SAME), True, "OK: the difference of +3 images is explained by rounding."),
    (
        496,
        Published(500, 1000, SAME),
        False,
        "NOT OK: the difference is -4 images (-0.40 percentage points). The usual cause is a different way of decoding "
        "or resizing images, or a different precision.",
    ),
    (
        400,
        Published(500, 1000, SAME),
        False,
        "The usual cause is a different order of the labels, different CLIP weights or a damaged download.",
    ),
    (
        500,
        Published(500, 1001, SAME),
        False,
        "not comparable, because the test images are not the published ones. Download the published split with `modp",
    ),
    (
        500,
        Published(500, 1000, "other"),
        False,
        "not comparable, because the class names, their order or the template differ from the published ones.",
    ),
    (
        503,
        SHARE,
        True,
        "The published result is 50.05% of 1,000 images (a README). The source does not state the template, so 498 to "
        "504 correct images are expected. OK: the difference of +2 images is",
    ),
    (505, SHARE, False, "NOT OK: the difference is +4 images (+0.45 percentage points). The usual cause is a diff"),
    (500, None, True, "No published result is available for comparison."),
]


def test_a_count_is_right_within_three_thousandths_of_the_images_and_the_difference_is_said():
    for correct, like, right, said in CASES:
        classes = {"names": NAMES, "templates": ["{} texture."]}
        result = {"correct": correct, "images": 1000, "class_names": classes, "device": "cpu"}
        text, is_right = compared(result, like)
        assert (is_right, said in text) == (right, True), text
        start = f"{correct} of 1,000 images are correct ({correct / 10:.2f}%) on cpu with the template "
        assert text.startswith(f'{start}"{{}} texture." and 2 classes (a_hat to cat)')


def test_published_counts_are_of_the_published_splits():
    from modprompt.data.names import registered_names
    from modprompt.data.published import SIZES

    names = registered_names()
    images = {name: one.images for (_, name), one in PUBLISHED.items()}
    assert images == {name: SIZES[names[name]][2] for name in images}


def test_a_wrong_clip_and_a_root_without_data_are_one_line(tmp_path, capsys):
    assert doctor.main(["--zero-shot", "RN51", "--root", str(tmp_path)]) == 2
    assert "error: --zero-shot: Unknown CLIP model 'RN51'" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"No folder of the eleven benchmark data sets .* Set --root to the folder"):
        check(tmp_path, ["RN50"])


@pytest.mark.slow
def test_a_tiny_set_is_tested_and_its_count_compared(tmp_path, capsys):
    write_eurosat(tmp_path / "data", images_per_class=8)
    transformers_folder(tmp_path / "clip")
    clip = str(tmp_path / "clip")
    own = Published(1000, 20, PUBLISHED["RN50", "eurosat"].prompts, "made here")
    assert check(tmp_path / "data", [clip], {(clip, "eurosat"): own}) == 1
    line = capsys.readouterr().out.splitlines()[-1]
    assert "NOT OK: " in line
    count = int(line.partition("eurosat: ")[2].partition(" of 20 images are correct")[0])
    assert check(tmp_path / "data", [clip], {(clip, "eurosat"): own._replace(correct=count)}) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.endswith(f" The published result is {count} of 20 images (made here). OK: the results are equal.")
    (tmp_path / "data" / "dtd").mkdir()
    assert check(tmp_path / "data", [clip]) == 1
    failed, tested = capsys.readouterr().out.splitlines()[-2:]
    assert failed.startswith(f"{clip}, dtd: The test failed (error: ")
    assert tested.endswith("(split: ours). No published result is available for comparison.")
