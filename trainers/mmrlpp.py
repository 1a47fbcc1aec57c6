"""The trainer of MMRL++; see modprompt/methods/mmrlpp.py."""

from modprompt.trainers.registration import register

MMRLpp = register("MMRLpp")
