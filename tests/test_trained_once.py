import pytest

from modprompt.cli import train
from tests import trained_once
from tests.conftest import write_eurosat
from tests.test_runs import to


def left_by(folder):
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def test_second_one_is_a_copy_that_goes_for_the_run(
    mpl_flags, mpl_options, eurosat_root, tmp_path, monkeypatch, capsys
):
    words = [*mpl_flags, *mpl_options, "OPTIM.MAX_EPOCH", "1"]
    trained_once.trained(words)
    again, root = to(words, tmp_path / "second"), write_eurosat(tmp_path / "again")
    again[again.index("--root") + 1] = str(root)
    with monkeypatch.context() as patched:
        patched.setattr(train, "main", lambda words: pytest.fail("it is trained once more"))
        trained_once.trained(again)
    assert left_by(tmp_path / "second") == left_by(tmp_path / "out")
    assert left_by(root) == left_by(eurosat_root)
    capsys.readouterr()
    assert train.main(["--once", *again]) == 0
    assert "Finished before: " in capsys.readouterr().out


@pytest.mark.parametrize("other", [("OPTIM.LR", "0.01"), ()])
def test_another_one_is_trained(mpl_flags, mpl_options, eurosat_root, monkeypatch, other):
    ran = []
    if not other:
        next(eurosat_root.rglob("*.jpg")).unlink()
    monkeypatch.setattr(train, "main", lambda words: ran.append(words) or 1)
    with pytest.raises(AssertionError):
        trained_once.trained([*mpl_flags, *mpl_options, "OPTIM.MAX_EPOCH", "1", *other])
    assert len(ran) == 1
