"""A comparison of two records of experiments shows differences in numbers, and none in times, paths and new names."""

import pytest

from benchmarks import record_experiments


@pytest.mark.parametrize(
    ("name", "before", "after", "differing"),
    [
        ("a.md", "MPL 92.61 after 12.3 s in /tmp/one", "MPL 92.61 after 9 s in /tmp/two", 0),
        ("a.md", "together: true", "joint_test: true", 0),
        ("a.md", "MPL 92.61 ± 0.27", "MPL 92.62 ± 0.27", 1),
        ("a.csv", "method,H,train_s\nMPL,92.61,3.5\n", "method,H,train_s\nMPL,92.61,4.1\n", 0),
        ("a.csv", "method,H,train_s\nMPL,92.61,3.5\n", "method,H,train_s\nMPL,92.60,3.5\n", 1),
    ],
)
def test_only_differences_that_matter_are_printed(tmp_path, capsys, name, before, after, differing):
    for folder, text in (("before", before), ("after", after)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(text)
    assert record_experiments.compare(tmp_path / "before", tmp_path / "after") == differing
    assert f"1 files were compared, and {differing} of them differ." in capsys.readouterr().out
