"""The trainer of MMA; see modprompt/methods/mma.py."""

from modprompt.trainers.registration import register

MultiModalAdapter = register("MultiModalAdapter")
