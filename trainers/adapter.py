"""The trainer of CLAP and its neighbours; see modprompt/methods/heads/adapter.py."""

from modprompt.trainers.registration import register

ADAPTER = register("ADAPTER")
