"""The trainer of IVLP; see modprompt/methods/ivlp.py."""

from modprompt.trainers.registration import register

IVLP = register("IVLP")
