"""The trainer of PromptKD; see modprompt/methods/promptkd.py."""

from modprompt.trainers.registration import register

PromptKD = register("PromptKD")
