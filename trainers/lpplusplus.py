"""The trainer of LP++; see modprompt/methods/lpplusplus.py."""

from modprompt.trainers.registration import register

LPPlusPlus = register("LPPlusPlus")
