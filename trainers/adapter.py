"""The trainer of CLAP and its neighbours; see modprompt/methods/adapter.py."""

from modprompt.trainers.registration import register

ADAPTER = register("ADAPTER")
