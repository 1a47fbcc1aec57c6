"""The trainer of LP++; see modprompt/methods/heads/lpplusplus.py."""

from modprompt.trainers.registration import register

LPPlusPlus = register("LPPlusPlus")
