"""Trainers of a codebase that cannot be imported, in a run of one of ours by its own program."""

import sys

import pytest

from modprompt.hosts.tolerant import tolerated


def forget_packages(monkeypatch=None):
    for name in [name for name in sys.modules if name.partition(".")[0] in ("trainers", "datasets")]:
        if monkeypatch:
            monkeypatch.delitem(sys.modules, name)
        else:
            del sys.modules[name]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a program whose imports are tolerated, beside modules of trainers/ and datasets/ by their dotted names."""
    forget_packages(monkeypatch)
    monkeypatch.syspath_prepend(tmp_path)

    def run_program(program, modules):
        for name, source in {"trainers.__init__": "", "datasets.__init__": "", **modules}.items():
            path = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
            path.parent.mkdir(exist_ok=True)
            path.write_text(source)
        (tmp_path / "train.py").write_text(program)
        with tolerated(tmp_path / "train.py"):
            exec(compile(program, str(tmp_path / "train.py"), "exec"), {})

    yield run_program
    forget_packages()


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("def f(:\n", "invalid syntax"),
        ("raise SystemExit(3)", "3"),
        ("import trainers.constants\nfrom trainers.constants import LACKS", "cannot import name 'LACKS'"),
        ("1 / 0", "division by zero"),
    ],
)
def test_module_of_trainers_that_fails_is_left_out_in_one_line(source, why, run, capsys):
    run("import trainers.odd, trainers.good", {"trainers.odd": source, "trainers.good": "", "trainers.constants": ""})
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("This codebase imports the module trainers.odd, but the import fails (")
    assert why in line
    assert "trainers.good" in sys.modules


def test_one_that_is_not_shipped_is_left_out_where_the_program_asks_for_it_alone(run, capsys):
    source = "try:\n    import trainers.optional\nexcept ImportError:\n    print('does without')"
    run("import trainers.a\nfrom trainers import lost\nimport trainers.lost_too", {"trainers.a": source})
    assert capsys.readouterr().out.splitlines() == [
        "does without",
        "This codebase imports the module trainers.lost, which does not exist. The import is ignored.",
        "This codebase imports the module trainers.lost_too, which does not exist. The import is ignored.",
    ]


@pytest.mark.parametrize("program", ["import trainers.coop", "import datasets.model"])
def test_what_is_no_trainer_ends_the_program_also_from_within_a_trainer(program, run):
    with pytest.raises(ZeroDivisionError):
        run(program, {"datasets.model": "1 / 0", "trainers.coop": "import datasets.model"})
