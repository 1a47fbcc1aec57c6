"""A hub that takes commits, for the tests of this folder and of the commands."""

from tests.modprompt.use.small_hub import hub  # noqa: F401
