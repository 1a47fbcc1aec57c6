import pytest

from modprompt.cli import main


@pytest.fixture
def said(capsys):
    """Runs `modprompt WORDS`, which ends with that code: the lines of its output, and those of its errors."""

    def run(code, *words):
        capsys.readouterr()
        assert main.main([str(word) for word in words]) == code
        return [text.splitlines() for text in capsys.readouterr()]

    return run


@pytest.fixture
def refused(said):
    """Runs `modprompt WORDS`, which is refused: the one line of the error."""

    def run(*words):
        out, (line,) = said(2, *words)
        assert out == []
        return line

    return run
