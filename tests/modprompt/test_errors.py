"""Messages stay readable, whatever text of a file they quote."""

import pytest

from modprompt.errors import SettingError, UserError


def test_message_of_usual_length_is_as_it_was_given():
    assert str(UserError("a.pt is damaged: delete it")) == "a.pt is damaged: delete it"
    assert str(UserError("first\nsecond")) == "first\nsecond"
    assert str(UserError()) == ""


def test_middle_of_a_long_line_is_left_out():
    error = UserError(f"a.txt, line 3: expected a name, got {'x' * 10**6!r}: fetch it again")
    assert len(str(error)) < 600
    assert str(error).startswith("a.txt, line 3: expected a name, got 'xxx")
    assert str(error).endswith("xxx': fetch it again")
    assert " [...] " in str(error)


@pytest.mark.parametrize("length", [600, 601])
def test_six_hundred_characters_are_left(length):
    assert (str(UserError("x" * length)) == "x" * length) is (length <= 600)


def test_instructions_of_many_words_are_left():
    text = "; ".join(
        f"fetch archive {number} of the data set and unpack it into {'/data' * 20}" for number in range(12)
    )
    assert str(UserError(text)) == text
    assert len(str(UserError("word " * 2000))) < 600


def test_faults_of_settings_keep_all_that_they_know():
    error = SettingError([("N_CTX", f" is {'9' * 5000}")])
    assert len(str(error.under("TRAINER.MPL"))) < 600
    assert str(error.under("TRAINER.MPL")).startswith("TRAINER.MPL.N_CTX is 999")
