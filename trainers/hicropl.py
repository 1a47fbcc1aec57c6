"""The trainer of HiCroPL; see modprompt/methods/hicropl.py."""

from modprompt.trainers.registration import register

HiCroPL = register("HiCroPL")
