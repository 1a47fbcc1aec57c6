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
    (500, Published(500, 1000, SAME), True, "right, the same"),
    (503, Published(500, 1000, SAME), True, "right, +3: rounding, of precision or images"),
    (
        496,
        Published(500, 1000, SAME),
        False,
        "-4 (-0.40 points): usually how images are read or scaled, or the precision",
    ),
    (400, Published(500, 1000, SAME), False, "usually the order of labels, other weights or a damaged download"),
    (
        500,
        Published(500, 1001, SAME),
        False,
        "not the published test images: get the published split (modprompt prepare)",
    ),
    (
        500,
        Published(500, 1000, "other"),
        False,
        "other class names, their order or template than published: not comparable",
    ),
    (
        503,
        SHARE,
        True,
        "published: 50.05% of 1,000 (a README), template not printed there, 498 to 504 is right; right, +2: rou",
    ),
    (505, SHARE, False, "not right, +4 (+0.45 points): usually how images are read or scaled, or the precision"),
    (500, None, True, "no published count is known here"),
]


def test_a_count_is_right_within_three_thousandths_of_the_images_and_the_difference_is_said():
    for correct, like, right, said in CASES:
        classes = {"names": NAMES, "templates": ["{} texture."]}
        result = {"correct": correct, "images": 1000, "class_names": classes, "device": "cpu"}
        text, is_right = compared(result, like)
        assert (is_right, said in text) == (right, True), text
        assert f'{correct} of 1,000 right ({correct / 10:.2f}%) with "{{}} texture.", 2 classes (a_hat to cat)' in text


def test_published_counts_are_of_the_published_splits():
    from modprompt.data.names import registered_names
    from modprompt.data.published import SIZES

    names = registered_names()
    images = {name: one.images for (_, name), one in PUBLISHED.items()}
    assert images == {name: SIZES[names[name]][2] for name in images}


def test_a_wrong_clip_and_a_root_without_data_are_one_line(tmp_path, capsys):
    assert doctor.main(["--zero-shot", "RN51", "--root", str(tmp_path)]) == 2
    assert "error: --zero-shot: there is no CLIP 'RN51'" in capsys.readouterr().err
    with pytest.raises(UserError, match="none of the eleven data sets is below .*: --root names their folder"):
        check(tmp_path, ["RN50"])


@pytest.mark.slow
def test_a_tiny_set_is_tested_and_its_count_compared(tmp_path, capsys):
    write_eurosat(tmp_path / "data", images_per_class=8)
    transformers_folder(tmp_path / "clip")
    clip = str(tmp_path / "clip")
    own = Published(1000, 20, PUBLISHED["RN50", "eurosat"].prompts, "made here")
    assert check(tmp_path / "data", [clip], {(clip, "eurosat"): own}) == 1
    line = capsys.readouterr().out.splitlines()[-1]
    assert "not right" in line
    count = int(line.partition("eurosat: ")[2].partition(" of 20 right")[0])
    assert check(tmp_path / "data", [clip], {(clip, "eurosat"): own._replace(correct=count)}) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"; published: {count} of 20 (made here); right, the same")
    (tmp_path / "data" / "dtd").mkdir()
    assert check(tmp_path / "data", [clip]) == 1
    failed, tested = capsys.readouterr().out.splitlines()[-2:]
    assert failed.startswith(f"{clip}, dtd: failed (error: ")
    assert tested.endswith("split: ours; no published count is known here")
