"""The trainer of PromptSRC; see modprompt/methods/promptsrc.py."""

from modprompt.trainers.registration import register

PromptSRC = register("PromptSRC")
