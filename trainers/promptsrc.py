"""See modprompt/trainers/promptsrc.py."""

from modprompt.trainers.promptsrc import PromptSRC  # noqa: F401
