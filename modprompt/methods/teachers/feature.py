"""What teachers are to all other rooms."""

from modprompt.errors import UserError
from modprompt.feature import Content, Feature
from modprompt.io.checkpoint_files import checkpoint_at
from modprompt.io.compare import file_hash
from modprompt.methods.teachers.facts import NONE, TEACHER, TEACHER_CKPT

_DIGITS = 12


def _hash_of_prompts(path: str) -> str:
    return NONE if path == NONE else file_hash(checkpoint_at(path))[:_DIGITS]


def _hash_of_clip(path: str) -> str:
    raise UserError(f"{path}: which CLIP it is shows when it is loaded")


class TeachersFeature(Feature):
    """Methods with a teacher that is another CLIP."""

    name = "teachers"
    contents = (
        Content(TEACHER_CKPT, ".TEACHER_CKPT", _hash_of_prompts, "the teacher's prompts in {} are others now"),
        Content(TEACHER, ".TEACHER_NAME", _hash_of_clip),
    )


FEATURE = TeachersFeature()
