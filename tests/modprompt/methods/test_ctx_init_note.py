"""CTX_INIT where the repositories' code has other numbers: one line says so."""

import pytest

import modprompt

NOTE = "results differ from those of the original code"


@pytest.mark.parametrize(
    ("name", "settings", "is_told"),
    [
        ("CoOp", {"ctx_init": "a photo of a"}, False),
        ("CoOp", {"ctx_init": "a_photo_of_a"}, False),
        ("CoOp", {"ctx_init": "a  photo"}, True),
        ("CoOp", {"ctx_init": "a photo_"}, True),
        ("CoOp", {"ctx_init": "unphotogenic photo"}, False),  # at the end the tokens stay where they are
        ("CoOp", {"ctx_init": "unphotogenic photo", "class_token_position": "front"}, True),
        ("CoOp", {"ctx_init": "a photo", "class_token_position": "middle"}, False),
        ("CoCoOp", {"ctx_init": " a photo"}, True),
        ("CoCoOp", {"ctx_init": "a photo"}, False),
    ],
)
def test_a_note_names_what_the_repositories_read_otherwise(name, settings, is_told, clip_model, capsys):
    getattr(modprompt, name)(**settings).on(clip_model, ["cat", "dog"])
    assert (NOTE in capsys.readouterr().out) == is_told
