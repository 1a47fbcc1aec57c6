"""The trainer of VPT; see modprompt/methods/vpt.py."""

from modprompt.trainers.registration import register

VPT = register("VPT")
