"""The trainer of MMRL++; see modprompt/methods/mmrl.py."""

from modprompt.trainers.registration import register

MMRLpp = register("MMRLpp")
