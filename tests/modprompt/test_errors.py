"""Messages stay readable, whatever text of a file they quote."""

import pytest

from modprompt.errors import SettingError, UserError


@pytest.mark.parametrize("text", ["a.pt is damaged: delete it", "first\nsecond", "", "x" * 300, "/data " * 999])
def test_message_of_usual_length_is_as_it_was_given(text):
    assert str(UserError(text)) == text


def test_middle_of_a_long_word_is_left_out():
    said = str(UserError(f"a.txt, line 3: expected a name, got {'x' * 10**6!r}: fetch it again"))
    assert len(said) < 400
    assert said.startswith("a.txt, line 3: expected a name, got 'xxx")
    assert said.endswith("xxx': fetch it again")
    assert " [...] " in said
    assert len(str(UserError("word " * 2000))) < 6010


def test_faults_of_settings_take_full_names_unless_they_have_them():
    error = SettingError([("N_CTX", f" is {'9' * 5000}"), ("OPTIM.LR", " must be 2")]).under("TRAINER.MPL")
    assert str(error).startswith("TRAINER.MPL.N_CTX is 999")
    assert str(error).endswith("999. OPTIM.LR must be 2.")
    assert isinstance(error, UserError)
