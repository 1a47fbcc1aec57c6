import pytest

from tools import release

CHANGELOG = "# Changelog\n\n## 1.2.0 (2026-01-31)\n\nText.\n\n## 1.1.0 (2025-12-01)\n"
CITATION = "version: 1.2.0\ndate-released: 2026-01-31\n"


def test_tree_of_a_release_has_no_faults():
    assert list(release.faults("1.2.0", "1.2.0", CHANGELOG, CITATION)) == []


@pytest.mark.parametrize(
    ("version", "package", "changelog", "citation", "said"),
    [
        ("1.2.0.dev0", "1.2.0.dev0", CHANGELOG.replace("1.2.0", "1.2.0.dev0"), CITATION.replace("1.2.0", "1.2.0.dev0"), "1.2.0.dev0 is not a release version"),
        ("1.2.0", "1.2.0.dev0", CHANGELOG, CITATION, "modprompt/version.py says 1.2.0.dev0"),
        ("1.2.0", "1.2.0", CHANGELOG.replace("2026-01-31", "unreleased"), CITATION, "CHANGELOG.md begins with 1.2.0 (unreleased)"),
        ("1.2.0", "1.2.0", "# Changelog\n", CITATION, "CHANGELOG.md begins with no version"),
        ("1.2.0", "1.2.0", CHANGELOG, CITATION.replace("01-31", "01-30"), "CITATION.cff has version 1.2.0 of 2026-01-30"),
        ("1.2.0", "1.2.0", CHANGELOG, "title: x\n", "CITATION.cff has version None of None"),
    ],
)  # fmt: skip
def test_what_contradicts_it_is_named(version, package, changelog, citation, said):
    assert said in "; ".join(release.faults(version, package, changelog, citation))


def test_this_tree_is_checked_and_a_release_that_it_is_not_is_refused(capsys):
    assert release.main(["0.0.1"]) == 2
    assert "error: this tree is not a release of 0.0.1: modprompt/version.py says " in capsys.readouterr().err
